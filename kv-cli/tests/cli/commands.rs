//! What each command does with a store: outputs, exit codes, what is durable.

use super::bench::{Bench, kvlog, newest_segment, sample, sample_contents, text};
use kv_log_engine::{Engine, Options};
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

#[test]
fn init_set_get_scan_del() {
    let bench = Bench::new();
    assert!(text(&bench.good(&["init", "--segment-size", "64KiB"])).contains("created"));
    assert!(bench.good(&["set", "hello", "world"]).is_empty());
    assert_eq!(bench.good(&["set", "hello", "there", "--prev"]), b"world");
    assert_eq!(bench.good(&["get", "hello"]), b"there");
    bench.good(&["set", "a", "-1"]);
    assert_eq!(bench.good(&["get", "a", "hello"]), b"a\t-1\nhello\tthere\n");
    assert_eq!(bench.good(&["scan"]), b"a\t-1\nhello\tthere\n");
    assert_eq!(bench.good(&["scan", "hel", "--keys-only"]), b"hello\n");
    assert_eq!(bench.good(&["scan", "--count"]), b"2\n");
    assert_eq!(
        bench.good(&["scan", "--from", "b", "-0"]),
        b"hello\0there\0"
    );
    assert_eq!(
        bench.good(&["scan", "--to", "b", "--limit", "5"]),
        b"a\t-1\n"
    );
    assert!(
        bench
            .bad(1, &["get", "absent"])
            .contains("no value for absent")
    );
    assert_eq!(
        bench.good(&["get", "absent", "--or", "fallback"]),
        b"fallback"
    );
    assert_eq!(
        bench.run(&["del", "hello", "absent"]).status.code(),
        Some(0)
    );
    assert_eq!(bench.run(&["del", "hello"]).status.code(), Some(1));
    assert_eq!(bench.run(&["scan", "hello"]).status.code(), Some(1));
    assert!(text(&bench.good(&["stats"])).contains("  1 key  "));
    assert!(text(&bench.good(&["verify"])).starts_with("good: 1 segment, "));
}

/// They could be imported, listed and exported, but neither fetched nor removed.
#[cfg(unix)]
#[test]
fn keys_that_are_no_text_are_given_as_they_are_or_spelled() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    let line = b"{\"key_b64\":\"AP8K\",\"value\":1}\n{\"key_b64\":\"/w==\",\"value\":2}\n";
    bench.run_with(&["import", "--create"], line);
    bench.good(&["set", "0aff", "text"]);
    let raw = |arguments: &[&str], given: &[u8]| {
        let mut command = bench.command(arguments);
        let output = command.arg(std::ffi::OsStr::from_bytes(given)).output();
        let output = output.unwrap();
        (output.status.code(), output.stdout)
    };
    assert_eq!(raw(&["get"], b"\xff"), (Some(0), b"2".to_vec()));
    for arguments in [
        &["get", "--key-as", "hex", "00ff0a"][..],
        &["get", "00FF0A", "--key-as=hex"],
        &["get", "--key-as", "base64", "AP8K"],
    ] {
        assert_eq!(bench.good(arguments), b"1", "{arguments:?}");
    }
    for spelling in ["str", "text"] {
        assert_eq!(bench.good(&["get", "--key-as", spelling, "0aff"]), b"text");
    }
    bench.good(&["set", "--key-as", "hex", "ff00", "3"]);
    assert_eq!(raw(&["set", "v"], b"\x80"), (Some(0), Vec::new()));
    assert_eq!(bench.good(&["get", "v"]), b"\x80", "values too");
    assert_eq!(raw(&["get", "no", "--or"], b"\x80").1, b"\x80");
    assert_eq!(
        bench.good(&["scan", "--key-as", "hex", "ff"]),
        b"\\xff\t2\n\\xff\\x00\t3\n"
    );
    assert_eq!(
        bench.good(&[
            "scan",
            "--key-as",
            "base64",
            "--from",
            "/wA=",
            "--keys-only"
        ]),
        b"\\xff\\x00\n"
    );
    assert_eq!(
        bench.good(&["scan", "--key-as", "hex", "--to", "30", "--count"]),
        b"1\n"
    );
    assert_eq!(
        bench.good(&["export", "--key-as", "hex", "ff00"]),
        b"{\"key_b64\":\"/wA=\",\"value\":\"3\"}\n"
    );
    bench.good(&["del", "--key-as", "hex", "ff", "ff00"]);
    assert_eq!(raw(&["del"], b"\x80").0, Some(1), "was never there");
    assert_eq!(bench.good(&["scan", "--count"]), b"3\n");
    assert_eq!(
        bench.bad(2, &["get", "--key-as", "hex", "00f"]),
        "error: the key '00f' is no hex: 3 digits are no whole bytes \
         (with --key-as hex a key is two digits of 0-9 and a-f for each byte)\n"
    );
    bench.bad(2, &["set", "--create", "--key-as", "base64", "?", "v"]);
}

