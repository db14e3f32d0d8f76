//! Certificate and key in PEM: reading them ends within its bound, and what is read fits together.
//!
//! The input is a byte that says which password is tried, and the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pushlet::providers::apns::credential::Raw;
use pushlet::secret::Secret;
use pushlet_fuzz::handmade::{self, Kdf};
use pushlet_fuzz::keys::Authority;
use pushlet_fuzz::{certificate, seeds};

fuzz_target!(init: seeds::write("pem", seeds), |data: &[u8]| {
    let [first, text @ ..] = data else { return };
    let password = certificate::password(*first);
    let password = Secret::new(password.to_owned());
    certificate::check(&Raw::Pem { text: text.to_vec(), password }, text);
});

fn seeds() -> Vec<Vec<u8>> {
    let password = certificate::PASSWORD;
    let authority = Authority::new();
    let mut seeds = Vec::new();
    for certificate in
        [authority.apple_certificate("com.example.app"), authority.apple_certificate("a.b").rsa()]
    {
        let identity = certificate.with_chain().build();
        let with = |key: Vec<u8>| [identity.certificate_pem(), key].concat();
        seeds.push(identity.pem());
        seeds.push(with(identity.older_key_pem(None)));
        seeds.push(with(identity.older_key_pem(Some(password))));
        for kdf in [
            Kdf::Pbkdf2 { iterations: 1 },
            Kdf::Pbkdf2 { iterations: (1 << 31) - 1 },
            Kdf::Scrypt { n: 2, r: 1, p: 1 },
            Kdf::Scrypt { n: 1 << 24, r: 8, p: 1 },
        ] {
            seeds.push(with(handmade::encrypted_key_pem(&identity.key, kdf, password)));
        }
    }
    seeds.into_iter().map(|seed| [b"1", seed.as_slice()].concat()).collect()
}
