//! Two files, of which either serves.

use super::forge::Manifest;
use super::*;
use kv_log_engine::storage::sim::{EIO, Fault, FaultKind, OpKind};
use kv_log_engine::verify;
use kv_tests::corruption::{End, small_store};
use kv_tests::oracle::Contents;
use kv_tests::workload::contents_of;
use kv_trait::ErrorKind;

/// Everything that a copy can have met, with a name; `None`: it is gone.
fn damaged(whole: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let mut all: Vec<(String, Option<Vec<u8>>)> = vec![
        ("gone".into(), None),
        ("empty".into(), Some(Vec::new())),
        ("a byte longer".into(), Some([whole, &[0]].concat())),
        (
            "a byte of garbage longer".into(),
            Some([whole, &[7]].concat()),
        ),
        (
            "a byte shorter".into(),
            Some(whole[..whole.len() - 1].to_vec()),
        ),
        ("512 zeros longer".into(), Some([whole, &[0; 512]].concat())),
        (
            "garbage behind it".into(),
            Some([whole, &[0xff; 9000]].concat()),
        ),
        ("itself behind it".into(), Some([whole, whole].concat())),
        (
            "another file".into(),
            Some(b"some text, by mistake".to_vec()),
        ),
    ];
    for at in (0..whole.len() - 16).step_by(128) {
        let mut garbled = whole.to_vec();
        garbled[at..at + 16]
            .iter_mut()
            .for_each(|byte| *byte ^= 0xa5);
        all.push((format!("16 bytes at {at}"), Some(garbled)));
    }
    for sector in (0..whole.len()).step_by(4096) {
        for fill in [0, 0xff, 0x4b] {
            let mut lost = whole.to_vec();
            let end = lost.len().min(sector + 4096);
            lost[sector..end].fill(fill);
            all.push((format!("the sector at {sector}: {fill:#x}"), Some(lost)));
        }
    }
    for length in (0..whole.len()).step_by(100) {
        all.push((format!("cut to {length}"), Some(whole[..length].to_vec())));
    }
    all
}

fn put_back(disk: &SimDisk, copy: &str, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => disk.write_file(copy, bytes).unwrap(),
        None => disk.erase_file(copy).unwrap(),
    }
}

/// A manifest of more than one sector, with many edits.
fn long_store() -> (SimDisk, Contents) {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    for _ in 0..40 {
        rotate(&store).unwrap();
    }
    let contents = contents_of(&store);
    store.close().unwrap();
    drop(store);
    assert!(disk.read_file(COPIES[0]).unwrap().len() >= 8192);
    (disk, contents)
}

#[test]
fn whatever_happens_to_one_copy_the_other_serves() {
    let (long, contents) = long_store();
    let mut stores = vec![("long", long, contents)];
    for end in [End::Closed, End::PowerCut, End::Torn] {
        let store = small_store(end);
        stores.push(("small", store.disk, store.contents));
    }
    for (name, disk, contents) in stores {
        for copy in COPIES {
            let whole = disk.read_file(copy).unwrap();
            for (what, bytes) in damaged(&whole) {
                let context = format!("{name}, {copy}: {what}");
                let disk = disk.fork();
                put_back(&disk, copy, bytes.as_deref());
                let store = try_open(&disk, 2).unwrap_or_else(|e| panic!("{context}: {e}"));
                assert!(contents_of(&store) == contents, "{context}");
                store.put(b"after", b"it").unwrap();
                disk.power_cut_losing_all();
                drop(store);
                assert_eq!(contents_of(&open(&disk, 3)).len(), contents.len() + 1);
            }
        }
    }
}

#[test]
fn a_damaged_copy_is_told_and_replaced_by_the_first_change() {
    let (disk, _) = long_store();
    for copy in COPIES {
        let name = copy.trim_start_matches("/db/");
        let whole = disk.read_file(copy).unwrap();
        for (what, bytes) in [
            ("gone", None),
            ("short", Some(&whole[..5000])),
            ("empty", Some(&[][..])),
        ] {
            let disk = disk.fork();
            put_back(&disk, copy, bytes);
            let report = verify(STORE, options(&disk, 2, 1024)).unwrap();
            assert_eq!(report.damages.len(), 1, "{name}, {what}");
            let problem = format!("{:?}", report.damages[0]);
            assert!(problem.contains(name), "{what}: {problem}");
            let store = open(&disk, 3);
            let told = store.recovery_report().damaged_manifest_copy.clone();
            assert!(told.is_some_and(|told| told.starts_with(&format!("{name}:"))));
            drop(store);
            assert!(verify(STORE, options(&disk, 4, 1024)).unwrap().is_clean());
        }
    }
}

// An edit counts when both have it, and what only one has has happened: nothing that came after it is missing.
#[test]
fn an_edit_that_only_one_copy_holds_has_happened() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    rotate(&store).unwrap();
    let before = COPIES.map(|copy| disk.read_file(copy).unwrap());
    rotate(&store).unwrap();
    let contents = contents_of(&store);
    disk.power_cut_losing_all();
    drop(store);
    for (copy, before) in COPIES.into_iter().zip(before) {
        let disk = disk.fork();
        disk.write_file(copy, &before).unwrap();
        let store = open(&disk, 2);
        assert!(contents_of(&store) == contents, "{copy} is behind");
        assert_eq!(
            store.recovery_report().damaged_manifest_copy,
            None,
            "one edit"
        );
    }
}

