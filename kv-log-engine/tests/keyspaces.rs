//! Keyspaces of the engine: their names, numbers and codecs, beside each other, through checkpoints and crashes.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use kv_log_engine::storage::sim::{CrashPolicy, SimDisk};
use kv_log_engine::{Engine, Options, Tuning, verify};
use kv_trait::{Effect, ErrorKind, Fingerprint, Postcard};
use std::collections::BTreeSet;
use std::sync::Barrier;

fn options(disk: &SimDisk) -> Options {
    Options::new().storage(disk.storage()).tuning(Tuning {
        by_hand: true,
        ..Tuning::default()
    })
}

fn open(disk: &SimDisk) -> Engine {
    Engine::open("/db", options(disk)).unwrap()
}

/// A checkpoint of all that there is; one key more makes it worth one.
fn checkpoint(store: &Engine) {
    store.put(b"written", b"to have a tail").unwrap();
    store.freeze().unwrap();
    while store.run_slice().unwrap() {}
}

fn names(store: &Engine) -> Vec<(u32, String)> {
    let keyspaces = store.keyspaces().unwrap().into_iter();
    keyspaces.map(|known| (known.id, known.name)).collect()
}

#[test]
fn keyspaces_share_no_key_and_are_there_again_behind_a_reopen_and_a_checkpoint() {
    let disk = SimDisk::new();
    let mut store = open(&disk);
    assert_eq!(names(&store), []);
    let types = Fingerprint::of::<String, u64, Postcard>(None).unwrap();
    for turn in 0..4 {
        let one = store.keyspace("one", &Fingerprint::raw()).unwrap();
        let two = store.keyspace("two", &types).unwrap();
        assert_eq!((one.keyspace_id(), two.keyspace_id()), (1, 2));
        assert_eq!(one.fingerprint(), &Fingerprint::raw());
        if turn == 0 {
            store.put(b"key", b"0").unwrap();
            let mut batch = one.batch();
            batch.put(b"key", b"1").unwrap();
            batch.put(b"more", b"1").unwrap();
            batch.select(&two).put(b"key", b"2").unwrap();
            store.write(batch).unwrap();
        }
        let of = |store: &Engine| store.get(b"key").unwrap().unwrap();
        assert_eq!([of(&store), of(&one), of(&two)], [b"0", b"1", b"2"]);
        assert_eq!(two.get(b"more").unwrap(), None);
        let scanned: Vec<_> = one.scan(..).unwrap().map(Result::unwrap).collect();
        let expected = [
            (b"key".to_vec(), b"1".to_vec()),
            (b"more".to_vec(), b"1".to_vec()),
        ];
        assert_eq!(scanned, expected);
        let backwards: Vec<_> = two.scan(..).unwrap().rev().map(Result::unwrap).collect();
        assert_eq!(backwards, [(b"key".to_vec(), b"2".to_vec())]);
        let expected = [(1, "one".to_owned()), (2, "two".to_owned())];
        assert_eq!(names(&store), expected);
        drop((one, two));
        match turn {
            0 => disk.kill_process(),
            1 => {
                checkpoint(&store);
                store.close().unwrap();
            }
            _ => store.close().unwrap(),
        }
        drop(store);
        store = open(&disk);
    }
    store.close().unwrap();
    let report = verify("/db", options(&disk)).unwrap();
    assert!(report.damages.is_empty(), "{report:?}");
}

#[test]
fn a_keyspace_of_other_types_is_refused_and_says_which() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let numbers = Fingerprint::of::<String, u64, Postcard>(None).unwrap();
    let texts = Fingerprint::of::<String, String, Postcard>(None).unwrap();
    store.keyspace("visits", &numbers).unwrap();
    for _ in 0..2 {
        let refused = store.keyspace("visits", &texts).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnsupportedFormat);
        let message = refused.to_string();
        let words = ["visits", "u64", "str"];
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        checkpoint(&store);
    }
    for name in ["", &"n".repeat(256)] {
        let refused = store.keyspace(name, &numbers).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        assert_eq!(refused.effect(), Effect::Nothing);
    }
}

#[test]
fn many_who_make_keyspaces_at_once_get_one_for_each_name() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let begin = Barrier::new(8);
    let make = |number: u32| {
        begin.wait();
        let name = (number % 4).to_string();
        let keyspace = store.keyspace(&name, &Fingerprint::raw()).unwrap();
        keyspace.put(&number.to_le_bytes(), b"mine").unwrap();
        (number % 4, keyspace.keyspace_id())
    };
    let make = &make;
    let ids: Vec<(u32, u32)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || make(number)))
            .collect();
        let done = threads.into_iter().map(|thread| thread.join().unwrap());
        done.collect()
    });
    let pairs: BTreeSet<_> = ids.iter().collect();
    assert_eq!(pairs.len(), 4, "one number for each name: {ids:?}");
    assert_eq!(names(&store).len(), 4);
    for name in 0..4 {
        let keyspace = store
            .keyspace(&name.to_string(), &Fingerprint::raw())
            .unwrap();
        assert_eq!(keyspace.scan(..).unwrap().count(), 2);
    }
}

/// The power is cut at every operation of making a keyspace, writing to it, and the checkpoint behind it.
#[test]
fn a_keyspace_is_whole_or_absent_wherever_the_power_is_cut() {
    let disk = SimDisk::new();
    let store = open(&disk);
    store.put(b"before", b"value").unwrap();
    disk.start_trace();
    let keyspace = store.keyspace("one", &Fingerprint::raw()).unwrap();
    let made = disk.op_count();
    keyspace.put(b"key", b"value").unwrap();
    let written = disk.op_count();
    checkpoint(&store);
    let trace = disk.trace().unwrap();
    let mut seen = BTreeSet::new();
    for (op, point) in trace.crash_points().enumerate() {
        for choice in point.choices(&CrashPolicy::default()) {
            let image = point.image(&choice);
            let found = open(&image);
            let named = names(&found);
            let one = found.keyspace("one", &Fingerprint::raw()).unwrap();
            assert_eq!(one.keyspace_id(), 1);
            let value = one.get(b"key").unwrap();
            assert!(!named.is_empty() || value.is_none());
            assert!(op < made || named == [(1, "one".to_owned())], "{op}");
            assert!(op < written || value.is_some(), "{op}");
            assert!(found.get(b"before").unwrap().is_some());
            seen.insert((named.len(), value.is_some()));
        }
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}
