//! Rules M1 to M8 of docs/DURABILITY.md.

use super::life::{Life, few, key, large, long, short, tuning, wide, wide_of};
use kv_log_engine::Tuning;
use kv_log_engine::storage::sim::{EIO, EMFILE, ENOSPC, Fault, FaultKind, OpKind};
use kv_tests::workload::Random;
use kv_trait::ErrorKind;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

tests! {
    the_newest_layer_is_right_whatever_is_merged_beside_it,
    appending_keys_still_lose_levels,
    a_tombstone_above_the_bottom_hides_what_is_below,
    a_queue_that_was_emptied_leaves_no_entry,
    a_tombstone_over_a_hole_goes_and_its_key_is_absent,
    a_process_that_lives_for_one_unit_ends_a_pass_all_the_same,
    a_pass_over_keys_with_a_long_common_prefix_has_units_that_end,
    a_unit_cut_short_is_as_if_it_had_not_been,
    copied_values_are_durable_before_an_edit_names_them,
    a_value_overwritten_while_it_is_copied_stays_overwritten,
    a_pass_gives_its_victims_back,
    a_segment_above_the_floor_is_emptied_on_a_full_disk_only,
    a_segment_behind_the_replay_start_is_no_victim,
    a_block_that_does_not_verify_goes_on_as_a_hole,
    a_value_that_does_not_verify_stays_where_it_is_and_merges_end,
    a_read_error_in_a_merge_makes_no_hole_and_holds_no_writer_back,
    a_unit_without_room_or_descriptors_is_given_up_and_tried_again,
    space_and_levels_keep_to_their_bounds_in_every_kind_of_history,
}

/// A store whose oldest level is so large that small levels are merged above it.
fn large_bottom(keys: u64) -> Life {
    let mut life = Life::new();
    for number in 0..keys {
        life.put(key(number), short(number));
    }
    life.compact();
    assert_eq!(life.levels(), 1);
    life
}

pub(crate) fn the_newest_layer_is_right_whatever_is_merged_beside_it() {
    let mut random = Random::new(5);
    let mut life = large_bottom(300);
    for turn in 0..60 {
        life.put(key(7), short(turn));
        for _ in 0..random.below(40) {
            life.put(key(random.below(300)), short(turn));
        }
        if turn % 5 == 3 {
            life.delete(key(8 + turn % 3));
        }
        life.freeze();
        // The next checkpoint may come in the middle of a unit.
        life.finish_checkpoint();
        for _ in 0..random.below(12) {
            life.slice();
            assert_eq!(life.store().get(&key(7)).unwrap(), Some(short(turn)));
        }
        life.check("merged");
    }
    assert!(life.store().stats().merge_units > 20);
    life.work();
    life.check("at the end");
    life.cut();
    life.check("cut");
}

pub(crate) fn appending_keys_still_lose_levels() {
    let mut life = Life::new();
    for turn in 0..40 {
        for number in 0..30 {
            life.put(key(turn * 30 + number), short(turn));
        }
        life.checkpoint_and_work();
        assert!(life.levels() <= 8, "{} levels", life.levels());
    }
    life.check("appended");
    assert!(life.store().stats().merge_units > 0);
    life.compact();
    assert_eq!(life.levels(), 1);
    life.check("compacted");
}

pub(crate) fn a_tombstone_above_the_bottom_hides_what_is_below() {
    let mut life = large_bottom(6000);
    let units = life.store().stats().merge_units;
    for turn in 0..3 {
        for number in 0..10 {
            life.delete(key(turn * 50 + number));
            life.put(key(turn * 50 + 20 + number), short(turn));
        }
        life.checkpoint();
    }
    life.work();
    assert!(life.store().stats().merge_units > units);
    assert_eq!(life.levels(), 2, "the upper levels are merged into one");
    life.check("merged");
    assert_eq!(life.tombstones(), 30);
    life.cut();
    life.check("cut");
    life.compact();
    assert_eq!(life.tombstones(), 0);
    life.check("compacted");
}

