//! What a full disk takes, gives back, and says; and how often a byte is written.

use super::*;

fn open_on(disk: &SimDisk, seed: u64) -> Engine {
    Engine::open(STORE, options(disk, seed, 64 << 20)).unwrap()
}

/// Puts of this many bytes until one is refused with effect *nothing*. Returns how many there were.
fn fill(store: &Engine, value_bytes: usize) -> u64 {
    let mut written = 0_u64;
    loop {
        match store.put(&written.to_le_bytes(), &vec![7; value_bytes]) {
            Ok(()) => written += 1,
            Err(refused) => {
                assert_eq!(
                    (refused.kind(), refused.effect()),
                    (ErrorKind::StorageFull, Effect::Nothing),
                    "after {written} puts"
                );
                assert!(!store.stats().poisoned);
                return written;
            }
        }
    }
}

pub(super) fn reserve_bytes(disk: &SimDisk) -> u64 {
    let lengths = RESERVES.map(|name| disk.read_file(name).map_or(0, |file| file.len() as u64));
    lengths.iter().sum()
}

fn length(disk: &SimDisk) -> u64 {
    disk.read_file(SEGMENT).unwrap().len() as u64
}

// D7. Space is zero-filled ahead in steps of up to 1 MiB, and one that could not be made was kept and not used.
#[test]
fn the_last_bytes_of_a_disk_are_used_and_a_refused_write_gives_back_what_it_took() {
    for value_bytes in [4_000, 100_000] {
        let disk = SimDisk::new();
        let store = open_on(&disk, 1);
        let capacity = 1 << 20;
        disk.set_capacity(Some(capacity));
        let written = fill(&store, value_bytes);
        let end = store.stats().segments[0].bytes;
        let left = capacity - end - reserve_bytes(&disk);
        assert!(
            // Beside the log and the reserve, the two copies of the manifest take 4 KiB each.
            left < value_bytes as u64 + 16 * 1024,
            "{left} bytes are not used"
        );
        // Refused again and again, it takes nothing.
        let (used, before) = (disk.used_bytes(), length(&disk));
        for _ in 0..5 {
            let refused = store.put(b"more", &[8; 200_000]).unwrap_err();
            assert_eq!(refused.effect(), Effect::Nothing);
            assert_eq!((disk.used_bytes(), length(&disk)), (used, before));
        }
        // A few KiB that somebody frees are enough to go on, and no more than that is taken.
        disk.set_capacity(Some(disk.used_bytes() + 4 * 1024));
        store.put(b"small", b"1").unwrap();
        store.remove(&0_u64.to_le_bytes()).unwrap();
        assert!(disk.used_bytes() <= used + 4 * 1024);
        let expected = contents_of(&store);
        assert_eq!(expected.len() as u64, written);
        disk.set_capacity(None);
        disk.power_cut_losing_all();
        drop(store);
        assert_eq!(contents_of(&open_on(&disk, 2)), expected);
    }
}

// D7, D5: neither what was refused nor its room is there after a power cut, whatever of it the device has.
#[test]
fn a_write_refused_for_want_of_room_is_in_no_later_state() {
    for value_bytes in [6_000, 100_000] {
        let disk = SimDisk::new();
        let store = open_on(&disk, 1);
        store.put(b"a", b"1").unwrap();
        disk.start_trace();
        // Something of it fits.
        disk.set_capacity(Some(disk.used_bytes() + value_bytes as u64 / 4));
        let refused = store.put(b"b", &vec![2; value_bytes]).unwrap_err();
        assert_eq!(
            (refused.kind(), refused.effect()),
            (ErrorKind::StorageFull, Effect::Nothing)
        );
        assert!(disk.op_count() > 0, "it had begun");
        let refused_at = disk.op_count();
        store.put(b"c", b"3").unwrap();
        let written_at = disk.op_count();
        disk.set_capacity(None);
        store.put(b"b", &vec![4; value_bytes]).unwrap();
        for point in disk.trace().unwrap().crash_points() {
            for choice in point.choices(&policy()) {
                let store = open_on(&point.image(&choice), 2);
                let contents = contents_of(&store);
                let context = format!("{value_bytes} bytes, op {}, {choice:.200?}", point.op());
                assert_eq!(contents[&b"a"[..]], b"1", "{context}");
                if point.op() >= written_at {
                    assert_eq!(contents[&b"c"[..]], b"3", "{context}");
                }
                if let Some(b) = contents.get(&b"b"[..]) {
                    assert!(point.op() > refused_at && b[0] == 4, "{context}");
                }
            }
        }
    }
}

