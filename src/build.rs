//! Looks which OpenSSL is linked: what only newer ones can do is left out with older ones.

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rustc-check-cfg=cfg(deterministic_ecdsa)");
    // Told by `openssl-sys`, in hexadecimal; 30200000 is 3.2.0.
    let version = std::env::var("DEP_OPENSSL_VERSION_NUMBER").ok();
    let version = version.and_then(|version| u64::from_str_radix(&version, 16).ok());
    if version.is_some_and(|version| version >= 0x3020_0000) {
        println!("cargo::rustc-cfg=deterministic_ecdsa");
    }
}