#[test]
fn json_everywhere() {
    let bench = Bench::new();
    bench.good(&["init", "--json"]);
    assert_eq!(
        bench.good(&["set", "k", "v", "--json", "--prev"]),
        b"{\"durable\":true,\"key\":\"k\",\"prev\":null}\n"
    );
    assert_eq!(
        bench.good(&["get", "k", "--json"]),
        b"{\"key\":\"k\",\"value\":\"v\"}\n"
    );
    assert_eq!(
        bench.good(&["scan", "--json"]),
        b"{\"key\":\"k\",\"value\":\"v\"}\n"
    );
    let stats: serde_json::Value =
        serde_json::from_slice(&bench.good(&["stats", "--json"])).unwrap();
    assert_eq!(
        (&stats["keys"], &stats["key_codec"]),
        (&1.into(), &"raw/1".into())
    );
    let verified: serde_json::Value =
        serde_json::from_slice(&bench.good(&["verify", "--json"])).unwrap();
    assert_eq!(verified["clean"], true);
    let error = bench.bad(2, &["--json", "init"]);
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!(
        (&error["error"]["code"], &error["error"]["kind"]),
        (&2.into(), &"invalid_input".into())
    );
}

#[test]
fn reading_never_creates_a_store_and_writing_only_when_asked() {
    let bench = Bench::new();
    for arguments in [
        &["get", "k"][..],
        &["contains", "k"],
        &["scan"],
        &["count"],
        &["keyspaces", "list"],
        &["keyspaces", "create", "k"],
        &["export"],
        &["stats"],
        &["verify"],
        &["compact"],
        &["set", "k", "v"],
        &["del", "k"],
    ] {
        assert!(bench.bad(4, arguments).contains("there is no store at"));
        assert!(!bench.store().exists());
    }
    assert_eq!(bench.run_with(&["import"], b"").status.code(), Some(4));
    assert!(!bench.store().exists());
    bench.bad(4, &["import", "--create", "no-such-file.jsonl"]);
    assert!(!bench.store().exists());
    bench.good(&["set", "k", "v", "--create"]);
    let without = kvlog()
        .env("KVLOG_PATH", bench.store())
        .args(["get", "k"])
        .output()
        .unwrap();
    assert_eq!(without.stdout, b"v");
    let nowhere = kvlog().args(["get", "k"]).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
    assert!(text(&nowhere.stderr).contains("KVLOG_PATH"));
}

#[test]
fn values_come_from_standard_input_exactly() {
    let bench = Bench::new();
    bench.good(&["init"]);
    let every_byte: Vec<u8> = (0..=255).chain(0..10).collect();
    assert_eq!(
        bench
            .run_with(&["set", "k", "-"], &every_byte)
            .status
            .code(),
        Some(0)
    );
    assert_eq!(bench.good(&["get", "k"]), every_byte);
    let large = vec![b'x'; 3 << 20];
    assert_eq!(
        bench.run_with(&["set", "large", "-"], &large).status.code(),
        Some(0)
    );
    assert_eq!(bench.good(&["get", "large"]), large);
}

