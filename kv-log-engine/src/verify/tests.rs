//! Damage to runs, to value segments, and to values that runs refer to: each is named once, with its file, its place and
//! the keys that it puts at risk; what nobody may ask for any more puts none at risk.

use super::{Damage, VerifyReport, verify};
use crate::format::Salt;
use crate::format::edit::{EntryKind, encode};
use crate::format::ids::{Entry, LevelId, SegmentId, Seqno};
use crate::format::manifest::{Checkpoint, Manifest, RunEntry, SegmentEntry};
use crate::format::run::block::{Held, Version};
use crate::format::run::header::RunHeader;
use crate::format::run::{RunId, full_key, split_key};
use crate::format::segment::{SegmentHeader, SegmentKind};
use crate::index::run::testing::TINY;
use crate::index::run::writer::RunWriter;
use crate::log::files::SegmentFiles;
use crate::log::values::{ValueLayout, ValueWriter};
use crate::recovery::{Recovered, recover};
use crate::storage::sim::SimDisk;
use crate::store::layout::COPIES;
use crate::{Engine, Options};
use kv_trait::ErrorKind;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const STORE: &str = "/db";
const VALUES: u64 = 10;

/// A key's number and record, and its value where that goes into the run.
type Row = (usize, Entry, Option<Vec<u8>>);

fn options(disk: &SimDisk) -> Options {
    Options::new().storage(disk.storage())
}

fn key(number: usize) -> Vec<u8> {
    format!("key-{number:02}").into_bytes()
}

fn value(number: usize, version: &str) -> Vec<u8> {
    format!("{version} value of {number:02}")
        .repeat(3)
        .into_bytes()
}

fn put_all(disk: &SimDisk, version: &str) {
    let store = Engine::open(STORE, options(disk)).unwrap();
    for number in 0..30 {
        store.put(&key(number), &value(number, version)).unwrap();
    }
    store.close().unwrap();
}

/// What an open would find, all values left in the log.
fn recovered(disk: &SimDisk) -> (Arc<SegmentFiles>, Recovered) {
    let files = SegmentFiles::new(disk.storage(), Path::new(STORE).to_path_buf());
    let names = disk.storage().list(Path::new(STORE)).unwrap();
    let recovered = recover(&files, &names, 0).unwrap();
    (files, recovered)
}

/// Where the newest record of each key lies.
fn places(recovered: &Recovered) -> BTreeMap<Vec<u8>, Entry> {
    let mut all = recovered.memtable.all();
    let mut places = BTreeMap::new();
    while let Some(entry) = all.next_entry() {
        if let Held::Separated(location) = entry.version.held {
            let seqno = entry.version.seqno;
            let (_, key) = split_key(&entry.key).unwrap();
            places.insert(key.to_vec(), Entry { location, seqno });
        }
    }
    places
}

/// A run of these entries; a value of `None` is where its record lies.
fn run(
    files: &SegmentFiles,
    manifest: &Manifest,
    (id, level): (u64, u64),
    entries: &[Row],
    interval: (&[u8], Option<&[u8]>),
) -> RunEntry {
    let header = RunHeader {
        store_id: manifest.store_id,
        incarnation: manifest.incarnation,
        salt: Salt([id.to_le_bytes()[0]; 16]),
        id: RunId::new(id),
        edit: manifest.edit,
    };
    let mut writer = RunWriter::begin(files, header, TINY).unwrap();
    for (number, entry, value) in entries {
        let held = value.as_deref();
        let version = Version {
            seqno: entry.seqno,
            expiry_ms: None,
            held: held.map_or(Held::Separated(entry.location), Held::Here),
        };
        writer.push(&full_key(0, &key(*number)), &version).unwrap();
    }
    let (from, to) = interval;
    let to = to.map(|to| full_key(0, to));
    writer
        .finish()
        .unwrap()
        .entry(&header, LevelId(level), full_key(0, from), to)
}

fn value_segment(
    files: &Arc<SegmentFiles>,
    recovered: &Recovered,
    copied: &mut [Row],
) -> SegmentEntry {
    let manifest = &recovered.manifest;
    let header = SegmentHeader {
        kind: SegmentKind::Values,
        store_id: manifest.store_id,
        incarnation: manifest.incarnation,
        salt: Salt([7; 16]),
        id: SegmentId::new(VALUES),
        base_seqno: Seqno::ZERO,
        edit: manifest.edit,
    };
    let mut writer = ValueWriter::create(files, header, ValueLayout::default()).unwrap();
    for (number, entry, _) in copied {
        let segment = &recovered.segments[&entry.location.segment];
        let value = segment
            .read_value(entry, &full_key(0, &key(*number)))
            .unwrap();
        entry.location = writer
            .copy(&full_key(0, &key(*number)), entry.seqno, None, &value)
            .unwrap();
    }
    // Nothing refers to the last one.
    writer
        .copy(
            &full_key(0, b"a dead one"),
            Seqno::new(1),
            None,
            b"superseded long ago",
        )
        .unwrap();
    writer.finish().unwrap()
}

