//! A device token: what is read is its hexadecimal digits, and those read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pushlet::providers::apns::device_token::DeviceToken;
use pushlet_fuzz::seeds;

fuzz_target!(init: seeds::write("device_token", seeds), |given: &str| {
    let hex = given.replace([' ', '<', '>'], "").to_ascii_lowercase();
    let is_token = (2..=200).contains(&hex.len())
        && hex.len() % 2 == 0
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit());

    let token = DeviceToken::parse(given.to_owned());

    assert_eq!(token.is_ok(), is_token);
    let Ok(token) = token else { return };
    assert_eq!((token.as_given(), token.as_hex()), (given, hex.as_str()));
    let again = DeviceToken::parse(token.as_hex().to_owned()).unwrap();
    assert_eq!(again.as_hex(), hex);
    let shown = format!("{token:?}");
    assert!(hex.len() <= 8 || !shown.contains(&hex[..9]), "{shown} tells the token");
});

fn seeds() -> Vec<Vec<u8>> {
    [
        "740f4707bebcf74f9b7c25d48e3358945f6aa01da5ddb387462c7eaf61bb78ad",
        "<740F4707 bebcf74f>",
        "abc",
        "",
    ]
    .map(|seed| seed.as_bytes().to_vec())
    .into()
}