pub(crate) fn a_queue_that_was_emptied_leaves_no_entry() {
    let mut life = Life::new();
    for turn in 0..30 {
        for number in 0..20 {
            life.put(
                key(turn * 20 + number),
                if turn % 2 == 0 {
                    short(turn)
                } else {
                    long(turn)
                },
            );
        }
        if let Some(before) = u64::checked_sub(turn, 1) {
            for number in 0..20 {
                life.delete(key(before * 20 + number));
            }
        }
        life.checkpoint_and_work();
        assert!(life.entries() < 200, "{} entries", life.entries());
    }
    for number in 29 * 20..30 * 20 {
        life.delete(key(number));
    }
    life.compact();
    assert_eq!((life.entries(), life.levels()), (0, 0));
    assert!(life.files(".run").is_empty());
    life.check("emptied");
}

/// What cannot be read any more; everything else is as it was written.
fn corrupt(life: &Life, keys: impl Iterator<Item = u64>) -> BTreeSet<u64> {
    let mut corrupt = BTreeSet::new();
    for number in keys {
        match life.store().get(&key(number)) {
            Ok(found) => assert_eq!(found.as_ref(), life.model.get(&key(number)), "key {number}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                corrupt.insert(number);
            }
        }
    }
    corrupt
}

/// A store with one level of two hundred keys, a block of which does not verify.
fn with_a_bad_block() -> (Life, BTreeSet<u64>) {
    let mut life = large_bottom(200);
    let runs = life.files(".run");
    life.abandon();
    let path = runs.iter().next().unwrap();
    let mut bytes = life.disk.read_file(path).unwrap();
    // In the middle of the second block.
    bytes[104 + 200] ^= 0x20;
    life.disk.write_file(path, &bytes).unwrap();
    life.open();
    let lost = corrupt(&life, 0..200);
    assert!((2..30).contains(&lost.len()), "{lost:?}");
    (life, lost)
}

pub(crate) fn a_tombstone_over_a_hole_goes_and_its_key_is_absent() {
    let (mut life, mut lost) = with_a_bad_block();
    let deleted = *lost.iter().nth(1).unwrap();
    life.delete(key(deleted));
    lost.remove(&deleted);
    assert_eq!(corrupt(&life, 0..200), lost);
    life.compact();
    assert_eq!(life.levels(), 1);
    assert_eq!(corrupt(&life, 0..200), lost);
    assert_eq!(life.tombstones(), 0);
    life.cut();
    assert_eq!(corrupt(&life, 0..200), lost);
}

pub(crate) fn a_block_that_does_not_verify_goes_on_as_a_hole() {
    let (mut life, mut lost) = with_a_bad_block();
    for turn in 0..4 {
        let newer = *lost.iter().next().unwrap();
        life.put(key(newer), short(turn));
        life.put(key(turn * 40), short(turn));
        lost.remove(&newer);
        lost.remove(&(turn * 40));
        if turn % 2 == 0 {
            life.checkpoint_and_work();
        } else {
            life.compact();
        }
        assert_eq!(corrupt(&life, 0..200), lost, "turn {turn}");
        life.cut();
        assert_eq!(corrupt(&life, 0..200), lost, "turn {turn}, cut");
        if lost.len() < 2 {
            break;
        }
    }
}

pub(crate) fn a_process_that_lives_for_one_unit_ends_a_pass_all_the_same() {
    let whole = wide_of(240);
    whole.compact();
    let at_once = whole.store().stats().merge_units;
    assert!(at_once > 4, "{at_once} units");
    drop(whole);

    let mut life = super::checkpoints::in_the_middle_of_a_pass();
    let mut units = 2;
    for lives in 0.. {
        assert!(lives < 100, "the pass does not end: {units} units");
        life.die();
        life.freeze(); // the first change
        while life.store().stats().merge_units == 0 && life.slice() {}
        let done = life.store().stats().merge_units;
        life.check("one unit");
        units += done;
        if done == 0 {
            break;
        }
    }
    assert_eq!(life.levels(), 1);
    assert!(units <= 2 * at_once, "{units} units in place of {at_once}");
}

