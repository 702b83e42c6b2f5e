//! Units: what becomes of what cannot be read, where they end, and that a pass outlives its process.

use super::ground::Layers;
use super::machine::Progress;
use super::testing::{DB, Small, TINY_TUNING, key_name};
use super::tests::{history, turn};
use super::tuning::Tuning;
use crate::format::manifest::{PassEntry, SegmentEntry};
use crate::stats::read;
use crate::storage::sim::{EIO, Fault, FaultKind, OpKind};
use kv_trait::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;

fn compact(small: &mut Small) {
    small.rotate();
    small.freeze();
    small.chores.compact(|| ControlFlow::Continue(())).unwrap();
}

/// A store with one level, whose runs are as long as they get.
fn one_level(keys: u64) -> Small {
    let mut small = Small::create(Tuning {
        run_bytes: 1 << 20,
        unit_bytes: 1 << 20,
        ..TINY_TUNING
    });
    for key in 0..keys {
        small.put_usual(key, 1);
    }
    compact(&mut small);
    assert_eq!(small.manifest().runs.len(), 1);
    small
}

fn damage(small: &Small, name: &str, at: usize) {
    let path = Path::new(DB).join(name);
    let mut bytes = small.disk.read_file(&path).unwrap();
    bytes[at] ^= 0x55;
    small.disk.write_file(&path, &bytes).unwrap();
}

fn run_name(small: &Small) -> String {
    format!("{}.run", small.manifest().runs[0].id)
}

/// Keys that are corrupt, those that are absent, and those that have a value.
fn judge(small: &Small, keys: u64) -> [Vec<u64>; 3] {
    let mut found = [Vec::new(), Vec::new(), Vec::new()];
    for key in 0..keys {
        let kind = match small.layers.view().get(key_name(key).as_bytes()) {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                0
            }
            Ok(None) => 1,
            Ok(Some(_)) => 2,
        };
        found[kind].push(key);
    }
    found
}

/// A store is opened again from its disk, so that nothing is in its cache.
fn again(small: Small) -> Small {
    let writes = small.writes.clone();
    let disk = small.disk.fork();
    drop(small);
    Small::reopen(disk, TINY_TUNING, &writes).unwrap()
}

#[test]
fn a_block_that_does_not_verify_goes_on_as_a_hole_and_newer_keys_are_answered() {
    let small = one_level(60);
    damage(&small, &run_name(&small), 700);
    let mut small = again(small);
    let [corrupt, absent, _] = judge(&small, 60);
    assert!(!corrupt.is_empty() && corrupt.len() < 20 && absent.is_empty());
    let known = corrupt[0];
    small.put_usual(known, 2);
    small.put_usual(59, 2);
    compact(&mut small);
    let [still, absent, _] = judge(&small, 60);
    assert_eq!(still, corrupt[1..], "the same keys, but for the new one");
    assert!(absent.is_empty());
    assert_eq!(small.chores.damages().len(), 1, "told once");
    let mut small = again(small);
    assert_eq!(judge(&small, 60)[0], still, "as the next open has it");
    // Its tombstone goes at the bottom, and takes its key out of the hole.
    small.delete_usual(still[1]);
    compact(&mut small);
    let [left, absent, _] = judge(&small, 60);
    assert_eq!(absent, [still[1]]);
    assert_eq!(left.len(), still.len() - 1);
    let tombstones: u64 = small.manifest().runs.iter().map(|run| run.tombstones).sum();
    assert_eq!(tombstones, 0);
}

#[test]
fn a_run_that_is_missing_is_a_hole_and_merges_go_on() {
    let small = one_level(60);
    let path = Path::new(DB).join(run_name(&small));
    small.disk.erase_file(&path).unwrap();
    let mut small = again(small);
    for key in (0..60).step_by(2) {
        small.put_usual(key, 2);
    }
    compact(&mut small);
    // What is lost goes on from one run of the output to the next.
    assert!(small.manifest().runs.len() > 1);
    let [corrupt, absent, known] = judge(&small, 60);
    assert_eq!((corrupt.len(), absent.len(), known.len()), (30, 0, 30));
    // Outside of what it had, keys are absent as ever.
    assert!(
        judge(&small, 70)[1]
            .iter()
            .eq(&(60..70).collect::<Vec<_>>())
    );
}

