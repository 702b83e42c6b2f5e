//! Everything that manifest and segments say of each other is compared: each of these is wrong by itself, under checks that
//! hold.

use super::forge::{COUNTERS, Manifest, RUN_ITEM, SEGMENT_ITEM, frames, put_u64, seal, u64_at};
use super::*;
use kv_tests::workload::contents_of;
use kv_trait::ErrorKind;
use std::ops::ControlFlow;

/// A store of some sealed segments, whose power went: its manifest, and itself.
fn store() -> (SimDisk, Manifest) {
    let disk = SimDisk::new();
    let store = open(&disk, 1);
    store.put(b"k", b"old").unwrap();
    rotate(&store).unwrap();
    store.remove(b"k").unwrap();
    rotate(&store).unwrap();
    disk.power_cut_losing_all();
    drop(store);
    let manifest = Manifest::of(&disk);
    (disk, manifest)
}

fn refused(disk: &SimDisk, what: &str) {
    let names = disk.files();
    let opened = try_open(disk, 2);
    assert!(opened.is_err(), "{what}: opened");
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
    assert_eq!(disk.files(), names, "{what}");
}

#[test]
fn the_log_must_reach_the_next_seqno_of_the_manifest() {
    let (disk, mut manifest) = store();
    let seqno = u64_at(manifest.item(COUNTERS, None), 0);
    put_u64(manifest.item(COUNTERS, None), 0, seqno + 50);
    manifest.write(&disk);
    let error = try_open(&disk, 2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let wanted = format!("before seqno {}", seqno + 50);
    assert!(error.to_string().contains(&wanted), "{error}");
}

#[test]
fn what_the_manifest_says_of_a_sealed_segment_must_be_so() {
    for (at, what) in [
        (32, "base seqno"),
        (40, "length"),
        (48, "chain"),
        (56, "lowest seqno"),
        (64, "highest seqno"),
    ] {
        for more in [true, false] {
            let (disk, mut manifest) = store();
            let segment = manifest.item(SEGMENT_ITEM, Some(1));
            let number = u64_at(segment, at);
            put_u64(segment, at, if more { number + 8 } else { number - 1 });
            manifest.write(&disk);
            refused(&disk, what);
        }
    }
}

// The file is longer, its footer the right one, and the manifest counts what is behind it.
#[test]
fn a_sealed_segment_ends_with_its_footer() {
    let (disk, mut manifest) = store();
    let mut file = disk.read_file(SEGMENT).unwrap();
    file.extend_from_slice(&[0; 8]);
    disk.write_file(SEGMENT, &file).unwrap();
    let segment = manifest.item(SEGMENT_ITEM, Some(1));
    put_u64(segment, 40, file.len() as u64);
    manifest.write(&disk);
    refused(&disk, "bytes behind a footer");
}

#[test]
fn the_counts_of_a_footer_must_be_those_of_its_segment() {
    for field in 0..4 {
        for (with_manifest, more) in [(true, true), (true, false), (false, true)] {
            let (disk, mut manifest) = store();
            let mut file = disk.read_file(SEGMENT).unwrap();
            let (starts, end) = frames(&file);
            let footer = starts.last().unwrap() + 80;
            let at = footer + 8 * field;
            let number = u64_at(&file, at);
            put_u64(&mut file, at, if more { number + 1 } else { number - 1 });
            let check = seal(&mut file);
            disk.write_file(SEGMENT, &file).unwrap();
            let segment = manifest.item(SEGMENT_ITEM, Some(1));
            assert_eq!(u64_at(segment, 40), end as u64);
            put_u64(segment, 48, check);
            if with_manifest && field < 2 {
                put_u64(segment, 56 + 8 * field, u64_at(&file, at));
            }
            manifest.write(&disk);
            refused(&disk, "footer");
        }
    }
}

#[test]
fn a_frame_must_end_at_the_floor_with_its_chain() {
    let (disk, manifest) = store();
    let active = segments(&disk).pop().unwrap();
    let id: u64 = active
        .trim_start_matches("/db/")
        .trim_end_matches(".seg")
        .parse()
        .unwrap();
    let file = disk.read_file(&active).unwrap();
    let (starts, end) = frames(&file);
    assert!(!starts.is_empty());
    for (floor, right) in [
        (104, true),
        (112, false),
        (end as u64 - 8, false),
        (104 + 4, false),
    ] {
        let mut manifest = manifest.clone();
        let segment = manifest.item(SEGMENT_ITEM, Some(id));
        put_u64(segment, 40, floor);
        let disk = disk.fork();
        manifest.write(&disk);
        if right {
            drop(open(&disk, 2));
        } else {
            refused(&disk, "floor within a frame");
        }
    }
    for wrong in [0, 1] {
        let mut manifest = manifest.clone();
        let segment = manifest.item(SEGMENT_ITEM, Some(id));
        put_u64(segment, 40, end as u64);
        let check = u64_at(&file, starts.last().unwrap() + 72);
        put_u64(segment, 48, check + wrong);
        let disk = disk.fork();
        manifest.write(&disk);
        if wrong == 0 {
            drop(open(&disk, 2));
        } else {
            refused(&disk, "another chain");
        }
    }
}

// The list itself.
#[test]
fn a_manifest_whose_segments_make_no_sense_is_refused() {
    let (disk, manifest) = store();
    type Wrong = (&'static str, fn(&mut Manifest));
    let wrong: [Wrong; 4] = [
        ("no active segment", |manifest| {
            let id = manifest.next_file_id() - 2;
            manifest.item(SEGMENT_ITEM, Some(id))[24] = 0;
        }),
        ("two active segments", |manifest| {
            manifest.item(SEGMENT_ITEM, Some(1))[24] = 1;
        }),
        ("an id at the bound", |manifest| {
            // In every entry: counters never fall.
            let bound = manifest.next_file_id() - 2;
            let items = manifest.0.iter_mut().flat_map(|entry| &mut entry.items);
            for item in items.filter(|item| item.kind == COUNTERS) {
                let known = u64_at(&item.body, 8);
                put_u64(&mut item.body, 8, known.min(bound));
            }
        }),
        ("a bound beyond any id", |manifest| {
            put_u64(manifest.item(COUNTERS, None), 8, u64::MAX);
        }),
    ];
    for (what, change) in wrong {
        let disk = disk.fork();
        let mut manifest = manifest.clone();
        change(&mut manifest);
        manifest.write(&disk);
        refused(&disk, what);
    }
}

/// Gives a segment another id, in its file and in the manifest.
fn renumber(disk: &SimDisk, manifest: &mut Manifest, from: u64, to: u64) {
    let name = |id: u64| format!("/db/{id:08}.seg");
    let mut file = disk.read_file(name(from)).unwrap();
    put_u64(&mut file, 64, to);
    let check = seal(&mut file);
    disk.erase_file(name(from)).unwrap();
    disk.write_file(name(to), &file).unwrap();
    for entry in &mut manifest.0 {
        for item in &mut entry.items {
            if item.kind == SEGMENT_ITEM && u64_at(&item.body, 0) == from {
                put_u64(&mut item.body, 0, to);
                let chain = if item.body[24] == 0 {
                    check
                } else {
                    u64_at(&file, 96)
                };
                put_u64(&mut item.body, 48, chain);
            }
        }
    }
}

// The log is read in the order of its segments, without a gap: one that is out of its place is damage.
#[test]
fn a_segment_that_is_out_of_its_place_in_the_log_is_corruption() {
    let (disk, mut manifest) = store();
    assert_eq!(contents_of(&open(&disk.fork(), 2)).get(&b"k"[..]), None);
    let bound = manifest.next_file_id();
    put_u64(manifest.item(COUNTERS, None), 8, bound + 20);
    // The oldest segment gets the highest id: it would be read last.
    renumber(&disk, &mut manifest, 1, bound + 10);
    manifest.write(&disk);
    let refused = try_open(&disk, 2).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
}

// Sums of lengths must stay numbers, for whoever reads the files.
#[test]
fn a_length_or_a_count_above_the_highest_is_refused_by_either_reader() {
    let highest = 1_u64 << 40;
    // Of the run: its length, and its number of entries.
    for at in [44, 52] {
        let disk = SimDisk::new();
        let store = open(&disk, 1);
        store.put(b"k", b"v").unwrap();
        store.compact(|_| ControlFlow::Continue(())).unwrap();
        store.close().unwrap();
        read_again(&disk).unwrap();
        let manifest = Manifest::of(&disk);
        for (number, beyond) in [(highest, false), (highest + 1, true), (u64::MAX, true)] {
            let mut forged = manifest.clone();
            put_u64(forged.item(RUN_ITEM, None), at, number);
            forged.write(&disk);
            let (opened, read) = (try_open(&disk, 2), read_again(&disk));
            let refused = read.unwrap_err().to_string();
            assert_eq!(refused.contains("beyond all"), beyond, "{refused}");
            assert_eq!(opened.is_err(), beyond, "{number} at {at}");
        }
    }
}
