//! Every way to fail that needs a live setup: the text, the exit code, and that nothing else happens.
//! What can be told as a transcript is in tests/cmd.

use super::bench::{Bench, kvlog, newest_segment, sample, text};
use kv_log_engine::{Engine, Options};
use kv_trait::{Fingerprint, Postcard};
use serde_json::Value;
use std::hash::Hasher;
use std::process::Stdio;

impl Bench {
    /// Runs with `--json` what must fail with this code; returns what is under "error".
    fn bad_json(&self, code: i32, arguments: &[&str]) -> Value {
        let line = self.bad(code, &[&["--json"], arguments].concat());
        let mut error: Value = serde_json::from_str(&line).unwrap();
        let mut names: Vec<_> = error["error"].as_object().unwrap().keys().collect();
        names.retain(|name| *name != "imported");
        assert_eq!(names, ["code", "effect", "hint", "kind", "message"]);
        assert_eq!(error["error"]["code"], code);
        error["error"].take()
    }
}

#[test]
fn without_a_path_nothing_is_opened() {
    for arguments in [
        &["init"][..],
        &["get", "k"],
        &["contains", "k"],
        &["set", "k", "v"],
        &["del", "k"],
        &["scan"],
        &["count"],
        &["watch"],
        &["keyspaces", "list"],
        &["keyspaces", "create", "k"],
        &["import"],
        &["export"],
        &["stats"],
        &["verify"],
        &["compact"],
    ] {
        let mut command = kvlog();
        command.args(arguments).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(
            text(&output.stderr),
            "error: no store was named (give its directory with --path, or in KVLOG_PATH)\n"
        );
    }
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "v"]);
    let store = bench.store();
    let store = store.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = kvlog();
        command.env("KVLOG_PATH", "").args(arguments);
        command.output().unwrap()
    };
    for arguments in [
        &["-p", store, "get", "k"][..],
        &["get", "k", "-p", store],
        &["man"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let output = run(arguments);
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), String::new()),
            "{arguments:?}"
        );
    }
    let nameless = run(&["get", "k"]);
    assert_eq!(nameless.status.code(), Some(2));
    assert!(text(&nameless.stderr).starts_with("error: no store was named ("));
}

#[test]
fn the_holder_of_a_locked_store_is_named() {
    let bench = Bench::new();
    let store = Engine::open(bench.store(), Options::new()).unwrap();
    let process = format!("process {} (", std::process::id());
    let is_named = |message: &str| {
        message.contains(&format!("{} is in use by ", bench.store().display()))
            && message.contains(&process)
    };
    for arguments in [
        &["get", "k"][..],
        &["set", "k", "v"],
        &["del", "k"],
        &["scan"],
        &["export"],
        &["stats"],
        &["verify"],
        &["compact"],
        &["--lock-timeout", "30ms", "get", "k"],
    ] {
        let line = bench.bad(4, arguments);
        assert!(is_named(&line), "{line}");
        assert!(
            line.ends_with(" (end the other process, or wait for it with --lock-timeout)\n"),
            "{line}"
        );
    }
    bench.good(&["man"]);
    bench.good(&["completions", "bash"]);
    let error = bench.bad_json(4, &["get", "k"]);
    assert_eq!(error["kind"], "locked");
    assert_eq!(
        error["hint"],
        "end the other process, or wait for it with --lock-timeout"
    );
    assert!(is_named(error["message"].as_str().unwrap()), "{error}");
    bench.close(&store);
    bench.good(&["verify"]);
}

#[test]
fn a_key_beyond_the_limit_is_refused_everywhere() {
    let bench = Bench::new();
    bench.good(&["init"]);
    let long = "k".repeat(65_537);
    for arguments in [&["get", &long][..], &["set", &long, "v"], &["del", &long]] {
        assert_eq!(
            bench.bad(2, arguments),
            "error: the key has 65537 bytes, at most 65536 are allowed (split it or make it smaller)\n"
        );
        assert_eq!(bench.bad_json(2, arguments)["kind"], "too_large");
    }
    let line = format!("\n{{\"key\":\"{long}\",\"value\":1}}\n");
    let output = bench.run_with(&["import"], line.as_bytes());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).starts_with(
            "error: line 2: the key has 65537 bytes, at most 65536 are allowed; what came before it is durable: 0 records (each line is "
        ),
        "{}",
        text(&output.stderr)
    );
    bench.good(&["set", &long[1..], "v"]);
}

/// The keys before the one that is too long used to be removed, without a word about them.
#[test]
fn a_removal_is_of_all_keys_or_of_none() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "x", "v"]);
    bench.good(&["set", "y", "v"]);
    let before = bench.good(&["export"]);
    let error = bench.bad_json(2, &["del", "x", &"k".repeat(65_537)]);
    assert_eq!(
        (&error["kind"], &error["effect"]),
        (&"too_large".into(), &"nothing".into())
    );
    assert_eq!(bench.good(&["export"]), before);
    assert_eq!(
        bench.good(&["del", "y", "x", "absent", "y", "--json"]),
        b"{\"durable\":true,\"removed\":2}\n"
    );
    let report: Value = serde_json::from_slice(&bench.good(&["verify", "--json"])).unwrap();
    assert_eq!(
        (&report["frames"], &report["records"]),
        (&3.into(), &4.into()),
        "both in one batch"
    );
}