// D7. A file system that copies on write needs room to overwrite, too: also where zeros stand already, and for an undo.
#[test]
fn a_full_disk_that_copies_on_write_refuses_with_effect_nothing_and_goes_on() {
    for seed in 0..8 {
        let disk = SimDisk::new();
        disk.set_copy_on_write(true);
        let store = open_on(&disk, seed);
        let capacity = (1 << 20) + seed * 1_777;
        disk.set_capacity(Some(capacity));
        let written = fill(&store, 3_000 + 100 * usize::try_from(seed).unwrap());
        assert!(written > 100, "{written}");
        for _ in 0..3 {
            let refused = store.put(b"more", &[8; 9_000]).unwrap_err();
            assert_eq!(refused.effect(), Effect::Nothing);
        }
        let expected = contents_of(&store);
        // The process dies, or the power is cut.
        let image = disk.fork();
        image.power_cut(seed);
        assert_eq!(contents_of(&open_on(&image, 9)), expected);
        assert_eq!(contents_of(&open_on(&disk.fork(), 9)), expected);
        disk.set_capacity(Some(2 * capacity));
        store.put(b"more", &[8; 9_000]).unwrap();
        store.close().unwrap();
    }
}

// D7. A part of the group is in the file, and there is no room to take it back: nobody knows what a power cut leaves.
#[test]
fn a_write_that_cannot_be_undone_for_want_of_room_is_in_doubt() {
    let disk = SimDisk::new();
    let store = open_on(&disk, 1);
    store.put(b"a", b"1").unwrap();
    let part = Fault::new(FaultKind::PartThenErrno(512, ENOSPC)).on(OpKind::Write);
    disk.inject(part.path_contains(".seg"));
    let undo = Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Write);
    disk.inject(undo.path_contains(".seg"));
    let error = store.put(b"b", &[2; 2_000]).unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    assert!(store.stats().poisoned);
    assert_eq!(
        store.put(b"c", b"3").unwrap_err().kind(),
        ErrorKind::Poisoned
    );
}

// A mark or a footer for which there is no room is no reason to poison.
#[test]
fn a_mark_or_a_footer_that_finds_no_room_is_taken_back() {
    let disk = SimDisk::new();
    disk.set_copy_on_write(true);
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    store.put(b"a", &[1; 400]).unwrap();
    // The new segment is made; the footer of the old one would need a block.
    let footer = Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Write);
    disk.inject(footer.path_contains("00000001.seg").times(u64::MAX));
    let refused = store.put(b"b", &[2; 500]).unwrap_err();
    assert_eq!(refused.effect(), Effect::Nothing);
    assert!(!store.stats().poisoned);
    disk.clear_faults();
    store.put(b"b", &[2; 500]).unwrap();
    let mark = Fault::new(FaultKind::Errno(ENOSPC)).on(OpKind::Write);
    disk.inject(mark.path_contains(".seg").times(u64::MAX));
    store.close().unwrap();
    drop(store);
    disk.clear_faults();
    let store = Engine::open(STORE, options(&disk, 2, 1024)).unwrap();
    assert_eq!(contents_of(&store).len(), 2);
}

// What a footer has left of itself would stand behind whatever is written there next.
#[test]
fn a_footer_that_was_written_in_part_is_taken_back() {
    for part in [60, 1 << 20] {
        let disk = SimDisk::new();
        let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
        store.put(b"a", &[1; 400]).unwrap();
        let segment = format!("{STORE}/00000001.seg");
        let written = || {
            let bytes = disk.read_file(&segment).unwrap();
            bytes.iter().rposition(|byte| *byte != 0)
        };
        let before = written();
        let footer = Fault::new(FaultKind::PartThenErrno(part, EIO)).on(OpKind::Write);
        disk.inject(footer.path_contains("00000001.seg"));
        let refused = store.put(b"b", &[2; 500]).unwrap_err();
        assert_eq!(refused.effect(), Effect::Nothing);
        assert_eq!(written(), before);
        store.put(b"b", &[2; 500]).unwrap();
        assert_eq!(contents_of(&store).len(), 2);
    }
}