#[test]
fn a_value_that_does_not_verify_stays_where_it_is_and_merges_end() {
    let mut small = one_level(60);
    // Garbage beside what is live, in segments that a merge wrote.
    for key in (0..60).filter(|key| key % 6 == 0) {
        small.put_usual(key, 2);
    }
    let segment = small.manifest().segments[0];
    damage(&small, &format!("{}.seg", segment.id), 300);
    let mut small = again(small);
    let corrupt = judge(&small, 60)[0].clone();
    assert_eq!(corrupt.len(), 1);
    for turns in 0..3 {
        compact(&mut small);
        let [still, absent, _] = judge(&small, 60);
        assert_eq!(still, corrupt, "{turns}");
        assert!(absent.is_empty());
    }
    assert_eq!(
        small.chores.damages().len(),
        1,
        "{:?}",
        small.chores.damages()
    );
    let manifest = small.manifest();
    let named = |entry: &SegmentEntry| entry.id == segment.id;
    assert!(manifest.segments.iter().any(named));
    // Nor for a process that goes on with the pass.
    let is_victim = |pass: &PassEntry| pass.victims.contains(&segment.id);
    assert!(!manifest.passes.is_empty());
    assert!(!manifest.passes.iter().any(is_victim));
}

/// M7: an error of the disk is no damage.
#[test]
fn a_read_error_in_a_merge_makes_no_hole_and_holds_no_writer_back() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 9, 60);
    let bottom = small.manifest().runs.last().unwrap().id;
    let fault = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Read);
    let fault = fault.path_contains(&format!("{bottom}.run")).forever();
    let mut small = again(small);
    small.disk.inject(fault);
    for at in 9..29 {
        turn(&mut small, at, 60, |_| {});
        small.freeze();
        for _ in 0..400 {
            small.chores.slice();
        }
        assert!(
            small.layers.frozen().is_none(),
            "turn {at}: checkpoints go on"
        );
        assert_eq!(small.chores.pressure(), None);
    }
    assert!(small.failure().is_some(), "merges do not");
    small.disk.clear_faults();
    small.host.advance(std::time::Duration::from_secs(60));
    small.work();
    small.check("the disk is good again");
    assert!(small.failure().is_none());
    assert!(small.chores.damages().is_empty());
}

/// M7: what lies before it is merged once. A unit that was given up would be written again by each attempt, for ever.
#[test]
fn attempts_at_a_block_that_never_answers_write_nothing() {
    let mut small = Small::create(TINY_TUNING);
    for key in 0..200 {
        small.put_usual(key, 1);
    }
    compact(&mut small);
    let runs = small.manifest().runs;
    let bad = runs[runs.len() / 2].clone();
    let mut small = again(small);
    let fault = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Read);
    let fault = fault.path_contains(&format!("{}.run", bad.id)).forever();
    small.disk.inject(fault);
    for key in 0..200 {
        small.put_usual(key, 2);
    }
    small.rotate();
    small.freeze();
    let mut written = Vec::new();
    for _ in 0..10 {
        let refused = small.chores.compact(|| ControlFlow::Continue(()));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Io);
        written.push(small.disk.written_bytes());
    }
    let merged = read(&small.chores.ground().counters.units);
    assert!(merged > 0, "what lies before the block is merged");
    let first = written[0];
    assert!(written.iter().all(|bytes| *bytes == first), "{written:?}");
    let reached = small.manifest().runs.into_iter();
    let reached = reached.filter(|run| run.taken > 0).map(|run| run.from);
    assert!(reached.max() <= Some(bad.from), "no hole was made");
    small.disk.clear_faults();
    compact(&mut small);
    small.check("the disk is good again");
    assert!(small.chores.damages().is_empty());
}

