//! Exports and imports over keyspaces.

use super::bench::{Bench, text};
use kv_log_engine::{Engine, Options};
use kv_trait::{Fingerprint, Postcard};

/// Key, value, and the moment of its end.
type Record = (Vec<u8>, Vec<u8>, Option<u64>);

/// Everything that a store holds: the names and types of its keyspaces, and its records.
fn contents(bench: &Bench) -> Vec<(String, String, Vec<Record>)> {
    let store = Engine::open(bench.store(), Options::new()).unwrap();
    let records = |keyspace: &Engine| {
        let mut scan = keyspace.scan(..).unwrap();
        std::iter::from_fn(|| scan.next_with_expiry().map(Result::unwrap)).collect()
    };
    let own = (String::new(), String::new(), records(&store));
    let mut all = vec![own];
    for found in store.keyspaces().unwrap() {
        let keyspace = store.keyspace(&found.name, &found.fingerprint).unwrap();
        let types = found.fingerprint.to_text();
        all.push((found.name, types, records(&keyspace)));
    }
    bench.close(&store);
    all
}

/// Two keyspaces beside the store's own, one of a program's types and one that is empty.
fn full() -> Bench {
    let bench = Bench::new();
    let store = Engine::open(bench.store(), Options::new()).unwrap();
    let types = Fingerprint::of::<(String, u64), u64, Postcard>(Some("visits")).unwrap();
    let typed = store.keyspace("typed \u{1F980}", &types).unwrap();
    store.keyspace("empty", &Fingerprint::raw()).unwrap();
    let later = store
        .expiry_after(std::time::Duration::from_secs(3600))
        .unwrap();
    for byte in 0..=255_u8 {
        store.put(&[byte], &[byte, b'"', b'\\']).unwrap();
        typed.put(&[byte, 0, 1], &[byte]).unwrap();
        typed.put_until(&[byte, 0, 2], &[byte], later).unwrap();
    }
    store.put(b"", b"").unwrap();
    bench.close(&store);
    bench
}

#[test]
fn export_and_import_are_the_identity_on_keyspaces() {
    let bench = full();
    let before = contents(&bench);
    assert_eq!(before.len(), 3);
    assert!(before[1].2.iter().any(|(_, _, end)| end.is_some()));
    let exported = bench.good(&["export"]);
    let second = Bench::new();
    let output = second.run_with(&["import", "--create", "--batch", "7"], &exported);
    assert_eq!(
        output.status.code(),
        Some(0),
        "types that are carried need no --force-raw: {}",
        text(&output.stderr)
    );
    assert!(text(&output.stdout).starts_with("769 records durable in "));
    assert_eq!(contents(&second), before);
    assert_eq!(second.good(&["export"]), exported);
    second.good(&["verify"]);
}

#[test]
fn one_keyspace_goes_into_any_other() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "own"]);
    bench.good(&["keyspaces", "create", "a", "b"]);
    bench.good(&["set", "k", "in a", "--keyspace", "a"]);
    let line = b"{\"key\":\"k\",\"value\":\"in a\"}\n";
    let exported = bench.good(&["export", "--keyspace", "a"]);
    assert_eq!(exported, line);
    assert_eq!(
        bench.good(&["export", "--keyspace", ""]),
        b"{\"key\":\"k\",\"value\":\"own\"}\n"
    );
    let output = bench.run_with(&["import", "--keyspace", "b"], &exported);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(bench.good(&["get", "k", "--keyspace", "b"]), b"in a");
    let made = bench.run_with(&["import", "--keyspace", "c", "--create"], &exported);
    assert_eq!(made.status.code(), Some(0));
    assert_eq!(
        text(&bench.good(&["export"])),
        "{\"key\":\"k\",\"value\":\"own\"}\n\
         {\"keyspace\":\"a\",\"types\":\"key=raw/1\\nvalue=raw/1\"}\n\
         {\"key\":\"k\",\"keyspace\":\"a\",\"value\":\"in a\"}\n\
         {\"keyspace\":\"b\",\"types\":\"key=raw/1\\nvalue=raw/1\"}\n\
         {\"key\":\"k\",\"keyspace\":\"b\",\"value\":\"in a\"}\n\
         {\"keyspace\":\"c\",\"types\":\"key=raw/1\\nvalue=raw/1\"}\n\
         {\"key\":\"k\",\"keyspace\":\"c\",\"value\":\"in a\"}\n"
    );
    // A prefix is one of the store's own keys.
    assert_eq!(
        bench.good(&["export", "k"]),
        b"{\"key\":\"k\",\"value\":\"own\"}\n"
    );
}

#[test]
fn a_line_that_fits_no_keyspace_is_named_and_the_lines_before_it_are_durable() {
    let good = "{\"key\":\"k\",\"value\":1}\n";
    for (arguments, line, why) in [
        (
            &["import"][..],
            r#"{"keyspace":"absent","key":"k","value":1}"#,
            "line 2: there is no keyspace \"absent\", and no line before has its types; --create makes one of bytes",
        ),
        (
            &["import"],
            r#"{"keyspace":"there","types":"key=ordered/1\nvalue=raw/1\nkey_shape=1:u64"}"#,
            "line 2: keyspace \"there\": the store's keys are text or bytes, the caller's are u64",
        ),
        (
            &["import", "--keyspace", "there"],
            r#"{"keyspace":"other","key":"k","value":1}"#,
            "line 2: it is of keyspace \"other\", and --keyspace names \"there\"",
        ),
        (
            &["import", "--keyspace", "there"],
            r#"{"keyspace":"other","types":"key=raw/1\nvalue=raw/1"}"#,
            "line 2: it is of keyspace \"other\", and --keyspace names \"there\"",
        ),
        (
            &["import"],
            r#"{"keyspace":"","key":"k","value":1}"#,
            "line 2: a keyspace has a name; leave it out for the store's own",
        ),
        (
            &["import"],
            r#"{"key":"k","value":1,"expires_at_ms":18446744073709551615}"#,
            "line 2: ",
        ),
    ] {
        let bench = Bench::new();
        bench.good(&["init"]);
        bench.good(&["keyspaces", "create", "there"]);
        let output = bench.run_with(arguments, format!("{good}{line}\n").as_bytes());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {said}");
        assert!(said.contains(why), "{line}: {said}");
        assert!(
            said.contains("; what came before it is durable: 1 record ("),
            "{said}"
        );
        assert_eq!(text(&bench.good(&["keyspaces", "list"])).lines().count(), 1);
    }
}

#[test]
fn a_typed_keyspace_takes_lines_whose_types_nobody_has_said_only_by_force() {
    let bench = full();
    let line = "{\"keyspace\":\"typed \u{1F980}\",\"key\":\"k\",\"value\":1}\n";
    let output = bench.run_with(&["import"], line.as_bytes());
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("pass --force-raw"));
    let output = bench.run_with(&["import", "--force-raw"], line.as_bytes());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_has_expired_is_neither_exported_nor_brought_back() {
    let bench = Bench::new();
    let lines =
        b"{\"key\":\"gone\",\"value\":1,\"expires_at_ms\":5}\n{\"key\":\"stays\",\"value\":2}\n";
    let output = bench.run_with(&["import", "--create"], lines);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        bench.good(&["export"]),
        b"{\"key\":\"stays\",\"value\":\"2\"}\n"
    );
}
