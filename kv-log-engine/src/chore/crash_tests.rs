//! The power cut at every operation of every chore, the process killed there, and each call failed once: what the next open
//! finds is a state whose every key is right, and what was not done is done later.

use super::ground::Layers;
use super::machine::Progress;
use super::testing::{DB, Small, TINY_TUNING, Writes};
use super::tests::{history, turn};
use crate::storage::sim::{CrashPolicy, EIO, EMFILE, ENOSPC, Fault, FaultKind, OpKind, SimDisk};
use std::path::Path;
use std::time::Duration;

/// The same writes, checkpoints, merges with victims, releases and unlinks; how far the writes were at each operation.
fn traced() -> (Small, Vec<(usize, usize)>) {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 12, 60);
    small.disk.start_trace();
    let mut acknowledged = vec![(0, small.writes.len())];
    let read = |small: &Small| {
        let counters = &small.chores.ground().counters;
        [
            &counters.checkpoints,
            &counters.units,
            &counters.value_bytes,
            &counters.released,
            &counters.unlinked,
        ]
        .map(crate::stats::read)
    };
    let before = read(&small);
    for at in 12..26 {
        turn(&mut small, at, 60, |small| {
            acknowledged.push((small.disk.op_count(), small.writes.len()));
        });
        small.freeze();
        small.work();
    }
    let after = read(&small);
    let did = std::array::from_fn::<bool, 5, _>(|at| after[at] > before[at]);
    assert_eq!(did, [true; 5], "every kind of work is in it");
    (small, acknowledged)
}

/// What was acknowledged when so many operations had returned.
fn written_at(op: usize, small: &Small, acknowledged: &[(usize, usize)]) -> Writes {
    let behind = acknowledged.partition_point(|(at, _)| *at <= op);
    small.writes[..acknowledged[behind - 1].1].to_vec()
}

fn check(image: SimDisk, writes: &Writes, what: &str, go_on: bool) {
    let opened = Small::open(image, TINY_TUNING, writes);
    let opened = opened.unwrap_or_else(|error| panic!("{what}: {error}"));
    opened.check(what);
    if go_on {
        opened.work();
        opened.check(&format!("{what}, gone on"));
        assert_eq!(opened.names(), opened.named(), "{what}: nothing is left");
    }
}

#[test]
fn a_power_cut_anywhere_in_any_chore_leaves_every_key() {
    let (small, acknowledged) = traced();
    let trace = small.disk.trace().unwrap();
    let policy = CrashPolicy {
        exhaustive_units_max: 4,
        seeded: 4,
        garbled: 4,
        seed: 11,
    };
    let mut images = 0;
    for point in trace.crash_points() {
        let writes = written_at(point.op(), &small, &acknowledged);
        for (at, choice) in point.choices(&policy).iter().enumerate() {
            let what = format!("after {} of {}, choice {at}", point.op(), trace.len());
            check(point.image(choice), &writes, &what, at == 0);
            images += 1;
        }
    }
    assert!(
        images > 5000,
        "{images} images of {} operations",
        trace.len()
    );
}

#[test]
fn a_process_killed_anywhere_in_any_chore_leaves_every_key() {
    let (small, acknowledged) = traced();
    for point in small.disk.trace().unwrap().crash_points() {
        let writes = written_at(point.op(), &small, &acknowledged);
        let what = format!("killed after {}", point.op());
        check(point.died(), &writes, &what, true);
    }
}

/// Slices until there is nothing to do, or nothing may be done. Returns how many failed.
fn work_through_failures(small: &Small) -> usize {
    let mut failed = 0;
    for _ in 0..10_000 {
        match small.chores.slice() {
            Progress::Worked => {}
            Progress::Idle => return failed,
            Progress::Failed if small.poison.is_set() => return failed + 1,
            Progress::Failed => {
                failed += 1;
                small.host.advance(Duration::from_secs(20));
            }
            Progress::Busy => panic!("nobody else is at it"),
        }
    }
    panic!("work that never ends");
}

/// A store with all kinds of work before it.
fn full_of_work() -> Small {
    let mut small = Small::create(TINY_TUNING);
    history(&mut small, 14, 60);
    turn(&mut small, 14, 60, |_| {});
    small.freeze();
    small
}

/// The next open, behind a kill and behind power cuts of both kinds, finds every key.
fn check_next_open(small: &Small, what: &str) {
    for cut in 0..3 {
        let disk = small.disk.fork();
        match cut {
            0 => disk.kill_process(),
            1 => disk.power_cut_losing_all(),
            _ => disk.power_cut_keeping_all(),
        }
        check(disk, &small.writes, &format!("{what}, cut {cut}"), true);
    }
}

