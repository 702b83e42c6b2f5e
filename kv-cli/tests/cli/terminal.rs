//! What a person sees: a terminal that is never commanded by what a store holds, colour where it is wanted, progress
//! that stays out of the way.

use super::bench::{Bench, kvlog, sample, text};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};

/// What the command writes to a terminal, with the line breaks it wrote.
struct Seen {
    out: String,
    err: String,
    code: i32,
}

struct Terminal {
    far: File,
    near: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&near).unwrap();
        unlockpt(&near).unwrap();
        let name = ptsname(&near, Vec::new()).unwrap();
        let far = File::options()
            .read(true)
            .write(true)
            .open(OsStr::from_bytes(name.as_bytes()))
            .unwrap();
        Self { far, near }
    }

    fn end(&self) -> Stdio {
        self.far.try_clone().unwrap().into()
    }

    /// All that was written; to be called when the writer holds the last other copy of the far end.
    fn read(self) -> String {
        drop(self.far);
        let mut bytes = Vec::new();
        // Linux ends a terminal that nobody holds any more with EIO.
        let ended = File::from(self.near).read_to_end(&mut bytes);
        assert_eq!(ended.map_err(|error| error.raw_os_error()), Err(Some(5)));
        text(&bytes).replace("\r\n", "\n")
    }
}

/// Runs with these streams on terminals, the others on pipes.
fn watch(mut command: Command, out: bool, err: bool) -> Seen {
    let (terminal_out, terminal_err) = (Terminal::new(), Terminal::new());
    let stream = |is_terminal: bool, terminal: &Terminal| {
        if is_terminal {
            terminal.end()
        } else {
            Stdio::piped()
        }
    };
    command
        .stdin(Stdio::null())
        .stdout(stream(out, &terminal_out))
        .stderr(stream(err, &terminal_err));
    let child = command.spawn().unwrap();
    drop(command);
    std::thread::scope(|scope| {
        let read = |terminal: Terminal| scope.spawn(|| terminal.read());
        let (seen_out, seen_err) = (read(terminal_out), read(terminal_err));
        let output = child.wait_with_output().unwrap();
        let (seen_out, seen_err) = (seen_out.join().unwrap(), seen_err.join().unwrap());
        Seen {
            out: seen_out + &text(&output.stdout),
            err: seen_err + &text(&output.stderr),
            code: output.status.code().unwrap(),
        }
    })
}

/// Runs with a person at standard input and standard error, who types this.
fn answer(mut command: Command, typed: &str) -> Seen {
    let terminal = Terminal::new();
    command
        .stdin(terminal.end())
        .stdout(Stdio::piped())
        .stderr(terminal.end());
    File::from(terminal.near.try_clone().unwrap())
        .write_all(typed.as_bytes())
        .unwrap();
    let child = command.spawn().unwrap();
    drop(command);
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| terminal.read());
        let output = child.wait_with_output().unwrap();
        Seen {
            out: text(&output.stdout),
            err: seen.join().unwrap(),
            code: output.status.code().unwrap(),
        }
    })
}

#[test]
fn a_removal_of_much_is_asked_about_on_a_terminal() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "a1", "v"]);
    bench.good(&["set", "a2", "v"]);
    let question = format!("remove 2 keys from {}? [y/N] ", bench.store().display());
    // The last one ends the input without an answer.
    for no in ["n\n", "\n", "yess\n", "\u{4}"] {
        let seen = answer(bench.command(&["del", "--prefix", "a"]), no);
        assert!(seen.err.contains(&question), "{:?}", seen.err);
        assert!(seen.err.contains("nothing was removed"), "{:?}", seen.err);
        assert_eq!(seen.code, 1, "{no:?}");
    }
    assert_eq!(bench.good(&["count"]), b"2\n");
    let seen = answer(bench.command(&["del", "--prefix", "none"]), "");
    assert!(!seen.err.contains("[y/N]"), "nothing to ask about");
    let seen = answer(bench.command(&["del", "--prefix", "a", "--json"]), "Y\n");
    assert_eq!(
        (seen.code, seen.out.as_str()),
        (0, "{\"durable\":true,\"removed\":2}\n")
    );
    assert_eq!(bench.good(&["count"]), b"0\n");
}

/// A command whose standard error is a terminal that nobody reads any more.
pub(crate) struct Begun {
    pub(crate) child: Child,
    /// Held, so that the command can go on writing there.
    _near: File,
}

