//! What a value is stored on condition of, its version, and how long it stays.

use super::bench::{Bench, text};
use kv_log_engine::{Engine, Options};
use std::time::Duration;

const ABSENT: &str = "note: k is not stored: it is absent\n";
const THERE: &str = "note: k is not stored: it is there\n";
const ANOTHER: &str = "note: k is not stored: it has another value\n";

#[test]
fn a_value_is_stored_only_where_its_condition_holds() {
    let bench = Bench::new();
    bench.good(&["init"]);
    let refused = |condition: &[&str], why: &str| {
        let before = bench.run(&["export"]).stdout;
        let arguments = [&["set", "k", "refused"], condition].concat();
        assert_eq!(bench.bad(1, &arguments), why, "{condition:?}");
        assert_eq!(bench.run(&["export"]).stdout, before, "{condition:?}");
    };
    let stored = |value: &str, condition: &[&str]| {
        bench.good(&[&["set", "k", value], condition].concat());
        assert_eq!(text(&bench.good(&["get", "k"])), value);
    };
    refused(&["--if-present"], ABSENT);
    refused(&["--if-value", ""], ABSENT);
    refused(&["--if-version", "1"], ABSENT);
    stored("first", &["--if-absent"]);
    refused(&["--if-absent"], THERE);
    refused(&["--if-value", "other"], ANOTHER);
    refused(&["--if-value", ""], ANOTHER);
    stored("-y", &["--if-present"]);
    stored("-x", &["--if-value", "-y"]);
    stored("third", &["--if-value=-x"]);
    refused(
        &["--if-version", "3"],
        "note: k is not stored: it has version 4\n",
    );
    stored("fourth", &["--if-version", "4"]);
    bench.good(&["del", "k"]);
    stored("again", &["--if-absent"]);
}

#[test]
fn a_condition_that_does_not_hold_is_told_in_json_and_creates_what_was_asked_for() {
    let bench = Bench::new();
    let run = |arguments: &[&str]| {
        let output = bench.run(&[&["--json", "set", "k", "v"], arguments].concat());
        assert!(output.stderr.is_empty());
        (output.status.code(), text(&output.stdout))
    };
    let refused = (Some(1), "{\"key\":\"k\",\"stored\":false}\n".to_owned());
    assert_eq!(run(&["--create", "--if-present"]), refused);
    assert_eq!(
        run(&["--if-absent", "--prev"]),
        (
            Some(0),
            "{\"durable\":true,\"key\":\"k\",\"prev\":null}\n".to_owned()
        )
    );
    assert_eq!(run(&["--if-absent", "--prev"]), refused);
    bench.run(&["--quiet", "set", "k", "v", "--if-absent"]);
}

#[test]
fn two_conditions_at_once_are_wrong_usage() {
    let bench = Bench::new();
    bench.good(&["init"]);
    for conditions in [
        &["--if-absent", "--if-present"][..],
        &["--if-absent", "--if-value", "v"],
        &["--if-value", "v", "--if-version", "1"],
    ] {
        let arguments = [&["--json", "set", "k", "v"], conditions].concat();
        let said = bench.bad(2, &arguments);
        assert!(said.contains("cannot be used with"), "{said}");
    }
    let said = bench.bad(2, &["--json", "set", "k", "v", "--if-version", "-1"]);
    assert!(said.contains("invalid"), "{said}");
    assert_eq!(bench.good(&["count"]), b"0\n");
}

#[test]
fn a_version_is_shown_and_rises_with_each_write() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "a", "x\ty"]);
    bench.good(&["set", "b", "1"]);
    bench.good(&["set", "b", "2"]);
    assert_eq!(bench.good(&["get", "a", "--versioned"]), b"1\tx\\ty\n");
    assert_eq!(
        bench.good(&["get", "a", "b", "--versioned"]),
        b"a\t1\tx\\ty\nb\t3\t2\n"
    );
    assert_eq!(bench.good(&["get", "b", "--versioned", "-0"]), b"3\x002\0");
    assert_eq!(
        text(
            &bench
                .run(&["get", "b", "no", "--versioned", "--json"])
                .stdout
        ),
        "{\"key\":\"b\",\"value\":\"2\",\"version\":3}\n{\"key\":\"no\",\"value\":null,\"version\":null}\n"
    );
    bench.bad(1, &["get", "no", "--versioned"]);
    assert_eq!(
        bench.good(&["scan", "--versioned"]),
        b"a\t1\tx\\ty\nb\t3\t2\n"
    );
    assert_eq!(
        bench.good(&["scan", "--versioned", "--keys", "b"]),
        b"b\t3\n"
    );
    assert_eq!(
        bench.good(&["scan", "--versioned", "--json", "b"]),
        b"{\"key\":\"b\",\"value\":\"2\",\"version\":3}\n"
    );
}

#[test]
fn a_value_with_a_time_to_live_is_gone_after_it() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "short", "v", "--ttl", "1ms"]);
    bench.good(&["set", "long", "v", "--ttl", "5m"]);
    bench.good(&["set", "stays", "v"]);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(bench.run(&["get", "short"]).status.code(), Some(1));
    assert_eq!(bench.run(&["contains", "short"]).status.code(), Some(1));
    assert_eq!(bench.good(&["scan", "--keys"]), b"long\nstays\n");
    assert_eq!(bench.good(&["count"]), b"2\n");
    // What has expired is absent to conditions, too.
    bench.good(&["set", "short", "again", "--if-absent"]);
    assert_eq!(bench.good(&["get", "short"]), b"again");
    let store = Engine::open(bench.store(), Options::new()).unwrap();
    let left =
        store.expires_at(b"long").unwrap().unwrap() - store.expiry_after(Duration::ZERO).unwrap();
    assert!((1..=300_000).contains(&left), "{left}");
    assert_eq!(store.expires_at(b"stays").unwrap(), None);
}

