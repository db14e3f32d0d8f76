//! What `pushlet --version` says: the version of the package, and the commit that it was built from.
//!
//! Part of the build script. Git's own files are read: a build needs no git, and none of its ways
//! to fail.

use std::path::{Path, PathBuf};

/// The checked-out commit, and the files that tell when it is another one.
pub(crate) struct Head {
    /// Its name in hexadecimal.
    pub(crate) commit: String,
    /// To be watched.
    pub(crate) files: Vec<PathBuf>,
}

/// `0.1.0 (1a2b3c4d5e6f)`, or `0.1.0` where no commit is known.
pub(crate) fn version(package: &str, commit: Option<&str>) -> String {
    match commit {
        Some(commit) => format!("{package} ({})", commit.get(..12).unwrap_or(commit)),
        None => package.to_owned(),
    }
}

/// A commit that somebody gave, if it can be one: it becomes part of the program.
pub(crate) fn given(text: &str) -> Option<&str> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (!text.is_empty() && text.len() <= 64 && text.bytes().all(known)).then_some(text)
}

/// The commit of the tree at this folder; `None` for one that is not a repository of its own.
pub(crate) fn head(root: &Path) -> Option<Head> {
    let git = git_folder(root)?;
    let common = match read(&git.join("commondir")) {
        Some(path) => git.join(path),
        None => git.clone(),
    };
    let head = git.join("HEAD");
    let word = read(&head)?;
    let mut files = vec![head];
    let commit = match word.strip_prefix("ref: ") {
        None => word,
        Some(branch) => {
            let loose = common.join(branch);
            match read(&loose) {
                Some(commit) => {
                    files.push(loose);
                    commit
                }
                None => {
                    let packed = common.join("packed-refs");
                    let commit = packed_commit(&read(&packed)?, branch)?;
                    files.push(packed);
                    // The next commit makes a file of its own there.
                    files.extend(
                        loose.parent().filter(|folder| folder.exists()).map(Path::to_owned),
                    );
                    commit
                }
            }
        }
    };
    let is_name = [40, 64].contains(&commit.len()) && commit.bytes().all(|b| b.is_ascii_hexdigit());
    is_name.then_some(Head { commit, files })
}

/// `.git`, or where it points to in a worktree.
fn git_folder(root: &Path) -> Option<PathBuf> {
    let git = root.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    Some(root.join(read(&git)?.strip_prefix("gitdir: ")?))
}

fn packed_commit(packed: &str, branch: &str) -> Option<String> {
    let mut lines = packed.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(_, name)| *name == branch).map(|(commit, _)| commit.to_owned())
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}
