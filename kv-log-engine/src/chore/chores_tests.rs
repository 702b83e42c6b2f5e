//! Chores as others see them: who waits for what and is told why, who may do them, and what a close does.

use super::chores::Chores;
use super::ground::Layers;
use super::machine::Progress;
use super::testing::{DB, Small, TINY_TUNING, key_name};
use super::tests::{history, turn};
use crate::format::erasures::Erasures;
use crate::stats::Pressure;
use crate::storage::Storage;
use crate::storage::sim::{EIO, ENOSPC, Fault, FaultKind, OpKind};
use kv_trait::{Effect, ErrorKind};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Fills the memtable until a checkpoint is due.
fn fill(small: &mut Small, turn: u64) {
    for key in 0..40 {
        small.put_usual(key, turn);
    }
}

#[test]
fn a_checkpoint_is_due_by_memory_or_by_log_and_writers_wait_when_both_memtables_are_full() {
    let mut small = Small::create(TINY_TUNING);
    assert!(!small.chores.freeze_is_due());
    fill(&mut small, 1);
    assert!(small.chores.freeze_is_due(), "by memory");
    assert_eq!(small.chores.pressure(), None, "nothing is frozen");
    small.freeze();
    assert!(!small.chores.freeze_is_due(), "one at a time");
    assert_eq!(small.chores.pressure(), None, "there is room beside it");
    fill(&mut small, 2);
    assert_eq!(small.chores.pressure(), Some(Pressure::Memory));
    assert!(small.chores.due());
    small.work();
    assert_eq!(small.chores.pressure(), None);
    assert!(small.chores.freeze_is_due());
    small.freeze();
    small.work();
    small.layers.log_bytes.store(1_000_000, Ordering::Relaxed);
    assert!(small.chores.freeze_is_due(), "by log");
}

/// C10.
#[test]
fn a_checkpoint_that_fails_tells_why_with_effect_nothing_and_is_tried_again() {
    let mut small = Small::create(TINY_TUNING);
    fill(&mut small, 1);
    small.freeze();
    fill(&mut small, 2);
    let fault = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Write);
    small.disk.inject(fault.path_contains(".run").forever());
    assert_eq!(small.chores.slice(), Progress::Failed);
    let error = small.chores.failure(Pressure::Memory).unwrap();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(error.effect(), Effect::Nothing);
    assert_eq!(small.chores.slice(), Progress::Idle, "not at once");
    small.host.advance(Duration::from_secs(20));
    assert_eq!(small.chores.slice(), Progress::Failed, "but later");
    assert_eq!(small.names(), small.named(), "the files are given up");
    small.check("failed");
    small.disk.clear_faults();
    small.host.advance(Duration::from_secs(20));
    small.work();
    assert!(small.chores.failure(Pressure::Memory).is_none());
    assert_eq!(small.chores.pressure(), None);
    small.check("done");
}

#[test]
fn nothing_is_done_in_a_fork_or_for_somebody_elses_directory_or_before_the_open_has_paid() {
    let mut small = Small::create(TINY_TUNING);
    fill(&mut small, 1);
    small.freeze();
    small.host.set_process_id(2);
    let before = small.disk.image_hash();
    assert_eq!(small.chores.slice(), Progress::Failed);
    assert_eq!(small.disk.image_hash(), before, "a fork");
    small.host.set_process_id(1);
    small.disk.remove_file(&Path::new(DB).join("LOCK")).unwrap();
    let before = small.disk.image_hash();
    assert_eq!(small.chores.slice(), Progress::Failed);
    assert_eq!(small.disk.image_hash(), before, "another's");
    assert!(small.poison.is_set());

    let unpaid = Small::unsettled(TINY_TUNING);
    assert_eq!(unpaid.chores.slice(), Progress::Idle);
    assert!(!unpaid.chores.due());
}

#[test]
fn a_file_is_unlinked_behind_the_last_view_that_reads_it() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 10, 60);
    let view = small.layers.view();
    let expected: Vec<_> = (0..60)
        .map(|key| view.get(key_name(key).as_bytes()).unwrap())
        .collect();
    for at in 10..30 {
        turn(&mut small, at, 60, |_| {});
        small.freeze();
        small.work();
    }
    assert!(small.chores.buried() > 3);
    let found = |key| view.get(key_name(key).as_bytes()).unwrap();
    let now: Vec<_> = (0..60).map(found).collect();
    assert_eq!(now, expected, "an old view reads what it always did");
    assert_ne!(small.names(), small.named());
    drop(view);
    small.work();
    assert_eq!(small.chores.buried(), 0);
    assert_eq!(small.names(), small.named());
}

#[test]
fn a_walk_over_a_run_pins_its_file() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 10, 60);
    let levels = small.layers.levels();
    let all = crate::index::source::Interval::ALL;
    let forward = crate::index::source::Direction::Forward;
    let mut sources = levels.sources(&all, forward, &Erasures::default());
    for source in &mut sources {
        source.next().unwrap();
    }
    drop(levels);
    for at in 10..30 {
        turn(&mut small, at, 60, |_| {});
        small.freeze();
        small.work();
    }
    for source in &mut sources {
        while let Some(item) = source.next().unwrap() {
            let is_hole = matches!(item, crate::index::source::Item::Hole(_));
            assert!(!is_hole, "a file is gone: {item:?}");
        }
    }
    drop(sources);
    small.work();
    assert_eq!(small.names(), small.named());
}

/// C9.
#[test]
fn only_a_long_tail_is_written_by_a_close() {
    assert!(!Chores::tail_is_long(1000, 10));
    assert!(Chores::tail_is_long(1 << 20, 10));
    assert!(Chores::tail_is_long(1000, 10_000));
}

