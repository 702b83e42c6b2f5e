//! Keys that are spelled by their values, in stores that programs made.

use super::bench::{Bench, text};
use kv_log_engine::{Engine, Options};
use kv_trait::key::{self, Key};
use kv_trait::{Fingerprint, Postcard, Raw};

/// A store of these keys, whose values are bytes.
fn with_keys<K: Key>(keys: &[K]) -> Bench {
    let bench = Bench::new();
    let types = Fingerprint::of::<K, Vec<u8>, Raw>(None).unwrap();
    let store = Engine::open(bench.store(), Options::new().fingerprint(types)).unwrap();
    for (at, key) in keys.iter().enumerate() {
        let value = at.to_string();
        store
            .put(&key::encode(key).unwrap(), value.as_bytes())
            .unwrap();
    }
    bench.close(&store);
    bench
}

#[test]
fn numbers_are_found_and_listed_in_their_order() {
    let bench = with_keys(&[0_u64, 9, 10, 300, u64::MAX]);
    assert_eq!(bench.good(&["get", "--key-as", "u64", "300"]), b"3");
    assert_eq!(
        text(&bench.good(&["scan", "--key-as", "u64", "--from", "10"])),
        "10\t2\n300\t3\n18446744073709551615\t4\n"
    );
    assert_eq!(
        bench.good(&[
            "scan", "--key-as", "u64", "--json", "--after", "9", "--limit", "1"
        ]),
        b"{\"key\":10,\"value\":\"2\"}\n"
    );
    assert_eq!(
        bench.bad(1, &["get", "--key-as", "u64", "11"]),
        "note: no value for 11\n"
    );
    // Both types are known: it is what the program would write.
    bench.good(&["set", "--key-as", "u64", "11", "new"]);
    assert_eq!(bench.good(&["get", "--key-as", "u64", "11"]), b"new");
    bench.good(&["del", "--key-as", "u64", "11", "0"]);
    assert_eq!(bench.good(&["count"]), b"4\n");

    let bench = with_keys(&[-300_i64, -1, 0, 1]);
    assert_eq!(
        text(&bench.good(&["scan", "--key-as", "i64", "--from=-1"])),
        "-1\t1\n0\t2\n1\t3\n"
    );
    assert_eq!(bench.good(&["get", "--key-as", "i64", "--", "-300"]), b"0");
    bench.good(&["del", "--key-as", "i64", "--range", "-300", "0", "--yes"]);
    assert_eq!(bench.good(&["count", "--key-as", "i64"]), b"2\n");
}

#[test]
fn tuples_are_spelled_as_arrays_and_fewer_parts_are_a_prefix() {
    let of = |name: &str, number| (name.to_owned(), number);
    let bench = with_keys(&[of("a", 1_u64), of("a", 300), of("ab", 2), of("b\0", 7)]);
    assert_eq!(
        bench.good(&["get", "--key-as", "tuple", r#"["a", 300]"#]),
        b"1"
    );
    assert_eq!(
        text(&bench.good(&["scan", "--key-as", "tuple", r#"["a"]"#])),
        "[\"a\",1]\t0\n[\"a\",300]\t1\n"
    );
    assert_eq!(
        bench.good(&["scan", "--key-as", "tuple", "--json", r#"["b\u0000"]"#]),
        b"{\"key\":[\"b\\u0000\",7],\"value\":\"3\"}\n"
    );
    assert_eq!(
        bench.good(&["count", "--key-as", "tuple", "--from", r#"["a",2]"#]),
        b"3\n"
    );
    bench.good(&["del", "--key-as", "tuple", "--prefix", r#"["a"]"#, "--yes"]);
    assert_eq!(bench.good(&["count"]), b"2\n");
}

#[test]
fn a_spelling_that_is_not_of_the_stores_type_is_refused_by_its_name() {
    let numbers = with_keys(&[1_u64]);
    let tuples = with_keys(&[("a".to_owned(), 1_u64)]);
    let opaque = with_keys(&[(Some(1_u8), 2_u8)]);
    let bytes = Bench::new();
    bytes.good(&["init"]);
    for (bench, key_as, key, why) in [
        (&numbers, "i64", "1", "the keys are u64, not i64"),
        (
            &numbers,
            "tuple",
            "[1]",
            "the keys are u64, not tuples of numbers, texts and booleans",
        ),
        (&tuples, "u64", "1", "the keys are (str,u64), not u64"),
        (
            &opaque,
            "tuple",
            "[1,2]",
            "the keys are (?u8,u8), not tuples of numbers, texts and booleans",
        ),
        (&bytes, "u64", "1", "the keys are text or bytes, not u64"),
    ] {
        for command in [
            &["get"][..],
            &["contains"],
            &["del"],
            &["scan"],
            &["count"],
            &["export"],
        ] {
            let arguments = [command, &["--key-as", key_as, key]].concat();
            let said = bench.bad(4, &arguments);
            assert!(
                said.starts_with(&format!("error: {why} (")),
                "{arguments:?}: {said}"
            );
        }
        let said = bench.bad(4, &["set", "--key-as", key_as, key, "v"]);
        assert!(said.starts_with(&format!("error: {why} (")), "{said}");
    }
}

#[test]
fn what_is_no_value_of_the_type_is_refused() {
    let bench = with_keys(&[("a".to_owned(), 1_u8)]);
    for (key, why) in [
        ("a", "is no JSON array"),
        ("5", "is no JSON array"),
        (r#"["a", 256]"#, "is none of this store: 256 is no u8"),
        (r#"[1, 1]"#, "is none of this store: 1 is no str"),
        (
            r#"["a"]"#,
            "is none of this store: it has 1 parts, and a key has 2",
        ),
    ] {
        let said = bench.bad(2, &["get", "--key-as", "tuple", key]);
        assert!(said.contains(why), "{key}: {said}");
    }
    let bench = Bench::new();
    for (key_as, key) in [
        ("u64", "-1"),
        ("u64", "x"),
        ("i64", "1.5"),
        ("u64", "18446744073709551616"),
    ] {
        let said = bench.bad(2, &["set", "--create", "--key-as", key_as, "--", key, "v"]);
        assert!(
            said.contains(&format!("the key '{key}' is no {key_as}")),
            "{said}"
        );
        assert!(!bench.store().exists(), "refused before it is made");
    }
    bench.bad(4, &["set", "--create", "--key-as", "u64", "1", "v"]);
    assert!(!bench.store().exists(), "a new store has no such keys");
}

#[test]
fn values_of_a_program_are_not_overwritten_by_accident_whatever_the_key_is() {
    let bench = Bench::new();
    let types = Fingerprint::of::<u64, String, Postcard>(None).unwrap();
    let store = Engine::open(bench.store(), Options::new().fingerprint(types)).unwrap();
    store.put(&key::encode(&5_u64).unwrap(), b"\x01a").unwrap();
    bench.close(&store);
    let said = bench.bad(4, &["set", "--key-as", "u64", "5", "v"]);
    assert!(said.contains("pass --force-raw"), "{said}");
    bench.good(&["del", "--key-as", "u64", "5"]);
    assert_eq!(bench.good(&["count"]), b"0\n");
}