#[test]
fn a_time_that_is_none_stores_nothing() {
    let bench = Bench::new();
    for ttl in ["0", "0.1ms", "-5", "soon", "99999999999999999999h"] {
        let argument = format!("--ttl={ttl}");
        let output = bench.run(&["set", "--create", "k", "v", &argument]);
        assert_eq!(output.status.code(), Some(2), "{ttl}");
        assert!(!bench.store().exists(), "{ttl}");
    }
}

#[test]
fn contains_reads_no_value_and_says_what_is_absent() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "a", "v"]);
    bench.good(&["set", "b", "v"]);
    assert!(bench.good(&["contains", "a", "b"]).is_empty());
    assert_eq!(
        bench.bad(1, &["contains", "a", "no", "b"]),
        "note: no value for no\n"
    );
    let output = bench.run(&["contains", "a", "no", "--json"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (
            Some(1),
            "{\"key\":\"a\",\"present\":true}\n{\"key\":\"no\",\"present\":false}\n".to_owned()
        )
    );
    let long = "k".repeat(65_537);
    assert!(bench.bad(2, &["contains", &long]).contains("65537 bytes"));
}

#[test]
fn a_scan_goes_both_ways_and_on_behind_a_key() {
    let bench = Bench::new();
    bench.good(&["init"]);
    for key in ["a", "b1", "b2", "b3", "c"] {
        bench.good(&["set", key, "v"]);
    }
    let keys = |arguments: &[&str]| {
        let output = bench.run(&[&["scan", "--keys"], arguments].concat());
        let lines = text(&output.stdout).replace('\n', " ");
        (output.status.code().unwrap(), lines.trim_end().to_owned())
    };
    let found = |expected: &str| (0, expected.to_owned());
    let none = (1, String::new());
    assert_eq!(keys(&["--reverse"]), found("c b3 b2 b1 a"));
    assert_eq!(keys(&["--prefix", "b"]), found("b1 b2 b3"));
    assert_eq!(keys(&["b", "--reverse", "--limit", "2"]), found("b3 b2"));
    assert_eq!(keys(&["b", "--after", "b1"]), found("b2 b3"));
    assert_eq!(keys(&["b", "--after", "b2", "--reverse"]), found("b1"));
    assert_eq!(
        keys(&["--after", "b"]),
        found("b1 b2 b3 c"),
        "it need not be there"
    );
    assert_eq!(
        keys(&["--from", "b2", "--to", "c", "--reverse"]),
        found("b3 b2")
    );
    assert_eq!(keys(&["--from", "c", "--to", "a"]), none, "empty");
    assert_eq!(keys(&["--after", "c"]), none);
    assert_eq!(keys(&["--after", "a", "--reverse"]), none);
    assert_eq!(keys(&["b", "--after", "a", "--reverse"]), none);
    assert_eq!(keys(&["--after", "a", "--to", "b2"]), found("b1"));
    assert_eq!(
        bench.good(&["scan", "--reverse", "--limit", "1"]),
        b"c\tv\n"
    );
    assert_eq!(
        bench.good(&["scan", "--json", "--reverse", "--limit", "1"]),
        b"{\"key\":\"c\",\"value\":\"v\"}\n"
    );
    assert_eq!(bench.good(&["scan", "--count", "--reverse", "b"]), b"3\n");
    // Page by page: the same keys, each once.
    let mut seen = Vec::new();
    let mut after = Vec::new();
    loop {
        let mut arguments = vec!["--limit", "2"];
        arguments.extend(after.iter().flat_map(|key: &String| ["--after", key]));
        let (_, page) = keys(&arguments);
        let page: Vec<String> = page.split_whitespace().map(str::to_owned).collect();
        let Some(last) = page.last() else { break };
        after = vec![last.clone()];
        seen.extend(page);
    }
    assert_eq!(seen, ["a", "b1", "b2", "b3", "c"]);
    let twice = bench.bad(2, &["--json", "scan", "a", "--prefix", "b"]);
    assert!(twice.contains("cannot be used with"), "{twice}");
}

#[test]
fn keys_are_counted_within_edges() {
    let bench = Bench::new();
    bench.good(&["init"]);
    assert_eq!(bench.good(&["count"]), b"0\n");
    for key in ["a", "b1", "b2", "c"] {
        bench.good(&["set", key, "v"]);
    }
    assert_eq!(bench.good(&["count", "b"]), b"2\n");
    assert_eq!(bench.good(&["count", "--prefix", "b"]), b"2\n");
    assert_eq!(bench.good(&["count", "--from", "b2"]), b"2\n");
    assert_eq!(bench.good(&["count", "--from", "z", "--to", "a"]), b"0\n");
    assert_eq!(
        bench.good(&["count", "--key-as", "hex", "62", "--json"]),
        b"{\"count\":2}\n"
    );
    bench.bad(2, &["count", "--key-as", "hex", "6"]);
}
