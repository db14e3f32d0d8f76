//! The bound on what reading a file may cost.

use std::time::Duration;

use pushlet::providers::apns::credential::{Excess, Problem};

use crate::support::credentials::{
    ENDLESS, FAST, TOPIC, assert_belongs, certificate, p12_error, pem_error, read_p12, read_pem,
    timed,
};
use crate::support::der;
use crate::support::handmade::{self, Kdf};
use crate::support::keys::{Authority, P12};

#[test]
fn counts_over_the_bound_are_refused_before_any_key_is_derived() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let aes = identity.p12("p");
    let keychain = identity.p12_of(P12::Keychain, "p");
    let endless = |file: &[u8], path: &[usize], position: usize| {
        der::edit(file, path, |fields| {
            fields[position] = der::Node::parse(&der::integer((1 << 31) - 1)).remove(0);
        })
    };
    let safe = [0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1];
    let key = [0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 1];
    let deeper = |path: &[usize]| [path, &[0, 1]].concat();
    let scrypt = Kdf::Scrypt { n: 1 << 20, r: 8, p: 1 };
    let (algorithm, _) = handmade::pbes2(ENDLESS, "p", b"");
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("MAC", endless(&aes, &[0, 2], 2)),
        ("MAC of RFC 9879", handmade::p12_of_safes_with_mac(&[], "p", (1 << 31) - 1)),
        ("safe, PBES2", endless(&aes, &deeper(&safe), 1)),
        ("key, PBES2", endless(&aes, &deeper(&key), 1)),
        ("safe, PKCS#12", endless(&keychain, &safe, 1)),
        ("key, PKCS#12", endless(&keychain, &key, 1)),
        ("key, in BER", handmade::in_ber(&endless(&keychain, &key, 1))),
    ];
    let pem =
        handmade::pem("ENCRYPTED PRIVATE KEY", &handmade::encrypted_pkcs8(&algorithm, &[0; 16]));
    let memory = handmade::p12_of_safes(&[handmade::encrypted_safe(&[], scrypt, "p")]);

    for (what, file) in files {
        assert!(file.len() < 2048, "{what}: {} bytes", file.len());
        let (error, took) = timed(|| read_p12(&file, "p").unwrap_err());

        let excess = Excess::Iterations((1 << 31) - 1);
        assert_eq!(error, p12_error(Problem::Cost(excess)), "{what}");
        assert!(took < Duration::from_millis(100), "{what}: {took:?}");
    }
    let excess = Excess::Iterations((1 << 31) - 1);
    assert_eq!(read_pem(&pem, "p").unwrap_err(), pem_error(Problem::Cost(excess)));
    let excess = Excess::ScryptBytes(1 << 30);
    assert_eq!(read_p12(&memory, "p").unwrap_err(), p12_error(Problem::Cost(excess)));
}

#[test]
fn count_over_the_bound_says_which_and_the_limit() {
    let file = handmade::p12_of_safes(&[handmade::encrypted_safe(&[], ENDLESS, "p")]);

    let error = read_p12(&file, "p").unwrap_err();

    assert_eq!(
        error.problem.to_string(),
        "its key derivation asks for 2147483647 iterations, at most 1000000 are allowed; export \
         it again with the default settings of your tool"
    );
}

#[test]
fn count_hidden_in_an_encrypted_safe_is_refused_too() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let file = |kdf, nested: bool| {
        let mut bags = vec![
            handmade::certificate_bag(&identity.certificate),
            handmade::shrouded_key_bag(&identity.key, kdf, "p"),
        ];
        if nested {
            bags = vec![handmade::bag_of_bags(&bags)];
        }
        let safes = [handmade::encrypted_safe(&bags, FAST, "p")];
        [handmade::p12_of_safes(&safes), handmade::p12_of_safes_with_mac(&safes, "p", 1)]
    };

    for nested in [false, true] {
        for harmless in file(FAST, nested) {
            assert_belongs("hidden", &certificate("hidden", read_p12(&harmless, "p")), &identity);
        }
        for endless in file(ENDLESS, nested) {
            let (error, took) = timed(|| read_p12(&endless, "p").unwrap_err());

            let excess = Excess::Iterations((1 << 31) - 1);
            assert_eq!(error, p12_error(Problem::Cost(excess)));
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
    }
}

#[test]
fn many_derivations_and_many_parts_are_bounded_together() {
    let identity = Authority::new().apple_certificate(TOPIC).build();
    let dear = Kdf::Pbkdf2 { iterations: 900_000 };
    let bag = handmade::shrouded_key_bag(&identity.key, dear, "p");
    let dear = handmade::p12_of_safes(&[handmade::plain_safe(&vec![bag; 5])]);
    let many = handmade::p12_of_safes(&[handmade::plain_safe(&vec![
        handmade::certificate_bag(
            &identity.certificate
        );
        101
    ])]);
    let blocks = identity.certificate_pem().repeat(101);
    let scrypt = Kdf::Scrypt { n: 1 << 16, r: 8, p: 1 };
    let bag = handmade::shrouded_key_bag(&identity.key, scrypt, "p");
    let memory = handmade::p12_of_safes(&[handmade::plain_safe(&vec![bag; 5])]);

    let excess = |file: &[u8]| read_p12(file, "p").unwrap_err();

    assert_eq!(excess(&dear), p12_error(Problem::Cost(Excess::IterationsInAll)));
    assert_eq!(excess(&many), p12_error(Problem::Cost(Excess::Parts)));
    assert_eq!(excess(&memory), p12_error(Problem::Cost(Excess::ScryptBytesInAll)));
    assert_eq!(read_pem(&blocks, "").unwrap_err(), pem_error(Problem::Cost(Excess::Parts)));
}