/// Thirty keys, written twice. Run 11 has keys 0 to 9, values and all, run 12 the others, with 10 to 19 in the log and the
/// rest in value segment 10; in an older level run 13 has keys 18 to 21 as they were first. Key 30 is in the log only, and
/// the first five of run 11 were merged away into run 14, of the older level.
fn store() -> (SimDisk, Vec<Row>) {
    let disk = SimDisk::new();
    put_all(&disk, "old");
    let before = places(&recovered(&disk).1);
    put_all(&disk, "new");
    let (files, found) = recovered(&disk);
    let newest = places(&found);
    let mut entries: Vec<_> = (0..30)
        .map(|number| {
            let here = (number < 10).then(|| value(number, "new"));
            (number, newest[&key(number)], here)
        })
        .collect();
    let mut manifest = found.manifest.clone();
    let copied = value_segment(&files, &found, &mut entries[20..]);
    let older: Vec<_> = (18..22)
        .map(|number| (number, before[&key(number)], None))
        .collect();
    manifest.runs = vec![
        run(
            &files,
            &manifest,
            (11, 9),
            &entries[..10],
            (&key(5), Some(&key(10))),
        ),
        run(&files, &manifest, (12, 9), &entries[10..], (&key(10), None)),
        run(
            &files,
            &manifest,
            (14, 2),
            &entries[..5],
            (b"", Some(&key(5))),
        ),
        run(&files, &manifest, (13, 2), &older, (&key(18), None)),
    ];
    manifest.runs[0].taken = 5;
    manifest.segments.push(copied);
    let end = found.active.end;
    let contents = found.active.contents;
    manifest.checkpoint = Some(Checkpoint {
        seqno: end.next_seqno.previous(),
        segment: found.active.segment.id,
        offset: end.offset,
        chain: end.chain,
        frames: contents.frames,
        records: contents.records,
        min_seqno: contents.seqnos.map(|(lowest, _)| lowest),
    });
    manifest.next_seqno = end.next_seqno;
    manifest.next_file_id = SegmentId::new(20);
    manifest.check().unwrap();
    let number = manifest.edit.next();
    let (bytes, _) = encode(EntryKind::Image, number, 0, &manifest.image(), 0);
    for copy in COPIES {
        let path = Path::new(STORE).join(copy);
        disk.erase_file(&path).unwrap();
        disk.write_file(&path, &bytes).unwrap();
    }
    (disk, entries)
}

fn path(name: &str) -> String {
    format!("{STORE}/{name}")
}

fn change(disk: &SimDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.read_file(path(name)).unwrap();
    change(&mut bytes);
    disk.erase_file(path(name)).unwrap();
    disk.write_file(path(name), &bytes).unwrap();
}

fn check(disk: &SimDisk) -> VerifyReport {
    let files = disk.files();
    let report = verify(STORE, options(disk)).unwrap();
    assert_eq!(disk.files(), files, "nothing is changed");
    for damage in &report.damages {
        assert_eq!(damage.cause.kind(), ErrorKind::Corrupt, "{damage}");
        let path = damage.path.to_str().unwrap();
        assert!(damage.to_string().contains(path), "{damage}");
    }
    report
}

/// The only damage.
fn only(report: &VerifyReport) -> &Damage {
    let [damage] = &*report.damages else {
        panic!("not one damage: {:#?}", report.damages);
    };
    damage
}

fn keys_of(numbers: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    numbers.into_iter().map(key).collect()
}

fn place(entry: &Entry) -> (u64, Option<u64>) {
    let start = entry.location.offset;
    (start, Some(start + u64::from(entry.location.record_bytes)))
}

