//! The power cut at every operation of writing a run, and every call failed: what is left is a whole run or none.

use super::testing::{TINY, borrowed, open, path, sample, write, writer};
use super::tests::all;
use crate::format::run::tests::note;
use crate::index::source::{Direction, Interval, Item};
use crate::storage::sim::{CrashPolicy, EIO, ENOSPC, Fault, FaultKind, OpKind, SimDisk};
use crate::storage::{OpenMode, Storage};
use kv_trait::ErrorKind;
use std::path::Path;

/// Whether run 3 is there, and whole. What is there and opens as a run must be the whole one.
fn is_whole(disk: &SimDisk, what: &str) -> bool {
    if disk.open(&path(3), OpenMode::Read).is_err() {
        return false;
    }
    match open(disk, 3) {
        Ok(run) => {
            let items = all(run.range(Interval::ALL, Direction::Forward)).unwrap();
            let expected: Vec<_> = sample().into_iter().map(Item::Entry).collect();
            assert_eq!(items, expected, "{what}: opens, and is not whole");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
            false
        }
    }
}

#[test]
fn a_power_cut_leaves_a_whole_run_or_one_that_is_no_run() {
    let disk = SimDisk::new();
    disk.start_trace();
    write(&disk, 3, &sample(), TINY).unwrap();
    let finished = disk.op_count();
    disk.sync_dir(Path::new("/")).unwrap();
    let trace = disk.trace().unwrap();
    let policy = CrashPolicy {
        exhaustive_units_max: 8,
        seeded: 24,
        garbled: 24,
        seed: 5,
    };
    let (mut whole, mut none) = (0, 0);
    for point in trace.crash_points() {
        for choice in point.choices(&policy) {
            let what = format!("after {} of {} operations", point.op(), trace.len());
            let image = point.image(&choice);
            if is_whole(&image, &what) {
                whole += 1;
            } else {
                none += 1;
                assert!(
                    point.op() <= finished,
                    "{what}: the run was named, and is gone"
                );
            }
        }
    }
    note(&format!(
        "{} operations, {whole} whole runs, {none} times none",
        trace.len()
    ));
    assert!(whole > 30 && none > 100);
}

/// A process that dies leaves all that it wrote: only a finished run is one.
#[test]
fn a_process_that_dies_before_the_end_leaves_no_run() {
    let disk = SimDisk::new();
    let mut unfinished = writer(&disk, 3, TINY).unwrap();
    for entry in sample() {
        unfinished
            .push(&entry.key, &borrowed(&entry.version))
            .unwrap();
        assert!(!is_whole(&disk, "unfinished"));
    }
    drop(unfinished);
    disk.kill_process();
    let refused = open(&disk, 3).unwrap_err();
    assert!(refused.to_string().contains("not finished"), "{refused}");
}

#[test]
fn every_failing_call_ends_the_run_and_says_why() {
    let mut refused = 0;
    for (errno, kind) in [(ENOSPC, ErrorKind::StorageFull), (EIO, ErrorKind::Io)] {
        for op in [OpKind::Write, OpKind::Sync] {
            for call in 0.. {
                let disk = SimDisk::new();
                disk.inject(Fault::new(FaultKind::Errno(errno)).on(op).skip(call));
                match write(&disk, 3, &sample(), TINY) {
                    Ok(_) => {
                        assert_eq!(disk.fault_hits(), 0, "a failed call went unnoticed");
                        break;
                    }
                    Err(error) => {
                        refused += 1;
                        assert_eq!(error.kind(), kind);
                        assert!(error.to_string().contains("/00000003.run"), "{error}");
                        disk.clear_faults();
                        disk.power_cut_losing_all();
                        assert!(!is_whole(&disk, "failed"));
                    }
                }
            }
        }
    }
    note(&format!("{refused} calls failed"));
    assert!(refused > 20);
}

/// Output is synced in steps: no sync has more than a step to write.
#[test]
fn a_long_run_is_synced_on_the_way() {
    let disk = SimDisk::new();
    write(&disk, 3, &sample(), TINY).unwrap();
    let syncs = disk.calls()[&OpKind::Sync];
    let length = disk.read_file(path(3)).unwrap().len() as u64;
    let data = length - 2 * 4096;
    assert!(
        syncs >= 3 + data / (TINY.sync_bytes + 500),
        "{syncs} syncs for {data} bytes"
    );
}