#[test]
fn an_import_whose_first_record_cannot_be_stored_creates_no_store() {
    let bench = Bench::new();
    let long = format!("{{\"key\":\"{}\",\"value\":1}}\n", "k".repeat(65_537));
    for input in ["{\"key\":", "\n\n[1]\n{\"key\":\"a\",\"value\":1}\n", &long] {
        let output = bench.run_with(&["import", "--create"], input.as_bytes());
        assert_eq!(output.status.code(), Some(2));
        assert!(!bench.store().exists(), "{input}");
    }
    bench.run_with(&["import", "--create"], b"");
    assert!(bench.store().exists(), "no records are no mistake");
}

#[test]
fn a_typed_store_is_refused_with_its_codecs() {
    let bench = Bench::new();
    let fingerprint = Fingerprint::of::<(String, u64), u64, Postcard>(Some("visits")).unwrap();
    let options = Options::new().fingerprint(fingerprint);
    bench.close(&Engine::open(bench.store(), options).unwrap());
    for arguments in [&["set", "k", "v"][..], &["del", "k"], &["import"]] {
        assert_eq!(
            bench.bad(4, arguments),
            "error: the store was made by a program for its own types (keys: (str,u64), values: u64), which bytes from \
             here may not be (let that program write, or pass --force-raw if these bytes are what it writes)\n"
        );
        assert_eq!(bench.bad_json(4, arguments)["kind"], "unsupported_format");
    }
    assert!(text(&bench.good(&["stats"])).ends_with("keys: (str,u64)  values: u64  tag: visits\n"));
    assert_eq!(
        bench.run(&["del", "k", "--force-raw"]).status.code(),
        Some(1)
    );
    bench.good(&["import", "--force-raw", sample().to_str().unwrap()]);
}

#[test]
fn a_wrong_line_is_named_in_json_too() {
    let bench = Bench::new();
    let file = bench.directory.path().join("wrong.jsonl");
    std::fs::write(&file, "{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\"}\n").unwrap();
    let error = bench.bad_json(2, &["import", "--create", file.to_str().unwrap()]);
    assert_eq!(
        error,
        serde_json::json!({
            "code": 2,
            "kind": "invalid_input",
            "effect": "nothing",
            "imported": 1,
            "message": "line 2: exactly one of value and value_b64 is needed; what came before it is durable: 1 record",
            "hint": r#"each line is {"key": "...", "value": ...}; key_b64 and value_b64 take base64"#,
        })
    );
}

#[test]
fn a_later_format_version_is_named_and_left_alone() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "v"]);
    let manifest = bench.store().join("MANIFEST");
    let mut bytes = std::fs::read(&manifest).unwrap();
    // The image of one copy is enough: a later version wrote it.
    bytes[8] = 9;
    let content = usize::from(bytes[12]) + usize::from(bytes[13]) * 256;
    let mut sip = siphasher::sip::SipHasher24::new_with_key(b"kvlog manifest 0");
    sip.write(&0_u64.to_le_bytes());
    sip.write(&bytes[..40 + content]);
    bytes[40 + content..][..8].copy_from_slice(&sip.finish().to_le_bytes());
    std::fs::write(&manifest, &bytes).unwrap();
    for arguments in [&["get", "k"][..], &["set", "k", "w"], &["verify"]] {
        let line = bench.bad(4, arguments);
        assert!(
            line.ends_with(
                "MANIFEST is not understood at offset 0: unknown format version 9 \
                 (use the version that this store was made with)\n"
            ),
            "{line}"
        );
        assert_eq!(bench.bad_json(4, arguments)["kind"], "unsupported_format");
    }
    assert_eq!(std::fs::read(&manifest).unwrap(), bytes);
}

#[test]
fn damage_is_exit_code_3_from_every_command_that_meets_it() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "a value to hit"]);
    let segment = newest_segment(&bench.store());
    let good = std::fs::read(&segment).unwrap();
    let mut damaged = good.clone();
    let at = good.windows(5).position(|five| five == b"value").unwrap();
    damaged[at] ^= 1;
    std::fs::write(&segment, &damaged).unwrap();
    for arguments in [
        &["get", "k"][..],
        &["set", "k", "v"],
        &["del", "k"],
        &["scan"],
        &["import"],
        &["export"],
        &["stats"],
    ] {
        let line = bench.bad(3, arguments);
        assert!(
            line.contains("00000001.seg is corrupt at offset 104: "),
            "{line}"
        );
        assert!(
            line.ends_with(
                "(`kvlog verify` names all damage and the keys at risk; keep the files as they are, and restore a backup)\n"
            ),
            "{line}"
        );
        assert_eq!(bench.bad_json(3, arguments)["kind"], "corrupt");
    }
    let output = bench.run(&["verify"]);
    let report = text(&output.stdout);
    assert_eq!((output.status.code(), output.stderr.len()), (Some(3), 0));
    assert!(
        report.starts_with("damage: /") && report.contains(" is corrupt at offset 104: "),
        "{report}"
    );
    assert!(
        report
            .ends_with("; keys at risk: \"k\"\ndamaged: 1 place; what can be read: 1 segment, 4.1 KiB, 0 batches, 0 records, 0 keys; \
                        keep the files as they are, and restore a backup\n"),
        "{report}"
    );
    let output = bench.run(&["verify", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &report["clean"]),
        (Some(3), &false.into())
    );
    assert_eq!(
        report["damages"][0]["keys_at_risk"],
        serde_json::json!([{ "key": "k" }])
    );
    let (kept, message) = (
        std::fs::read(&segment).unwrap(),
        report["damages"][0]["cause"].as_str().unwrap(),
    );
    assert!(
        kept == damaged && message.contains(" is corrupt at offset 104: "),
        "{message}"
    );
    std::fs::write(&segment, &good).unwrap();
    std::fs::remove_file(&segment).unwrap();
    let line = bench.bad(3, &["get", "k"]);
    assert!(line.contains("00000001.seg"), "{line}");
}

