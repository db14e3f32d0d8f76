//! What can be asked for on the command line, and what cannot.

use super::run;

#[test]
fn help_lists_every_subcommand() {
    let (code, output, errors) = run(&["--help"]);

    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let commands = [
        "check",
        "completions",
        "demo",
        "health",
        "inspect",
        "send",
        "serve",
        "simulate",
        "systemd-unit",
    ];
    for command in commands {
        assert!(output.contains(&format!("\n  {command} ")), "{output}");
        let (code, of_command, _) = run(&[command, "--help"]);
        assert_eq!(code, Some(0));
        assert!(of_command.contains(&format!("Usage: pushlet {command}")), "{of_command}");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for arguments in [
        [].as_slice(),
        &["frobnicate"],
        &["serve", "--frobnicate"],
        &["serve", "--config"],
        &["simulate", "--apns", "nowhere"],
        &["demo", "now"],
    ] {
        let (code, output, errors) = run(arguments);

        assert_eq!((code, output.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(errors.contains("--help") || errors.contains("Usage: pushlet"), "{errors}");
    }
}

/// 2 would say that a message was refused.
#[test]
fn wrong_arguments_of_send_have_a_code_of_their_own() {
    for arguments in [["send"].as_slice(), &["send", "--frobnicate"], &["send", "alert"]] {
        let (code, output, errors) = run(arguments);

        assert_eq!((code, output.as_str()), (Some(1), ""), "{arguments:?}");
        assert_ne!(errors, "");
    }
    let (code, output, _) = run(&["send", "--help"]);
    assert_eq!(code, Some(0));
    for code in 0..=5 {
        assert!(output.contains(&format!("\n  {code}  ")), "{output}");
    }
}

#[test]
fn configuration_that_is_not_there_is_named() {
    let (code, output, errors) = run(&["serve", "--config", "/nowhere/pushlet.toml"]);

    assert_eq!((code, output.as_str()), (Some(1), ""));
    assert_eq!(
        errors,
        "pushlet: the configuration is wrong\nthe configuration file `/nowhere/pushlet.toml` \
         cannot be read: No such file or directory (os error 2); name one that can, by `--config` \
         or `PUSHLET_CONFIG`\n"
    );
}
