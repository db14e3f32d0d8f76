//! Which module may name which, and how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

/// `(module, what it may import)`, top to bottom. `main.rs` may import everything.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // Part of the binary: it sees the library as any other program does.
    ("cli", &[]),
    ("server", &["api", "apps", "config", "delivery", "metrics", "providers", "transport"]),
    ("config", &["api", "apps", "delivery", "providers", "secret", "telemetry", "transport"]),
    ("api", &["apps", "delivery", "metrics", "outcome", "providers", "secret"]),
    ("delivery", &["apps", "metrics", "outcome", "providers"]),
    ("apps", &["metrics", "outcome", "providers", "secret"]),
    ("providers", &["metrics", "outcome", "secret", "transport"]),
    ("transport", &["metrics", "secret"]),
    ("metrics", &[]),
    ("outcome", &[]),
    ("secret", &[]),
    ("simulator", &[]),
    ("telemetry", &[]),
];

/// The longest that a file may be before its tests.
const MAX_LINES: usize = 500;

#[test]
fn every_module_has_its_row() {
    for path in entries(&src()) {
        let module = path.file_stem().unwrap().to_str().unwrap();
        let placed = MAY_IMPORT.iter().any(|(row, _)| *row == module);
        assert!(
            placed || ["build", "lib", "main"].contains(&module),
            "`{module}` has no row in the table"
        );
    }
}

#[test]
fn modules_import_only_what_their_row_allows() {
    for (module, allowed) in MAY_IMPORT {
        for file in sources_of(module) {
            for import in imports(&fs::read_to_string(&file).unwrap()) {
                assert!(
                    import == *module || allowed.contains(&import.as_str()),
                    "{} imports `{import}`, which the row of `{module}` does not allow",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn a_row_names_only_rows_below_it() {
    for (place, (module, allowed)) in MAY_IMPORT.iter().enumerate() {
        for import in *allowed {
            let below = MAY_IMPORT[place + 1..].iter().any(|(other, _)| other == import);
            assert!(below, "`{module}` may import `{import}`, which is not below it");
        }
    }
}

#[test]
fn files_are_short() {
    for file in sources(&src()) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines before its tests", file.display());
    }
}

#[test]
fn imports_are_found_wherever_they_stand() {
    let text = "use crate::api::auth;\n// crate::gone\nfn a() -> crate::b_c::D { pushlet::x() }\n\
                use crate::{e, f};\n";

    assert_eq!(imports(text), ["api", "b_c", ""]);
}

/// The first segment after each `crate::`. Empty for `crate::{`, which no row allows: one `use` per
/// module keeps the arrows countable.
fn imports(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or(line)).collect();
    code.split("crate::")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

fn sources_of(module: &str) -> Vec<PathBuf> {
    let file = src().join(format!("{module}.rs"));
    let mut files = sources(&src().join(module));
    files.extend(file.exists().then_some(file));
    files
}

/// All Rust files below a folder; none if there is no such folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in entries(folder) {
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
