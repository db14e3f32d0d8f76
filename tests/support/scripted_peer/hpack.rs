//! Reads the headers that the relay writes: HPACK (RFC 7541). Each header block of a connection has
//! to pass through one [`Decoder`], in order, since later ones refer to earlier ones.

use std::collections::VecDeque;

/// The names of the static table (Appendix A), from its first place on.
const STATIC_NAMES: &str = ":authority :method :method :path :path :scheme :scheme :status :status \
    :status :status :status :status :status accept-charset accept-encoding accept-language \
    accept-ranges accept access-control-allow-origin age allow authorization cache-control \
    content-disposition content-encoding content-language content-length content-location \
    content-range content-type cookie date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified link location \
    max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after server \
    set-cookie strict-transport-security transfer-encoding user-agent vary via www-authenticate";

/// The symbols of the Huffman code (Appendix B) with codes of so many bits, in the order of their
/// codes: the code is canonical, so the codes follow from that. What is longer no header here has.
const SYMBOLS: [(u32, &[u8]); 10] = [
    (5, b"012aceiost"),
    (6, b" %-./3456789=A_bdfghlmnpru"),
    (7, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, b"&*,;XZ"),
    (10, b"!\"()?"),
    (11, b"'+|"),
    (12, b"#>"),
    (13, b"\0$@[]~"),
    (14, b"^}"),
    (15, b"<`{"),
];

/// What an entry of the dynamic table takes beside its text, and what all may take (§4.1, RFC 9113
/// §6.5.2).
const ENTRY_BYTES: usize = 32;
const TABLE_BYTES: usize = 4_096;

/// A header; the values of the static table, which no test asks for, are left empty.
type Header = (String, String);

/// What one direction of a connection has said so far.
#[derive(Default)]
pub(super) struct Decoder {
    /// The newest first.
    dynamic: VecDeque<Header>,
}

impl Decoder {
    /// The headers of one block (§6).
    pub(super) fn read(&mut self, block: &[u8]) -> Vec<Header> {
        let (mut rest, mut headers) = (block, Vec::new());
        while let Some(first) = rest.first() {
            if first & 0x80 != 0 {
                let place = integer(&mut rest, 7);
                headers.push(self.entry(place));
            } else if first & 0x40 != 0 {
                let header = self.literal(&mut rest, 6);
                self.keep(header.clone());
                headers.push(header);
            } else if first & 0x20 != 0 {
                let bytes = integer(&mut rest, 5);
                assert_eq!(bytes, TABLE_BYTES, "nobody asked for a table of another size");
            } else {
                headers.push(self.literal(&mut rest, 4));
            }
        }
        headers
    }

    fn literal(&self, rest: &mut &[u8], prefix_bits: u32) -> Header {
        let name = match integer(rest, prefix_bits) {
            0 => string(rest),
            place => self.entry(place).0,
        };
        (name, string(rest))
    }

    fn entry(&self, place: usize) -> Header {
        let mut names = STATIC_NAMES.split(' ');
        let count = names.clone().count();
        if place > count {
            return self.dynamic[place - count - 1].clone();
        }
        (names.nth(place - 1).unwrap().to_owned(), String::new())
    }

    fn keep(&mut self, header: Header) {
        self.dynamic.push_front(header);
        let size = |(name, value): &Header| name.len() + value.len() + ENTRY_BYTES;
        while self.dynamic.iter().map(size).sum::<usize>() > TABLE_BYTES {
            self.dynamic.pop_back();
        }
    }
}

/// An integer with a prefix of so many bits (§5.1).
fn integer(rest: &mut &[u8], prefix_bits: u32) -> usize {
    let most = (1 << prefix_bits) - 1;
    let mut value = usize::from(byte(rest)) & most;
    let mut goes_on = value == most;
    for shift in (0..).step_by(7) {
        if !goes_on {
            break;
        }
        let next = byte(rest);
        value += usize::from(next & 0x7f) << shift;
        goes_on = next & 0x80 != 0;
    }
    value
}

/// A string (§5.2).
fn string(rest: &mut &[u8]) -> String {
    let is_coded = rest[0] & 0x80 != 0;
    let bytes = integer(rest, 7);
    let (text, left) = rest.split_at(bytes);
    *rest = left;
    if is_coded { decoded(text) } else { String::from_utf8(text.to_vec()).unwrap() }
}

fn byte(rest: &mut &[u8]) -> u8 {
    let (first, left) = rest.split_first().unwrap();
    *rest = left;
    *first
}

/// Text in the Huffman code; what is left at its end is padding.
fn decoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut code, mut length) = (0, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| byte >> place & 1)) {
        code = code << 1 | u32::from(bit);
        length += 1;
        if let Some(symbol) = symbol(code, length) {
            text.push(symbol);
            (code, length) = (0, 0);
        }
    }
    assert!(length < 8, "a symbol that no header here has");
    text
}

fn symbol(code: u32, length: u32) -> Option<char> {
    let (mut first, mut of_length) = (0, 0);
    for (bits, symbols) in SYMBOLS {
        first <<= bits - of_length;
        of_length = bits;
        if bits == length {
            return symbols.get((code - first) as usize).map(|symbol| char::from(*symbol));
        }
        first += u32::try_from(symbols.len()).unwrap();
    }
    None
}
