//! What makes a frame the next one. Each of these has one thing wrong and all its checks right, and is not accepted.

use super::forge::{frames, put_u64, seal, u64_at};
use super::*;
use kv_tests::workload::contents_of;

/// A store of one segment and three frames, whose power went: no idle mark, the floor at the start.
fn store() -> SimDisk {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    for key in [b"a", b"b", b"c"] {
        store.put(key, &[1; 50]).unwrap();
    }
    disk.power_cut_losing_all();
    drop(store);
    disk
}

/// Changes the third frame; `true`: it is accepted all the same.
fn accepted(change: impl FnOnce(&mut [u8], &[usize])) -> bool {
    let disk = store();
    let mut file = disk.read_file(SEGMENT).unwrap();
    let (starts, _) = frames(&file);
    assert_eq!(starts.len(), 3);
    change(&mut file, &starts);
    seal(&mut file);
    disk.write_file(SEGMENT, &file).unwrap();
    let store = open(&disk, 2);
    let contents = contents_of(&store);
    assert!(contents.contains_key(&b"b"[..]));
    let there = contents.contains_key(&b"c"[..]);
    assert_eq!(store.recovery_report().torn_tail.is_some(), !there);
    there
}

#[test]
fn a_frame_made_anew_is_accepted() {
    assert!(accepted(|_, _| {}));
}

#[test]
fn a_frame_must_begin_with_the_next_seqno() {
    for wrong in [2, 4, 0] {
        assert!(!accepted(|file, starts| {
            put_u64(file, starts[2] + 16, wrong);
        }));
    }
}

#[test]
fn a_frame_marks_itself_or_what_its_group_marks() {
    let join = |file: &mut [u8], starts: &[usize], mark: u64, attempt: u64| {
        put_u64(file, starts[2] + 24, mark);
        put_u64(file, starts[2] + 32, attempt);
    };
    let of_second = |file: &[u8], starts: &[usize]| {
        (u64_at(file, starts[1] + 24), u64_at(file, starts[1] + 32))
    };
    // One more frame of the second's group.
    assert!(accepted(|file, starts| {
        let (mark, attempt) = of_second(file, starts);
        join(file, starts, mark, attempt);
    }));
    // The mark of that group, and another try's number.
    assert!(!accepted(|file, starts| {
        let (mark, attempt) = of_second(file, starts);
        join(file, starts, mark, attempt + 1);
    }));
    // The number of that try, and a mark that is neither.
    assert!(!accepted(|file, starts| {
        let (mark, attempt) = of_second(file, starts);
        join(file, starts, mark - 8, attempt);
    }));
    // The mark of a group before that.
    assert!(!accepted(|file, starts| {
        let mark = u64_at(file, starts[0] + 24);
        let attempt = u64_at(file, starts[0] + 32);
        join(file, starts, mark, attempt);
    }));
}

#[test]
fn a_footer_ends_the_walk_of_an_active_segment() {
    let disk = store();
    let mut file = disk.read_file(SEGMENT).unwrap();
    let (starts, end) = frames(&file);
    // The second frame becomes a footer: what chains to it is not looked at.
    let second = starts[1];
    let mut footer = vec![0; 128];
    footer[..80].copy_from_slice(&file[second..second + 80]);
    footer[4] = 3;
    footer[8..12].copy_from_slice(&48_u32.to_le_bytes());
    footer[12..16].fill(0);
    for (at, number) in [(80, 1), (88, 1), (96, 1), (104, 1)] {
        put_u64(&mut footer, at, number);
    }
    let third = file[starts[2]..end].to_vec();
    file[second..].fill(0);
    file[second..second + 128].copy_from_slice(&footer);
    let third_at = second + 128;
    file[third_at..third_at + third.len()].copy_from_slice(&third);
    put_u64(&mut file, third_at + 16, 2);
    put_u64(&mut file, third_at + 24, third_at as u64);
    // Of what would have to be durable before it, nothing is claimed.
    put_u64(&mut file, third_at + 24, second as u64);
    seal(&mut file);
    disk.write_file(SEGMENT, &file).unwrap();
    let store = open(&disk, 2);
    assert_eq!(contents_of(&store).len(), 1);
    assert!(store.recovery_report().torn_tail.is_some());
    store.put(b"d", b"1").unwrap();
    drop(store);
    assert_eq!(contents_of(&open(&disk, 3)).len(), 2);
}

// A tail that is too short for a file of its own is in the report, and nothing else is.
#[test]
fn a_short_torn_tail_is_told_byte_for_byte() {
    let disk = store();
    let mut file = disk.read_file(SEGMENT).unwrap();
    let (_, end) = frames(&file);
    file[end..end + 5].copy_from_slice(b"short");
    disk.write_file(SEGMENT, &file).unwrap();
    let store = open(&disk, 2);
    let torn = store.recovery_report().torn_tail.as_ref().unwrap();
    assert_eq!((torn.bytes, &torn.head[..]), (5, &b"short"[..]));
}

/// An entry of a control frame.
fn control(class: u16) -> Vec<u8> {
    let mut entry = Vec::from(9_u16.to_le_bytes());
    entry.extend_from_slice(&class.to_le_bytes());
    entry.extend_from_slice(&8_u32.to_le_bytes());
    entry.extend_from_slice(b"keyspace");
    entry
}

#[test]
fn a_control_frame_is_passed_over_or_refused_by_its_class() {
    for (class, passed) in [(2, true), (1, false), (0, false), (7, false)] {
        let disk = store();
        let mut file = disk.read_file(SEGMENT).unwrap();
        let (_, end) = frames(&file);
        let body = control(class);
        file[end..end + 80].fill(0);
        file[end..end + 5].copy_from_slice(b"KVRF\x04");
        file[end + 8..end + 12].copy_from_slice(&(body.len() as u32).to_le_bytes());
        put_u64(&mut file, end + 16, 4);
        put_u64(&mut file, end + 24, end as u64);
        file[end + 80..end + 80 + body.len()].copy_from_slice(&body);
        seal(&mut file);
        disk.write_file(SEGMENT, &file).unwrap();
        match try_open(&disk, 2) {
            Ok(store) => {
                assert!(passed, "class {class}");
                assert_eq!(contents_of(&store).len(), 3);
                store.put(b"d", b"behind it").unwrap();
                drop(store);
                assert_eq!(contents_of(&open(&disk, 3)).len(), 4);
            }
            Err(error) => {
                assert!(!passed, "class {class}");
                assert_eq!(error.kind(), kv_trait::ErrorKind::UnsupportedFormat);
            }
        }
    }
}
