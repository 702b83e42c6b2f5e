//! The catalog with several owners at once, what it refuses to write, and what a power cut leaves of its edits.

use super::catalog::{self, Catalog, EditError};
use super::manifest;
use crate::format::edit::ENTRY_CONTENT_BYTES_MAX;
use crate::format::ids::{LevelId, SegmentId, Seqno};
use crate::format::manifest::{Checkpoint, Edit, Manifest, RunEntry, SegmentEntry, SegmentState};
use crate::format::run::RunId;
use crate::format::run::footer::Referred;
use crate::format::{Salt, StoreId};
use crate::storage::sim::{CrashPolicy, EIO, ENOSPC, Fault, FaultKind, OpKind, SimDisk};
use kv_trait::ErrorKind;
use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

const DB: &str = "/db";

fn first() -> Manifest {
    let mut manifest = Manifest::new(StoreId([1; 16]), StoreId([2; 16]), 5, 1 << 20);
    manifest.edit = manifest.edit.next();
    manifest.next_seqno = Seqno::new(100);
    manifest.next_file_id = SegmentId::new(2);
    manifest.segments.push(SegmentEntry {
        id: SegmentId::FIRST,
        salt: Salt([3; 16]),
        state: SegmentState::Active,
        base_seqno: Seqno::new(1),
        end: 104,
        chain: 7,
        min_seqno: Seqno::new(1),
        max_seqno: Seqno::ZERO,
    });
    manifest.checkpoint = Some(Checkpoint {
        seqno: Seqno::new(99),
        segment: SegmentId::FIRST,
        offset: 2048,
        chain: 8,
        frames: 1,
        records: 99,
        min_seqno: Some(Seqno::new(1)),
    });
    manifest
}

fn made(disk: &SimDisk) -> Catalog {
    let storage = disk.storage();
    storage.create_dir(Path::new(DB)).unwrap();
    storage.sync_dir(Path::new("/")).unwrap();
    catalog::create(&*storage, Path::new(DB), &first()).unwrap();
    Catalog::new(storage, DB.into(), first(), SegmentId::FIRST)
}

fn on_disk(disk: &SimDisk) -> Manifest {
    let read = manifest::read(&*disk.storage(), Path::new(DB)).unwrap();
    assert!(read.both, "{:?}", read.damaged_copy);
    read.manifest
}

fn run(id: SegmentId) -> RunEntry {
    RunEntry {
        id: RunId::from(id),
        salt: Salt([4; 16]),
        level: LevelId(id.get()),
        from: Vec::new(),
        to: None,
        taken: 0,
        file_bytes: 9000,
        entries: 50,
        tombstones: 0,
        lowest: Seqno::new(1),
        highest: Seqno::new(99),
        expiring: None,
        erased_to: Seqno::ZERO,
        referred: std::iter::once((SegmentId::FIRST, Referred::default())).collect(),
    }
}

fn naming(run: &RunEntry) -> Edit {
    let mut edit = Edit::default();
    edit.run(run);
    edit
}

#[test]
fn owners_at_once_get_ids_of_their_own_and_lose_no_edit_of_each_other() {
    let disk = SimDisk::new();
    let catalog = made(&disk);
    let own = |owner: u64| {
        let mut ids = Vec::new();
        for turn in 0..20_u64 {
            let id = catalog.allocate().unwrap();
            assert!(catalog.read(|manifest| id < manifest.next_file_id));
            catalog.apply(&naming(&run(id))).unwrap();
            ids.push(id);
            let mut counters = Edit::default();
            // What was read before another raised it must not lower it.
            counters.counters(Seqno::new(100 + 4 * turn + owner), SegmentId::new(2));
            catalog.apply(&counters).unwrap();
        }
        ids
    };
    let own = &own;
    let ids: BTreeSet<_> = thread::scope(|scope| {
        let owners: Vec<_> = (0..4)
            .map(|owner| scope.spawn(move || own(owner)))
            .collect();
        let ids = owners.into_iter().flat_map(|owner| owner.join().unwrap());
        ids.collect()
    });
    assert_eq!(ids.len(), 80);
    let named = |manifest: &Manifest| -> BTreeSet<SegmentId> {
        manifest.runs.iter().map(|run| run.id.into()).collect()
    };
    let read = on_disk(&disk);
    assert_eq!(named(&read), ids);
    assert_eq!(read.next_seqno, Seqno::new(179));
    assert!(ids.iter().all(|id| *id < read.next_file_id));
    assert_eq!(catalog.read(Manifest::clone), read);
}

// Two owners that add one to what they read: with an edit in between, one of them would be lost.
#[test]
fn an_edit_is_made_from_the_newest_state() {
    let disk = SimDisk::new();
    let catalog = made(&disk);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let changed = catalog.apply_with(|manifest| {
                        let mut edit = Edit::default();
                        edit.settings(manifest.segment_bytes + 1);
                        Some(edit)
                    });
                    assert!(changed.unwrap());
                }
            });
        }
    });
    assert_eq!(on_disk(&disk).segment_bytes, (1 << 20) + 100);
}

#[test]
fn no_edit_is_no_write() {
    let disk = SimDisk::new();
    let catalog = made(&disk);
    let before = (disk.calls(), on_disk(&disk));
    assert!(!catalog.apply_with(|_| None).unwrap());
    assert_eq!(disk.calls()[&OpKind::Sync], before.0[&OpKind::Sync]);
    assert_eq!(on_disk(&disk), before.1);
}