#[test]
fn the_shipped_data_imports_twice_to_the_same_keys_and_values() {
    let bench = Bench::new();
    let sample = sample();
    let first = text(&bench.good(&["import", "--create", sample.to_str().unwrap()]));
    assert!(first.contains("2,000 records durable in "), "{first}");
    bench.good(&["import", "--batch", "7", sample.to_str().unwrap()]);
    let expected = sample_contents();
    let exported = text(&bench.good(&["export"]));
    assert_eq!(exported.lines().count(), expected.len());
    for line in exported.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let stored: serde_json::Value =
            serde_json::from_str(line["value"].as_str().unwrap()).unwrap();
        assert_eq!(expected[line["key"].as_str().unwrap()], stored);
    }
    bench.good(&["verify"]);
}

#[test]
fn export_and_import_are_the_identity_on_bytes() {
    let bench = Bench::new();
    let store = Engine::open(bench.store(), Options::new()).unwrap();
    for byte in 0..=255_u8 {
        store
            .put(&[byte], &[byte, byte ^ 0x80, b'"', b'\\'])
            .unwrap();
        store.put(&[b'k', byte, 0], &[byte; 3]).unwrap();
    }
    store.put(b"", b"").unwrap();
    store.put(b"json", b"{\"a\": 1}").unwrap();
    store
        .put("\u{1F980}".as_bytes(), "\u{2028}".as_bytes())
        .unwrap();
    let before: Vec<_> = store.scan(..).unwrap().map(Result::unwrap).collect();
    bench.close(&store);
    let exported = bench.good(&["export"]);
    let second = Bench::new();
    assert_eq!(
        second
            .run_with(&["import", "--create"], &exported)
            .status
            .code(),
        Some(0)
    );
    assert_eq!(second.good(&["export"]), exported);
    let store = Engine::open(second.store(), Options::new()).unwrap();
    let after: Vec<_> = store.scan(..).unwrap().map(Result::unwrap).collect();
    assert_eq!(after, before);
}

#[test]
fn a_malformed_line_is_named_and_the_lines_before_it_are_durable() {
    let bench = Bench::new();
    let input = b"{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"value\":2}\n{\"key\": oops}\n{\"key\":\"d\",\"value\":4}\n";
    let output = bench.run_with(&["import", "--create"], input);
    assert_eq!(output.status.code(), Some(2));
    let message = text(&output.stderr);
    assert!(
        message.contains("line 3")
            && message.contains("; what came before it is durable: 2 records ("),
        "{message}"
    );
    assert_eq!(bench.good(&["scan", "--keys-only"]), b"a\nb\n");
    let long = format!("{{\"key\":\"{}\",\"value\":1}}\n", "k".repeat(65_537));
    let output = bench.run_with(&["import"], long.as_bytes());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("line 1: the key has 65537 bytes"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_is_no_store_is_named() {
    let bench = Bench::new();
    std::fs::write(bench.store(), b"text").unwrap();
    assert!(
        bench
            .bad(4, &["get", "k"])
            .contains("is a file; a store is a directory")
    );
    std::fs::remove_file(bench.store()).unwrap();
    std::fs::create_dir(bench.store()).unwrap();
    std::fs::write(bench.store().join("notes.txt"), b"text").unwrap();
    assert!(bench.bad(4, &["get", "k"]).contains("notes.txt"));
    std::fs::create_dir(bench.store().join("LOCK")).unwrap();
    let taken = bench.bad(4, &["init"]);
    assert!(
        taken.ends_with("cannot be a store: LOCK in it is no file (give another path)\n"),
        "{taken}"
    );
}

/// The root of a volume holds `lost+found`: it could hold no store.
#[test]
fn a_store_is_made_beside_other_names_and_says_so_once() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.store().join("lost+found")).unwrap();
    for name in [".DS_Store", "a\x1b[31m", "z", "zz"] {
        std::fs::write(bench.store().join(name), b"mine").unwrap();
    }
    let output = bench.run(&["set", "--create", "k", "v"]);
    let said = format!(
        "note: the store was made in a directory that holds more, which is left alone: .DS_Store, a\\x1b[31m, \
         lost+found and 2 others in {}\n",
        bench.store().display()
    );
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), said)
    );
    let output = bench.run(&["get", "k"]);
    assert_eq!((&*output.stdout, &*output.stderr), (&b"v"[..], &b""[..]));
    assert_eq!(std::fs::read(bench.store().join("z")).unwrap(), b"mine");
    assert!(text(&bench.good(&["verify"])).contains("note: lost+found is not the store's; "));
}