/// One bad block keeps its range from being merged, and nothing else.
#[test]
fn levels_stay_few_beside_a_pass_that_fails() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 9, 60);
    let bottom = small.manifest().runs.last().unwrap().id;
    let fault = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Read);
    let fault = fault.path_contains(&format!("{bottom}.run")).forever();
    let mut small = again(small);
    small.disk.inject(fault);
    for at in 9..80 {
        turn(&mut small, at, 60, |_| {});
        small.freeze();
        for _ in 0..400 {
            small.chores.slice();
        }
        let levels = small.layers.view().levels.len();
        assert!(levels <= 10, "turn {at}: {levels} levels");
    }
    assert!(small.failure().is_some());
    assert_eq!(small.chores.pressure(), None);
    small.disk.clear_faults();
    small.host.advance(std::time::Duration::from_secs(60));
    small.work();
    small.check("the disk is good again");
    assert!(small.failure().is_none());
}

/// M3: no bound of 256 bytes separates them.
#[test]
fn a_pass_over_keys_with_a_long_common_prefix_has_units_that_end() {
    let mut small = Small::create(Tuning {
        unit_bytes: 2000,
        ..TINY_TUNING
    });
    let prefix = "p".repeat(300);
    for round in 0..3 {
        for key in 0..80 {
            let name = format!("{prefix}{key:03}");
            small.write(name.as_bytes(), Some(format!("{round}").as_bytes()));
        }
        small.freeze();
        small.work();
    }
    compact(&mut small);
    small.check("compacted");
    let manifest = small.manifest();
    assert!(manifest.runs.len() > 2, "{} runs", manifest.runs.len());
    assert!(read(&small.chores.ground().counters.units) > 3);
    again(small).check("opened again");
}

/// M3: each process does one unit of the pass and is killed.
#[test]
fn a_process_that_lives_for_one_unit_ends_a_pass_all_the_same() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 10, 200);
    for round in 0..6 {
        for key in 0..200 {
            small.put_usual(key, 70 + round);
        }
        small.freeze();
        while small.layers.frozen().is_some() {
            assert_eq!(small.chores.slice(), Progress::Worked);
        }
    }
    small = again(small);
    let mut units = 0;
    let mut merged: u64 = 0;
    loop {
        let counters = &small.chores.ground().counters;
        while read(&counters.units) == 0 && small.chores.slice() == Progress::Worked {}
        let done = read(&counters.units);
        merged += read(&counters.merge_entries);
        small.check(&format!("unit {units}"));
        if done == 0 {
            break;
        }
        units += 1;
        assert!(units < 200, "a pass that never ends");
        small = again(small);
    }
    assert!(units > 5, "{units} units");
    assert!(
        merged < 3000,
        "{merged} entries: some were merged again and again"
    );
    assert_eq!(small.names(), small.named());
}

/// A checkpoint is not kept waiting by a long unit, and what it adds stays newer.
#[test]
fn a_checkpoint_between_two_slices_of_a_unit_changes_nothing_for_it() {
    let mut small = Small::create(Tuning {
        unit_bytes: 1 << 20,
        ..TINY_TUNING
    });
    history(&mut small, 11, 60);
    let counters = |small: &Small| {
        let counters = &small.chores.ground().counters;
        (read(&counters.checkpoints), read(&counters.units))
    };
    let mut between = 0;
    for at in 11..40 {
        turn(&mut small, at, 60, |_| {});
        small.freeze();
        let begun = counters(&small);
        // The checkpoint, and a little of whatever comes next.
        while counters(&small).0 == begun.0 {
            assert_eq!(small.chores.slice(), Progress::Worked);
        }
        small.chores.slice();
        small.chores.slice();
        let in_unit = small.names() != small.named() && counters(&small).1 == begun.1;
        turn(&mut small, at + 100, 60, |_| {});
        small.freeze();
        let before = counters(&small);
        while counters(&small).0 == before.0 {
            assert_eq!(small.chores.slice(), Progress::Worked);
        }
        between += u64::from(in_unit && counters(&small).1 == before.1);
        small.check("in the middle of a unit");
        small.work();
        small.check("behind it");
    }
    assert!(between > 3, "{between} times");
}
