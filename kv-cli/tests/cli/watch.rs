//! What was written, as it is told afterwards.

use super::bench::{Bench, text};

#[test]
fn what_was_written_is_told_in_order_and_from_a_version_on() {
    let bench = Bench::new();
    bench.good(&["set", "--create", "a", "1"]);
    bench.good(&["set", "b", "x\ty"]);
    bench.good(&["set", "a", "2"]);
    bench.good(&["del", "b"]);
    let all = "1\tput\ta\t1\n2\tput\tb\tx\\ty\n3\tput\ta\t2\n4\tremove\tb\n";
    assert_eq!(text(&bench.good(&["watch"])), all);
    assert_eq!(
        text(&bench.good(&["watch", "a", "--after", "1"])),
        "3\tput\ta\t2\n"
    );
    assert_eq!(
        text(&bench.good(&["watch", "--limit", "1"])),
        "1\tput\ta\t1\n"
    );
    assert_eq!(
        text(&bench.good(&["watch", "--json", "--after", "2"])),
        "{\"change\":\"put\",\"ends_batch\":true,\"key\":\"a\",\"value\":\"2\",\"version\":3}\n\
         {\"change\":\"remove\",\"ends_batch\":true,\"key\":\"b\",\"version\":4}\n"
    );
    assert_eq!(bench.run(&["watch", "c"]).status.code(), Some(1));
    assert_eq!(bench.run(&["watch", "--after", "4"]).status.code(), Some(1));
    let ahead = bench.bad(2, &["watch", "--after", "5"]);
    assert!(ahead.contains("is ahead of the store"), "{ahead}");
    assert_eq!(
        bench.good(&["count"]),
        b"1\n",
        "nothing is changed by looking"
    );
}

#[test]
fn a_keyspace_is_watched_alone_and_erasures_are_told() {
    let bench = Bench::new();
    bench.good(&["init"]);
    bench.good(&["keyspaces", "create", "s"]);
    bench.good(&["set", "k", "v", "--keyspace", "s"]);
    bench.good(&["set", "k", "own"]);
    bench.good(&["del", "--prefix", "k", "-y", "--keyspace", "s"]);
    let told = text(&bench.good(&["watch", "--keyspace", "s"]));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(
        lines[0].ends_with("\tput\tk\tv") && lines[1].ends_with("\terase\tk\tl"),
        "{told}"
    );
}

#[test]
fn what_the_log_does_not_have_any_more_is_said() {
    let bench = Bench::new();
    bench.good(&["init", "--segment-size", "1KiB"]);
    for number in 0..10 {
        bench.good(&["set", "k", &number.to_string().repeat(500)]);
    }
    bench.good(&["compact"]);
    bench.good(&["set", "k", "last"]);
    let output = bench.run(&["watch"]);
    let said = text(&output.stderr);
    assert!(
        said.starts_with("note: the log does not have versions 1 to "),
        "{said}"
    );
    assert!(text(&output.stdout).ends_with("\tput\tk\tlast\n"));
}
