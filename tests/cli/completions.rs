//! `pushlet completions`: the scripts, and what bash makes of its own.

use std::process::Command;

use super::run;
use crate::support::tools::require;

#[test]
fn every_shell_has_its_script() {
    for (shell, mark) in [
        ("bash", "complete -F _pushlet"),
        ("elvish", "edit:completion"),
        ("fish", "complete -c pushlet"),
        ("powershell", "Register-ArgumentCompleter"),
        ("zsh", "#compdef pushlet"),
    ] {
        let (code, script, errors) = run(&["completions", shell]);

        assert_eq!((code, errors.as_str()), (Some(0), ""), "{shell}");
        assert!(script.contains(mark) && script.contains("connect"), "{script}");
    }
}

#[test]
fn bash_completes_commands_and_options() {
    if !require("bash", &["bash", "--version"]) {
        return;
    }
    let (_, script, _) = run(&["completions", "bash"]);
    let complete = |words: &str, count: usize, word: &str| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={count}; _pushlet pushlet {word} x; \
             echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };

    assert_eq!(complete("pushlet ins", 1, "ins"), "inspect");
    assert_eq!(complete("pushlet check --con", 2, "--con"), "--config --connect");
}
