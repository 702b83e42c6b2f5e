//! What the binary says about itself: completions and the manual.

use super::bench::{kvlog, text};
use std::process::Command;

const COMMANDS: [&str; 16] = [
    "init",
    "get",
    "contains",
    "set",
    "del",
    "scan",
    "count",
    "keyspaces",
    "watch",
    "import",
    "export",
    "stats",
    "verify",
    "compact",
    "completions",
    "man",
];

/// Runs what needs no store.
fn about(arguments: &[&str]) -> String {
    let output = kvlog().args(arguments).output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new()),
        "{arguments:?}"
    );
    text(&output.stdout)
}

#[test]
fn every_shell_has_completions_of_every_command_and_bash_can_read_its_own() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = about(&["completions", shell]);
        for command in COMMANDS {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains("segment-size"), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("kvlog.bash");
    std::fs::write(&script, about(&["completions", "bash"])).unwrap();
    // Not every machine has bash.
    if let Ok(status) = Command::new("bash").arg("-n").arg(&script).status() {
        assert!(status.success());
    }
}

#[test]
fn every_exit_code_has_a_paragraph_in_the_help_and_in_the_manual() {
    for page in [about(&["--help"]), about(&["man"])] {
        for code in [0, 1, 2, 3, 4, 5, 130, 141] {
            assert!(page.contains(&format!("\n{code}: ")), "{code}: {page}");
        }
        for of_4 in ["no store", "another process", "--force-raw"] {
            assert!(page.replace('\\', "").contains(of_4), "{of_4}");
        }
    }
}

#[test]
fn the_manual_has_a_page_for_each_command_that_it_names() {
    let page = about(&["man"]);
    assert!(page.contains("\n.TH kvlog 1 "), "{page}");
    for command in COMMANDS {
        assert!(page.contains(&format!("kvlog\\-{command}(1)")), "{command}");
        let page = about(&["man", command]);
        assert!(
            page.contains(&format!("\n.TH kvlog-{command} 1 ")),
            "{page}"
        );
    }
}