#[test]
fn two_damaged_copies_are_corruption_and_not_an_older_state() {
    let (disk, _) = long_store();
    let numbers = Manifest::of(&disk).0.len();
    let mut places = Vec::new();
    let whole = disk.read_file(COPIES[0]).unwrap();
    let mut at = 0;
    while whole[at..].starts_with(b"KVLOGMAN") {
        places.push(at);
        at = (at + 48 + forge::u32_at(&whole, at + 12) as usize).next_multiple_of(8);
    }
    assert_eq!(places.len(), numbers);
    // Two edits before the last: whichever comes first, the last still verifies by itself.
    for (first, second) in [(3, 5), (5, 3), (4, 4), (numbers - 2, 2)] {
        let disk = disk.fork();
        for (copy, number) in COPIES.into_iter().zip([first, second]) {
            let mut bytes = whole.clone();
            bytes[places[number] + 50] ^= 1;
            disk.write_file(copy, &bytes).unwrap();
        }
        let names = disk.files();
        let error = try_open(&disk, 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(
            error.to_string().contains("both copies are damaged"),
            "{error}"
        );
        assert_eq!(disk.files(), names);
    }
}

// The image of one and the last edit of the other: the edit still verifies by itself, behind an image that does not.
#[test]
fn an_edit_behind_an_image_that_cannot_be_read_is_not_passed_over() {
    let (disk, _) = long_store();
    let whole = disk.read_file(COPIES[0]).unwrap();
    let last = (0..whole.len())
        .step_by(8)
        .rfind(|at| whole[*at..].starts_with(b"KVLOGMAN"))
        .unwrap();
    for (first, second) in [(50, last + 50), (last + 50, 50)] {
        for (copy, at) in COPIES.into_iter().zip([first, second]) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            disk.write_file(copy, &bytes).unwrap();
        }
        let error = try_open(&disk, 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

// Headers behind each other, each of an entry that claims the rest of the file: reading them all would take for ever.
#[test]
fn entries_that_overlap_are_not_all_read() {
    let (disk, _) = long_store();
    let mut file = disk.read_file(COPIES[0]).unwrap();
    let behind = file.len();
    let end = behind + (1 << 20);
    for at in (behind..end).step_by(48) {
        let rest = (end - at).saturating_sub(96) as u32;
        file.extend_from_slice(b"KVLOGMAN\0\0\0\0");
        file.extend_from_slice(&rest.to_le_bytes());
        file.extend_from_slice(&[0; 32]);
    }
    disk.write_file(COPIES[1], &file).unwrap();
    let before = disk.calls();
    let error = try_open(&disk, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("overlap"), "{error}");
    let reads = disk.calls()[&OpKind::Read] - before[&OpKind::Read];
    assert!(reads < 1_000, "{reads} reads");
}

#[test]
fn two_copies_that_say_different_things_of_one_edit_are_corruption() {
    let (disk, _) = long_store();
    let mut other = Manifest::of(&disk);
    let counters = other.item(forge::COUNTERS, None);
    counters[8] += 1;
    disk.write_file(COPIES[1], &other.bytes()).unwrap();
    let error = try_open(&disk, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("MANIFEST.2"), "{error}");
}

#[test]
fn a_copy_that_the_disk_does_not_give_back_leaves_the_other() {
    let (disk, contents) = long_store();
    for copy in COPIES {
        let disk = disk.fork();
        let bad = Fault::new(FaultKind::Errno(EIO)).on(OpKind::Read);
        // The names of both begin alike: the second is hit by its own, the first by its first read.
        let bad = if copy == COPIES[1] {
            bad.path_contains("MANIFEST.2").forever()
        } else {
            bad.path_contains("MANIFEST").times(1)
        };
        disk.inject(bad);
        let store = open(&disk, 2);
        assert_eq!(disk.fault_hits(), 1, "{copy}");
        assert!(contents_of(&store) == contents);
        assert!(store.recovery_report().damaged_manifest_copy.is_some());
    }
    // Both: nothing is known, and it is not damage.
    disk.inject(
        Fault::new(FaultKind::Errno(EIO))
            .on(OpKind::Read)
            .path_contains("MANIFEST")
            .forever(),
    );
    assert_eq!(try_open(&disk, 2).unwrap_err().kind(), ErrorKind::Io);
    disk.clear_faults();
    assert!(contents_of(&open(&disk, 2)) == contents);
}

/// Bytes of all writes that a trace has seen.
fn bytes_written(disk: &SimDisk) -> u64 {
    let trace = disk.trace().unwrap();
    (0..trace.len())
        .filter_map(|op| {
            let told = trace.describe(op);
            let (_, range) = told.split_once("write inode ")?.1.split_once('[')?;
            let (from, to) = range.trim_end_matches(')').split_once("..")?;
            Some(to.parse::<u64>().unwrap() - from.parse::<u64>().unwrap())
        })
        .sum()
}

// A rotation writes what it changes, however many segments there are.
#[test]
fn a_rotation_costs_the_same_with_many_segments() {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    let mut costs = Vec::new();
    for number in 1..=1_000 {
        if matches!(number, 20..28 | 992..1_000) {
            disk.start_trace();
            rotate(&store).unwrap();
            costs.push(bytes_written(&disk));
        } else {
            rotate(&store).unwrap();
        }
    }
    let (few, many) = costs.split_at(8);
    // The groups, a segment of 1 KiB, and an edit, twice; now and then 4 KiB of room for edits, twice.
    assert_eq!(few.iter().min(), many.iter().min());
    // What is kept for a full disk grows now and then, too.
    assert!(costs.iter().all(|cost| *cost < 128 * 1024), "{costs:?}");
    drop(store);
    assert_eq!(segments(&disk).len(), 1_001);
    // A new generation now and then bounds what an open reads: at most as much as the image again.
    let image = 1_001 * 80;
    let length = disk.read_file(COPIES[0]).unwrap().len();
    assert!(length < 2 * image + 128 * 1024, "{length} bytes");
}
