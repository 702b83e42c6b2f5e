//! A change of the manifest that fails is *nothing* only when that is certain; in doubt the store is poisoned and nothing is
//! removed.

use super::*;
use kv_log_engine::storage::sim::{
    CrashPolicy, EACCES, EIO, EMFILE, ENOSPC, Fault, FaultKind, OpKind,
};
use kv_tests::crash::images;
use kv_tests::workload::contents_of;
use kv_trait::{Effect, ErrorKind};

fn fault(errno: i32, kind: OpKind, path: &str) -> Fault {
    Fault::new(FaultKind::Errno(errno))
        .on(kind)
        .path_contains(path)
}

fn poisoned(store: &Engine) -> bool {
    let refused = store.put(b"poisoned?", b"");
    refused.is_err_and(|error| error.kind() == ErrorKind::Poisoned)
}

/// Everything that a power cut may leave opens and holds the same.
fn every_image_holds(disk: &SimDisk, store: &Engine) {
    let contents = contents_of(store);
    for image in images(disk, &CrashPolicy::default()) {
        assert!(contents_of(&open(&image, 9)) == contents);
    }
}

/// What stands in a copy, without the zeros behind it.
fn entries(disk: &SimDisk, copy: &str) -> Vec<u8> {
    let mut bytes = disk.read_file(copy).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes.truncate(end + 1);
    bytes
}

#[test]
fn an_edit_that_could_not_be_written_is_taken_back_and_nothing() {
    for copy in COPIES {
        for kind in [
            FaultKind::Errno(ENOSPC),
            FaultKind::Errno(EIO),
            FaultKind::PartThenErrno(100, EIO),
            FaultKind::PartThenErrno(1 << 20, EIO),
        ] {
            let disk = SimDisk::new();
            let store = open(&disk, 1);
            rotate(&store).unwrap();
            let before = COPIES.map(|copy| entries(&disk, copy));
            // The files are open under the names that they had when they were made.
            let path = format!("{copy}.new");
            disk.inject(Fault::new(kind).on(OpKind::Write).path_contains(&path));
            let error = rotate(&store).unwrap_err();
            assert_eq!(error.effect(), Effect::Nothing, "{copy}, {kind:?}");
            let left = COPIES.map(|copy| entries(&disk, copy));
            assert!(left == before, "{copy}, {kind:?}: nothing of it is left");
            every_image_holds(&disk, &store);
            rotate(&store).unwrap();
            every_image_holds(&disk, &store);
        }
    }
}

#[test]
fn an_edit_that_could_not_be_taken_back_is_in_doubt() {
    for copy in COPIES {
        for undo in [OpKind::Write, OpKind::Sync] {
            let disk = SimDisk::new();
            let store = open(&disk, 1);
            rotate(&store).unwrap();
            let written = Fault::new(FaultKind::PartThenErrno(1 << 20, EIO)).on(OpKind::Write);
            disk.inject(written.path_contains(&format!("{copy}.new")));
            disk.inject(
                fault(EIO, undo, "MANIFEST")
                    .skip(u64::from(undo == OpKind::Write && copy == COPIES[1])),
            );
            let error = rotate(&store).unwrap_err();
            assert_eq!(
                error.effect(),
                Effect::Nothing,
                "of the write that was refused"
            );
            assert!(poisoned(&store), "{copy}, {undo:?}");
            every_image_holds(&disk, &store);
        }
    }
}

#[test]
fn an_edit_whose_sync_failed_is_in_doubt() {
    for copy in COPIES {
        for errno in [EIO, ENOSPC] {
            let disk = SimDisk::new();
            let store = open(&disk, 1);
            rotate(&store).unwrap();
            disk.inject(fault(errno, OpKind::Sync, &format!("{copy}.new")));
            rotate(&store).unwrap_err();
            assert!(poisoned(&store), "{copy}");
            every_image_holds(&disk, &store);
        }
    }
}

/// A store that was closed, and debris that its next change removes.
fn with_debris() -> (SimDisk, &'static str) {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    rotate(&store).unwrap();
    store.close().unwrap();
    drop(store);
    disk.write_file("/db/00000009.seg", &[0; 200]).unwrap();
    (disk, "/db/00000009.seg")
}