#[test]
fn each_call_that_fails_once_leaves_every_key_and_its_work_is_done_later() {
    let (mut failures, mut poisoned) = (0, 0);
    for (errno, kinds) in [
        (EIO, &OpKind::ALL[..]),
        (ENOSPC, &[OpKind::Create, OpKind::Write, OpKind::SetLen]),
        (EMFILE, &[OpKind::Open, OpKind::Create, OpKind::SyncDir]),
    ] {
        for kind in kinds {
            for skip in 0.. {
                let small = full_of_work();
                let fault = Fault::new(FaultKind::Errno(errno)).on(*kind).skip(skip);
                small.disk.inject(fault);
                let failed = work_through_failures(&small);
                if small.disk.fault_hits() == 0 {
                    break;
                }
                small.disk.clear_faults();
                let what = format!("{kind:?} {skip} failed with {errno}");
                failures += failed;
                small.check(&what);
                if small.poison.is_set() {
                    poisoned += 1;
                } else {
                    assert!(small.layers.frozen().is_none(), "{what}");
                    assert_eq!(small.names(), small.named(), "{what}: nothing is left");
                }
                check_next_open(&small, &what);
            }
        }
    }
    assert!(
        // A unit without room is begun anew at once, which counts as work.
        failures > 80 && poisoned > 5,
        "{failures} failed, {poisoned} poisoned"
    );
}

/// C6: a directory sync of anybody that failed since a file was made takes the file with it.
#[test]
fn a_file_made_before_a_failed_directory_sync_of_somebody_else_is_never_named() {
    let mut small = full_of_work();
    // The header is synced, the run not finished.
    while small.names() == small.named() {
        assert_eq!(small.chores.slice(), Progress::Worked);
    }
    let made: Vec<_> = small.names().difference(&small.named()).cloned().collect();
    let fault = Fault::new(FaultKind::Errno(EIO)).on(OpKind::SyncDir);
    small.disk.inject(fault);
    // Whoever it is: the reserve, say.
    let storage = small.files.shared_storage();
    storage.sync_dir(Path::new(DB)).unwrap_err();
    assert!(work_through_failures(&small) > 0);
    for name in made {
        assert!(!small.named().contains(&name), "{name} may be lost");
        assert!(!small.names().contains(&name), "{name} was given up");
    }
    small.check("done with other files");
    small.disk.power_cut_losing_all();
    let writes = std::mem::take(&mut small.writes);
    check(small.disk.fork(), &writes, "behind a power cut", true);
}

/// C8: in doubt, no file of either state is touched.
#[test]
fn an_edit_in_doubt_leaves_all_files_of_both_states() {
    for skip in 0..40 {
        let small = full_of_work();
        let fault = Fault::new(FaultKind::Errno(EIO))
            .on(OpKind::Sync)
            .path_contains("MANIFEST")
            .skip(skip);
        small.disk.inject(fault);
        let mut before = small.names();
        while small.chores.slice() == Progress::Worked {
            if !small.poison.is_set() {
                before = small.names();
            }
        }
        if small.disk.fault_hits() == 0 {
            assert!(skip > 5);
            return;
        }
        if !small.poison.is_set() {
            continue; // a generation that was not finished: nothing has happened
        }
        let there = small.names();
        assert!(before.is_subset(&there), "{skip}: a file is gone");
        small.host.advance(Duration::from_secs(60));
        assert_eq!(small.chores.slice(), Progress::Failed);
        assert_eq!(small.names(), there, "{skip}: poisoned, and changed");
        small.check("poisoned");
        small.disk.clear_faults();
        check_next_open(&small, &format!("in doubt {skip}"));
    }
    panic!("the manifest is synced for ever");
}

#[test]
fn on_a_full_disk_a_unit_is_given_up_and_done_when_there_is_room() {
    for room in (0..60_000).step_by(1500) {
        let small = full_of_work();
        let used = small.disk.used_bytes();
        small.disk.set_capacity(Some(used + room));
        for _ in 0..2000 {
            match small.chores.slice() {
                Progress::Worked => {}
                Progress::Idle | Progress::Failed => break,
                Progress::Busy => panic!("nobody else is at it"),
            }
        }
        let what = format!("{room} bytes of room");
        assert!(!small.poison.is_set(), "{what}");
        small.check(&what);
        check(small.disk.fork(), &small.writes, &what, false);
        small.disk.set_capacity(None);
        small.host.advance(Duration::from_secs(60));
        small.work();
        small.check(&format!("{what}, and then enough"));
        assert_eq!(small.names(), small.named(), "{what}: nothing is left");
    }
}
