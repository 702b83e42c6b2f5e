//! How the tests run the binary.

use kv_log_engine::Engine;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A store of its own, and the binary to ask about it.
pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = kvlog();
        command.arg("-p").arg(self.store()).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let feeder = std::thread::Builder::new()
            .spawn(move || stdin.write_all(&input))
            .unwrap();
        let output = child.wait_with_output().unwrap();
        drop(feeder.join());
        output
    }

    /// Closes a store that this process had open. A child that another test forks meanwhile holds the lock as well, until it
    /// becomes the program it is to run: whoever waits once is not refused for that any more.
    pub(crate) fn close(&self, store: &Engine) {
        store.close().unwrap();
        self.settle();
    }

    /// Waits for a lock that this process has given up to be free.
    pub(crate) fn settle(&self) {
        self.good(&["--lock-timeout", "60", "verify"]);
    }

    /// Runs what must succeed; returns standard output.
    pub(crate) fn good(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        output.stdout
    }

    /// Runs what must fail with this code; returns standard error, one line.
    pub(crate) fn bad(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        message
    }
}

/// The binary, deaf to what the caller's environment says to it: not only `KVLOG_PATH` and `NO_COLOR` change what it
/// does, a build server's `CI` does too.
pub(crate) fn kvlog() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvlog"));
    command.env_clear().env("TERM", "xterm");
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/packages.jsonl")
}

pub(crate) fn newest_segment(store: &Path) -> PathBuf {
    let mut names: Vec<_> = std::fs::read_dir(store)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    names.sort();
    names.pop().unwrap()
}

/// What the shipped file holds, read by other code than the command's.
pub(crate) fn sample_contents() -> BTreeMap<String, serde_json::Value> {
    let file = std::fs::read_to_string(sample()).unwrap();
    file.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| {
            (
                line["key"].as_str().unwrap().to_owned(),
                line["value"].clone(),
            )
        })
        .collect()
}
