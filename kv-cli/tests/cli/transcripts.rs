//! Sessions told word for word: those in tests/cmd, and the one that README.md shows.

use super::bench::{kvlog, sample, sample_contents, text};
use std::path::Path;
use std::process::Command;

/// Backslashes count as slashes there, to be read on every system: what is escaped is asserted in `terminal`.
#[cfg(unix)]
#[test]
fn every_transcript_is_true() {
    trycmd::TestCases::new()
        .register_bin("kvlog", Path::new(env!("CARGO_BIN_EXE_kvlog")))
        .env("NO_COLOR", "1")
        .case("tests/cmd/*.trycmd");
}

/// The lines of the README's first block under this heading, without their remarks.
fn readme_lines(heading: &str) -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, section) = readme.split_once(&format!("\n## {heading}\n")).unwrap();
    let (_, block) = section.split_once("\n```sh\n").unwrap();
    let (block, _) = block.split_once("\n```\n").unwrap();
    let command = |line: &str| line.split(" #").next().unwrap().trim_end().to_owned();
    block.lines().map(command).collect()
}

#[cfg(unix)]
#[test]
fn the_readme_does_what_it_says() {
    // An empty directory: nothing has to be there for the first command, wherever cargo puts what it builds.
    let directory = tempfile::tempdir().unwrap();
    let first = readme_lines("Two commands").swap_remove(0);
    let words: Vec<&str> = first.split(' ').collect();
    let (cargo, given) = words.split_at(words.iter().position(|word| *word == "--").unwrap());
    assert_eq!(cargo.join(" "), "cargo run --release -p kv-cli");
    let ["--", arguments @ .., "kv-cli/examples/packages.jsonl"] = given else {
        panic!("the README's first command imports the sample: {first}");
    };
    let store = arguments[1];
    let mut import = kvlog();
    import.current_dir(&directory).args(arguments).arg(sample());
    assert!(import.output().unwrap().status.success());

    let packages = sample_contents();
    let libraries: String = packages
        .keys()
        .filter(|name| name.starts_with("lib"))
        .take(3)
        .map(|name| format!("{name}\n"))
        .collect();
    let first = packages.keys().next().unwrap();
    type Check<'a> = Box<dyn Fn(&str) -> bool + 'a>;
    let exactly = |expected: String| -> Check<'_> { Box::new(move |out| out == expected) };
    let expected: Vec<(&str, Check<'_>)> = vec![
        (
            "kvlog get abyss",
            Box::new(|out| {
                serde_json::from_str::<serde_json::Value>(out).unwrap() == packages["abyss"]
            }),
        ),
        ("kvlog set greeting hello", exactly(String::new())),
        (
            "kvlog set greeting hi --if-value hello --ttl 5m",
            exactly(String::new()),
        ),
        ("kvlog scan lib --limit 3 --keys-only", exactly(libraries)),
        (
            "kvlog keyspaces create sessions",
            exactly("created keyspace sessions\n".to_owned()),
        ),
        (
            "kvlog set alice online --keyspace sessions",
            exactly(String::new()),
        ),
        ("kvlog count --keyspace sessions", exactly("1\n".to_owned())),
        (
            "kvlog export | head -n 1",
            Box::new(|out| {
                let line: serde_json::Value = serde_json::from_str(out).unwrap();
                line["key"] == first.as_str() && out.lines().count() == 1
            }),
        ),
        (
            "kvlog stats",
            Box::new(|out| out.starts_with("store /") && out.contains("  2,002 keys  ")),
        ),
        (
            "kvlog verify",
            Box::new(|out| out.starts_with("good: 1 segment, ") && out.ends_with(" 2,002 keys\n")),
        ),
        (
            "kvlog compact",
            Box::new(|out| out.contains("/packages.kv")),
        ),
    ];

    let mut lines = readme_lines("On the command line").into_iter();
    assert_eq!(
        lines.next().as_deref(),
        Some(r#"alias kvlog="cargo run --release -q -p kv-cli --""#)
    );
    assert_eq!(
        lines.next(),
        Some(format!("export KVLOG_PATH={store}")),
        "where the first command of the README puts it"
    );
    let lines: Vec<String> = lines.collect();
    let commands: Vec<&str> = expected.iter().map(|(command, _)| *command).collect();
    assert_eq!(lines, commands);
    for (command, holds) in expected {
        let output = Command::new("sh")
            .args([
                "-c",
                &format!("kvlog() {{ \"$KVLOG\" \"$@\"; }}; {command}"),
            ])
            .env("KVLOG", env!("CARGO_BIN_EXE_kvlog"))
            .env("KVLOG_PATH", store)
            .current_dir(&directory)
            .output()
            .unwrap();
        let out = text(&output.stdout);
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), String::new()),
            "{command}"
        );
        assert!(holds(&out), "{command}: {out}");
    }
}
