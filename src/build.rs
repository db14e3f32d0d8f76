//! The build script: which OpenSSL is linked, and which commit is built. Nothing that it does not
//! find fails a build.

#[path = "cli/commit.rs"]
mod commit;

use std::env;
use std::path::Path;

use commit::{given, head, version};

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    println!("cargo::rerun-if-changed=src/cli/commit.rs");
    look_for_openssl();
    name_the_commit();
}

/// What only newer ones can do is left out with older ones.
fn look_for_openssl() {
    println!("cargo::rustc-check-cfg=cfg(deterministic_ecdsa)");
    // Told by `openssl-sys`, in hexadecimal; 30200000 is 3.2.0.
    let version = env::var("DEP_OPENSSL_VERSION_NUMBER").ok();
    let version = version.and_then(|version| u64::from_str_radix(&version, 16).ok());
    if version.is_some_and(|version| version >= 0x3020_0000) {
        println!("cargo::rustc-cfg=deterministic_ecdsa");
    }
}

/// `PUSHLET_COMMIT` comes first, for those who build without a repository, as Docker does. Only
/// release builds look for themselves: elsewhere each commit would compile everything anew.
fn name_the_commit() {
    println!("cargo::rerun-if-env-changed=PUSHLET_COMMIT");
    let text = env::var("PUSHLET_COMMIT").unwrap_or_default();
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let found = match given(&text) {
        None if is_release => head(Path::new(&root)),
        _ => None,
    };
    for file in found.iter().flat_map(|head| &head.files) {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let commit = given(&text).or(found.as_ref().map(|head| head.commit.as_str()));
    let package = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rustc-env=PUSHLET_VERSION={}", version(&package, commit));
}
