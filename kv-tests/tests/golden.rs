//! Stores of format version 0, kept: every later release must read them, with the engine and by `docs/FORMAT.md`.
//!
//! They were made by `make_them` below; `KVLOG_GOLDEN_WRITE=DIRECTORY cargo test -p kv-tests --test golden` makes them
//! again into a directory of your choice, for a new version of the format. What is kept is never replaced.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "helpers of tests may panic like tests, and put files where a user would"
)]

use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{Batch, Create, Engine, KVLog, Options, verify};
use kv_tests::corruption::{End, small_store};
use kv_tests::oracle::Contents;
use kv_tests::reader;
use kv_tests::stepped::Stepped;
use kv_tests::workload::{STORE, contents_of, options};
use kv_trait::ErrorKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A value of every shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Nothing,
    Count(u64),
    Pair(i8, String),
    Named {
        at: Option<i32>,
        list: Vec<bool>,
        map: BTreeMap<String, f64>,
    },
}

type EventKey = (i32, String);
type Events = KVLog<EventKey, Event, Stepped>;

const TAG: &str = "events-1";

fn events() -> Vec<(EventKey, Event)> {
    let map = BTreeMap::from([("pi".to_owned(), 3.25), ("e".to_owned(), -2.5)]);
    vec![
        ((-5, "minus".to_owned()), Event::Nothing),
        ((0, String::new()), Event::Count(u64::MAX)),
        ((0, "a\0b".to_owned()), Event::Pair(-7, "Grüße".to_owned())),
        (
            (70_000, "named".to_owned()),
            Event::Named {
                at: Some(-1),
                list: vec![true, false, true],
                map,
            },
        ),
    ]
}

/// Name and disk of each kept store.
fn make_them() -> Vec<(&'static str, SimDisk)> {
    let mut made = vec![
        ("power-cut", small_store(End::PowerCut).disk),
        ("torn", small_store(End::Torn).disk),
    ];
    let empty = SimDisk::new();
    let store = Engine::open(STORE, options(&empty, 11, 4096)).unwrap();
    store.close().unwrap();
    made.push(("empty", empty));

    let closed = SimDisk::new();
    let store = Engine::open(STORE, options(&closed, 12, 1024)).unwrap();
    for number in 0..30_u8 {
        let key = format!("schlüssel {}", number % 11);
        store
            .put(key.as_bytes(), &vec![number; usize::from(number) * 9])
            .unwrap();
        if number % 4 == 0 {
            store.remove(key.as_bytes()).unwrap();
        }
    }
    let mut batch = Batch::new();
    batch.put(b"", b"the empty key").unwrap();
    batch.put(&(0..=255).collect::<Vec<u8>>(), &[0; 3]).unwrap();
    batch.put(b"empty value", b"").unwrap();
    batch.delete(b"schl\xc3\xbcssel 1").unwrap();
    store.write(batch).unwrap();
    // Longer than a segment.
    store.put(b"long", &[0xa5; 5_000]).unwrap();
    store.put(b"behind", b"it").unwrap();
    store.close().unwrap();
    made.push(("closed", closed));

    let typed = SimDisk::new();
    let runtime = Stepped::default();
    let options = options(&typed, 13, 4096).tag(TAG);
    let store = runtime
        .block_on(Events::load_on(runtime.clone(), STORE, options))
        .unwrap();
    for (key, event) in events() {
        runtime.block_on(store.put(&key, &event)).unwrap();
    }
    runtime.block_on(store.close()).unwrap();
    made.push(("typed", typed));
    made
}

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v0")
}

const NAMES: [&str; 5] = ["closed", "empty", "power-cut", "torn", "typed"];

/// One line for each key: both in hexadecimal digits.
fn to_text(contents: &Contents) -> String {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let lines = contents.iter();
    lines
        .map(|(key, value)| format!("{} {}\n", hex(key), hex(value)))
        .collect()
}

fn copy(name: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join(name);
    fs::create_dir(&store).unwrap();
    for entry in fs::read_dir(kept().join(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), store.join(entry.file_name())).unwrap();
    }
    (directory, store)
}

fn expected(name: &str) -> String {
    fs::read_to_string(kept().join(format!("{name}.txt"))).unwrap()
}

#[test]
fn the_engine_reads_every_kept_store_and_goes_on_with_it() {
    for name in NAMES {
        let (_directory, path) = copy(name);
        let never = || Options::new().create(Create::Never);
        let report = verify(&path, never()).unwrap();
        assert!(report.is_clean(), "{name}: {report:?}");
        assert_eq!(report.torn_tail.is_some(), name == "torn", "{name}");
        let store = Engine::open(&path, never()).unwrap();
        assert_eq!(to_text(&contents_of(&store)), expected(name), "{name}");
        assert_eq!(store.recovery_report().torn_tail.is_some(), name == "torn");
        store.put(b"more", b"1").unwrap();
        store.close().unwrap();
        drop(store);
        let store = Engine::open(&path, never()).unwrap();
        assert_eq!(
            store.get(b"more").unwrap().as_deref(),
            Some(&b"1"[..]),
            "{name}"
        );
        store.remove(b"more").unwrap();
        assert_eq!(to_text(&contents_of(&store)), expected(name), "{name}");
    }
}

#[test]
fn a_reader_made_from_the_specification_agrees() {
    for name in NAMES {
        let found = reader::read(&kept().join(name)).unwrap();
        assert_eq!(to_text(&found.live), expected(name), "{name}");
        assert_eq!(found.torn_bytes > 0, name == "torn", "{name}");
    }
}

#[test]
fn the_types_and_the_tag_are_recorded() {
    let (_directory, path) = copy("typed");
    let runtime = Stepped::default();
    let store = runtime
        .block_on(Events::load_on(runtime.clone(), &path, Options::new()))
        .unwrap();
    for (key, event) in events() {
        assert_eq!(runtime.block_on(store.get(&key)).unwrap(), Some(event));
    }
    assert_eq!(store.engine().fingerprint().tag(), Some(TAG));
    drop(store);
    let other = KVLog::<EventKey, u64, Stepped>::load_on(runtime.clone(), &path, Options::new());
    let refused = runtime.block_on(other).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UnsupportedFormat, "{refused}");
    let tagged = Options::new().tag("events-2");
    let refused = runtime
        .block_on(Events::load_on(runtime.clone(), &path, tagged))
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::UnsupportedFormat, "{refused}");
}

#[test]
fn todays_writer_makes_stores_that_say_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let target = std::env::var_os("KVLOG_GOLDEN_WRITE").map(PathBuf::from);
    let target = target.unwrap_or_else(|| directory.path().to_path_buf());
    let made = make_them();
    assert_eq!(made.len(), NAMES.len());
    for (name, disk) in made {
        let store = target.join(name);
        fs::create_dir_all(&store).unwrap();
        for file in disk.files() {
            if let Ok(bytes) = disk.read_file(&file) {
                fs::write(store.join(file.rsplit('/').next().unwrap()), bytes).unwrap();
            }
        }
        let found = reader::read(&store).unwrap();
        fs::write(target.join(format!("{name}.txt")), to_text(&found.live)).unwrap();
        if kept().join(name).exists() {
            assert_eq!(to_text(&found.live), expected(name), "{name}");
        }
    }
}