#[test]
fn a_whole_store_of_runs_is_clean_and_counted() {
    let (disk, _) = store();
    let report = check(&disk);
    assert!(report.is_clean(), "{:#?}", report.damages);
    let counts = (report.runs, report.levels, report.value_segments);
    assert_eq!(counts, (4, 2, 1));
    // Ten in the log, ten in the value segment, four that are older.
    assert_eq!((report.separated_values, report.live_keys), (24, 30));
    assert_eq!((report.segments, report.records), (2, 0));
    let files = disk.files().into_iter();
    let files = files.filter(|file| file.ends_with(".seg") || file.ends_with(".run"));
    let bytes = files.map(|file| disk.read_file(&file).unwrap().len() as u64);
    assert_eq!(report.bytes, bytes.sum::<u64>());
    let store = Engine::open(STORE, options(&disk)).unwrap();
    for number in 0..30 {
        let found = store.get(&key(number)).unwrap();
        assert_eq!(found, Some(value(number, "new")), "{number}");
    }
}

#[test]
fn a_separated_value_that_is_damaged_is_named_once_with_its_key() {
    for (number, file) in [(15, "00000001.seg"), (25, "00000010.seg")] {
        let (disk, entries) = store();
        let entry = entries[number].1;
        let at = usize::try_from(entry.location.offset).unwrap();
        change(&disk, file, |bytes| bytes[at + 40] ^= 1);
        let report = check(&disk);
        let damage = only(&report);
        assert_eq!(damage.path, Path::new(&path(file)));
        assert_eq!((damage.offset, damage.end), place(&entry));
        assert_eq!(damage.keys, keys_of([number]));
        assert_eq!((damage.records, damage.unnamed_records), (1, 0));
    }
}

/// An older version that is lost is damage, and puts no key at risk: a newer level knows it.
#[test]
fn a_value_that_a_newer_level_replaces_is_not_at_risk() {
    let (disk, _) = store();
    let bytes = disk.read_file(path("00000001.seg")).unwrap();
    let old = value(19, "old");
    let at = bytes.windows(old.len()).position(|at| at == old);
    change(&disk, "00000001.seg", |bytes| bytes[at.unwrap()] ^= 1);
    let report = check(&disk);
    let damage = only(&report);
    assert_eq!((damage.records, damage.keys.len()), (1, 0));
}

/// What the log knows of a key is newer than every run.
#[test]
fn a_value_that_the_log_replaces_is_not_at_risk() {
    let (disk, entries) = store();
    let store = Engine::open(STORE, options(&disk)).unwrap();
    store.put(&key(25), b"newest").unwrap();
    store.delete(&key(26)).unwrap();
    store.put(&key(77), b"another").unwrap();
    store.close().unwrap();
    assert_eq!(check(&disk).live_keys, 30);
    for number in [25, 26, 27] {
        let at = usize::try_from(entries[number].1.location.offset).unwrap();
        change(&disk, "00000010.seg", |bytes| bytes[at + 40] ^= 1);
    }
    let report = check(&disk);
    let at_risk: Vec<_> = report
        .damages
        .iter()
        .map(|damage| damage.keys.clone())
        .collect();
    assert_eq!(at_risk, [Vec::new(), Vec::new(), keys_of([27])]);
}

#[test]
fn a_segment_that_is_missing_is_one_damage_with_all_keys_it_takes() {
    let (disk, _) = store();
    disk.erase_file(path("00000010.seg")).unwrap();
    let report = check(&disk);
    let damage = only(&report);
    assert_eq!(damage.path, Path::new(&path("00000010.seg")));
    assert_eq!((damage.offset, damage.end), (0, None));
    assert_eq!(damage.keys, keys_of(20..30));
    assert_eq!(damage.records, 10);
    assert!(damage.cause.to_string().contains("its file is missing"));
}

#[test]
fn a_value_segment_that_was_cut_or_lost_its_header_is_named() {
    let (disk, entries) = store();
    let cut = entries[28].1.location.offset + 5;
    change(&disk, "00000010.seg", |bytes| {
        bytes.truncate(usize::try_from(cut).unwrap());
    });
    let report = check(&disk);
    let names: Vec<String> = report.damages.iter().map(ToString::to_string).collect();
    assert!(
        names[0].contains(&format!("truncated: {cut} bytes")),
        "{names:#?}"
    );
    let at_risk: Vec<_> = report
        .damages
        .iter()
        .flat_map(|damage| damage.keys.clone())
        .collect();
    assert_eq!(at_risk, keys_of(28..30));

    let (disk, _) = store();
    change(&disk, "00000010.seg", |bytes| bytes[50] ^= 1);
    let report = check(&disk);
    let damage = only(&report);
    assert_eq!(
        (damage.offset, damage.end, damage.records),
        (0, Some(104), 0)
    );

    // In a record that nothing refers to.
    let (disk, entries) = store();
    change(&disk, "00000010.seg", |bytes| {
        *bytes.last_mut().unwrap() ^= 1;
    });
    let report = check(&disk);
    let damage = only(&report);
    let (_, last) = place(&entries[29].1);
    assert_eq!((Some(damage.offset), damage.keys.len()), (last, 0));
}