/// Starts a command, and waits until it has written this to its terminal.
pub(crate) fn begin(mut command: Command, awaited: &str) -> Begun {
    let terminal = Terminal::new();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(terminal.end());
    let child = command.spawn().unwrap();
    drop(command);
    drop(terminal.far);
    let mut near = File::from(terminal.near);
    let (mut seen, mut piece) = (Vec::new(), [0; 256]);
    while !text(&seen).contains(awaited) {
        let read = near.read(&mut piece).unwrap();
        seen.extend_from_slice(&piece[..read]);
    }
    Begun { child, _near: near }
}

const EVIL: &[u8] = b"\x1b]0;owned\x07\x1b[2J\xc2\x9b1m\xff\r\n";
const SHOWN: &str = "\\x1b]0;owned\\x07\\x1b[2J\\xc2\\x9b1m\\xff\\x0d\\n";

#[test]
fn a_terminal_gets_escaped_text_and_a_newline_and_a_pipe_gets_the_bytes() {
    let bench = Bench::new();
    bench.good(&["init"]);
    bench.run_with(&["set", "k", "-"], EVIL);
    let on_terminal = |arguments: &[&str]| watch(bench.command(arguments), true, true).out;
    assert_eq!(on_terminal(&["get", "k"]), format!("{SHOWN}\n"));
    assert_eq!(
        on_terminal(&["get", "k", "k"]),
        format!("k\t{SHOWN}\n").repeat(2)
    );
    assert_eq!(on_terminal(&["scan"]), format!("k\t{SHOWN}\n"));
    assert_eq!(on_terminal(&["scan", "-0"]), format!("k\0{SHOWN}\0"));
    assert_eq!(on_terminal(&["get", "-0", "k"]), format!("{SHOWN}\0"));
    assert_eq!(on_terminal(&["get", "no", "--or", "\x1b[1m"]), "\\x1b[1m\n");
    assert_eq!(
        on_terminal(&["set", "k", "new", "--prev"]),
        format!("{SHOWN}\n")
    );
    bench.run_with(&["set", "k", "-"], EVIL);
    assert_eq!(bench.good(&["get", "k"]), EVIL);
    assert_eq!(
        text(&bench.good(&["scan"])),
        format!("k\t{SHOWN}\n"),
        "lines must not lie"
    );
    assert_eq!(bench.good(&["scan", "-0"]), [b"k\0", EVIL, b"\0"].concat());
    assert_eq!(
        text(&bench.good(&["get", "k", "k"])),
        format!("k\t{SHOWN}\n").repeat(2),
        "these are lines too"
    );
    assert_eq!(bench.good(&["get", "k", "-0"]), [EVIL, b"\0"].concat());
    assert_eq!(
        bench.good(&["get", "k", "k", "-0"]),
        [b"k\0", EVIL, b"\0"].concat().repeat(2)
    );
    assert_eq!(
        bench.good(&["get", "-0", "no", "k", "--or", ""]),
        [b"no\0\0k\0", EVIL, b"\0"].concat()
    );
    assert_eq!(bench.good(&["set", "k", "new", "--prev"]), EVIL);
}

#[test]
fn json_commands_no_terminal_either() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "\u{9b}2J\u{7f}\u{202e}\u{1b}"]);
    let line = "{\"key\":\"k\",\"value\":\"\\u009b2J\\u007f\\u202e\\u001b\"}\n";
    for arguments in [
        &["get", "k", "--json"][..],
        &["scan", "--json"],
        &["export"],
    ] {
        assert_eq!(watch(bench.command(arguments), true, true).out, line);
        assert_eq!(text(&bench.good(arguments)), line);
    }
}

#[test]
fn messages_command_no_terminal() {
    let bench = Bench::new();
    bench.good(&["init"]);
    let evil = "\x1b[2J\u{9b}";
    let absent = watch(bench.command(&["get", evil]), true, true);
    assert_eq!(absent.code, 1);
    assert!(
        absent.err.ends_with(" no value for \\x1b[2J\\xc2\\x9b\n"),
        "{:?}",
        absent.err
    );
    let elsewhere = bench.directory.path().join("\x1b]0;x\x07");
    let mut nowhere = kvlog();
    nowhere.arg("-p").arg(&elsewhere).args(["get", "k"]);
    let nowhere = watch(nowhere, true, true);
    assert_eq!(nowhere.code, 4);
    assert!(
        nowhere.err.contains("/\\x1b]0;x\\x07 \x1b[2m("),
        "{:?}",
        nowhere.err
    );
    let usage = watch(bench.command(&["get", "k", "--color", evil]), true, true);
    assert_eq!(usage.code, 2);
    assert!(
        !usage.err.contains("\x1b[2J") && !usage.err.contains('\u{9b}'),
        "{:?}",
        usage.err
    );
    assert!(usage.err.contains("\\xc2\\x9b"), "{:?}", usage.err);
    let mut created = kvlog();
    created.arg("-p").arg(&elsewhere).arg("init");
    let created = watch(created, true, true);
    assert!(
        created.out.ends_with("/\\x1b]0;x\\x07\n"),
        "{:?}",
        created.out
    );
}

