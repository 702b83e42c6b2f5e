//! What the documents say of the tests is so: every test that `docs/DURABILITY.md` names exists.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic like tests, and read files where they lie"
)]

use kv_tests::conformance::PROPERTIES;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap().to_path_buf()
}

/// The sources below a directory.
fn sources(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(path).unwrap());
        }
    }
}

/// The functions that a source marks as tests, by whatever attributes follow the mark, and those that it lists.
fn tests_of(source: &str) -> impl Iterator<Item = String> {
    let marked = source.split("#[test]").skip(1).filter_map(|marked| {
        let (_, behind) = marked.split_once("fn ")?;
        let end = behind.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
        Some(behind[..end].to_owned())
    });
    let listed = source.split("\ntests! {").skip(1).flat_map(|listed| {
        let list = listed.split('}').next().unwrap_or_default().split(',');
        list.map(|name| name.trim().to_owned())
    });
    marked.chain(listed.filter(|name| !name.is_empty()))
}

fn known() -> BTreeSet<String> {
    let mut found = Vec::new();
    for name in [
        "kv-trait",
        "kv-log-engine",
        "kv-runtime-tokio",
        "kv-runtime-smol",
        "kv-tests",
    ] {
        for part in ["src", "tests"] {
            let directory = workspace().join(name).join(part);
            if directory.is_dir() {
                sources(&directory, &mut found);
            }
        }
    }
    let properties = PROPERTIES.iter().map(|property| property.name.to_owned());
    let tests = found.iter().flat_map(|source| tests_of(source));
    tests.chain(properties).collect()
}

fn is_target(name: &str) -> bool {
    let tests = workspace().join("kv-tests/tests");
    tests.join(format!("{name}.rs")).is_file() || tests.join(name).join("main.rs").is_file()
}

/// What stands between backticks.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether this can only be the name of a test: words of a claim, joined.
fn is_claim(code: &str) -> bool {
    let words = code.split('_').count();
    words > 3
        && code
            .chars()
            .all(|letter| letter == '_' || letter.is_ascii_lowercase())
}

#[test]
fn every_test_that_a_promise_names_exists() {
    let page = fs::read_to_string(workspace().join("docs/DURABILITY.md")).unwrap();
    let known = known();
    let mut named = BTreeSet::new();
    for promise in page.lines().filter(|line| line.starts_with("| D")) {
        let tests = promise.trim_end_matches([' ', '|']).rsplit('|').next();
        let before = named.len();
        named.extend(code(tests.unwrap()).filter(|code| !code.contains([':', '-'])));
        assert!(named.len() > before, "a promise without a test: {promise}");
    }
    assert!(named.len() > 50, "the table was not found: {named:?}");
    named.extend(code(&page).filter(|code| is_claim(code)));
    let missing: Vec<_> = named
        .iter()
        .filter(|name| !known.contains(**name) && !is_target(name))
        .collect();
    assert!(missing.is_empty(), "named and not there: {missing:?}");
}