#[test]
fn a_block_that_is_damaged_is_named_with_the_keys_it_hides() {
    let (disk, _) = store();
    // The first block of run 12.
    change(&disk, "00000012.run", |bytes| bytes[104 + 30] ^= 1);
    let report = check(&disk);
    let damage = only(&report);
    assert_eq!(
        (damage.offset, damage.path.ends_with("00000012.run")),
        (104, true)
    );
    let (from, to) = damage.key_range.clone().unwrap();
    assert_eq!(from, key(10));
    assert!(to.clone().unwrap() > key(11) && to.unwrap() < key(29));
    assert!(damage.to_string().contains("hides the keys ["), "{damage}");
    assert!(report.live_keys < 30);
}

#[test]
fn a_run_that_is_lost_is_named_with_its_interval_and_its_entries() {
    for cut in [None, Some(60)] {
        let (disk, _) = store();
        match cut {
            None => disk.erase_file(path("00000011.run")).unwrap(),
            Some(length) => change(&disk, "00000011.run", |bytes| bytes.truncate(length)),
        }
        let report = check(&disk);
        let damage = only(&report);
        assert_eq!((damage.offset, damage.end), (0, None));
        assert_eq!(damage.key_range, Some((key(5), Some(key(10)))));
        assert_eq!((damage.records, damage.unnamed_records), (5, 5));
        assert_eq!(report.live_keys, 25);
    }
    let (disk, _) = store();
    disk.erase_file(path("00000012.run")).unwrap();
    let report = check(&disk);
    assert_eq!(only(&report).key_range, Some((key(10), None)));
}

/// What a merge has taken away may be anything.
#[test]
fn what_is_not_live_any_more_is_no_damage() {
    let (disk, _) = store();
    // In the first block, whose keys are below the interval that is left.
    change(&disk, "00000011.run", |bytes| bytes[104 + 30] ^= 1);
    let report = check(&disk);
    assert!(report.is_clean(), "{:#?}", report.damages);
    assert_eq!(report.live_keys, 30);
}

/// An open of this store is refused, because of the log; runs are read all the same.
#[test]
fn runs_are_read_where_an_open_is_refused_and_what_they_cover_is_not_asked_of_the_log() {
    let (disk, entries) = store();
    let store = Engine::open(STORE, options(&disk)).unwrap();
    for number in [40, 41, 42] {
        store.put(&key(number), b"behind the checkpoint").unwrap();
    }
    store.close().unwrap();
    let bytes = disk.read_file(path("00000001.seg")).unwrap();
    let at = bytes.windows(6).rposition(|at| *at == *key(41)).unwrap();
    change(&disk, "00000001.seg", |bytes| {
        bytes[at] ^= 1;
        bytes[130] ^= 1; // long covered, and referred to by nobody
    });
    let at = usize::try_from(entries[25].1.location.offset).unwrap();
    change(&disk, "00000010.seg", |bytes| bytes[at + 40] ^= 1);
    let refused = Engine::open(STORE, options(&disk)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    let report = check(&disk);
    assert_eq!(report.damages.len(), 2, "{:#?}", report.damages);
    assert_eq!(report.damages[0].records, 1);
    assert_eq!(report.damages[1].keys, keys_of([25]));
    assert!(report.runs > 0); // chores may have merged some
    assert_eq!(report.live_keys, 32);
}

/// Somebody else's files under the names of a run and of a value segment.
#[test]
fn files_of_another_store_are_not_taken_for_this_ones() {
    let (disk, _) = store();
    let (other, _) = store();
    for name in ["00000011.run", "00000010.seg"] {
        let bytes = other.read_file(path(name)).unwrap();
        change(&disk, name, |mine| *mine = bytes);
    }
    let report = check(&disk);
    let run = report
        .damages
        .iter()
        .find(|damage| damage.path.ends_with("00000011.run"));
    assert!(run.unwrap().key_range.is_some());
    let header = report
        .damages
        .iter()
        .find(|damage| damage.path.ends_with("00000010.seg"));
    assert!(header.is_some());
}
