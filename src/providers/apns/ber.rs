//! A reader of ASN.1 in BER: borrowed pieces, nothing decoded that is not asked for.
//!
//! PKCS#12 allows BER, and Java and NSS write it: indefinite lengths and octet strings in pieces.
//! DER parsers refuse both, and the file must be walked before OpenSSL may derive a key from it.

use x509_parser::oid_registry::Oid;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[0]` around another element, or around the pieces of a constructed octet string.
pub(super) const CONTEXT_0: u8 = 0xa0;
/// `[0] IMPLICIT OCTET STRING` in one piece.
pub(super) const CONTEXT_0_PRIMITIVE: u8 = 0x80;

const CONSTRUCTED: u8 = 0x20;
/// How deep indefinite lengths and pieces of octet strings may nest; writers need two or three.
const MAX_DEPTH: usize = 16;

/// The bytes are not the structure that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// One element: its identifier octet and what is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
}

impl<'a> Element<'a> {
    /// Reads the elements inside.
    pub(super) fn inside(&self) -> Reader<'a> {
        Reader::new(self.content)
    }

    /// The bytes of an octet string, whose pieces are joined.
    pub(super) fn octets(&self) -> Result<Vec<u8>, Malformed> {
        let mut bytes = Vec::new();
        self.join(&mut bytes, MAX_DEPTH)?;
        Ok(bytes)
    }

    fn join(&self, bytes: &mut Vec<u8>, depth: usize) -> Result<(), Malformed> {
        if self.tag & CONSTRUCTED == 0 {
            bytes.extend_from_slice(self.content);
            return Ok(());
        }
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        let mut pieces = self.inside();
        while let Some(piece) = pieces.next()? {
            if piece.tag & !CONSTRUCTED != OCTET_STRING {
                return Err(Malformed);
            }
            piece.join(bytes, depth)?;
        }
        Ok(())
    }

    /// The value of an INTEGER that is not negative; what does not fit is `u64::MAX`.
    pub(super) fn unsigned(&self) -> Result<u64, Malformed> {
        let (first, _) = self.content.split_first().ok_or(Malformed)?;
        if self.tag != INTEGER || first & 0x80 != 0 {
            return Err(Malformed);
        }
        let digits = self.content.iter().skip_while(|byte| **byte == 0);
        Ok(digits.fold(0, |value: u64, byte| {
            value.checked_mul(256).map_or(u64::MAX, |value| value.saturating_add((*byte).into()))
        }))
    }

    /// An object identifier in dots.
    pub(super) fn oid(&self) -> Result<String, Malformed> {
        if self.tag != OBJECT_IDENTIFIER || self.content.is_empty() || self.content.len() > 64 {
            return Err(Malformed);
        }
        Ok(Oid::new(self.content.into()).to_id_string())
    }
}

/// Whether the bytes are one SEQUENCE and nothing else. What a wrong password makes of encrypted
/// ASN.1 is not.
pub(super) fn is_one_sequence(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    reader.expect(SEQUENCE).is_ok() && reader.next() == Ok(None)
}

/// Elements in a row.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next element; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Element<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let header = self.header()?;
        let content = match header.length {
            Some(length) => self.take(length)?,
            None => self.take_until_end_of_contents()?,
        };
        Ok(Some(Element { tag: header.tag, content }))
    }

    /// The next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Element<'a>, Malformed> {
        self.next()?.filter(|element| element.tag == tag).ok_or(Malformed)
    }

    /// The next element if it has this tag; else nothing is read.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, Malformed> {
        if self.rest.first() == Some(&tag) { self.next() } else { Ok(None) }
    }

    /// An octet string, in one piece or several.
    pub(super) fn octet_string(&mut self) -> Result<Vec<u8>, Malformed> {
        match self.next()? {
            Some(element) if element.tag & !CONSTRUCTED == OCTET_STRING => element.octets(),
            Some(_) | None => Err(Malformed),
        }
    }

    fn header(&mut self) -> Result<Header, Malformed> {
        let tag = self.byte()?;
        if tag & 0x1f == 0x1f {
            return Err(Malformed); // tags above 30 occur nowhere in these files
        }
        let first = self.byte()?;
        let length = match first {
            0x80 if tag & CONSTRUCTED != 0 => None,
            0x00..=0x7f => Some(first.into()),
            0x81..=0x84 => {
                let digits = self.take(usize::from(first & 0x7f))?;
                Some(digits.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)))
            }
            _ => return Err(Malformed),
        };
        Ok(Header { tag, length })
    }

    /// What stands before the two zero bytes that end an indefinite length. The elements on the way
    /// are skipped in one pass, so that nesting costs no more than the bytes.
    fn take_until_end_of_contents(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.rest;
        let mut open = 1_usize;
        loop {
            let before = self.rest.len();
            let header = self.header()?;
            match header.length {
                Some(0) if header.tag == 0 => open = open.saturating_sub(1),
                Some(length) => {
                    self.take(length)?;
                }
                None if open < MAX_DEPTH => open = open.saturating_add(1),
                None => return Err(Malformed),
            }
            if open == 0 {
                return start.get(..start.len().saturating_sub(before)).ok_or(Malformed);
            }
        }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// Identifier and length; no length means "until the end-of-contents".
struct Header {
    tag: u8,
    length: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indefinite_length_ends_at_its_own_end_of_contents() {
        let bytes = [0x30, 0x80, 0x30, 0x80, 0x02, 0x01, 0x07, 0, 0, 0, 0, 0x05, 0x00];
        let mut reader = Reader::new(&bytes);

        let outer = reader.expect(SEQUENCE);
        let inner = outer.and_then(|outer| outer.inside().expect(SEQUENCE));
        let number = inner.and_then(|inner| inner.inside().expect(INTEGER)?.unsigned());

        assert_eq!(number, Ok(7));
        assert_eq!(reader.next(), Ok(Some(Element { tag: 0x05, content: &[] })));
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn pieces_of_an_octet_string_are_joined() {
        let bytes = [0x24, 0x80, 0x04, 0x01, b'a', 0x24, 0x03, 0x04, 0x01, b'b', 0x00, 0x00];

        assert_eq!(Reader::new(&bytes).octet_string(), Ok(b"ab".to_vec()));
    }

    #[test]
    fn integer_that_fits_nowhere_is_the_largest() {
        let large = [0x02, 0x09, 0x01, 0, 0, 0, 0, 0, 0, 0, 0];
        let negative = [0x02, 0x01, 0xff];
        let read = |bytes: &[u8]| Reader::new(bytes).expect(INTEGER)?.unsigned();

        assert_eq!(read(&large), Ok(u64::MAX));
        assert_eq!(read(&negative), Err(Malformed));
    }

    #[test]
    fn deep_nesting_and_missing_bytes_are_malformed() {
        assert_eq!(Reader::new(&[0x30, 0x80].repeat(10_000)).next(), Err(Malformed));
        assert_eq!(Reader::new(&[0x24, 0x80].repeat(10_000)).octet_string(), Err(Malformed));
        assert_eq!(Reader::new(&[0x30, 0x05, 0x00]).next(), Err(Malformed));
        assert_eq!(Reader::new(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).next(), Err(Malformed));
    }
}