/// Writes of and to files, and the bytes written, while `work` runs.
fn written(disk: &SimDisk, work: impl FnOnce()) -> (u64, u64) {
    let look = || (disk.calls()[&OpKind::Write], disk.written_bytes());
    let before = look();
    work();
    let after = look();
    (after.0 - before.0, after.1 - before.1)
}

// One write for a group, and one for each step of room. A mark behind each lone group would be one more.
#[test]
fn a_lone_synchronous_write_is_one_write() {
    let disk = SimDisk::new();
    let store = open_on(&disk, 1);
    store.put(b"first", &[0; 100]).unwrap();
    // The steps are 4 KiB at first, and double what is used from then on: 100 puts need six of them.
    let (writes, _) = written(&disk, || {
        for number in 0..100_u64 {
            store.put(&number.to_le_bytes(), &[7; 100]).unwrap();
        }
    });
    assert!((100..=106).contains(&writes), "{writes} writes");
}

#[test]
fn a_large_group_is_written_once() {
    let disk = SimDisk::new();
    let store = open_on(&disk, 1);
    for number in 0..8_u64 {
        let (writes, bytes) = written(&disk, || {
            store.put(&number.to_le_bytes(), &vec![7; 1 << 20]).unwrap();
        });
        // The reserve grows with the log: by a quarter, in steps, until it is what a unit needs.
        assert!(bytes < 3 << 20, "{bytes} bytes");
        assert!(writes <= 40, "{writes} writes");
    }
    let expected = contents_of(&store);
    disk.power_cut_losing_all();
    drop(store);
    assert_eq!(contents_of(&open_on(&disk, 2)), expected);
}

/// A store of this many small segments, each of which was read.
fn many_segments(disk: &SimDisk, segments: u64) -> Engine {
    let store = Engine::open(STORE, options(disk, 1, 1024)).unwrap();
    for number in 0..segments {
        store.put(&number.to_le_bytes(), &[7; 600]).unwrap();
    }
    assert_eq!(store.stats().segments.len() as u64, segments);
    for number in 0..segments {
        assert!(store.get(&number.to_le_bytes()).unwrap().is_some());
    }
    store
}

// D11. Beside the files for readers there are the active segment's, LOCK, and both copies of the manifest.
#[test]
fn files_that_were_read_are_closed_beyond_the_bound() {
    let disk = SimDisk::new();
    let store = many_segments(&disk, 90);
    assert_eq!(store.stats().open_segment_files, 64);
    assert_eq!(disk.open_files(), 64 + 3);
    for number in 0..90_u64 {
        assert!(store.get(&number.to_le_bytes()).unwrap().is_some());
        assert!(disk.open_files() <= 64 + 4);
    }
    // The last ones are still open.
    let opened = disk.calls()[&OpKind::Open];
    for number in 40..80_u64 {
        assert!(store.get(&number.to_le_bytes()).unwrap().is_some());
    }
    assert_eq!(disk.calls()[&OpKind::Open], opened);
    store.close().unwrap();
    drop(store);
    assert_eq!(disk.open_files(), 0);
}

// A process that may open twenty files must not keep fourteen of them for readers and refuse every write.
#[test]
fn files_kept_for_readers_are_given_up_to_whoever_has_to_open_one() {
    let disk = SimDisk::new();
    let store = many_segments(&disk, 30);
    let expected = contents_of(&store);
    drop(store);
    disk.set_open_files_max(20);
    let store = Engine::open(STORE, options(&disk, 2, 1024)).unwrap();
    for round in 0..3_u8 {
        assert_eq!(contents_of(&store), expected);
        // Each is a rotation: a segment, a manifest, and their directory are opened.
        for key in 0..4_u8 {
            store.put(&[key], &[round; 600]).unwrap();
            store.remove(&[key]).unwrap();
        }
        assert!(disk.open_files() <= 20);
    }
    // Nothing is left to give up: refused, and good again when there are descriptors.
    disk.set_open_files_max(2);
    let refused = store.put(b"k", &[9; 600]).unwrap_err();
    assert_eq!(refused.effect(), Effect::Nothing);
    disk.set_open_files_max(20);
    store.put(b"k", &[9; 600]).unwrap();
    store.close().unwrap();
}