#[test]
fn a_close_ends_the_checkpoint_and_drops_the_unit_and_nothing_is_done_behind_it() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 14, 60);
    fill(&mut small, 50);
    small.freeze();
    small.chores.slice();
    small.chores.finish_for_close().unwrap();
    assert!(small.layers.frozen().is_none());
    assert_eq!(small.names(), small.named());
    small.check("closed");
    fill(&mut small, 51);
    small.freeze();
    let before = small.disk.image_hash();
    assert_eq!(small.chores.slice(), Progress::Idle);
    assert_eq!(small.disk.image_hash(), before);
    let writes = small.writes.clone();
    Small::open(small.disk.fork(), TINY_TUNING, &writes)
        .unwrap()
        .check("opened again");
}

#[test]
fn of_two_who_take_a_slice_at_once_one_is_told_that_the_other_is_at_it() {
    let mut small = Small::create(TINY_TUNING);
    fill(&mut small, 1);
    small.freeze();
    let gate = small.disk.hold(OpKind::Sync);
    let chores = Arc::clone(&small.chores);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| chores.slice());
        gate.wait_until_held(1);
        assert_eq!(small.chores.slice(), Progress::Busy);
        let closer = scope.spawn(|| small.chores.finish_for_close());
        gate.open();
        assert_eq!(first.join().unwrap(), Progress::Worked);
        closer.join().unwrap().unwrap();
    });
    assert!(
        small.layers.frozen().is_none(),
        "the closer waited, and ended it"
    );
    small.check("closed");
}

#[test]
fn a_slice_that_panics_poisons_and_removes_nothing() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 10, 60);
    fill(&mut small, 3);
    small.freeze();
    small.chores.slice();
    small.layers.panic_at_install.store(true, Ordering::Relaxed);
    let chores = Arc::clone(&small.chores);
    let panicked = std::thread::Builder::new()
        .spawn(move || while chores.slice() == Progress::Worked {})
        .unwrap()
        .join();
    assert!(panicked.is_err());
    small.check("panicked between the edit and the view");
    assert!(!small.chores.due());
    let names = small.names();
    assert_eq!(small.chores.slice(), Progress::Failed);
    assert_eq!(small.failure().unwrap().kind(), ErrorKind::Poisoned);
    assert_eq!(small.names(), names);
    let again = Small::open(small.disk.fork(), TINY_TUNING, &small.writes).unwrap();
    again.check("opened again");
    again.work();
    again.check("gone on");
    assert_eq!(again.names(), again.named());
}

#[test]
fn no_slice_is_due_while_all_that_there_is_waits() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 10, 60);
    assert!(!small.chores.due());
    fill(&mut small, 1);
    small.freeze();
    assert!(small.chores.due());
    let fault = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Write);
    small.disk.inject(fault.path_contains(".run").forever());
    while small.chores.slice() != Progress::Idle {}
    assert!(!small.chores.due(), "it waits for a pause to end");
    small.host.advance(Duration::from_secs(20));
    assert!(small.chores.due());
    small.disk.clear_faults();
    small.work();
    assert!(!small.chores.due());
    let view = small.layers.view();
    history(&mut small, 10, 60);
    assert!(small.chores.buried() > 0);
    assert!(!small.chores.due(), "it waits for a view to go");
    small.host.advance(Duration::from_secs(1));
    assert!(small.chores.due());
    drop(view);
    small.work();
    assert_eq!(small.chores.buried(), 0);
    assert!(!small.chores.due());
}

#[test]
fn names_are_removed_though_no_edit_fits() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 10, 60);
    let view = small.layers.view();
    history(&mut small, 10, 60);
    let buried = small.chores.buried();
    assert!(buried > 0);
    small.rotate();
    small.put_usual(1, 1);
    small.rotate();
    small.freeze();
    while small.layers.frozen().is_some() {
        assert_eq!(small.chores.slice(), Progress::Worked);
    }
    assert!(!small.manifest().releasable().is_empty());
    let fault = Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Write);
    small.disk.inject(fault.path_contains("MANIFEST"));
    let names = small.names().len();
    drop(view);
    assert_eq!(small.chores.slice(), Progress::Failed);
    assert!(small.names().len() < names);
    small.disk.clear_faults();
    small.host.advance(Duration::from_secs(20));
    small.work();
    assert_eq!(small.names(), small.named());
}

#[test]
fn a_freeze_raises_the_replay_start_also_without_a_record_behind_the_last_one() {
    let mut small = Small::create(TINY_TUNING);
    fill(&mut small, 1);
    small.freeze();
    small.work();
    small.rotate();
    small.freeze();
    small.work();
    let manifest = small.manifest();
    let active = manifest.active().unwrap().id;
    assert_eq!(manifest.checkpoint.unwrap().segment, active);
    small.freeze();
    small.work();
    assert_eq!(small.manifest().edit, manifest.edit, "nothing has changed");
}

#[test]
fn a_compaction_tries_what_has_failed_before_and_does_not_say_that_it_is_done() {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 9, 60);
    let fault = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Write);
    small.disk.inject(fault.path_contains(".run").forever());
    small.put_usual(1, 1);
    small.freeze();
    assert_eq!(small.work_until_it_fails(), Progress::Failed);
    let compact = || small.chores.compact(|| ControlFlow::Continue(()));
    let refused = compact().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Io);
    small.disk.clear_faults();
    compact().unwrap();
    assert!(small.layers.frozen().is_none());
    assert_eq!(small.layers.view().levels.len(), 1);
}