#[test]
fn an_edit_that_makes_no_sense_is_refused_and_not_written() {
    let disk = SimDisk::new();
    let catalog = made(&disk);
    let id = catalog.allocate().unwrap();
    catalog.apply(&naming(&run(id))).unwrap();
    let before = on_disk(&disk);
    let mut unknown = Edit::default();
    unknown.gone(&[77]);
    let mut no_active = Edit::default();
    no_active.gone(&[1]);
    let beyond = naming(&run(SegmentId::new(1 << 30)));
    let mut uncovered = run(id);
    uncovered.highest = Seqno::new(100);
    for edit in [unknown, no_active, beyond, naming(&uncovered)] {
        let writes = disk.written_bytes();
        let refused = catalog.apply(&edit);
        assert!(matches!(refused, Err(EditError::Nothing(_))), "{refused:?}");
        assert_eq!(disk.written_bytes(), writes);
        assert_eq!(catalog.read(Manifest::clone), before);
        assert!(catalog.doubt().is_none());
    }
    let next = catalog.allocate().unwrap();
    catalog.apply(&naming(&run(next))).unwrap();
    assert_eq!(on_disk(&disk).runs.len(), 2);
}

// D11: it would be written, edit by edit, and the next generation could not be.
#[test]
fn a_state_that_no_image_can_hold_is_refused_while_it_still_fits() {
    let disk = SimDisk::new();
    let catalog = made(&disk);
    let referring = |id| {
        let each = Referred {
            records: (1 << 40) - 1,
            bytes: (1 << 40) - 1,
        };
        let mut run = run(id);
        let segments = 1..=(ENTRY_CONTENT_BYTES_MAX as u64 / 13 / 3);
        run.referred = segments.map(|id| (SegmentId::new(id), each)).collect();
        naming(&run)
    };
    let mut named = Vec::new();
    let refusal = loop {
        let id = catalog.allocate().unwrap();
        match catalog.apply(&referring(id)) {
            Ok(()) => named.push(id.get()),
            Err(refusal) => break refusal,
        }
    };
    assert!(matches!(refusal, EditError::Nothing(_)), "{refusal:?}");
    assert_eq!(refusal.into_error().kind(), ErrorKind::StorageFull);
    assert_eq!(named.len(), 2);
    assert!(on_disk(&disk).image().len() <= ENTRY_CONTENT_BYTES_MAX);
    let mut gone = Edit::default();
    gone.gone(&named);
    catalog.apply(&gone).unwrap();
    assert_eq!(on_disk(&disk).runs, []);
}

#[test]
fn a_doubt_is_told_to_every_owner() {
    let disk = SimDisk::new();
    let catalog = made(&disk);
    let id = catalog.allocate().unwrap();
    disk.inject(Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Write));
    let full = catalog.apply(&naming(&run(id)));
    assert!(matches!(full, Err(EditError::Nothing(_))), "{full:?}");
    assert!(catalog.doubt().is_none());
    disk.inject(Fault::new(FaultKind::Errno(EIO)).on(OpKind::Sync));
    let failed = catalog.apply(&naming(&run(id)));
    assert!(matches!(failed, Err(EditError::InDoubt(_))), "{failed:?}");
    assert!(catalog.doubt().is_some());
    let refused = catalog.apply_with(|_| Some(naming(&run(id))));
    assert!(matches!(refused, Err(EditError::InDoubt(_))));
}

/// Where blocks are copied on write there is no room for zeros over an entry that found none, either.
#[test]
fn an_edit_that_finds_no_room_is_nothing_where_blocks_are_copied_on_write() {
    let disk = SimDisk::new();
    disk.set_copy_on_write(true);
    let catalog = made(&disk);
    let id = catalog.allocate().unwrap();
    let before = on_disk(&disk);
    let mut refused = 0;
    for room in (0..).step_by(512) {
        disk.set_capacity(Some(disk.used_bytes() + room));
        match catalog.apply(&naming(&run(id))) {
            Ok(()) => break,
            Err(EditError::Nothing(error)) => {
                assert_eq!(error.kind(), ErrorKind::StorageFull);
                assert_eq!(on_disk(&disk), before);
                refused += 1;
            }
            Err(EditError::InDoubt(error)) => panic!("{room} bytes of room: {error}"),
        }
    }
    assert!(refused > 1, "it fits twice into {refused} sectors");
    assert_eq!(on_disk(&disk).runs.len(), 1);
}

/// An owner names a run, lets the one before go, and moves the checkpoint, in one edit: a power cut leaves all of it or
/// nothing, and all of it once it was answered.
#[test]
fn a_power_cut_leaves_an_edit_whole_or_not_at_all() {
    let disk = SimDisk::new();
    let catalog = made(&disk);
    let old = catalog.allocate().unwrap();
    catalog.apply(&naming(&run(old))).unwrap();
    let before = on_disk(&disk);
    let new = catalog.allocate().unwrap();
    disk.start_trace();
    catalog
        .apply_with(|manifest| {
            let mut edit = naming(&run(new));
            edit.gone(&[old.get()]);
            let mut checkpoint = manifest.checkpoint?;
            checkpoint.offset += 8;
            edit.checkpoint(&checkpoint);
            Some(edit)
        })
        .unwrap();
    let answered = disk.op_count();
    let after = on_disk(&disk);
    let trace = disk.trace().unwrap();
    let policy = CrashPolicy {
        exhaustive_units_max: 8,
        seeded: 24,
        garbled: 24,
        seed: 5,
    };
    let mut seen = [0, 0];
    for point in trace.crash_points() {
        for choice in point.choices(&policy) {
            let image = point.image(&choice);
            let read = manifest::read(&*image.storage(), Path::new(DB)).unwrap();
            let whole = read.manifest == after;
            assert!(whole || read.manifest == before, "{}", point.op());
            assert!(whole || point.op() < answered, "{}", point.op());
            seen[usize::from(whole)] += 1;
        }
    }
    assert!(seen.iter().all(|times| *times > 3), "{seen:?}");
}