const RED: &str = "\x1b[1m\x1b[31merror:\x1b[0m ";

#[test]
fn errors_are_coloured_on_a_terminal_and_where_it_is_asked_for() {
    let bench = Bench::new();
    let ask = |flags: &[&str], variables: &[(&str, &str)], on_terminal: bool| {
        let mut command = bench.command(flags);
        command.arg("stats").envs(variables.iter().copied());
        let seen = watch(command, false, on_terminal);
        assert_eq!(seen.code, 4);
        let coloured = seen.err.starts_with(RED)
            && seen.err.ends_with(
                "\x1b[2m(check the path, or create a store there with `kvlog init`)\x1b[0m\n",
            );
        assert_eq!(coloured, seen.err.contains('\x1b'), "{:?}", seen.err);
        assert!(coloured || seen.err.starts_with("error: there is no store at /"));
        coloured
    };
    assert!(ask(&[], &[], true));
    assert!(!ask(&[], &[], false));
    assert!(ask(&["--color", "always"], &[], false));
    assert!(!ask(&["--color=never"], &[], true));
    assert!(!ask(&[], &[("NO_COLOR", "1")], true));
    assert!(ask(&[], &[("CLICOLOR_FORCE", "1")], false));
    assert!(ask(&["--color=always"], &[("NO_COLOR", "1")], true));
    assert!(!ask(&["--color=never"], &[("CLICOLOR_FORCE", "1")], true));
    assert!(!ask(&["--color=auto"], &[("TERM", "dumb")], true));
    // Build servers show colours whatever the terminal calls itself, and leave them out of what is no terminal.
    assert!(ask(&[], &[("TERM", "dumb"), ("CI", "true")], true));
    assert!(!ask(&[], &[("CI", "true")], false));
}

#[test]
fn the_parser_keeps_to_the_same_colours() {
    let seen = |arguments: &[&str], err: bool| {
        let mut command = kvlog();
        command.args(arguments);
        watch(command, false, err)
    };
    assert!(seen(&["bogus"], true).err.starts_with(RED));
    assert!(
        seen(&["bogus", "--color=never"], true)
            .err
            .starts_with("error: ")
    );
    assert!(
        seen(&["--color", "always", "bogus"], false)
            .err
            .starts_with(RED)
    );
    assert!(seen(&["bogus"], false).err.starts_with("error: "));
    assert!(
        seen(&["--color=always", "--help"], false)
            .out
            .contains('\x1b')
    );
    assert!(!seen(&["--help"], false).out.contains('\x1b'));
}

#[test]
fn notes_and_errors_in_json_are_never_coloured() {
    let bench = Bench::new();
    let failed = watch(
        bench.command(&["--json", "--color=always", "stats"]),
        true,
        true,
    );
    let error: serde_json::Value = serde_json::from_str(&failed.err).unwrap();
    assert_eq!(error["error"]["kind"], "not_found");
}

#[test]
fn progress_is_for_people_who_watch() {
    let bench = Bench::new();
    let sample = sample();
    let import = [
        "import",
        "--create",
        "--batch",
        "1",
        sample.to_str().unwrap(),
    ];
    let seen = watch(bench.command(&import), false, true);
    assert!(
        seen.err.contains("% ") && seen.err.contains(" durable"),
        "{:?}",
        seen.err
    );
    assert!(
        seen.err.ends_with("\r\x1b[2K"),
        "taken away at the end: {:?}",
        seen.err
    );
    assert!(seen.out.starts_with("2,000 records durable in "));
    let export = watch(bench.command(&["export"]), false, true);
    assert!(export.err.contains("% "), "{:?}", export.err);
    assert_eq!(export.out.lines().count(), 2000);
    let some = watch(bench.command(&["export", "lib"]), false, true);
    assert!(
        some.err.contains(" record") && !some.err.contains('%'),
        "{:?}",
        some.err
    );
    for (flags, out, err) in [
        (&["-q"][..], false, true),
        (&["--json"], false, true),
        (&[], false, false),
    ] {
        for command in [&import[..], &["export"]] {
            let seen = watch(bench.command(&[flags, command].concat()), out, err);
            assert_eq!(
                (seen.code, seen.err.as_str()),
                (0, ""),
                "{flags:?} {command:?}"
            );
        }
    }
    let both = watch(bench.command(&["export"]), true, true);
    assert_eq!((both.err.as_str(), both.out.lines().count()), ("", 2000));
}
