//! The inputs that a target starts from.

use std::fs;
use std::path::Path;

/// Writes seeds into the corpus of a target, unless they are there: keys take time to make.
pub fn write(target: &str, seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    if folder.join("seed-0").exists() {
        return;
    }
    fs::create_dir_all(&folder).expect("the corpus has a folder");
    for (number, seed) in seeds().iter().enumerate() {
        fs::write(folder.join(format!("seed-{number}")), seed).expect("a seed is written");
    }
}
