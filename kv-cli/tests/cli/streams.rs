//! Streams that end, fill up or fail: what the command says then, and what it has done.

use super::bench::{Bench, newest_segment, sample, text};
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

/// Runs with standard output a pipe that nobody reads any more.
fn unread(bench: &Bench, arguments: &[&str]) -> (i32, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = bench.command(arguments);
    let output = command
        .stdout(writer)
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (output.status.code().unwrap(), text(&output.stderr))
}

#[test]
fn a_reader_that_went_away_is_told_nothing_and_the_exit_code_says_it() {
    let bench = Bench::new();
    bench.good(&["import", "--create", sample().to_str().unwrap()]);
    for arguments in [
        &["get", "abyss"][..],
        &["scan"],
        &["scan", "--count", "--json"],
        &["export"],
        &["stats"],
        &["verify"],
        &["--help"],
        &["--version"],
        &["completions", "bash"],
        &["man"],
    ] {
        assert_eq!(
            unread(&bench, arguments),
            (141, String::new()),
            "{arguments:?}: as SIGPIPE would end it"
        );
    }
    for arguments in [
        &["set", "abyss", "v", "--prev"][..],
        &["import", sample().to_str().unwrap()],
        &["set", "abyss", "v", "--json"],
        &["del", "3270-common", "--json"],
    ] {
        let done = unread(&bench, arguments);
        assert_eq!(done, (0, String::new()), "{arguments:?}: it is done");
    }
    assert_eq!(
        bench.good(&["get", "abyss"]),
        b"v",
        "durable before it was told"
    );
    let segment = newest_segment(&bench.store());
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    assert_eq!(unread(&bench, &["verify"]), (3, String::new()));
}

#[test]
fn nobody_at_standard_error_changes_no_exit_code() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "v"]);
    let code = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = bench.command(arguments);
        command
            .stderr(writer)
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .code()
    };
    assert_eq!(code(&["get", "absent"]), Some(1));
    assert_eq!(code(&["del", "k"]), Some(0));
    assert_eq!(code(&["init"]), Some(2));
    assert_eq!(code(&["bogus"]), Some(2));
    assert_eq!(code(&["export"]), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "v"]);
    for arguments in [
        &["get", "k"][..],
        &["export"],
        &["stats"],
        &["verify"],
        &["man"],
    ] {
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let mut command = bench.command(arguments);
        let output = command
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(4), "{arguments:?}");
        assert_eq!(
            text(&output.stderr),
            "error: cannot write to standard output: No space left on device (os error 28) \
             (look at the cause, mend it, and try again)\n"
        );
    }
}

#[cfg(unix)]
#[test]
fn an_option_that_is_no_text_is_wrong_usage() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    let mut command = bench.command(&["scan", "--limit"]);
    command.arg(std::ffi::OsStr::from_bytes(b"\xff"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).starts_with("error: invalid UTF-8 was detected"),
        "{}",
        text(&output.stderr)
    );
}

#[cfg(unix)]
#[test]
fn a_standard_input_that_cannot_be_read_is_named() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "v"]);
    let from_directory = |arguments: &[&str]| -> Output {
        let directory = std::fs::File::open(bench.directory.path()).unwrap();
        bench.command(arguments).stdin(directory).output().unwrap()
    };
    let output = from_directory(&["set", "k", "-"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        text(&output.stderr).starts_with("error: cannot read standard input: "),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(bench.good(&["get", "k"]), b"v");
    let output = from_directory(&["import"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        message.starts_with("error: cannot read the input: ")
            && message.contains("; what came before it is durable: 0 records (look at the cause"),
        "{message}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_write_whose_report_cannot_be_written_says_that_it_is_done() {
    let full = || {
        let mut options = std::fs::File::options();
        options.write(true).open("/dev/full").unwrap()
    };
    for (arguments, done, count) in [
        (&["init"][..], "the store is created", None),
        (
            &["import", sample().to_str().unwrap()],
            "2,000 records durable",
            Some(("imported", 2000)),
        ),
        (&["set", "k", "v"], "the value is stored and durable", None),
        (
            &["set", "k", "w", "--prev"],
            "the value is stored and durable",
            None,
        ),
        (
            &["del", "k"],
            "1 key removed, durably",
            Some(("removed", 1)),
        ),
    ] {
        let bench = Bench::new();
        match arguments[0] {
            "init" => {}
            "set" => drop(bench.good(&["init"])),
            _ => drop(bench.good(&["set", "--create", "k", "v"])),
        }
        let mut command = bench.command(&[&["--json"], arguments].concat());
        let output = command
            .stdout(full())
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
        let error = &error["error"];
        assert_eq!(output.status.code(), Some(4), "{error}");
        assert_eq!(error["effect"], "applied");
        assert_eq!(
            error["message"],
            format!(
                "cannot write to standard output: No space left on device (os error 28); {done}"
            )
        );
        assert_eq!(error["hint"], "it is done: do not repeat it");
        if let Some((name, number)) = count {
            assert_eq!(error[name], number);
        }
        bench.good(&["stats"]);
    }
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "v"]);
    let mut removal = bench.command(&["del", "k"]);
    assert_eq!(
        removal.stderr(full()).status().unwrap().code(),
        Some(0),
        "a remark that cannot be told undoes nothing"
    );
    assert_eq!(bench.good(&["scan", "--count"]), b"0\n");
    let mut none = bench.command(&["del", "k", "--json"]);
    let output = none.stdout(full()).output().unwrap();
    assert!(text(&output.stderr).contains("\"effect\":\"nothing\""));
}

/// `set` used to take the lock first: then `get` was refused, and `set` stored its empty output.
#[cfg(unix)]
#[test]
fn a_value_is_copied_within_one_store_through_a_pipe() {
    let bench = Bench::new();
    let large = "x".repeat(300_000);
    bench.run_with(&["set", "--create", "a", "-"], large.as_bytes());
    for timeout in ["0", "30"] {
        let output = Command::new("sh")
            .args([
                "-c",
                "\"$0\" get a | \"$0\" --lock-timeout \"$1\" set b -",
                env!("CARGO_BIN_EXE_kvlog"),
                timeout,
            ])
            .env("KVLOG_PATH", bench.store())
            .output()
            .unwrap();
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), String::new())
        );
        assert_eq!(bench.good(&["get", "b"]), large.as_bytes());
        bench.good(&["del", "b"]);
    }
}

