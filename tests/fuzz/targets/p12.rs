//! A P12: reading it ends within its bound, and what is read fits together.
//!
//! The input is a byte that says which password is tried, and the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pushlet::providers::apns::credential::Raw;
use pushlet::secret::Secret;
use pushlet_fuzz::handmade::{self, Kdf};
use pushlet_fuzz::keys::{Authority, P12};
use pushlet_fuzz::{certificate, seeds};

fuzz_target!(init: seeds::write("p12", seeds), |data: &[u8]| {
    let [first, der @ ..] = data else { return };
    let password = certificate::password(*first);
    let password = Secret::new(password.to_owned());
    certificate::check(&Raw::P12 { der: der.to_vec(), password }, der);
});

fn seeds() -> Vec<Vec<u8>> {
    let password = certificate::PASSWORD;
    let identity = Authority::new().apple_certificate("com.example.app").with_chain().build();
    let styles = [
        P12::Aes128,
        P12::Aes256,
        P12::CertificatesPlain,
        P12::Keychain,
        P12::Plain,
        P12::Rc2,
        P12::TripleDes,
    ];
    let mut seeds = Vec::new();
    for style in styles {
        let file = identity.p12_with(style, password, Some((1, "name")));
        seeds.push(handmade::without_mac(&file));
        seeds.push(handmade::in_ber(&file));
        seeds.push(file);
    }
    let key = &identity.key;
    let plain = [handmade::certificate_bag(&identity.certificate), handmade::plain_key_bag(key)];
    let nested = handmade::plain_safe(&[handmade::bag_of_bags(&plain)]);
    seeds.push(handmade::p12_of_safes(&[handmade::plain_safe(&plain)]));
    seeds.push(handmade::p12_of_safes_with_mac(&[nested], password, 1));
    for kdf in [
        Kdf::Pbkdf2 { iterations: 1 },
        Kdf::Pbkdf2 { iterations: (1 << 31) - 1 },
        Kdf::Scrypt { n: 2, r: 1, p: 1 },
        Kdf::Scrypt { n: 1 << 24, r: 8, p: 1 },
    ] {
        let encrypted = handmade::encrypted_safe(&plain, kdf, password);
        let shrouded = handmade::shrouded_key_bag(key, kdf, password);
        let shrouded = handmade::plain_safe(&[plain[0].clone(), shrouded]);
        seeds.push(handmade::p12_of_safes(&[encrypted]));
        seeds.push(handmade::p12_of_safes_with_mac(&[shrouded], password, 1));
    }
    seeds.into_iter().map(|seed| [b"1", seed.as_slice()].concat()).collect()
}
