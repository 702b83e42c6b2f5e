//! A full disk, and other reasons not to write: what can be read is served.

use super::*;
use kv_log_engine::storage::sim::{
    CrashPolicy, EACCES, EFBIG, EMFILE, ENOSPC, Fault, FaultKind, OpKind,
};
use kv_tests::corruption::{End, small_store};
use kv_tests::crash::images;
use kv_tests::workload::{contents_of, fill_without_reserve};
use kv_trait::{Effect, ErrorKind};

/// A store with a torn tail of some length: its bytes, and what the store holds.
fn torn_store() -> (SimDisk, Vec<u8>, usize, kv_tests::oracle::Contents) {
    let small = small_store(End::Torn);
    let (disk, contents) = (small.disk, small.contents);
    let name = segments(&disk).pop().unwrap();
    let mut bytes = disk.read_file(&name).unwrap();
    let (starts, _) = forge::frames(&bytes);
    let torn_at = *starts.last().unwrap();
    bytes.resize(torn_at + 3064, 0);
    bytes[torn_at + 200..].fill(0xee);
    disk.write_file(&name, &bytes).unwrap();
    (disk, bytes[torn_at..].to_vec(), torn_at, contents)
}

fn quarantined(disk: &SimDisk) -> Vec<String> {
    let mut names = disk.files();
    names.retain(|name| name.ends_with(".tail"));
    names
}

#[test]
fn a_torn_tail_that_finds_no_room_is_left_until_the_first_write_that_does() {
    let (disk, tail, torn_at, contents) = torn_store();
    fill_without_reserve(&disk);
    let store = open(&disk, 2);
    assert!(contents_of(&store) == contents);
    let report = store.recovery_report();
    let torn = report.torn_tail.clone().unwrap();
    assert_eq!((torn.bytes, torn.quarantine), (tail.len() as u64, None));
    let why = report.read_only.as_ref().unwrap();
    assert!(why.contains("3064 bytes"), "{why}");
    assert_eq!(why.matches("os error").count(), 1, "each cause once: {why}");
    // The header is gone, so that no power cut brings any of it back; the rest is where it was.
    let name = segments(&disk).pop().unwrap();
    let left = disk.read_file(&name).unwrap();
    assert_eq!(left[torn_at..torn_at + 80], [0; 80]);
    assert_eq!(left[torn_at + 80..], tail[80..]);
    let refused = store.put(b"k", b"v").unwrap_err();
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::StorageFull, Effect::Nothing)
    );
    for image in images(&disk, &CrashPolicy::default()) {
        image.set_capacity(None);
        assert!(contents_of(&open(&image, 3)) == contents);
    }
    assert_eq!(quarantined(&disk), [""; 0]);
    // Room again: the tail is kept as it was found, cut, and the write goes on.
    disk.set_capacity(None);
    store.put(b"k", b"v").unwrap();
    let kept = quarantined(&disk);
    assert_eq!(kept.len(), 1);
    assert_eq!(disk.read_file(&kept[0]).unwrap(), tail);
    disk.power_cut_losing_all();
    drop(store);
    let store = open(&disk, 4);
    assert_eq!(store.recovery_report().torn_tail, None);
    assert_eq!(contents_of(&store).len(), contents.len() + 1);
}

// The floor stays where it was: the next open has more to prove, and that is all.
#[test]
fn a_close_that_finds_no_room_for_its_edit_is_a_close() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"k", b"v").unwrap();
    let full = Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Write);
    disk.inject(full.path_contains("MANIFEST"));
    store.close().unwrap();
    drop(store);
    disk.power_cut_losing_all();
    assert_eq!(contents_of(&open(&disk, 2)).len(), 1);
}

// No file can be made for a new generation, and there is room behind the old one's edits.
#[test]
fn a_manifest_that_cannot_be_made_anew_goes_on_as_it_is() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    let full = Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Create);
    disk.inject(full.path_contains("MANIFEST").forever());
    let grown = || disk.read_file(COPIES[0]).unwrap().len() > 80 * 1024;
    while !grown() {
        rotate(&store).unwrap();
    }
    let contents = contents_of(&store);
    drop(store);
    disk.power_cut_losing_all();
    disk.clear_faults();
    assert!(contents_of(&open(&disk, 2)) == contents);
}

#[test]
fn a_full_disk_is_served_closed_and_opened_again_without_a_write() {
    for close in [true, false] {
        let (disk, _, _, contents) = torn_store();
        fill_without_reserve(&disk);
        for life in 0..3 {
            let store = open(&disk, 2 + life);
            assert!(contents_of(&store) == contents);
            if close {
                store.close().unwrap();
            }
        }
        disk.set_capacity(None);
        let store = open(&disk, 9);
        assert!(contents_of(&store) == contents);
        store.put(b"k", b"v").unwrap();
        assert_eq!(quarantined(&disk).len(), 1);
    }
}

#[test]
fn whatever_keeps_an_open_from_writing_leaves_reading() {
    for errno in [ENOSPC, EACCES, EMFILE, EFBIG] {
        for kind in [OpKind::Create, OpKind::CreateDir, OpKind::Rename] {
            let (disk, _, _, contents) = torn_store();
            let quarantine = Fault::new(FaultKind::Errno(errno)).on(kind);
            let quarantine = if kind == OpKind::Rename {
                quarantine.path_contains("quarantine")
            } else {
                quarantine
            };
            disk.inject(quarantine.forever());
            let store = open(&disk, 2);
            assert!(contents_of(&store) == contents, "{errno}, {kind:?}");
            let refused = store.put(b"k", b"v").unwrap_err();
            assert_eq!(refused.effect(), Effect::Nothing, "{errno}, {kind:?}");
            disk.clear_faults();
            store.put(b"k", b"v").unwrap();
            assert_eq!(quarantined(&disk).len(), 1);
        }
    }
}