#[cfg(unix)]
#[test]
fn a_value_that_cannot_be_read_or_stored_creates_no_store() {
    let bench = Bench::new();
    let directory = std::fs::File::open(bench.directory.path()).unwrap();
    let mut command = bench.command(&["set", "--create", "k", "-"]);
    assert_eq!(
        command.stdin(directory).status().unwrap().code(),
        Some(4),
        "a directory has no bytes"
    );
    assert!(!bench.store().exists());
    bench.bad(2, &["set", "--create", &"k".repeat(65_537), "v"]);
    assert!(!bench.store().exists());
    bench.run_with(&["set", "--create", "k", "-"], b"");
    assert_eq!(bench.good(&["get", "k"]), b"", "empty is a value");
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_refuses_ends_an_import_with_what_is_durable() {
    let bench = Bench::new();
    bench.good(&["init", "--segment-size", "64KiB"]);
    let mut command = Command::new("sh");
    // A file size limit stands for a disk with too little room; the signal that comes with it would kill.
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_kvlog"))
        .arg("-p")
        .arg(bench.store())
        .args(["import", "--batch", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let large = "x".repeat(200_000);
    writeln!(
        stdin,
        "{{\"key\":\"a\",\"value\":1}}\n{{\"key\":\"b\",\"value\":\"{large}\"}}"
    )
    .unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{message}");
    assert!(
        message.contains("File too large")
            && message.contains("; what came before it is durable: 1 record ("),
        "{message}"
    );
    assert_eq!(bench.good(&["scan"]), b"a\t1\n");
    bench.good(&["verify"]);
}

/// A line that was too much for memory used to end the process by a signal, with the lines before it unwritten.
#[cfg(target_os = "linux")]
#[test]
fn a_line_too_long_for_memory_ends_an_import_with_what_is_durable() {
    // Of 120 MB, the one cannot be held, the other not be worked on.
    for length in [130 << 20, 40 << 20] {
        let bench = Bench::new();
        bench.good(&["init"]);
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -v 120000; exec \"$@\"", "sh"])
            .arg(env!("CARGO_BIN_EXE_kvlog"))
            .arg("-p")
            .arg(bench.store())
            .arg("import")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feeder = std::thread::Builder::new()
            .spawn(move || {
                writeln!(stdin, "{{\"key\":\"a\",\"value\":1}}")?;
                write!(stdin, "{{\"key\":\"b\",\"value\":\"")?;
                stdin.write_all(&vec![b'x'; length])?;
                writeln!(stdin, "\"}}")
            })
            .unwrap();
        let output = child.wait_with_output().unwrap();
        // The command does not read to the end: the pipe may break.
        drop(feeder.join());
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{message}");
        assert!(
            message.starts_with("error: line 2 is too long for memory: ")
                && message.contains("; what came before it is durable: 1 record ("),
            "{message}"
        );
        assert_eq!(bench.good(&["scan"]), b"a\t1\n");
    }
}

#[test]
fn a_killed_reader_loses_nothing() {
    let bench = Bench::new();
    bench.good(&["import", "--create", sample().to_str().unwrap()]);
    let mut child = bench
        .command(&["export"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 1];
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut first).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (first, output.status.code(), output.stderr.len()),
        (*b"{", Some(141), 0)
    );
}

/// The standard library puts /dev/null in its place, and everything was written there.
#[cfg(target_os = "linux")]
#[test]
fn a_closed_standard_output_is_an_error() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "v"]);
    let run = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" >&-", "sh"])
            .arg(env!("CARGO_BIN_EXE_kvlog"))
            .arg("-p")
            .arg(bench.store())
            .args(arguments);
        let output = command.stdin(Stdio::null()).output().unwrap();
        (output.status.code().unwrap(), text(&output.stderr))
    };
    for arguments in [
        &["export"][..],
        &["get", "k"],
        &["scan", "--count"],
        &["stats"],
        &["verify"],
        &["man"],
        &["--help"],
    ] {
        let said = "error: cannot write to standard output: it is closed \
                    (look at the cause, mend it, and try again)\n";
        assert_eq!(run(arguments), (4, said.to_owned()), "{arguments:?}");
    }
    assert_eq!(run(&["set", "k", "w"]), (0, String::new()), "says nothing");
    let (code, said) = run(&["import", sample().to_str().unwrap()]);
    assert_eq!(code, 4);
    assert!(
        said.contains("it is closed; 2,000 records durable ("),
        "{said}"
    );
    let null = bench.command(&["export"]).stdout(Stdio::null()).status();
    assert_eq!(null.unwrap().code(), Some(0), "/dev/null is open");
}
