//! Value segments: what was copied is read as the log's records are, whatever the power cut left is known for ours, and
//! damage hides the records that it hit and no others.

use super::files::{Segment, SegmentFiles};
use super::values::{Met, ValueLayout, ValueWriter, walk};
use crate::format::ids::{EditNumber, Entry, Location, SegmentId, Seqno};
use crate::format::manifest::{SegmentEntry, SegmentState};
use crate::format::run::full_key;
use crate::format::run::tests::note;
use crate::format::segment::{SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind};
use crate::format::{Salt, StoreId};
use crate::storage::sim::{CrashPolicy, EIO, ENOSPC, Fault, FaultKind, OpKind, SimDisk};
use crate::storage::window::Window;
use crate::storage::{OpenMode, Storage};
use kv_trait::{ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TINY: ValueLayout = ValueLayout {
    write_bytes: 200,
    sync_bytes: 700,
};
const SALT: Salt = Salt([7; 16]);
const PATH: &str = "/00000005.seg";

fn header() -> SegmentHeader {
    SegmentHeader {
        kind: SegmentKind::Values,
        store_id: StoreId([1; 16]),
        incarnation: StoreId([2; 16]),
        salt: SALT,
        id: SegmentId::new(5),
        base_seqno: Seqno::ZERO,
        edit: EditNumber::new(3),
    }
}

fn files(disk: &SimDisk) -> Arc<SegmentFiles> {
    SegmentFiles::new(disk.storage(), PathBuf::from("/"))
}

/// Keys in order, seqnos in none, as in a merge; one value longer than a step, one that is empty.
fn sample() -> Vec<(Vec<u8>, Seqno, Vec<u8>)> {
    let numbered = (0..30_usize).map(|at| {
        let key = format!("key-{at:02}").into_bytes();
        let seqno = Seqno::new(100 + (at as u64 * 7) % 30);
        let length = match at {
            11 => 2000,
            12 => 0,
            _ => 20 + at,
        };
        let value = vec![key[key.len() - 1]; length];
        (key, seqno, value)
    });
    numbered.collect()
}

/// Some of them expire.
fn expiry_of(seqno: Seqno) -> Option<u64> {
    let seqno = seqno.get();
    seqno.is_multiple_of(3).then_some(1000 * seqno)
}

fn write(disk: &SimDisk, layout: ValueLayout) -> Result<(SegmentEntry, Vec<Location>)> {
    let mut writer = ValueWriter::create(&files(disk), header(), layout)?;
    let mut locations = Vec::new();
    for (key, seqno, value) in sample() {
        assert_eq!(
            writer.file_bytes(),
            SEGMENT_HEADER_BYTES + bytes(&locations)
        );
        locations.push(writer.copy(&full_key(0, &key), seqno, expiry_of(seqno), &value)?);
    }
    Ok((writer.finish()?, locations))
}

fn bytes(locations: &[Location]) -> u64 {
    let lengths = locations
        .iter()
        .map(|location| u64::from(location.record_bytes));
    lengths.sum()
}

/// Which records can be read, where they are said to be.
fn readable(disk: &SimDisk, locations: &[Location]) -> Vec<bool> {
    let segment = Segment::new(SegmentId::new(5), SALT, files(disk));
    let read = sample()
        .into_iter()
        .zip(locations)
        .map(|((key, seqno, value), location)| {
            let entry = Entry {
                location: *location,
                seqno,
            };
            match segment.read_value(&entry, &full_key(0, &key)) {
                Ok(found) => {
                    assert_eq!(found, value);
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                    assert!(error.to_string().contains(PATH), "{error}");
                    false
                }
            }
        });
    read.collect()
}

/// What a walk meets: keys, and damage as (start, end).
fn met(disk: &SimDisk, end: u64) -> (Vec<Vec<u8>>, Vec<(u64, u64)>) {
    let file = disk.open(Path::new(PATH), OpenMode::Read).unwrap();
    let mut window = Window::new(&*file, Path::new(PATH), end);
    let (mut keys, mut damage) = (Vec::new(), Vec::new());
    walk(&mut window, &SALT, |met| match met {
        Met::Record { offset, record } => {
            assert!(offset >= SEGMENT_HEADER_BYTES);
            let known = sample().into_iter().find(|(key, ..)| *key == record.key);
            let (key, seqno, value) = known.unwrap();
            assert_eq!((record.seqno, record.value), (seqno, &*value));
            assert_eq!(record.expiry_ms, expiry_of(seqno));
            keys.push(key);
        }
        Met::Damage { start, end, .. } => damage.push((start, end)),
    })
    .unwrap();
    (keys, damage)
}

#[test]
fn what_was_copied_is_read_as_records_of_the_log_are() {
    for layout in [TINY, ValueLayout::default()] {
        let disk = SimDisk::new();
        let (entry, locations) = write(&disk, layout).unwrap();
        assert_eq!(readable(&disk, &locations), [true; 30]);
        let length = disk.read_file(PATH).unwrap().len() as u64;
        assert_eq!((entry.end, entry.state), (length, SegmentState::Values));
        assert_eq!(entry.end, SEGMENT_HEADER_BYTES + bytes(&locations));
        let (lowest, highest) = (Seqno::new(100), Seqno::new(129));
        assert_eq!((entry.min_seqno, entry.max_seqno), (lowest, highest));
        let bytes = disk.read_file(PATH).unwrap();
        let (found, check) = SegmentHeader::decode(&bytes[..104]).unwrap();
        assert_eq!((found, check), (header(), entry.chain));
        let (keys, damage) = met(&disk, entry.end);
        assert_eq!((keys.len(), damage), (30, Vec::new()));
    }
}

/// A record is good in its own place only: the copy of a copy has other sums.
#[test]
fn a_record_in_another_place_or_segment_is_none() {
    let disk = SimDisk::new();
    let (_, locations) = write(&disk, TINY).unwrap();
    let (key, seqno, _) = sample().swap_remove(3);
    let read = |salt, location, seqno| {
        let segment = Segment::new(SegmentId::new(5), salt, files(&disk));
        segment.read_value(&Entry { location, seqno }, &full_key(0, &key))
    };
    assert!(read(SALT, locations[3], seqno).is_ok());
    assert!(read(Salt([8; 16]), locations[3], seqno).is_err());
    assert!(read(SALT, locations[3], seqno.next()).is_err());
    assert!(read(SALT, locations[4], seqno).is_err());
}

/// Whatever the disk has of a value segment that was not finished: it is known for this store's as soon as there is a
/// byte behind its header; and a finished one has all of its records, once it has a name.
#[test]
fn a_power_cut_leaves_a_value_segment_that_is_known_for_ours_or_has_it_all() {
    let disk = SimDisk::new();
    disk.start_trace();
    let (entry, locations) = write(&disk, TINY).unwrap();
    let finished = disk.op_count();
    disk.sync_dir(Path::new("/")).unwrap();
    let named = disk.op_count();
    let trace = disk.trace().unwrap();
    let policy = CrashPolicy {
        exhaustive_units_max: 8,
        seeded: 24,
        garbled: 24,
        seed: 5,
    };
    let (mut whole, mut ours, mut none) = (0, 0, 0);
    for point in trace.crash_points() {
        for choice in point.choices(&policy) {
            let what = format!("after {} of {} operations", point.op(), trace.len());
            let image = point.image(&choice);
            let Ok(found) = image.read_file(PATH) else {
                assert!(point.op() < named, "{what}: the name is gone");
                none += 1;
                continue;
            };
            let behind = found.get(104..).unwrap_or_default();
            let known = SegmentHeader::decode(found.get(..104).unwrap_or(&found));
            if behind.iter().any(|byte| *byte != 0) {
                assert_eq!(known.unwrap().0, header(), "{what}");
                ours += 1;
            }
            if point.op() >= finished {
                assert_eq!(found.len() as u64, entry.end, "{what}");
                assert_eq!(readable(&image, &locations), [true; 30], "{what}");
                whole += 1;
            }
        }
    }
    note(&format!(
        "{} operations: {whole} times whole, {ours} known, {none} without a name",
        trace.len()
    ));
    assert!(whole > 0 && ours > 100 && none > 10);
}

#[test]
fn every_failing_call_ends_the_value_segment_and_says_why() {
    let mut refused = 0;
    for (errno, kind) in [(ENOSPC, ErrorKind::StorageFull), (EIO, ErrorKind::Io)] {
        for op in [OpKind::Create, OpKind::Write, OpKind::Sync] {
            for call in 0.. {
                let disk = SimDisk::new();
                disk.inject(Fault::new(FaultKind::Errno(errno)).on(op).skip(call));
                match write(&disk, TINY) {
                    Ok(_) => {
                        assert_eq!(disk.fault_hits(), 0, "a failed call went unnoticed");
                        break;
                    }
                    Err(error) => {
                        refused += 1;
                        assert_eq!(error.kind(), kind);
                        assert!(error.to_string().contains(PATH), "{error}");
                    }
                }
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

/// A sync has a step to write, also in the middle of a record that is longer than several.
#[test]
fn a_long_value_is_synced_on_the_way() {
    let disk = SimDisk::new();
    let mut writer = ValueWriter::create(&files(&disk), header(), TINY).unwrap();
    let before = disk.calls()[&OpKind::Sync];
    writer
        .copy(&full_key(0, b"key"), Seqno::new(1), None, &[b'v'; 7000])
        .unwrap();
    assert_eq!(disk.calls()[&OpKind::Sync] - before, 10);
    let disk = SimDisk::new();
    let mut writer = ValueWriter::create(&files(&disk), header(), TINY).unwrap();
    writer
        .copy(&full_key(0, b"key"), Seqno::new(1), None, b"short")
        .unwrap();
    assert_eq!(disk.calls()[&OpKind::Sync], 1); // that of the header
}

/// Every byte wrong: the record that it belongs to is named, and no other is lost, for readers as for the walk.
#[test]
fn whichever_byte_is_wrong_one_record_is_lost_by_name_and_no_other() {
    let disk = SimDisk::new();
    let (entry, locations) = write(&disk, TINY).unwrap();
    let good = disk.read_file(PATH).unwrap();
    for at in 104..good.len() {
        for flip in [0x01, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            let disk = SimDisk::new();
            disk.write_file(PATH, &bytes).unwrap();
            let hit = |location: &Location| {
                (location.offset..location.offset + u64::from(location.record_bytes))
                    .contains(&(at as u64))
            };
            let lost = locations.iter().position(hit).unwrap();
            let found = readable(&disk, &locations);
            let missing: Vec<_> = (0..30).filter(|number| !found[*number]).collect();
            assert_eq!(missing, [lost], "byte {at}");
            let (keys, damage) = met(&disk, entry.end);
            let start = locations[lost].offset;
            let end = start + u64::from(locations[lost].record_bytes);
            assert_eq!((keys.len(), damage), (29, vec![(start, end)]), "byte {at}");
        }
    }
}

/// A sector of zeros or of noise, wherever: what lies outside is met.
#[test]
fn records_on_both_sides_of_a_lost_stretch_are_met() {
    let disk = SimDisk::new();
    let (entry, locations) = write(&disk, TINY).unwrap();
    let good = disk.read_file(PATH).unwrap();
    for start in (104..good.len()).step_by(37) {
        for fill in [0, 0xa5, 1] {
            let mut bytes = good.clone();
            let end = bytes.len().min(start + 512);
            bytes[start..end].fill(fill);
            let disk = SimDisk::new();
            disk.write_file(PATH, &bytes).unwrap();
            let outside = locations.iter().filter(|location| {
                let behind = location.offset + u64::from(location.record_bytes);
                behind <= start as u64 || end as u64 <= location.offset
            });
            let (keys, damage) = met(&disk, entry.end);
            assert_eq!(damage.len(), 1);
            assert_eq!(keys.len(), outside.count());
        }
    }
}

/// A run says how long a record is: what it says is looked at before memory is taken for it.
#[test]
fn a_length_that_the_file_does_not_have_takes_no_memory() {
    let disk = SimDisk::new();
    let (entry, locations) = write(&disk, TINY).unwrap();
    let segment = Segment::of_values(entry.id, entry.salt, files(&disk), entry.end);
    let entry = Entry {
        location: Location {
            record_bytes: u32::MAX,
            ..locations[0]
        },
        seqno: Seqno::new(100),
    };
    let mut read = None;
    let taken = allocation_counter::measure(|| {
        read = Some(segment.read_value(&entry, &full_key(0, b"key-00")));
    });
    assert_eq!(read.unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(taken.bytes_max < 1 << 20, "{} bytes", taken.bytes_max);
}