pub(crate) fn a_pass_over_keys_with_a_long_common_prefix_has_units_that_end() {
    let mut life = Life::new();
    let name = |number: u64| [vec![b'p'; 300], key(number)].concat();
    for turn in 0..2 {
        for number in 0..60 {
            life.put(name(number), short(turn));
        }
        life.checkpoint();
    }
    let before = life.store().stats().merge_units;
    life.compact();
    assert!(life.store().stats().merge_units >= before + 2);
    assert_eq!(life.levels(), 1);
    assert!(life.store().stats().levels[0].runs >= 2);
    life.check("merged");
    life.cut();
    life.check("cut");
}

pub(crate) fn a_unit_cut_short_is_as_if_it_had_not_been() {
    for slices in 0..24 {
        let life = wide();
        let mut left = slices;
        let report = life.store().compact(|_| {
            left -= 1;
            if left >= 0 {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        let finished = report.unwrap().finished;
        life.check("cut short");
        life.judge(&life.disk.crash_point().died(), &[&life.model], "died");
        // What was let go is removed; of the unit there is nothing left.
        life.work();
        let died = life.disk.crash_point().died();
        let opened = life.try_open(&died).unwrap();
        let debris = opened.recovery_report().debris.clone();
        drop(opened);
        assert!(debris.is_empty(), "{slices} slices leave {debris:?}");
        if finished {
            return;
        }
    }
    // And killed behind each slice, with the files of the unit still there.
    let life = wide();
    let cut = life.store().compact(|_| {
        life.judge(&life.disk.crash_point().died(), &[&life.model], "killed");
        ControlFlow::Continue(())
    });
    cut.unwrap();
}

pub(crate) fn copied_values_are_durable_before_an_edit_names_them() {
    let life = wide();
    life.disk.start_trace();
    life.compact();
    assert!(
        life.store().stats().written.values > 0,
        "nothing was copied"
    );
    life.check("compacted");
    assert!(life.cut_everywhere(&few(), &[&life.model]) > 50);
}

pub(crate) fn a_value_overwritten_while_it_is_copied_stays_overwritten() {
    let mut life = wide();
    let model = std::cell::RefCell::new(life.model.clone());
    let mut turn = 0;
    let store = life.store().clone();
    let done = store.compact(|_| {
        let mut model = model.borrow_mut();
        let (put, deleted) = (key(turn % 20 * 4), key((turn + 7) % 20 * 4));
        store.put(&put, &large(1000 + turn)).unwrap();
        model.insert(put, large(1000 + turn));
        store.remove(&deleted).unwrap();
        model.remove(&deleted);
        turn += 1;
        if turn % 6 == 0 && turn <= 12 {
            store.freeze().unwrap();
        }
        super::life::check(&store, &model, "while it is copied");
        let copied = store.stats().written.values;
        if turn < 60 || turn < 1000 && copied == 0 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    done.unwrap();
    drop(store);
    life.model = model.into_inner();
    assert!(life.store().stats().written.values > 0);
    life.check("copied");
    life.compact();
    life.check("compacted");
    life.cut();
    life.check("cut");
}

pub(crate) fn a_pass_gives_its_victims_back() {
    let mut life = Life::with_segments(tuning(), 4096);
    for turn in 0..4 {
        for number in 0..30 {
            // A part of each segment lives on.
            if turn == 0 || number % 3 > 0 {
                life.put(key(number), large(turn * 100 + number));
            }
        }
        life.checkpoint();
    }
    let before = life.files(".seg");
    let used = life.disk.used_bytes();
    life.compact();
    let stats = life.store().stats();
    assert!(stats.written.values > 0 && stats.segments_released > 5);
    let left: Vec<_> = before.intersection(&life.files(".seg")).cloned().collect();
    let live: u64 = life
        .model
        .values()
        .map(|value| value.len() as u64 + 60)
        .sum();
    let room = stats.levels[0].bytes + 2 * 4096;
    let segments: u64 = stats.segments.iter().map(|segment| segment.bytes).sum();
    assert!(
        segments <= live * 12 / 10 + room,
        "{segments} of {live}: {left:?}"
    );
    assert!(life.disk.used_bytes() < used);
    life.check("given back");
    life.cut();
    life.check("cut");
}

pub(crate) fn a_segment_above_the_floor_is_emptied_on_a_full_disk_only() {
    let tuning = Tuning {
        // So much of it is kept for a unit on a full disk that a segment's values fit.
        unit_bytes: Some(64 * 1024),
        ..tuning()
    };
    let mut life = Life::with_segments(tuning, 16 * 1024);
    for number in 0..600 {
        life.put(key(number), large(number));
    }
    life.checkpoint();
    let before = life.files(".seg");
    assert!(before.len() > 15, "{before:?}");
    // A quarter of each segment is garbage: those keys have values that stay in runs.
    for turn in 0..12 {
        for number in (0..600).step_by(4) {
            life.put(key(number), short(turn));
        }
        life.checkpoint_and_work();
    }
    let left = |life: &Life| before.intersection(&life.files(".seg")).count();
    assert!(
        left(&life) >= before.len() - 1,
        "all are three quarters live"
    );
    let stats = life.store().stats();
    assert_eq!(stats.written.values, 0, "copied for a quarter of garbage");
    assert!(stats.merge_units > 5 && stats.levels.len() < 5);
    let full = Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Create);
    life.disk.inject(full.path_contains(".run"));
    life.put(key(0), short(0));
    life.freeze();
    while life.store().run_slice().unwrap_or(false) {}
    life.wait();
    life.work();
    let emptied = before.len() - left(&life);
    assert!(emptied > 1, "{emptied} segments are emptied");
    assert!(life.store().stats().written.values > 0);
    life.check("emptied");
    life.cut();
    life.check("cut");
}

pub(crate) fn a_segment_behind_the_replay_start_is_no_victim() {
    let tuning = Tuning {
        memtable_bytes: Some(2000),
        ..tuning()
    };
    let mut life = Life::with_segments(tuning, 64 * 1024);
    for turn in 0..20 {
        life.put(b"one", large(turn));
    }
    // The replay start is in the segment that all of it is in, and so is what comes behind.
    life.fill();
    life.finish_checkpoint();
    for turn in 0..20 {
        life.put(b"two", large(turn));
    }
    // Where the disk is full everything with garbage is a victim.
    let full = Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Create);
    life.disk.inject(full.path_contains(".run"));
    life.fill();
    while life.store().run_slice().unwrap_or(false) {}
    life.wait();
    life.work();
    assert_eq!(life.store().stats().written.values, 0);
    assert_eq!(life.files(".seg").len(), 1);
    life.check("worked");
    life.put(b"three", large(3));
    life.cut();
    life.check("cut");
}

pub(crate) fn a_value_that_does_not_verify_stays_where_it_is_and_merges_end() {
    let mut life = wide();
    life.abandon();
    // Of the live values of the last turn.
    let value = large(200 + 8);
    let damaged = life.files(".seg").into_iter().find(|path| {
        let bytes = life.disk.read_file(path).unwrap();
        let at = bytes.windows(value.len()).position(|at| *at == *value);
        let Some(at) = at else { return false };
        let mut bytes = bytes;
        bytes[at + 20] ^= 1;
        life.disk.write_file(path, &bytes).unwrap();
        true
    });
    let damaged = damaged.unwrap();
    life.open();
    // More garbage in its segment: it would be a victim.
    for number in [0, 4, 12, 16, 20] {
        life.put(key(number), short(7));
    }
    let lost = BTreeSet::from([8]);
    assert_eq!(corrupt(&life, 0..80), lost);
    for round in 0..2 {
        let mut slices = 0;
        let done = life.store().compact(|_| {
            slices += 1;
            assert!(slices < 2000, "the merge does not end");
            ControlFlow::Continue(())
        });
        done.unwrap();
        assert_eq!(corrupt(&life, 0..80), lost, "round {round}");
        assert!(life.files(".seg").contains(&damaged));
    }
    for _ in 0..2 {
        life.die();
        life.freeze();
        life.work();
        assert_eq!(corrupt(&life, 0..80), lost);
    }
}

pub(crate) fn a_read_error_in_a_merge_makes_no_hole_and_holds_no_writer_back() {
    let mut life = Life::tuned(Tuning {
        memtable_bytes: Some(3000),
        ..tuning()
    });
    for number in 0..200 {
        life.put(key(number), short(number));
    }
    life.compact();
    let run = life.files(".run").iter().nth(1).unwrap().clone();
    life.tuning.by_hand = false;
    life.die();
    let error = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Read);
    life.disk.inject(error.path_contains(&run).forever());
    for turn in 0..10 {
        for number in 0..100 {
            life.put(key(number * 2), short(turn));
        }
        life.wait();
    }
    let stats = life.store().stats();
    assert!(stats.checkpoints > 5, "{} checkpoints", stats.checkpoints);
    life.disk.clear_faults();
    life.wait();
    life.compact();
    assert_eq!(life.levels(), 1);
    life.check("the disk is good again");
}

pub(crate) fn a_unit_without_room_or_descriptors_is_given_up_and_tried_again() {
    for errno in [ENOSPC, EMFILE] {
        for (kind, path) in [
            (OpKind::Create, ".run"),
            (OpKind::Create, ".seg"),
            (OpKind::Write, ".run"),
            (OpKind::Write, ".seg"),
        ] {
            if errno == EMFILE && kind == OpKind::Write {
                continue;
            }
            let life = wide();
            life.freeze();
            life.work();
            let before = life.disk.files();
            let fault = Fault::new(FaultKind::Errno(errno))
                .on(kind)
                .path_contains(path);
            life.disk.inject(fault.forever());
            let compacted = life.store().compact(|_| ControlFlow::Continue(()));
            let expected = if errno == ENOSPC {
                ErrorKind::StorageFull
            } else {
                ErrorKind::Io
            };
            // What had nothing to do needed no room.
            match compacted {
                Ok(report) => assert_eq!(report.units, 0, "{errno} {path}"),
                Err(error) => assert_eq!(error.kind(), expected, "{error}"),
            }
            life.check("given up");
            let added: Vec<_> = life
                .disk
                .files()
                .into_iter()
                .filter(|name| !before.contains(name))
                .collect();
            let units = life.store().stats().merge_units;
            assert!(units > 0 || added.is_empty(), "{added:?}");
            life.disk.clear_faults();
            life.wait();
            life.compact();
            life.check("tried again");
            assert_eq!(life.levels(), 1);
        }
    }
}

pub(crate) fn space_and_levels_keep_to_their_bounds_in_every_kind_of_history() {
    const KEYS: u64 = 300;
    for kind in 0..5 {
        let mut life = Life::with_segments(
            Tuning {
                memtable_bytes: Some(16_000),
                log_bytes: Some(32_000),
                run_bytes: Some(60_000),
                unit_bytes: Some(60_000),
                block_bytes: Some(1000),
                slice_bytes: Some(20_000),
                by_hand: false,
                ..Tuning::default()
            },
            16 * 1024,
        );
        let mut random = Random::new(kind);
        let mut most = (0, 0);
        for step in 0..4000_u64 {
            let number = match kind {
                1 if random.below(10) > 0 => random.below(KEYS / 10),
                2 | 3 => step,
                _ => random.below(KEYS),
            };
            let value = if number % 2 == 0 {
                large(step)
            } else {
                short(step)
            };
            life.put(key(number), value);
            if kind == 2 && step >= 100 {
                life.delete(key(step - 100));
            }
            if kind == 4 && step >= 3000 {
                life.delete(key(random.below(KEYS)));
            }
            let stats = life.store().stats();
            let live: u64 = life
                .model
                .iter()
                .map(|(key, value)| (key.len() + value.len() + 40) as u64)
                .sum();
            let runs: u64 = stats.levels.iter().map(|level| level.runs).sum();
            // The ends of a run take 8 KiB, however short it is.
            let allowed = live * 5 / 2 + 2 * 32_000 + 16 * 1024 + runs * 9000;
            most = (
                most.0.max(stats.disk_bytes * 100 / allowed),
                most.1.max(stats.levels.len()),
            );
        }
        life.check("at the end");
        assert!(
            most.0 <= 100,
            "kind {kind}: {} % of what is allowed",
            most.0
        );
        assert!(most.1 <= 10, "kind {kind}: {} levels", most.1);
    }
}
