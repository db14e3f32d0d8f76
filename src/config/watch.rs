//! Whether files changed on disk: by looking at them now and then. Editors replace files, and
//! Kubernetes swaps the symbolic link of a folder above them; both are seen by following the path
//! anew each time, on every file system, which watching by the kernel's events does not give.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Some files, and how they looked.
#[derive(Debug, Default)]
pub struct Watch {
    files: BTreeMap<PathBuf, Seen>,
}

/// One file at two times. `None` is a file that cannot be found.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// When somebody last acted on it.
    settled: Option<Look>,
    /// At the last look.
    last: Option<Look>,
}

/// What changes whenever a file is written, replaced, or reached by another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    place: (u64, u64),
    size_bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Watches these files instead of those before. What changed before this call in a file that
    /// was not watched is not noticed any more.
    pub fn follow(&mut self, files: Vec<PathBuf>) {
        let mut former = std::mem::take(&mut self.files);
        for path in files {
            let seen = former.remove(&path).unwrap_or_else(|| {
                let now = look(&path);
                Seen { settled: now, last: now }
            });
            self.files.insert(path, seen);
        }
    }

    /// Whether a file has changed since this last said so. One that is being written is waited for:
    /// it has to look the same twice.
    pub fn has_changed(&mut self) -> bool {
        let mut changed = false;
        for (path, seen) in &mut self.files {
            let now = look(path);
            changed |= now != seen.settled && now == seen.last;
            seen.last = now;
        }
        if changed {
            self.settle();
        }
        changed
    }

    /// Somebody acts on the files as they are now.
    pub fn settle(&mut self) {
        for (path, seen) in &mut self.files {
            let now = look(path);
            *seen = Seen { settled: now, last: now };
        }
    }
}

fn look(path: &Path) -> Option<Look> {
    let data = fs::metadata(path).ok()?;
    Some(Look {
        place: (data.dev(), data.ino()),
        size_bytes: data.size(),
        modified: (data.mtime(), data.mtime_nsec()),
        changed: (data.ctime(), data.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn watched(folder: &TempDir, names: &[&str]) -> Watch {
        let mut watch = Watch::default();
        watch.follow(names.iter().map(|name| folder.path().join(name)).collect());
        watch
    }

    fn write(folder: &TempDir, name: &str, text: &str) {
        fs::write(folder.path().join(name), text).unwrap_or_else(|error| panic!("{error}"));
    }

    fn folder() -> TempDir {
        tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_file_that_is_written_is_noticed_once_when_it_rests() {
        let folder = folder();
        write(&folder, "a", "1");
        let mut watch = watched(&folder, &["a"]);

        assert!(!watch.has_changed());
        write(&folder, "a", "22");
        assert!(!watch.has_changed(), "it may be half of a file");
        write(&folder, "a", "333");
        assert!(!watch.has_changed(), "it is still being written");
        assert!(watch.has_changed());
        assert!(!watch.has_changed());
    }

    #[test]
    fn a_file_that_goes_and_comes_is_noticed() {
        let folder = folder();
        let path = folder.path().join("a");
        let mut watch = watched(&folder, &["a"]);

        write(&folder, "a", "1");
        assert_eq!([watch.has_changed(), watch.has_changed()], [false, true]);
        fs::remove_file(&path).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!([watch.has_changed(), watch.has_changed()], [false, true]);
    }

    /// As Kubernetes does it: the files stay, and a link above them leads elsewhere.
    #[test]
    fn a_link_that_leads_elsewhere_is_noticed() {
        let folder = folder();
        for name in ["one", "two"] {
            fs::create_dir(folder.path().join(name)).unwrap_or_else(|error| panic!("{error}"));
            write(&folder, &format!("{name}/a"), "same");
        }
        let (link, next) = (folder.path().join("data"), folder.path().join("next"));
        symlink("one", &link).unwrap_or_else(|error| panic!("{error}"));
        let mut watch = watched(&folder, &["data/a"]);

        symlink("two", &next).unwrap_or_else(|error| panic!("{error}"));
        fs::rename(&next, &link).unwrap_or_else(|error| panic!("{error}"));

        assert_eq!([watch.has_changed(), watch.has_changed()], [false, true]);
    }

    #[test]
    fn what_was_acted_on_is_noticed_no_more() {
        let folder = folder();
        write(&folder, "a", "1");
        let mut watch = watched(&folder, &["a"]);

        write(&folder, "a", "22");
        watch.settle();
        assert_eq!([watch.has_changed(), watch.has_changed()], [false, false]);
        write(&folder, "a", "333");
        watch.follow(vec![folder.path().join("a"), folder.path().join("b")]);
        assert_eq!([watch.has_changed(), watch.has_changed()], [false, true]);
    }
}
