//! What lies together is removed together, and only when somebody has said yes.

use super::bench::{Bench, text};

fn filled() -> Bench {
    let bench = Bench::new();
    bench.good(&["init"]);
    for key in ["a", "b1", "b2", "c"] {
        bench.good(&["set", key, "v"]);
    }
    bench
}

#[test]
fn a_prefix_and_a_range_are_removed_whole() {
    let bench = filled();
    let output = bench.run(&["del", "--prefix", "b", "--yes"]);
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), "note: removed 2 keys\n".to_owned())
    );
    assert_eq!(bench.good(&["scan", "--keys"]), b"a\nc\n");
    let bench = filled();
    assert_eq!(
        bench.good(&["del", "--range", "b", "c", "-y", "--json"]),
        b"{\"durable\":true,\"removed\":2}\n",
        "up to and without the other"
    );
    assert_eq!(bench.good(&["scan", "--keys"]), b"a\nc\n");
    let output = bench.run(&["del", "--range", "c", "a", "-y"]);
    assert_eq!(output.status.code(), Some(1), "nothing lies between");
    assert_eq!(
        bench.run(&["del", "--prefix", "z", "-y"]).status.code(),
        Some(1)
    );
    assert_eq!(bench.good(&["count"]), b"2\n");
    bench.good(&["del", "--prefix", "", "-y", "-q"]);
    assert_eq!(bench.good(&["count"]), b"0\n", "all there are");
    bench.good(&["verify"]);
}

#[test]
fn where_nobody_can_be_asked_nothing_is_removed() {
    let bench = filled();
    for arguments in [&["del", "--prefix", "b"][..], &["del", "--range", "a", "c"]] {
        assert_eq!(
            bench.bad(2, arguments),
            "error: this removes much, and there is no terminal to ask on whether it shall (pass --yes)\n"
        );
        let output = bench.run_with(arguments, b"y\n");
        assert_eq!(output.status.code(), Some(2), "a pipe is nobody");
    }
    assert_eq!(bench.good(&["count"]), b"4\n");
}

#[test]
fn keys_and_ranges_do_not_mix() {
    let bench = filled();
    for arguments in [
        &["--json", "del", "a", "--prefix", "b", "-y"][..],
        &["--json", "del", "a", "--range", "b", "c", "-y"],
        &["--json", "del", "--prefix", "b", "--range", "b", "c", "-y"],
        &["--json", "del", "--range", "b", "-y"],
        &["--json", "del", "-y"],
    ] {
        bench.bad(2, arguments);
    }
    assert_eq!(bench.good(&["count"]), b"4\n");
}

#[test]
fn a_keyspace_is_dropped_or_cleared_with_all_that_is_in_it() {
    let bench = filled();
    bench.good(&["keyspaces", "create", "a", "b", "c"]);
    for keyspace in ["a", "b", "c"] {
        bench.good(&["set", "k", "v", "--keyspace", keyspace]);
    }
    assert_eq!(
        bench.good(&["keyspaces", "clear", "a", "--yes"]),
        b"cleared keyspace a\n"
    );
    assert_eq!(bench.good(&["count", "--keyspace", "a"]), b"0\n");
    assert_eq!(
        bench.good(&["keyspaces", "drop", "a", "b", "-y", "--json"]),
        b"{\"dropped\":true,\"keyspace\":\"a\"}\n{\"dropped\":true,\"keyspace\":\"b\"}\n"
    );
    bench.bad(4, &["get", "k", "--keyspace", "a"]);
    assert_eq!(bench.good(&["get", "k", "--keyspace", "c"]), b"v");
    assert_eq!(bench.good(&["count"]), b"4\n", "the store's own are others");
    bench.good(&["keyspaces", "create", "a"]);
    assert_eq!(bench.good(&["count", "--keyspace", "a"]), b"0\n");
    bench.good(&["verify"]);
}

#[test]
fn keyspaces_are_removed_when_all_are_there_and_somebody_said_yes() {
    let bench = filled();
    bench.good(&["keyspaces", "create", "a"]);
    bench.good(&["set", "k", "v", "--keyspace", "a"]);
    for command in ["drop", "clear"] {
        let said = bench.bad(2, &["keyspaces", command, "a"]);
        assert!(said.contains("(pass --yes)"), "{said}");
        let said = bench.bad(4, &["keyspaces", command, "a", "absent", "-y"]);
        assert!(said.contains("there is no keyspace \"absent\""), "{said}");
        bench.bad(4, &["keyspaces", command, "", "-y"]);
    }
    assert_eq!(bench.good(&["count", "--keyspace", "a"]), b"1\n");
}