#[test]
fn a_store_in_use_is_refused_with_its_holder_and_a_timeout_waits() {
    let bench = Bench::new();
    let store = Engine::open(bench.store(), Options::new()).unwrap();
    let message = bench.bad(4, &["get", "k"]);
    let process = format!("process {}", std::process::id());
    assert!(
        message.contains("is in use by") && message.contains(&process),
        "{message}"
    );
    store.put(b"k", b"v").unwrap();
    let mut waiting = bench.command(&["--lock-timeout", "60", "get", "k"]);
    let waiting = waiting.stdout(Stdio::piped()).spawn().unwrap();
    drop(store);
    assert_eq!(waiting.wait_with_output().unwrap().stdout, b"v");
}

#[test]
fn typed_stores_are_not_written_raw_by_accident() {
    let bench = Bench::new();
    let fingerprint = kv_trait::Fingerprint::of::<String, u64, kv_trait::Postcard>(None).unwrap();
    let options = Options::new().fingerprint(fingerprint);
    bench.close(&Engine::open(bench.store(), options).unwrap());
    for arguments in [&["set", "k", "v"][..], &["del", "k"], &["import"]] {
        assert!(bench.bad(4, arguments).contains("--force-raw"));
    }
    bench.good(&["set", "k", "v", "--force-raw"]);
    assert_eq!(bench.good(&["get", "k"]), b"v");
}

/// The same bytes in a new store are not the same store: its program refuses it.
#[test]
fn an_export_of_a_typed_store_says_that_types_are_not_carried() {
    let fingerprint = kv_trait::Fingerprint::of::<String, u64, kv_trait::Postcard>(None).unwrap();
    let typed = || Options::new().fingerprint(fingerprint.clone());
    let bench = Bench::new();
    let store = Engine::open(bench.store(), typed()).unwrap();
    store.put(b"k", b"\x07").unwrap();
    bench.close(&store);
    let output = bench.run(&["export"]);
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (
            Some(0),
            "note: the types are not carried (keys: text or bytes, values: u64), only the bytes: to keep them, let the \
             program create the new store and import with --force-raw\n"
                .to_owned()
        )
    );
    let note = bench.run(&["export", "--json"]).stderr;
    let note: serde_json::Value = serde_json::from_slice(&note).unwrap();
    let message = note["note"]["message"].as_str().unwrap();
    assert!(message.starts_with("the types are not carried ("), "{note}");
    assert!(bench.run(&["export", "-q"]).stderr.is_empty());

    let raw = Bench::new();
    raw.run_with(&["import", "--create"], &output.stdout);
    let refused = Engine::open(raw.store(), typed()).unwrap_err();
    assert_eq!(refused.kind(), kv_trait::ErrorKind::UnsupportedFormat);
    raw.settle();
    assert!(raw.run(&["export"]).stderr.is_empty(), "nothing is lost");

    let kept = Bench::new();
    kept.close(&Engine::open(kept.store(), typed()).unwrap());
    kept.run_with(&["import", "--force-raw"], &output.stdout);
    let store = Engine::open(kept.store(), typed()).unwrap();
    assert_eq!(store.get(b"k").unwrap().as_deref(), Some(&b"\x07"[..]));
}

