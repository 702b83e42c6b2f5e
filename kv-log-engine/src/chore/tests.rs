//! What chores make of a store, while nothing goes wrong.

use super::testing::{Small, TINY_TUNING};
use super::tuning::Tuning;
use std::ops::ControlFlow;

/// Some keys over and over, some of them deleted; `wrote` is told of each write.
pub(super) fn turn(small: &mut Small, turn: u64, keys: u64, mut wrote: impl FnMut(&Small)) {
    for step in 0..20 {
        let key = (turn * 7 + step * 13 + turn * step) % keys;
        if (turn + step) % 5 == 4 {
            small.delete_usual(key);
        } else {
            small.put_usual(key, turn);
        }
        wrote(small);
    }
}

/// Turns, with a checkpoint behind each, and all that is due then.
pub(super) fn history(small: &mut Small, turns: u64, keys: u64) {
    for at in 0..turns {
        turn(small, at, keys, |_| {});
        small.freeze();
        small.work();
    }
}

#[test]
fn a_checkpoint_takes_the_memtable_into_runs_of_one_level() {
    let mut small = Small::create(TINY_TUNING);
    for key in 0..20 {
        small.put_usual(key, 1);
    }
    small.delete_usual(3);
    small.freeze();
    small.put_usual(7, 2);
    small.check("frozen");
    small.work();
    small.check("written");
    let manifest = small.manifest();
    let runs = &manifest.runs;
    assert!(runs.len() > 1, "one is too long for all of it");
    assert_eq!(runs.iter().map(|run| run.entries).sum::<u64>(), 20);
    assert_eq!(runs.iter().map(|run| run.tombstones).sum::<u64>(), 1);
    let first = runs.iter().map(|run| run.id.get()).min().unwrap();
    assert!(runs.iter().all(|run| run.level.0 == first), "of one level");
    assert_eq!(manifest.checkpoint.unwrap().seqno.get(), 21);
    let again = Small::open(small.disk.fork(), TINY_TUNING, &small.writes).unwrap();
    again.check("opened again");
}

#[test]
fn an_empty_memtable_raises_the_checkpoint_without_a_run() {
    let mut small = Small::create(TINY_TUNING);
    small.freeze();
    small.work();
    let manifest = small.manifest();
    assert!(manifest.runs.is_empty() && manifest.checkpoint.is_some());
}

#[test]
fn every_key_keeps_its_last_value_through_many_checkpoints_and_merges() {
    let mut small = Small::create(TINY_TUNING);
    for turns in 0..10 {
        history(&mut small, 6, 60);
        small.check(&format!("turn {turns}"));
    }
    let levels = small.layers.view().levels.len();
    assert!(levels <= 8, "{levels} levels");
    let counters = &small.chores.ground().counters;
    let units = crate::stats::read(&counters.units);
    let copied = crate::stats::read(&counters.value_bytes);
    let unlinked = crate::stats::read(&counters.unlinked);
    assert!(
        units > 20 && copied > 500 && unlinked > 100,
        "{units} {copied} {unlinked}"
    );
    assert_eq!(small.names(), small.named(), "no file is left behind");
    let again = Small::open(small.disk.fork(), TINY_TUNING, &small.writes).unwrap();
    again.check("opened again");
}

#[test]
fn what_was_deleted_takes_nothing_after_a_compaction() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 10, 60);
    for key in 0..60 {
        small.delete_usual(key);
    }
    small.rotate();
    small.freeze();
    small.chores.compact(|| ControlFlow::Continue(())).unwrap();
    small.check("compacted");
    let manifest = small.manifest();
    assert!(manifest.runs.is_empty(), "{:?}", manifest.runs);
    assert_eq!(manifest.segments.len(), 1);
    assert_eq!(small.names(), small.named());
}

#[test]
fn a_compaction_leaves_one_level_and_little_garbage() {
    let mut small = Small::create(Tuning {
        unit_bytes: 60_000,
        run_bytes: 20_000,
        ..TINY_TUNING
    });
    history(&mut small, 30, 200);
    small.rotate();
    small.freeze();
    let mut told = Vec::new();
    let chores = &small.chores;
    chores
        .compact(|| {
            told.push(chores.standing());
            ControlFlow::Continue(())
        })
        .unwrap();
    small.check("compacted");
    assert!(told.len() > 10);
    let last = told.last().unwrap();
    assert_eq!(last.levels, 1);
    assert!(last.total_bytes * 100 <= last.live_bytes * 120, "{last:?}");
    assert_eq!(small.names(), small.named());
}

#[test]
fn a_unit_that_is_dropped_leaves_nothing_and_is_done_again() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 12, 60);
    for key in 0..30 {
        small.put_usual(key, 99);
    }
    small.freeze();
    small.chores.slice();
    let again = Small::open(small.disk.fork(), TINY_TUNING, &small.writes).unwrap();
    again.check("dropped");
    again.work();
    again.check("done again");
    assert_eq!(again.names(), again.named());
}
