//! A multipart body: no value comes from anywhere but the body, and fields come back as they were
//! written.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use pushlet_fuzz::parameters::{self, Said};
use pushlet_fuzz::seeds;

/// Most fields that are written: each costs time, and eight show what there is to see.
const MAX_FIELDS: usize = 8;

fuzz_target!(init: seeds::write("multipart", seeds), |data: &[u8]| {
    if let Ok(mut params) = parameters::multipart("B", data) {
        for text in parameters::texts(&mut params, &BTreeSet::from(["a", "alert", "b", "data"])) {
            let mut windows = data.windows(text.len());
            assert!(windows.any(|window| window == text.as_bytes()), "{text:?}");
        }
    }

    let fields: Vec<&[u8]> = data.splitn(MAX_FIELDS, |byte| *byte == 0).collect();
    if contains(data, b"another-boundary") {
        return;
    }
    let (mut body, mut expected) = (Vec::new(), Vec::new());
    for (number, value) in fields.iter().enumerate() {
        let name = format!("name{}", number % 5);
        let head = format!(
            "--another-boundary\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n"
        );
        body.extend([head.as_bytes(), value, b"\r\n"].concat());
        expected.push((name, Said::bytes(value.to_vec())));
    }
    body.extend(b"--another-boundary--\r\n");
    parameters::assert_are(parameters::multipart("another-boundary", &body).unwrap(), expected);
});

fn contains(data: &[u8], part: &[u8]) -> bool {
    data.windows(part.len()).any(|window| window == part)
}

fn seeds() -> Vec<Vec<u8>> {
    let part = "--B\r\nContent-Disposition: form-data; name=";
    [
        format!("{part}\"a\"\r\n\r\n1 +\r\n{part}b; filename=\"f\"\r\n\r\n2\r\n--B--\r\n"),
        format!(
            "preamble\r\n{part}\"alert\"\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: 5\r\n\r\nhello\r\n--B--"
        ),
        format!("{part}data\r\nContent-Transfer-Encoding: base64\r\n\r\ne30=\r\n--B--"),
        "one\0two\r\n--B\r\n\0\r\n--another\0--B--".to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}
