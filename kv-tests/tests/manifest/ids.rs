//! One number space for all files. A number is never used again, and a file that the manifest does not name is debris, or
//! shows that the manifest is older than the data.

use super::forge::{Manifest, put_u64, seal, u64_at};
use super::*;
use kv_log_engine::storage::sim::{EIO, Fault, FaultKind, OpKind};
use kv_tests::workload::contents_of;
use kv_trait::ErrorKind;
use std::collections::BTreeSet;

fn id_of(name: &str) -> u64 {
    let digits = name.trim_start_matches("/db/").trim_end_matches(".seg");
    digits.parse().unwrap()
}

fn ids(disk: &SimDisk) -> BTreeSet<u64> {
    segments(disk).iter().map(|name| id_of(name)).collect()
}

#[test]
fn the_bound_of_ids_is_raised_before_a_file_gets_a_byte() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    for _ in 0..10 {
        let bound = Manifest::of(&disk).next_file_id();
        disk.start_trace();
        rotate(&store).unwrap();
        let newest = *ids(&disk).last().unwrap();
        assert!(newest < bound, "{newest}, and the bound was {bound}");
        // An edit of its own is not needed.
        assert_eq!(Manifest::of(&disk).next_file_id(), newest + 2);
    }
}

// The process dies between the file and the edit that names it.
#[test]
fn a_rotation_that_was_cut_short_leaves_debris_and_not_a_store_that_does_not_open() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    rotate(&store).unwrap();
    let edit = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Write);
    disk.inject(edit.path_contains("MANIFEST").forever());
    rotate(&store).unwrap_err();
    let contents = contents_of(&store);
    let unnamed = segments(&disk).pop().unwrap();
    disk.kill_process();
    drop(store);
    disk.clear_faults();
    let store = open(&disk, 2);
    assert!(contents_of(&store) == contents);
    assert_eq!(
        store.recovery_report().debris,
        [unnamed.trim_start_matches("/db/")]
    );
    assert!(!segments(&disk).contains(&unnamed));
    rotate(&store).unwrap();
    assert!(!segments(&disk).contains(&unnamed), "its number is gone");
}

#[test]
fn ids_that_failed_rotations_took_are_never_given_out_again() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    let mut seen = ids(&disk);
    for round in 0..6 {
        let sync = Fault::new(FaultKind::Errno(EIO)).on(OpKind::SyncDir);
        disk.inject(sync.path_contains("/db").times(1));
        let mut taken = 0;
        // The group is refused; the file is made anew under another number.
        while rotate(&store).is_err() {
            taken += 1;
        }
        assert_eq!(taken, 1, "round {round}");
        let new: Vec<_> = ids(&disk).difference(&seen).copied().collect();
        assert_eq!(new.len(), 1);
        assert!(new[0] > *seen.last().unwrap() + 1, "one number was used up");
        seen.insert(new[0]);
        assert!(Manifest::of(&disk).next_file_id() > new[0]);
    }
}

// Names that are in the way: their numbers, too, are passed for good.
#[test]
fn ids_are_given_out_above_every_file_that_an_open_found() {
    let disk = SimDisk::new();
    drop(open(&disk, 1));
    disk.write_file("/db/00000040.seg", b"somebody's").unwrap();
    disk.write_file("/db/00000050.seg", b"").unwrap();
    let store = open(&disk, 2);
    assert_eq!(store.recovery_report().foreign, ["00000040.seg"]);
    assert_eq!(store.recovery_report().debris, ["00000050.seg"]);
    rotate(&store).unwrap();
    assert_eq!(ids(&disk).last(), Some(&51));
    drop(store);
    disk.erase_file("/db/00000040.seg").unwrap();
    let store = open(&disk, 3);
    rotate(&store).unwrap();
    assert!(*ids(&disk).last().unwrap() > 51);
}

// No file of ours can have this number, and none gets the one above it.
#[test]
fn a_name_beyond_all_ids_is_somebody_elses() {
    let disk = SimDisk::new();
    drop(open(&disk, 1));
    let name = format!("/db/{}.seg", 1_u64 << 62);
    disk.write_file(&name, b"somebody's").unwrap();
    for seed in 2..4 {
        let store = open(&disk, seed);
        assert_eq!(store.recovery_report().foreign, [&name[4..]]);
        rotate(&store).unwrap();
    }
}

// A name that came into the way while the store was open: the rotation's edit carries the number that it passed.
#[test]
fn an_id_that_a_rotation_passed_over_is_carried() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    let next = Manifest::of(&disk).next_file_id() - 1;
    for id in next..next + 3 {
        let name = format!("/db/{id:08}.seg");
        disk.write_file(&name, b"somebody's").unwrap();
    }
    rotate(&store).unwrap();
    let newest = *ids(&disk).last().unwrap();
    assert_eq!(newest, next + 3);
    assert!(Manifest::of(&disk).next_file_id() > newest);
    drop(store);
    disk.power_cut_losing_all();
    let store = open(&disk, 2);
    rotate(&store).unwrap();
    assert!(*ids(&disk).last().unwrap() > newest);
}

