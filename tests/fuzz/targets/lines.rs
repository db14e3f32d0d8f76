//! A stream of messages: its lines are the same however it comes in pieces, and whoever is slow to
//! take them.
//!
//! The input is the limit of a line in a byte, the number of pieces in another one, a byte for each
//! (its length, and whether lines are taken after it), and the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pushlet::api::lines::{Line, Lines};
use pushlet_fuzz::seeds;

/// This bit of a piece's byte says that lines are taken after it; the others are its length.
const TAKES: u8 = 0x80;

fuzz_target!(init: seeds::write("lines", seeds), |data: &[u8]| {
    let [limit, count, rest @ ..] = data else { return };
    let (limit_bytes, count) = (usize::from(*limit), usize::from(*count).min(rest.len()));
    let (pieces, mut body) = rest.split_at(count);
    let expected = expected(body, limit_bytes);
    let mut lines = Lines::new(limit_bytes);
    let mut found = Vec::new();

    for piece in pieces {
        let (now, later) = body.split_at(usize::from(piece & !TAKES).min(body.len()));
        body = later;
        lines.push(now);
        if piece & TAKES != 0 {
            take(&mut lines, &mut found);
        }
    }
    lines.push(body);
    take(&mut lines, &mut found);
    lines.end();
    take(&mut lines, &mut found);

    assert_eq!(found, expected);
    assert_eq!(lines.next(), None, "and that is all");
});

/// `None` is one over the limit.
type Text = Option<Vec<u8>>;

fn take(lines: &mut Lines, found: &mut Vec<Text>) {
    for line in lines.by_ref() {
        found.push(match line {
            Line::TooLong => None,
            Line::Whole(line) => Some(line.to_vec()),
        });
    }
}

/// The lines of a body that is there as a whole.
fn expected(body: &[u8], limit_bytes: usize) -> Vec<Text> {
    let lines = body.split(|byte| *byte == b'\n');
    let texts = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let told = texts.filter(|text| text.len() > limit_bytes || !text.trim_ascii().is_empty());
    told.map(|text| (text.len() <= limit_bytes).then(|| text.to_vec())).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    let message = r#"{"application_id":"a","device_token":"ab01","alert":"x"}"#;
    let two = format!("{message}\n{message}\r\n");
    let take = |length: u8| TAKES | length;
    let input = |limit: u8, pieces: &[u8], body: &[u8]| {
        let count = u8::try_from(pieces.len()).expect("few pieces");
        [&[limit, count], pieces, body].concat()
    };
    vec![
        input(255, &[], two.as_bytes()),
        input(255, &[take(1), 7, take(50), 0, take(0), take(1)], two.as_bytes()),
        input(4, &[take(5), take(1), 3], b"1234\r\n12345\n123456789\nab"),
        input(4, &[take(5), take(1)], b"1234\r5\n\r\r\n \t\r\n"),
        input(0, &[take(1)], b"\n\r\n \na"),
    ]
}
