//! Small inputs for `import`, made from the kinds of trouble that users of such tools report: each is taken, or refused
//! with its line and the cause, what stands before that line durable and nothing half done.

use super::bench::{Bench, text};
use std::path::{Path, PathBuf};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(name)
}

/// Imports a case into a new store; what the store holds after it.
fn taken(name: &str) -> (Bench, String) {
    let bench = Bench::new();
    bench.good(&["import", "--create", case(name).to_str().unwrap()]);
    let exported = text(&bench.good(&["export"]));
    bench.good(&["verify"]);
    (bench, exported)
}

#[test]
fn a_byte_order_mark_at_the_start_is_passed_over() {
    let (_, exported) = taken("bom.jsonl");
    let lines = "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"2\"}\n";
    assert_eq!(exported, lines);
    let bench = Bench::new();
    let output = bench.run_with(
        &["import", "--create"],
        b"{\"key\":\"a\",\"value\":1}\n\xef\xbb\xbf{}\n",
    );
    assert_eq!(output.status.code(), Some(2), "elsewhere it is no line");
}

#[test]
fn line_ends_of_every_kind_are_taken() {
    let (_, exported) = taken("crlf.jsonl");
    let lines = "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"{\\\"x\\\":1}\"}\n";
    assert_eq!(exported, lines);
    let (_, exported) = taken("blank-lines-no-final-newline.jsonl");
    let lines = "{\"key\":\"a\",\"value\":\"1\"}\n{\"key\":\"b\",\"value\":\"2\"}\n";
    assert_eq!(exported, lines);
}

#[test]
fn empty_keys_and_zero_bytes_are_keys_like_others() {
    let (bench, exported) = taken("empty-and-nul.jsonl");
    let lines = "{\"key\":\"\",\"value\":\"\"}\n{\"key\":\"x\",\"value\":\"shorter\"}\n\
                 {\"key\":\"x\\u0000y\",\"value\":\"nul\"}\n";
    assert_eq!(exported, lines);
    assert_eq!(bench.good(&["get", "x"]), b"shorter");
    assert_eq!(bench.good(&["get", "--key-as", "hex", "780079"]), b"nul");
}

#[test]
fn a_value_nested_deeply_is_kept_as_it_was_written() {
    let (bench, _) = taken("deep.jsonl");
    let input = std::fs::read_to_string(case("deep.jsonl")).unwrap();
    let value = input
        .trim_end()
        .strip_prefix("{\"key\":\"deep\",\"value\":");
    let value = value.and_then(|rest| rest.strip_suffix('}')).unwrap();
    assert_eq!(text(&bench.good(&["get", "deep"])), value);
}

#[test]
fn a_prefix_finds_the_keys_that_begin_with_it_and_no_others() {
    let (bench, _) = taken("prefix-ff.jsonl");
    let found = |prefix| {
        let values = bench.good(&["scan", "--key-as", "hex", prefix]);
        let values = text(&values);
        let values = values
            .lines()
            .map(|line| line.split_once('\t').unwrap().1.to_owned());
        values.collect::<Vec<_>>()
    };
    assert_eq!(found("ff"), ["ff", "ff00", "ffff", "ffffff"]);
    assert_eq!(found("ffff"), ["ffff", "ffffff"]);
    assert_eq!(found("03aaff"), ["03aaff", "03aaff00"]);
}

#[test]
fn what_could_command_a_terminal_is_escaped() {
    let (bench, _) = taken("binary-and-escapes.jsonl");
    let lines = "\\x1b]0;pwn\\x07\t\\x1b[31mred\n\\xe2\\x80\\xaertl\tx\n\\xff\\x00a\t\\x1b[31m\n";
    assert_eq!(text(&bench.good(&["scan"])), lines);
    let exported = text(&bench.good(&["export"]));
    assert!(
        !exported.contains(['\x1b', '\x07', '\u{202e}']),
        "{exported}"
    );
}

#[test]
fn what_is_wrong_is_refused_with_its_line_and_the_cause() {
    let one_value = "exactly one of value and value_b64 is needed";
    for (name, durable, wrong) in [
        (
            "dup-field.jsonl",
            0,
            "line 1: duplicate field `key` at column 16",
        ),
        (
            "dup-value.jsonl",
            0,
            "line 1: duplicate field `value` at column 30",
        ),
        ("nan.jsonl", 0, "line 1: expected value at column 20"),
        (
            "bad-utf8.jsonl",
            0,
            "line 1: the byte at column 21 is no UTF-8",
        ),
        (
            "lone-surrogate.jsonl",
            0,
            r"line 1: \ud800 is half a character, without its other half",
        ),
        ("null-missing.jsonl", 1, &format!("line 2: {one_value}")),
        (
            "key-number.jsonl",
            0,
            "line 1: invalid type: integer `5`, expected a string at column 8",
        ),
        (
            "array.json",
            0,
            "line 1: an object is expected, and an array begins here",
        ),
        (
            "pretty.json",
            0,
            "line 1: the object does not end on this line",
        ),
        (
            "two-on-a-line.jsonl",
            0,
            "line 1: trailing characters at column 24",
        ),
    ] {
        let bench = Bench::new();
        bench.good(&["init"]);
        let said = bench.bad(2, &["import", case(name).to_str().unwrap()]);
        let records = if durable == 1 {
            "1 record"
        } else {
            "0 records"
        };
        let expected = format!("error: {wrong}; what came before it is durable: {records} (");
        assert!(said.starts_with(&expected), "{name}: {said}");
        assert_eq!(
            text(&bench.good(&["scan", "--count"])),
            format!("{durable}\n")
        );
        bench.good(&["verify"]);
    }
}

#[test]
fn every_case_is_told_here() {
    let told = include_str!("cases.rs");
    for entry in std::fs::read_dir(case("")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(told.contains(&format!("\"{name}\"")), "{name}");
    }
}
