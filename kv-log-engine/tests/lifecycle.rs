//! A small store that does all that a large one does, all the time: checkpoints, merges, victims, unlinking, reopening,
//! beside a map that knows what must be there.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{Engine, Host, Options, SimHost, Tuning};
use kv_trait::{ErrorKind, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Memtables of some 20 entries, blocks of 100 bytes, values separated from 8 bytes on.
fn options(disk: &SimDisk) -> Options {
    Options::new()
        .storage(disk.storage())
        .segment_bytes(4096)
        .separation_bytes(8)
        .tuning(Tuning {
            memtable_bytes: Some(1500),
            log_bytes: Some(6000),
            block_bytes: Some(100),
            run_bytes: Some(500),
            unit_bytes: Some(1000),
            slice_bytes: Some(300),
            levels_max: Some(5),
            ..Tuning::default()
        })
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn compare(store: &Engine, model: &Model) {
    let scanned = store.scan(..).unwrap().collect::<Result<Vec<_>>>().unwrap();
    let expected: Vec<_> = model.clone().into_iter().collect();
    assert_eq!(scanned, expected);
    let mut backwards = store
        .scan(..)
        .unwrap()
        .rev()
        .collect::<Result<Vec<_>>>()
        .unwrap();
    backwards.reverse();
    assert_eq!(backwards, expected);
    for number in 0..300_u64 {
        let key = format!("key {number:03}").into_bytes();
        assert_eq!(store.get(&key).unwrap().as_ref(), model.get(&key));
    }
}

#[test]
fn a_store_that_checkpoints_and_merges_all_the_time_says_what_a_map_does() {
    for seed in 0..6 {
        let disk = SimDisk::new();
        let mut store = Engine::open("/db", options(&disk)).unwrap();
        let mut model = Model::new();
        let mut random = Random(seed);
        let mut done = (0, 0, 0);
        for step in 0..4000_u64 {
            let key = format!("key {:03}", random.below(300)).into_bytes();
            match random.below(10) {
                0..3 => assert_eq!(store.delete(&key).unwrap(), model.remove(&key)),
                3 => assert_eq!(store.get(&key).unwrap().as_ref(), model.get(&key)),
                _ => {
                    let bytes = usize::try_from(random.below(40)).unwrap();
                    let mut value = format!("{step}").into_bytes();
                    value.resize(bytes.max(value.len()), b'.');
                    let before = store.set(&key, &value).unwrap();
                    assert_eq!(before, model.insert(key, value));
                }
            }
            if step % 500 == 499 {
                compare(&store, &model);
                match random.below(3) {
                    0 => store.close().unwrap(),
                    1 => drop(store.compact(|_| std::ops::ControlFlow::Continue(()))),
                    _ => {}
                }
                let stats = store.stats();
                assert!(stats.levels.len() <= 6, "{:?}", stats.levels);
                done.0 += stats.checkpoints;
                done.1 += stats.merge_units;
                done.2 += stats.segments_released;
                drop(store);
                store = Engine::open("/db", options(&disk)).unwrap();
                compare(&store, &model);
            }
        }
        let (checkpoints, units, released) = done;
        assert!(checkpoints > 50 && units > 100 && released > 50, "{done:?}");
        store.close().unwrap();
    }
}

#[test]
fn a_compaction_takes_what_was_written_behind_a_frozen_memtable() {
    let disk = SimDisk::new();
    let tuning = Tuning {
        by_hand: true,
        ..Tuning::default()
    };
    let options = Options::new().storage(disk.storage()).tuning(tuning);
    let store = Engine::open("/db", options).unwrap();
    store.put(b"first", b"value").unwrap();
    store.freeze().unwrap();
    store.put(b"second", b"value").unwrap();
    store
        .compact(|_| std::ops::ControlFlow::Continue(()))
        .unwrap();
    let stats = store.stats();
    assert_eq!(stats.checkpoint_seqno, stats.last_seqno);
    assert_eq!(stats.levels.len(), 1);
}

#[test]
fn a_scan_that_is_too_old_says_so_though_nobody_is_there_to_end_it() {
    let disk = SimDisk::new();
    let host = Arc::new(SimHost::new(1));
    let options = Options::new()
        .storage(disk.storage())
        .host(Arc::clone(&host) as Arc<dyn Host>)
        .view_age_max(Duration::from_secs(1));
    let store = Engine::open("/db", options).unwrap();
    for key in [b"a", b"b", b"c"] {
        store.put(key, b"value").unwrap();
    }
    let mut scan = store.scan(..).unwrap();
    assert!(scan.next().unwrap().is_ok());
    host.advance(Duration::from_millis(500));
    assert!(scan.next().unwrap().is_ok(), "not yet");
    host.advance(Duration::from_secs(1));
    let error = scan.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooOld);
    assert!(scan.next().is_none());
    // Somebody else ended it in between: it says so all the same.
    let mut scan = store.scan(..).unwrap();
    host.advance(Duration::from_secs(2));
    store.put(b"d", b"value").unwrap();
    store.put(b"e", b"value").unwrap();
    assert_eq!(store.stats().oldest_view, None);
    let error = scan.next_key().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooOld);
}
