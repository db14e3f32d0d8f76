//! A form body: what is read is what another decoder reads, and what is written again reads the
//! same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, percent_encode};
use pushlet_fuzz::parameters::{self, Said};
use pushlet_fuzz::seeds;

/// The bound of the relay, which does not count device tokens: a call may have many of them.
const MAX_PARAMETERS: usize = 100;

fuzz_target!(init: seeds::write("form", seeds), |body: &[u8]| {
    let pairs = decoded(body);
    let read = parameters::form(body);

    let (Some(pairs), Ok(params)) = (&pairs, &read) else {
        assert_eq!(pairs.is_some(), read.is_ok(), "{:?}", read.err());
        return;
    };
    assert_eq!(params.has("alert"), pairs.iter().any(|(name, _)| name == "alert"));
    let again: Vec<String> = pairs.iter().map(encoded).collect();
    let again = parameters::form(again.join("&").as_bytes());
    parameters::assert_are(read.unwrap(), said(pairs));
    parameters::assert_are(again.unwrap(), said(pairs));
});

type Pair = (String, Vec<u8>);

/// The pairs of a form; `None` if the relay has to refuse it.
fn decoded(body: &[u8]) -> Option<Vec<Pair>> {
    let escapes_are_whole = body
        .split(|byte| *byte == b'%')
        .skip(1)
        .all(|after| after.len() >= 2 && after[..2].iter().all(u8::is_ascii_hexdigit));
    let pairs: Vec<Pair> = body
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=').map(plain);
            let name = String::from_utf8(halves.next().unwrap_or_default()).ok()?;
            Some((name, halves.next().unwrap_or_default()))
        })
        .collect::<Option<_>>()?;
    let counted = pairs.iter().filter(|(name, _)| name != "device_token").count();
    (escapes_are_whole && counted <= MAX_PARAMETERS).then_some(pairs)
}

fn plain(half: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = half.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    percent_decode(&spaced).collect()
}

fn encoded((name, value): &Pair) -> String {
    let name = percent_encode(name.as_bytes(), NON_ALPHANUMERIC);
    format!("{name}={}", percent_encode(value, NON_ALPHANUMERIC))
}

fn said(pairs: &[Pair]) -> Vec<(String, Said)> {
    pairs.iter().map(|(name, value)| (name.clone(), Said::bytes(value.clone()))).collect()
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "",
        "application_id=a&device_token=ab01&alert=hello+world&badge=1&sound=default",
        "alert=%7B%22body%22%3A%22%C3%A9%22%7D&data={\"a\":1}&alert=twice",
        "a=100%&b=%zz",
        "%ff=1&=x&c=d=e&&",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .into()
}