// Whichever step of the new generation fails, for the first change after a clean close or for any other open.
#[test]
fn nothing_is_removed_before_the_new_generation_is_durable() {
    let steps = [
        (fault(EACCES, OpKind::Create, "MANIFEST.new"), false),
        (fault(EACCES, OpKind::Create, "MANIFEST.2.new"), false),
        // Twice: the second try has the reserve.
        (fault(ENOSPC, OpKind::Write, "MANIFEST.new").times(2), false),
        (
            fault(ENOSPC, OpKind::Write, "MANIFEST.2.new").times(2),
            false,
        ),
        (fault(EIO, OpKind::Sync, "MANIFEST.new"), false),
        (fault(EIO, OpKind::Sync, "MANIFEST.2.new"), false),
        (fault(EIO, OpKind::Rename, "MANIFEST.new"), true),
        (fault(EIO, OpKind::Rename, "MANIFEST.2.new"), true),
        (fault(EIO, OpKind::SyncDir, "/db").skip(1), true),
    ];
    for (number, (fault, in_doubt)) in steps.into_iter().enumerate() {
        for clean in [true, false] {
            let context = format!("step {number}, after a clean close: {clean}");
            let (disk, debris) = with_debris();
            if !clean {
                disk.erase_file(COPIES[1]).unwrap();
            }
            let there = |disk: &SimDisk| disk.files().contains(&debris.to_owned());
            disk.inject(fault.clone());
            let store = match try_open(&disk, 2) {
                Ok(store) => store,
                Err(error) => {
                    assert!(in_doubt && !clean, "{context}: {error}");
                    assert!(there(&disk), "{context}");
                    continue;
                }
            };
            if clean {
                let refused = store.put(b"k", b"v").unwrap_err();
                assert_eq!(refused.effect(), Effect::Nothing, "{context}");
            } else {
                assert!(store.recovery_report().read_only.is_some(), "{context}");
            }
            assert!(there(&disk), "{context}");
            disk.clear_faults();
            assert_eq!(poisoned(&store), in_doubt, "{context}");
            assert_eq!(there(&disk), in_doubt, "{context}: gone with the change");
        }
    }
}

// What is needed after the first rename is open before it.
#[test]
fn a_change_needs_no_descriptor_once_it_has_begun() {
    let (disk, _) = with_debris();
    let store = open(&disk, 2);
    for skip in 0..2 {
        for kind in [OpKind::Open, OpKind::Create] {
            disk.inject(fault(EMFILE, kind, "/db").skip(skip).forever());
        }
        let refused = store.put(b"k", b"v").unwrap_err();
        assert_eq!(refused.effect(), Effect::Nothing);
        disk.clear_faults();
    }
    // The directory, and both files: from then on the table may be full.
    for kind in [OpKind::Open, OpKind::Create] {
        let opens = if kind == OpKind::Open { 1 } else { 2 };
        disk.inject(fault(EMFILE, kind, "/db").skip(opens).forever());
    }
    store.put(b"k", b"v").unwrap();
    let refused = rotate(&store).unwrap_err();
    assert_eq!(refused.effect(), Effect::Nothing);
    disk.clear_faults();
    rotate(&store).unwrap();
    every_image_holds(&disk, &store);
}

// What was written of an edit is on the device although zeros were read in its place; the generation that the next open
// makes has the same number, and the power is cut between its two names.
#[test]
fn an_edit_that_comes_back_beside_the_generation_made_without_it_contradicts_nothing() {
    for copy in COPIES {
        let disk = SimDisk::new();
        let store = open(&disk, 1);
        rotate(&store).unwrap();
        let other = COPIES.iter().find(|other| **other != copy).unwrap();
        // One has the whole edit; of the other nothing could be written, and nothing of it be taken back for good.
        disk.inject(fault(EIO, OpKind::Write, &format!("{other}.new")));
        if copy == COPIES[1] {
            disk.clear_faults();
            let part = Fault::new(FaultKind::PartThenErrno(1 << 20, EIO)).on(OpKind::Write);
            disk.inject(part.path_contains(&format!("{copy}.new")));
        }
        disk.inject(fault(EIO, OpKind::Sync, "MANIFEST"));
        rotate(&store).unwrap_err();
        assert!(poisoned(&store), "{copy}");
        let contents = contents_of(&store);
        disk.kill_process();
        drop(store);
        disk.clear_faults();
        disk.start_trace();
        let store = open(&disk, 2);
        assert!(contents_of(&store) == contents);
        let policy = CrashPolicy {
            exhaustive_units_max: 0,
            garbled: 512,
            ..CrashPolicy::default()
        };
        for point in disk.trace().unwrap().crash_points() {
            for choice in point.choices(&policy) {
                let image = point.image(&choice);
                let store =
                    try_open(&image, 3).unwrap_or_else(|e| panic!("{copy}, {}: {e}", point.op()));
                assert!(contents_of(&store) == contents);
            }
        }
    }
}
