//! A small DER writer, and an editor for files that were written by others.

pub const INTEGER: u8 = 0x02;
pub const OCTET_STRING: u8 = 0x04;
pub const NULL: u8 = 0x05;
pub const UTF8_STRING: u8 = 0x0c;
pub const SEQUENCE: u8 = 0x30;
pub const CONTEXT_0: u8 = 0xa0;

/// One element.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let mut bytes = vec![tag];
    if content.len() < 0x80 {
        bytes.push(u8::try_from(content.len()).unwrap());
    } else {
        let digits: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
        bytes.push(0x80 | u8::try_from(digits.len()).unwrap());
        bytes.extend(digits);
    }
    bytes.extend_from_slice(content);
    bytes
}

/// A SEQUENCE of these elements.
pub fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    element(SEQUENCE, &elements.concat())
}

/// `[0]` around an element.
pub fn context_0(inner: &[u8]) -> Vec<u8> {
    element(CONTEXT_0, inner)
}

/// An OCTET STRING.
pub fn octets(bytes: &[u8]) -> Vec<u8> {
    element(OCTET_STRING, bytes)
}

/// An INTEGER that is not negative.
pub fn integer(value: u64) -> Vec<u8> {
    let mut digits: Vec<u8> = value.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
    if digits.first().is_none_or(|first| first & 0x80 != 0) {
        digits.insert(0, 0);
    }
    element(INTEGER, &digits)
}

/// An OBJECT IDENTIFIER, from its text in dots.
pub fn oid(dotted: &str) -> Vec<u8> {
    element(0x06, openssl::asn1::Asn1Object::from_str(dotted).unwrap().as_slice())
}

/// An `AlgorithmIdentifier`.
pub fn algorithm(dotted: &str, parameters: &[u8]) -> Vec<u8> {
    sequence(&[oid(dotted), parameters.to_vec()])
}

/// One element of a file, taken apart.
#[derive(Clone)]
pub struct Node {
    pub tag: u8,
    pub content: Vec<u8>,
}

impl Node {
    /// The elements that stand in a row in these bytes.
    pub fn parse(mut bytes: &[u8]) -> Vec<Self> {
        let mut nodes = Vec::new();
        while let [tag, first, rest @ ..] = bytes {
            let digits = if *first < 0x80 { 0 } else { usize::from(first & 0x7f) };
            let (digits, rest) = rest.split_at(digits);
            let length = match digits {
                [] => usize::from(*first),
                digits => digits.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
            };
            let (content, rest) = rest.split_at(length);
            nodes.push(Self { tag: *tag, content: content.to_vec() });
            bytes = rest;
        }
        nodes
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        element(self.tag, &self.content)
    }
}

/// Changes the element at a path of positions, through octet strings too; the lengths above it
/// follow.
pub fn edit(der: &[u8], path: &[usize], change: impl FnOnce(&mut Vec<Node>)) -> Vec<u8> {
    let mut nodes = Node::parse(der);
    match path.split_first() {
        None => change(&mut nodes),
        Some((position, rest)) => {
            let node = &mut nodes[*position];
            node.content = edit(&node.content, rest, change);
        }
    }
    nodes.iter().flat_map(Node::encode).collect()
}

/// The elements at a path.
pub fn at(der: &[u8], path: &[usize]) -> Vec<Node> {
    path.iter().fold(Node::parse(der), |nodes, position| Node::parse(&nodes[*position].content))
}
