//! After a clean end nothing is written before the first change, which pays all.

use super::forge::Manifest;
use super::*;
use kv_log_engine::storage::sim::{CrashPolicy, EIO, Fault, FaultKind, OpKind};
use kv_tests::crash::images;
use kv_tests::workload::contents_of;
use kv_trait::Effect;
use std::collections::BTreeMap;

fn closed_store() -> SimDisk {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"k", b"v").unwrap();
    store.close().unwrap();
    disk
}

/// What was called between two moments.
fn difference(disk: &SimDisk, before: &BTreeMap<OpKind, u64>) -> BTreeMap<OpKind, u64> {
    let mut calls = disk.calls();
    for (kind, count) in &mut calls {
        *count -= before.get(kind).copied().unwrap_or_default();
    }
    calls
}

fn changes(calls: &BTreeMap<OpKind, u64>) -> Vec<(OpKind, u64)> {
    use OpKind::{Create, CreateDir, Remove, Rename, SetLen, Sync, SyncDir};
    let changing = [Create, CreateDir, Remove, Rename, SetLen, Sync, SyncDir];
    let found = changing.map(|kind| (kind, calls.get(&kind).copied().unwrap_or_default()));
    found.into_iter().filter(|(_, count)| *count > 0).collect()
}

#[test]
fn after_a_clean_close_an_open_a_read_and_a_close_write_and_sync_nothing() {
    let disk = closed_store();
    // Leftovers are no reason to write either.
    disk.write_file("/db/MANIFEST.new", b"cut short").unwrap();
    let files: Vec<_> = disk.files();
    let before_bytes: Vec<_> = files.iter().map(|name| disk.read_file(name).ok()).collect();
    let before = disk.calls();
    for seed in 2..5 {
        let store = open(&disk, seed);
        assert_eq!(store.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
        assert_eq!(store.recovery_report().rewritten_bytes, 0);
        store.close().unwrap();
    }
    let calls = difference(&disk, &before);
    // The one write of each, and the one cut, is the holder's text in LOCK.
    assert_eq!(changes(&calls), [(OpKind::SetLen, 3)]);
    assert_eq!(calls.get(&OpKind::Write), Some(&3));
    for (name, before) in files.iter().zip(before_bytes) {
        if !name.ends_with("LOCK") {
            assert_eq!(disk.read_file(name).ok(), before, "{name}");
        }
    }
}

#[test]
fn the_first_change_after_a_clean_close_pays_what_any_other_open_does() {
    let disk = closed_store();
    disk.write_file("/db/MANIFEST.new", b"cut short").unwrap();
    let last = Manifest::of(&disk).last();
    let store = open(&disk, 2);
    let before = disk.calls();
    store.put(b"first", b"1").unwrap();
    let first = difference(&disk, &before);
    // Names: two directories, and the new generation's. Files: what was rewritten, what was zeroed, both copies, the group.
    assert_eq!(first.get(&OpKind::SyncDir), Some(&3));
    assert_eq!(first.get(&OpKind::Rename), Some(&2));
    assert_eq!(first.get(&OpKind::Sync), Some(&5));
    let image = Manifest::of(&disk);
    assert_eq!((image.0.len(), image.last()), (1, last + 1));
    assert!(!disk.files().contains(&"/db/MANIFEST.new".into()));
    let before = disk.calls();
    store.put(b"second", b"2").unwrap();
    assert_eq!(changes(&difference(&disk, &before)), [(OpKind::Sync, 1)]);
}

// The floor is raised by an edit, and the mark names it: three syncs.
#[test]
fn a_close_costs_one_edit_and_one_mark() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"k", b"v").unwrap();
    let before = disk.calls();
    store.close().unwrap();
    assert_eq!(changes(&difference(&disk, &before)), [(OpKind::Sync, 3)]);
}

#[test]
fn a_store_that_was_closed_is_clean_to_any_reader_and_one_that_was_not_is_not() {
    let clean = |disk: &SimDisk| read_again(disk).unwrap().clean;
    let disk = closed_store();
    assert!(clean(&disk));
    let store = open(&disk, 2);
    store.put(b"more", b"1").unwrap();
    assert!(!clean(&disk));
    store.close().unwrap();
    assert!(clean(&disk));
    // One copy that ends elsewhere is enough.
    let mut behind = Manifest::of(&disk);
    behind.0.pop();
    disk.write_file(COPIES[1], &behind.bytes()).unwrap();
    assert!(!clean(&disk));
    drop(store);
    let before = disk.calls();
    let store = open(&disk, 3);
    assert!(store.recovery_report().damaged_manifest_copy.is_some());
    assert!(!changes(&difference(&disk, &before)).is_empty());
}

// The mark's own sync failed, the next process reads it from the cache, and writes behind it: the mark is written again.
#[test]
fn a_mark_whose_sync_failed_is_written_again_before_anything_follows_it() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"k", b"v").unwrap();
    disk.inject(
        Fault::new(FaultKind::Errno(EIO))
            .on(OpKind::Sync)
            .path_contains(".seg"),
    );
    store.close().unwrap_err();
    drop(store);
    disk.kill_process();
    disk.clear_faults();
    let store = open(&disk, 2);
    store.put(b"behind", b"the mark").unwrap();
    let contents = contents_of(&store);
    for image in images(&disk, &CrashPolicy::default()) {
        assert!(contents_of(&open(&image, 3)) == contents);
    }
}

// A write behind the mark was undone, and the undoing was not synced. The mark is the last frame again, and names an edit
// that is not the last any more: the open is no clean one.
#[test]
fn a_new_generation_voids_the_mark() {
    let disk = closed_store();
    let store = open(&disk, 2);
    let group = Fault::new(FaultKind::PartThenErrno(1 << 20, EIO)).on(OpKind::Write);
    // Behind the rewritten mark and the zeroed header, the group's room and the group itself.
    disk.inject(group.path_contains(".seg").skip(3));
    disk.inject(
        Fault::new(FaultKind::Errno(EIO))
            .on(OpKind::Sync)
            .path_contains(".seg")
            .skip(2),
    );
    let error = store.put(b"k", b"new").unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    drop(store);
    disk.clear_faults();
    let store = open(&disk, 3);
    let seen = contents_of(&store);
    let policy = CrashPolicy {
        garbled: 64,
        ..CrashPolicy::default()
    };
    for image in images(&disk, &policy) {
        assert!(contents_of(&open(&image, 4)) == seen);
    }
}
