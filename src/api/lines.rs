//! Lines out of a body that comes in pieces, each within a limit.

use bytes::{Bytes, BytesMut};

/// Takes pieces in and gives lines out: none means that none is there yet. Lines of white space alone
/// are passed over; one over the limit is told once and never held.
#[derive(Debug)]
pub struct Lines {
    buffer: BytesMut,
    /// So much of the buffer holds no line break.
    scanned: usize,
    limit_bytes: usize,
    /// The rest of a line over the limit is on its way.
    skips: bool,
    has_ended: bool,
}

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Over the limit.
    TooLong,
    /// Without its line break.
    Whole(Bytes),
}

impl Lines {
    /// No piece yet. A line holds at most so many bytes, its break not counted.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        let buffer = BytesMut::new();
        Self { buffer, scanned: 0, limit_bytes, skips: false, has_ended: false }
    }

    /// Adds the next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The body is over: what is left is the last line.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// There is no whole line: what is there is kept, unless it is too long already.
    fn wait(&mut self) -> Option<Line> {
        // A carriage return at its end may belong to the break.
        let text = self.buffer.strip_suffix(b"\r").unwrap_or(&self.buffer);
        let is_over = text.len() > self.limit_bytes;
        if !self.skips && !is_over {
            self.scanned = self.buffer.len();
            return None;
        }
        (self.buffer, self.scanned) = (BytesMut::new(), 0);
        let is_news = !std::mem::replace(&mut self.skips, true);
        is_news.then_some(Line::TooLong)
    }
}

impl Iterator for Lines {
    type Item = Line;

    /// The next line that is there.
    fn next(&mut self) -> Option<Line> {
        loop {
            let unseen = self.buffer.get(self.scanned..).unwrap_or_default();
            let line = match unseen.iter().position(|byte| *byte == b'\n') {
                Some(place) => {
                    let end = self.scanned.saturating_add(place).saturating_add(1);
                    self.scanned = 0;
                    self.buffer.split_to(end).freeze()
                }
                None if self.has_ended => {
                    self.scanned = 0;
                    self.buffer.split().freeze()
                }
                None => return self.wait(),
            };
            if std::mem::take(&mut self.skips) {
                continue;
            }
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.slice_ref(text.strip_suffix(b"\r").unwrap_or(text));
            if line.len() > self.limit_bytes {
                return Some(Line::TooLong);
            }
            if !line.trim_ascii().is_empty() {
                return Some(Line::Whole(line));
            }
            if self.has_ended && self.buffer.is_empty() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The lines of a body that comes in these pieces; `None` is one over the limit.
    fn lines(pieces: &[&[u8]], limit_bytes: usize) -> Vec<Option<String>> {
        let mut lines = Lines::new(limit_bytes);
        let mut found = Vec::new();
        let mut drain = |lines: &mut Lines| {
            for line in lines.by_ref() {
                found.push(match line {
                    Line::TooLong => None,
                    Line::Whole(line) => Some(String::from_utf8_lossy(&line).into_owned()),
                });
            }
        };
        for piece in pieces {
            lines.push(piece);
            drain(&mut lines);
        }
        lines.end();
        drain(&mut lines);
        found
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn lines_end_at_breaks_and_the_last_at_the_end() {
        assert_eq!(lines(&[b"a\nb\r\n\n \t\r\nc"], 10), some(&["a", "b", "c"]));
        assert_eq!(lines(&[b"a\n"], 10), some(&["a"]));
        assert_eq!(lines(&[b"a", b"b\nc", b"\n", b"d"], 10), some(&["ab", "c", "d"]));
        assert!(lines(&[], 10).is_empty());
        assert!(lines(&[b"\n\n"], 10).is_empty());
    }

    #[test]
    fn a_line_over_the_limit_is_told_once_and_the_next_is_read() {
        let both = |first: &str| [None, Some(first.to_owned())];

        assert_eq!(lines(&[b"12345\nab"], 4), both("ab"));
        assert_eq!(lines(&[b"123", b"45", b"6789", b"0\nab\n"], 4), both("ab"));
        assert_eq!(lines(&[b"1234\n"], 4), some(&["1234"]));
        assert_eq!(lines(&[b"12345"], 4), [None]);
        assert_eq!(lines(&[b"12345", b"6"], 4), [None]);
    }

    #[test]
    fn what_is_skipped_is_not_held() {
        let mut lines = Lines::new(10);
        for _ in 0..1_000 {
            lines.push(&[b'x'; 1_000]);
            lines.next();
            assert!(lines.buffer.capacity() < 10_000);
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(body in "[ab\r\n ]{0,60}", cuts in proptest::collection::vec(0..60_usize, 0..5)) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts.into_iter().chain([body.len()]) {
                pieces.push(&body.as_bytes()[start..cut]);
                start = cut;
            }

            prop_assert_eq!(lines(&pieces, 5), lines(&[body.as_bytes()], 5));
        }
    }
}
