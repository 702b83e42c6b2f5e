//! Keyspaces: each command in one, and what is refused.

use super::bench::{Bench, kvlog, text};
use kv_log_engine::{Engine, Options};
use kv_trait::{Fingerprint, Postcard};

#[test]
fn each_command_is_about_the_keyspace_that_it_names() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "k", "own"]);
    assert!(bench.good(&["keyspaces", "list"]).is_empty());
    bench.good(&["keyspaces", "create", "a", "b"]);
    bench.good(&["--keyspace", "a", "set", "k", "in a"]);
    bench.good(&["set", "k", "in b", "--keyspace", "b"]);
    bench.good(&["set", "l", "in b", "--keyspace=b"]);
    for (keyspace, value, count) in [
        ("", "own", "1\n"),
        ("a", "in a", "1\n"),
        ("b", "in b", "2\n"),
    ] {
        let here = |arguments: &[&str]| {
            text(&bench.good(&[arguments, &["--keyspace", keyspace]].concat()))
        };
        assert_eq!(here(&["get", "k"]), value);
        assert_eq!(here(&["count"]), count);
        assert_eq!(here(&["scan", "k"]), format!("k\t{value}\n"));
        here(&["contains", "k"]);
    }
    assert_eq!(bench.good(&["get", "k"]), b"own", "without a name");
    bench.bad(1, &["contains", "l"]);
    bench.run(&["del", "k", "--keyspace", "b"]);
    assert_eq!(bench.good(&["count", "--keyspace", "b"]), b"1\n");
    assert_eq!(bench.good(&["count"]), b"1\n", "only there");
    bench.good(&["verify"]);
}

#[test]
fn a_keyspace_that_is_not_there_is_made_only_when_that_is_asked_for() {
    let bench = Bench::new();
    bench.good(&["init"]);
    for arguments in [
        &["get", "k"][..],
        &["contains", "k"],
        &["set", "k", "v"],
        &["del", "k"],
        &["scan"],
        &["count"],
        &["import"],
        &["export"],
    ] {
        let arguments = [arguments, &["--keyspace", "absent"]].concat();
        assert_eq!(
            bench.bad(4, &arguments),
            format!(
                "error: there is no keyspace \"absent\" in {} (`kvlog keyspaces list` names those that are there, \
                 `kvlog keyspaces create` makes one)\n",
                bench.store().display()
            )
        );
        assert!(bench.good(&["keyspaces", "list"]).is_empty());
    }
    bench.good(&["set", "k", "v", "--keyspace", "new", "--create"]);
    assert_eq!(
        bench.good(&["keyspaces", "list"]),
        b"new\tkeys: text or bytes  values: bytes\n"
    );
}

#[test]
fn names_are_taken_once_and_all_are_created_or_none() {
    let bench = Bench::new();
    bench.good(&["init"]);
    assert_eq!(
        bench.good(&["keyspaces", "create", "a"]),
        b"created keyspace a\n"
    );
    for names in [["b", "a"], ["b", "b"]] {
        let arguments = [&["keyspaces", "create"][..], &names].concat();
        let said = bench.bad(2, &arguments);
        assert!(said.contains("there is a keyspace \""), "{said}");
        assert_eq!(text(&bench.good(&["keyspaces", "list"])).lines().count(), 1);
    }
    let long = "n".repeat(256);
    for name in ["", long.as_str()] {
        let said = bench.bad(2, &["keyspaces", "create", name]);
        assert!(said.contains("1 to 255 bytes"), "{said}");
    }
    assert_eq!(
        bench.good(&["keyspaces", "create", "tab\t", "--json"]),
        b"{\"created\":true,\"keyspace\":\"tab\\t\"}\n"
    );
    let listed = text(&bench.good(&["keyspaces", "list"]));
    assert!(listed.contains("\ntab\\t\tkeys: "), "{listed}");
}

#[test]
fn what_is_about_the_whole_store_takes_no_keyspace() {
    let bench = Bench::new();
    bench.good(&["init"]);
    for arguments in [
        &["init"][..],
        &["stats"],
        &["verify"],
        &["compact"],
        &["keyspaces", "list"],
    ] {
        let said = bench.bad(2, &[&["--keyspace", "a"], arguments].concat());
        assert!(
            said.contains("--keyspace cannot be used with"),
            "{arguments:?}: {said}"
        );
    }
    assert!(
        kvlog()
            .args(["man", "--keyspace", "a"])
            .output()
            .unwrap()
            .status
            .success()
    );
}

#[test]
fn a_typed_keyspace_is_read_and_not_written_by_accident() {
    let bench = Bench::new();
    let store = Engine::open(bench.store(), Options::new()).unwrap();
    let types = Fingerprint::of::<(String, u64), u64, Postcard>(Some("visits")).unwrap();
    let typed = store.keyspace("typed", &types).unwrap();
    typed.put(b"k", b"\x07").unwrap();
    bench.close(&store);
    assert_eq!(
        bench.good(&["keyspaces", "list"]),
        b"typed\tkeys: (str,u64)  values: u64  tag: visits\n"
    );
    assert_eq!(bench.good(&["get", "k", "--keyspace", "typed"]), b"\x07");
    for arguments in [&["set", "k", "v"][..], &["del", "k"], &["import"]] {
        let arguments = [arguments, &["--keyspace", "typed"]].concat();
        assert_eq!(
            bench.bad(4, &arguments),
            "error: keyspace \"typed\" was made by a program for its own types (keys: (str,u64), values: u64), which bytes \
             from here may not be (let that program write, or pass --force-raw if these bytes are what it writes)\n"
        );
    }
    bench.good(&["set", "k", "v", "--keyspace", "typed", "--force-raw"]);
    bench.good(&["set", "k", "v"]);
    let listed = bench.good(&["keyspaces", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    assert_eq!(
        listed,
        serde_json::json!({
            "keyspace": "typed",
            "id": 1,
            "key_codec": "ordered/1",
            "key_type": "(str,u64)",
            "value_codec": "postcard/1",
            "value_type": "u64",
            "tag": "visits",
        })
    );
}