/// A store with some edits, one of its segments under a name that the manifest does not know, and the manifest's last edit.
fn with_unnamed(change: impl FnOnce(&mut Vec<u8>, u64), id: u64) -> SimDisk {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    for _ in 0..6 {
        rotate(&store).unwrap();
    }
    drop(store);
    disk.power_cut_losing_all();
    drop(open(&disk, 2));
    let mut file = disk.read_file(SEGMENT).unwrap();
    put_u64(&mut file, 64, id);
    change(&mut file, Manifest::of(&disk).last());
    seal(&mut file);
    disk.write_file(format!("/db/{id:08}.seg"), &file).unwrap();
    disk
}

/// The number of an id below the bound that no file has.
fn free_id() -> u64 {
    let disk = with_unnamed(|_, _| {}, 90);
    let bound = Manifest::of(&disk).next_file_id();
    let taken = ids(&disk);
    (1..bound).find(|id| !taken.contains(id)).unwrap()
}

#[test]
fn an_unnamed_file_is_debris_unless_it_shows_that_the_manifest_is_older() {
    let refused = |disk: &SimDisk, why: &str| {
        let names = disk.files();
        let error = try_open(disk, 3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let text = error.to_string();
        assert!(
            text.contains(why) && text.contains("older than the data"),
            "{text}"
        );
        assert_eq!(disk.files(), names, "nothing is removed");
    };
    let free = free_id();
    // Below the bound, made after an edit that is known: debris, frames or not.
    let disk = with_unnamed(|_, _| {}, free);
    let name = format!("{free:08}.seg");
    let store = open(&disk, 3);
    assert_eq!(store.recovery_report().debris, [name.as_str()]);
    assert!(!disk.files().contains(&format!("/db/{name}")));
    // At or above it: no frame is needed.
    let disk = with_unnamed(|file, _| file.truncate(104), 90);
    refused(&disk, "knows no file from");
    // Made after an edit that is not known.
    let disk = with_unnamed(|file, last| put_u64(file, 80, last + 1), free);
    refused(&disk, "it was made after edit");
    // Made after the last edit that is known: frames come only after the edit that names it.
    let disk = with_unnamed(|file, last| put_u64(file, 80, last), free);
    refused(&disk, "it holds frames");
    let disk = with_unnamed(
        |file, last| {
            put_u64(file, 80, last);
            file.truncate(104);
        },
        free,
    );
    assert_eq!(open(&disk, 3).recovery_report().debris, [name.as_str()]);
    // Another incarnation's: somebody's.
    let disk = with_unnamed(|file, _| file[32] ^= 1, free);
    assert_eq!(open(&disk, 3).recovery_report().foreign, [name.as_str()]);
}

#[test]
fn a_named_file_of_a_later_edit_or_another_incarnation_is_refused() {
    for (at, change, why) in [(80, 100, "older than the data"), (32, 1, "incarnation")] {
        let disk = SimDisk::new();
        let store = open(&disk, 1);
        rotate(&store).unwrap();
        drop(store);
        let mut manifest = Manifest::of(&disk);
        let mut file = disk.read_file(SEGMENT).unwrap();
        let before = u64_at(&file, at);
        put_u64(&mut file, at, before + change);
        let check = seal(&mut file);
        disk.write_file(SEGMENT, &file).unwrap();
        put_u64(manifest.item(forge::SEGMENT_ITEM, Some(1)), 48, check);
        manifest.write(&disk);
        let error = try_open(&disk, 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(why), "{error}");
    }
}

// Whatever was there first is looked for before anything is called debris.
#[test]
fn a_missing_segment_is_told_before_anything_is_removed() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    rotate(&store).unwrap();
    drop(store);
    disk.erase_file(SEGMENT).unwrap();
    disk.write_file("/db/00000002.seg", &[0; 200]).unwrap();
    let names = disk.files();
    let error = try_open(&disk, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("missing"), "{error}");
    assert_eq!(disk.files(), names);
}

// A name that nobody's store gives is no reason to run out of numbers.
#[test]
fn a_foreign_file_with_the_highest_number_does_not_use_them_up() {
    for below in 1..12 {
        let disk = SimDisk::new();
        drop(open(&disk, 1));
        let highest = format!("/db/{}.seg", (1_u64 << 62) - below);
        disk.write_file(&highest, b"somebody's").unwrap();
        let store = open(&disk, 2);
        store.put(b"k", b"v").unwrap();
        drop(rotate(&store));
        let contents = contents_of(&store);
        drop(store);
        let store = try_open(&disk, 3).unwrap_or_else(|e| panic!("{below}: {e}"));
        assert!(contents_of(&store) == contents, "{below}");
    }
}