#[test]
fn verify_tells_damage_from_a_torn_tail() {
    let bench = Bench::new();
    bench.good(&["init"]);
    bench.good(&["set", "a", "first value"]);
    bench.good(&["set", "b", "second value"]);
    let segment = newest_segment(&bench.store());
    let good = std::fs::read(&segment).unwrap();
    let at = good
        .windows(5)
        .position(|window| window == b"first")
        .unwrap();

    let mut damaged = good.clone();
    damaged[at] ^= 1;
    std::fs::write(&segment, &damaged).unwrap();
    let output = bench.run(&["verify"]);
    assert_eq!(output.status.code(), Some(3));
    let report = text(&output.stdout);
    assert!(
        report.contains("00000001.seg") && report.contains("offset"),
        "{report}"
    );
    assert!(bench.bad(3, &["get", "a"]).contains("is corrupt at offset"));
    assert_eq!(
        std::fs::read(&segment).unwrap(),
        damaged,
        "verify and a refused open change nothing"
    );

    let mut torn = good.clone();
    let end = torn.iter().rposition(|byte| *byte != 0).unwrap() + 8;
    torn[end..end + 200].fill(0xab);
    std::fs::write(&segment, &torn).unwrap();
    let output = bench.run(&["verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(
        text(&output.stdout).contains("never acknowledged"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(std::fs::read(&segment).unwrap(), torn);

    let quarantine = bench.store().join("quarantine");
    std::fs::write(&quarantine, "in the way").unwrap();
    let output = bench.run(&["get", "b"]);
    assert_eq!(output.stdout, b"second value");
    let told = text(&output.stderr);
    assert!(told.contains("200 never-acknowledged bytes") && told.contains("stay there"));
    assert!(!told.contains("cut"), "nothing was: {told}");
    let refused = bench.run(&["--quiet", "set", "a", "1"]);
    assert_eq!(refused.status.code(), Some(4));
    assert!(text(&refused.stderr).contains("cannot keep"));

    std::fs::remove_file(&quarantine).unwrap();
    let output = bench.run(&["get", "b"]);
    assert_eq!(output.stdout, b"second value");
    assert!(text(&output.stderr).contains("they are kept in"));
    assert!(quarantine.is_dir());
    bench.good(&["verify"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error_message() {
    let bench = Bench::new();
    bench.good(&["import", "--create", sample().to_str().unwrap()]);
    let mut export = bench.command(&["export"]);
    let mut child = export
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(141), String::new())
    );
}

/// Whoever notices first, the write or the close: nothing that went with the files is called durable.
#[cfg(unix)]
#[test]
fn a_store_that_is_removed_under_an_import_is_not_called_durable() {
    let bench = Bench::new();
    let mut command = bench.command(&["import", "--create", "--batch", "1"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"{\"key\":\"wanted\",\"value\":1}\n")
        .unwrap();
    let segment = bench.store().join("00000001.seg");
    let written = || {
        let bytes = std::fs::read(&segment).unwrap_or_default();
        bytes.windows(6).any(|window| window == b"wanted")
    };
    while !written() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    std::fs::rename(bench.store(), bench.store().with_extension("gone")).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{told}");
    assert!(told.contains("was removed or replaced") && told.contains("find out who"));
    assert!(!told.contains("durable") && !told.contains("closing failed"));
    assert!(output.stdout.is_empty(), "no success is reported");
}

#[test]
fn an_import_killed_half_way_keeps_a_prefix_and_can_be_run_again() {
    let bench = Bench::new();
    let lines: Vec<String> = std::fs::read_to_string(sample())
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let mut command = bench.command(&["import", "--create", "--batch", "50"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for line in &lines[..1030] {
        writeln!(stdin, "{line}").unwrap();
    }
    stdin.flush().unwrap();
    // Half the input was given, the pipe is open: the process waits for more, with some batches durable.
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    let keys = if bench.store().join("MANIFEST").exists() {
        let scanned = bench.run(&["scan", "--keys-only"]);
        BufReader::new(&scanned.stdout[..]).lines().count()
    } else {
        0
    };
    assert!(
        keys <= 1030 && keys % 50 == 0,
        "{keys} keys: a batch is whole or absent"
    );
    bench.good(&["import", "--create", sample().to_str().unwrap()]);
    assert_eq!(text(&bench.good(&["scan", "--count"])).trim(), "2000");
    bench.good(&["verify"]);
}

#[test]
fn a_key_beyond_the_limit_is_wrong_usage() {
    let bench = Bench::new();
    bench.good(&["init"]);
    assert!(
        bench
            .bad(2, &["get", &"k".repeat(70_000)])
            .contains("at most 65536 are allowed")
    );
    assert!(
        bench
            .bad(2, &["set", &"k".repeat(70_000), "v"])
            .contains("at most 65536 are allowed")
    );
}

#[test]
fn stats_say_what_the_engine_has() {
    let bench = Bench::new();
    bench.good(&["init", "--segment-size", "4KiB"]);
    let store = Engine::open(bench.store(), Options::new()).unwrap();
    for round in 0..30_u8 {
        store.put(b"again", &[round; 500]).unwrap();
        store.put(&[round], b"stays").unwrap();
    }
    bench.close(&store);
    let stats: serde_json::Value =
        serde_json::from_slice(&bench.good(&["stats", "--json"])).unwrap();
    let shown = text(&bench.good(&["stats"]));
    let rows: Vec<&str> = shown.lines().collect();
    let engine = Engine::open(bench.store(), Options::new()).unwrap().stats();
    let segments = stats["segments"].as_array().unwrap();
    assert!(segments.len() > 3, "{stats}");
    assert_eq!(
        (segments.len(), rows.len()),
        (engine.segments.len(), segments.len() + 2)
    );
    let sum = |name: &str| {
        segments
            .iter()
            .map(|one| one[name].as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!(stats["bytes"], sum("bytes"));
    assert_eq!(stats["live_bytes"], sum("live_bytes"));
    assert_eq!(stats["keys"], 31);
    assert_eq!(stats["last_seqno"], 60);
    assert_eq!(stats["poisoned"], false);
    let live = 100 * sum("live_bytes") / sum("bytes");
    assert!(
        rows[0].ends_with("% live  31 keys  seq 60")
            && rows[0].contains(&format!("  {live}% live")),
        "{shown}"
    );
    for ((row, one), expected) in rows[1..].iter().zip(segments).zip(&engine.segments) {
        let (bytes, live) = (expected.bytes, expected.live_bytes);
        assert_eq!(
            (&one["id"], &one["live_bytes"]),
            (&expected.id.get().into(), &live.into())
        );
        assert_eq!(one["active"], expected.active);
        let full = row.chars().filter(|c| *c == '█').count() as u64;
        let empty = row.chars().filter(|c| *c == '░').count() as u64;
        assert_eq!((full, full + empty), (20 * live / bytes, 20), "{row}");
        assert!(row.starts_with(&format!("{}.seg ", expected.id)), "{row}");
        assert!(
            row.contains(&format!(" {}% live  ", 100 * live / bytes)),
            "{row}"
        );
        assert_eq!(row.ends_with("KiB  (active)"), expected.active, "{row}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_path_that_is_no_text_has_another_name_in_json() {
    use base64::Engine as _;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bench = Bench::new();
    let mut path = bench.directory.path().as_os_str().to_owned().into_vec();
    path.extend(b"/\xff");
    let mut init = kvlog();
    init.arg("-p").arg(std::ffi::OsStr::from_bytes(&path));
    let output = init.args(["init", "--json"]).output().unwrap();
    let created: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let encoded = base64::engine::general_purpose::STANDARD.encode(&path);
    assert_eq!(
        created,
        serde_json::json!({ "created": true, "path_b64": encoded })
    );
}