#[test]
fn one_damaged_copy_of_the_manifest_is_damage_that_stops_nothing() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "v"]);
    let manifest = bench.store().join("MANIFEST");
    let mut bytes = std::fs::read(&manifest).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&manifest, &bytes).unwrap();
    let output = bench.run(&["verify"]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{report}");
    assert!(report.starts_with("damage: MANIFEST: "), "{report}");
    assert!(report.contains("manifest check mismatch"), "{report}");
    assert_eq!(bench.good(&["get", "k"]), b"v");
}

#[test]
fn names_that_do_not_belong_are_noted_and_are_no_damage() {
    let bench = Bench::new();
    bench.good(&["init"]);
    std::fs::write(bench.store().join("notes.txt"), b"mine").unwrap();
    std::fs::write(bench.store().join("00000077.seg"), b"").unwrap();
    assert_eq!(
        text(&bench.good(&["verify"])),
        "note: notes.txt is not the store's; it is left alone\n\
         note: nothing refers to 00000077.seg; the next write deletes it\n\
         good: 1 segment, 4.1 KiB, 0 batches, 0 records, 0 keys\n"
    );
    let report: Value = serde_json::from_slice(&bench.good(&["verify", "--json"])).unwrap();
    assert_eq!(
        (&report["foreign"][0], &report["debris"][0]),
        (&"notes.txt".into(), &"00000077.seg".into())
    );
    bench.good(&["stats"]);
    assert!(
        bench.store().join("00000077.seg").exists(),
        "nothing is written"
    );
    bench.good(&["set", "k", "v"]);
    assert!(bench.store().join("notes.txt").exists());
    assert!(!bench.store().join("00000077.seg").exists());
}

#[test]
fn a_torn_tail_is_a_note_and_no_error() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "v"]);
    let segment = newest_segment(&bench.store());
    let tear = || {
        let mut bytes = std::fs::read(&segment).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 8;
        bytes[end..end + 200].fill(0xab);
        std::fs::write(&segment, &bytes).unwrap();
    };
    tear();
    let report: Value = serde_json::from_slice(&bench.good(&["verify", "--json"])).unwrap();
    let names: Vec<_> = report["torn_tail"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["bytes", "cause", "offset", "path"]);
    assert_eq!(report["clean"], true);
    let output = bench.run(&["get", "k"]);
    let note = text(&output.stderr);
    assert_eq!(
        (output.status.code(), output.stdout),
        (Some(0), b"v".to_vec())
    );
    assert!(
        note.starts_with("note: cut 2") && note.contains("; they are kept in /"),
        "{note}"
    );
    tear();
    let output = bench.run(&["get", "k", "--json"]);
    let note: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(
        note["note"]["message"]
            .as_str()
            .unwrap()
            .starts_with("cut 2"),
        "{note}"
    );
    tear();
    assert!(bench.run(&["get", "k", "-q"]).stderr.is_empty());
    assert_eq!(
        bench.run(&["get", "k"]).stderr,
        b"",
        "cut, and not told again"
    );
}

#[test]
fn a_file_that_ends_too_early_is_named_by_whoever_opens() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "v"]);
    let stats: Value = serde_json::from_slice(&bench.good(&["--json", "stats"])).unwrap();
    let end = stats["segments"][0]["bytes"].as_u64().unwrap();
    let segment = newest_segment(&bench.store());
    let file = std::fs::OpenOptions::new().write(true).open(&segment);
    file.unwrap().set_len(end + 8).unwrap();
    let said = format!(
        "00000001.seg ends at offset {}, where room was kept: a crash, or somebody cut it\n",
        end + 8
    );
    let verified = text(&bench.good(&["verify"]));
    assert!(verified.contains(&said), "{verified}");
    let read = bench.run(&["get", "k"]);
    assert_eq!(read.status.code(), Some(0));
    assert_eq!(read.stdout, b"v");
    assert!(
        text(&read.stderr).ends_with(&said),
        "{}",
        text(&read.stderr)
    );
    let again = bench.run(&["get", "k"]);
    assert_eq!(text(&again.stderr), "", "said once: the room is made again");
}
