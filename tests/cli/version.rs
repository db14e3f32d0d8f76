//! What `pushlet --version` says, and where the build script has it from.

#[path = "../../src/cli/commit.rs"]
mod commit;

use std::path::{Path, PathBuf};
use std::process::Command;

use self::commit::{given, head, version};
use super::run;
use crate::support::tools::require;

#[test]
fn version_is_that_of_the_package() {
    let (code, output, errors) = run(&["--version"]);

    // Whoever built these tests may have named a commit.
    let start = format!("pushlet {}", env!("CARGO_PKG_VERSION"));
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let rest = output.strip_prefix(&start).unwrap();
    assert!(rest == "\n" || (rest.starts_with(" (") && rest.ends_with(")\n")), "{output}");
}

#[test]
fn commit_stands_behind_the_version_in_short() {
    let commit = "0123456789abcdef0123456789abcdef01234567";

    assert_eq!(version("0.1.0", Some(commit)), "0.1.0 (0123456789ab)");
    assert_eq!(version("0.1.0", Some("v1-rc.2")), "0.1.0 (v1-rc.2)");
    assert_eq!(version("0.1.0", None), "0.1.0");
}

#[test]
fn given_commit_has_to_look_like_one() {
    assert_eq!(given("0123abc-dirty"), Some("0123abc-dirty"));
    for text in ["", "a b", "a\ncargo::rustc-env=X=1", "\"", &"a".repeat(65)] {
        assert_eq!(given(text), None, "{text:?}");
    }
}

#[test]
fn tree_without_git_has_no_commit() {
    let folder = tempfile::tempdir().unwrap();

    assert!(head(folder.path()).is_none());
    assert!(head(Path::new("/nowhere")).is_none());
    for broken in ["", "gitdir: /nowhere", "gitdir: .", "\u{0}"] {
        std::fs::write(folder.path().join(".git"), broken).unwrap();
        assert!(head(folder.path()).is_none(), "{broken:?}");
    }
}

/// Runs git in a folder; gives what it prints.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(name);
    }
    let person = ["-c", "user.name=A", "-c", "user.email=a@example.com"];
    let output = git.args(person).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn is_watched(files: &[PathBuf]) -> bool {
    // A file that is not there would make cargo build anew each time.
    !files.is_empty() && files.iter().all(|file| file.exists())
}

#[test]
fn commit_is_read_in_every_state_of_a_repository() {
    if !require("git", &["git", "--version"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("repository");
    std::fs::create_dir(&repository).unwrap();
    git(&repository, &["init", "--quiet", "--initial-branch", "some/branch"]);
    assert!(head(&repository).is_none(), "there is no commit yet");
    let commit = || git(&repository, &["commit", "--quiet", "--allow-empty", "--message", "x"]);
    let name = |folder: &Path| git(folder, &["rev-parse", "HEAD"]);
    let assert_found = |folder: &Path, what: &str| {
        let found = head(folder).unwrap();
        assert_eq!(found.commit, name(folder), "{what}");
        assert!(is_watched(&found.files), "{what}: {:?}", found.files);
    };

    commit();
    assert_found(&repository, "a branch in a file of its own");
    git(&repository, &["pack-refs", "--all"]);
    assert_found(&repository, "a packed branch");
    commit();
    assert_found(&repository, "a branch that was packed and moved on");
    let worktree = folder.path().join("worktree");
    git(&repository, &["worktree", "add", "--quiet", "-b", "other", worktree.to_str().unwrap()]);
    git(&worktree, &["commit", "--quiet", "--allow-empty", "--message", "y"]);
    assert_found(&worktree, "a worktree");
    git(&repository, &["checkout", "--quiet", "--detach"]);
    assert_found(&repository, "no branch");
}
