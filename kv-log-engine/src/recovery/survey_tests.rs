//! Files that nothing names, and files that are named and not there: each verdict by itself.

use super::RecoveryReport;
use super::survey::{all_named_are_there, missing_files, unfinished, unnamed_files};
use crate::format::ids::{EditNumber, LevelId, SegmentId, Seqno};
use crate::format::manifest::{Checkpoint, Edit, Manifest, RunEntry, SegmentEntry, SegmentState};
use crate::format::run::RunId;
use crate::format::run::header::RunHeader;
use crate::format::segment::{SegmentHeader, SegmentKind};
use crate::format::{Salt, StoreId};
use crate::log::files::SegmentFiles;
use crate::storage::sim::SimDisk;
use crate::store::catalog::Catalog;
use crate::store::layout::DataFile;
use crate::store::{layout, manifest};
use crate::{Engine, Options, SimHost};
use kv_trait::{ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;

const DB: &str = "/db";

fn options(disk: &SimDisk) -> Options {
    let host = Arc::new(SimHost::new(1));
    Options::new().storage(disk.storage()).host(host)
}

/// A store whose ids below 30 may have files.
fn store() -> (SimDisk, Manifest) {
    let disk = SimDisk::new();
    let store = Engine::open(DB, options(&disk)).unwrap();
    store.put(b"k", b"v").unwrap();
    store.close().unwrap();
    let mut read = read(&disk);
    read.next_file_id = SegmentId::new(30);
    read.edit = EditNumber::new(9);
    (disk, read)
}

fn read(disk: &SimDisk) -> Manifest {
    let read = manifest::read(&*disk.storage(), Path::new(DB));
    read.unwrap().manifest
}

fn files(disk: &SimDisk) -> Arc<SegmentFiles> {
    SegmentFiles::new(disk.storage(), DB.into())
}

fn judged(disk: &SimDisk, manifest: &Manifest) -> Result<RecoveryReport> {
    let names = disk.storage().list(Path::new(DB)).unwrap();
    let mut report = RecoveryReport::default();
    unnamed_files(&files(disk), manifest, &names, &mut report)?;
    Ok(report)
}

/// What an open says of one more file of that name.
fn verdict(name: &str, bytes: &[u8]) -> Result<&'static str> {
    let (disk, manifest) = store();
    disk.write_file(format!("{DB}/{name}"), bytes).unwrap();
    let report = judged(&disk, &manifest)?;
    match (&*report.debris, &*report.foreign) {
        ([debris], []) if debris == name => Ok("debris"),
        ([], [foreign]) if foreign == name => Ok("foreign"),
        other => panic!("{name}: {other:?}"),
    }
}

/// The header of a run, and of a segment of values, of the store that [`store`] makes.
fn headers(id: u64, edit: u64) -> [(String, Vec<u8>); 2] {
    let (_, manifest) = store();
    let run = RunHeader {
        store_id: manifest.store_id,
        incarnation: manifest.incarnation,
        salt: Salt([5; 16]),
        id: RunId::new(id),
        edit: EditNumber::new(edit),
    };
    let values = SegmentHeader {
        kind: SegmentKind::Values,
        store_id: manifest.store_id,
        incarnation: manifest.incarnation,
        salt: Salt([5; 16]),
        id: SegmentId::new(id),
        base_seqno: Seqno::ZERO,
        edit: EditNumber::new(edit),
    };
    [
        (format!("{id:08}.run"), run.encode()),
        (format!("{id:08}.seg"), values.encode().0),
    ]
}

fn older(judged: Result<&'static str>, why: &str) {
    let error = judged.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let message = error.to_string();
    assert!(message.contains(why), "{message}");
    assert!(message.contains("older than the data"), "{message}");
}

// Killed in a merge: before its edit, its files are nobody's, whole or not.
#[test]
fn what_a_merge_that_was_cut_short_left_is_debris() {
    for edit in [1, 8, 9] {
        for (name, mut bytes) in headers(29, edit) {
            for length in [104, 5000, 70_000] {
                bytes.resize(length, 0xa5);
                assert_eq!(verdict(&name, &bytes).unwrap(), "debris", "{name}");
            }
        }
    }
}

#[test]
fn a_run_at_or_above_the_next_id_shows_a_manifest_older_than_the_data() {
    for id in [30, 31, 1000] {
        for (name, bytes) in headers(id, 3) {
            older(verdict(&name, &bytes), "the manifest knows no file from");
        }
    }
}

#[test]
fn a_run_made_after_a_later_edit_shows_a_manifest_older_than_the_data() {
    for (name, bytes) in headers(20, 10) {
        older(verdict(&name, &bytes), "it was made after edit 10");
    }
}

#[test]
fn a_run_of_another_store_or_incarnation_is_left_alone() {
    let (_, manifest) = store();
    let other = StoreId([0xee; 16]);
    for (store_id, incarnation) in [(other, manifest.incarnation), (manifest.store_id, other)] {
        // However new it is: it says nothing of this store's manifest.
        let header = RunHeader {
            store_id,
            incarnation,
            salt: Salt([5; 16]),
            id: RunId::new(40),
            edit: EditNumber::new(1000),
        };
        let mut bytes = header.encode();
        bytes.resize(5000, 0xa5);
        assert_eq!(verdict("00000040.run", &bytes).unwrap(), "foreign");
    }
}

#[test]
fn a_run_whose_header_was_cut_short_is_debris_and_anything_else_is_somebodys() {
    let [(_, header), _] = headers(20, 3);
    for name in ["00000020.run", "00000040.run"] {
        for length in std::iter::once(0).chain(8..104) {
            let cut = verdict(name, &header[..length]).unwrap();
            assert_eq!(cut, "debris", "{length}");
            let mut torn = header[..length].to_vec();
            torn.resize(104, 0);
            assert_eq!(verdict(name, &torn).unwrap(), "debris", "{length}");
        }
        let mut behind = header[..50].to_vec();
        behind.resize(105, 0);
        assert_eq!(verdict(name, &behind).unwrap(), "foreign");
        assert_eq!(verdict(name, b"somebody's").unwrap(), "foreign");
    }
    for name in ["20.run", "00000020.RUN", "00000020.run.new"] {
        assert_eq!(verdict(name, &header).unwrap(), "foreign");
    }
}

#[test]
fn a_run_with_the_number_of_a_named_segment_is_not_named_by_it() {
    for (name, bytes) in headers(1, 3) {
        let run = Path::new(&name).extension().is_some_and(|end| end == "run");
        if run {
            assert_eq!(verdict(&name, &bytes).unwrap(), "debris");
        }
    }
}

fn run(id: u64) -> RunEntry {
    RunEntry {
        id: RunId::new(id),
        salt: Salt([5; 16]),
        level: LevelId(id),
        from: Vec::new(),
        to: None,
        taken: 0,
        file_bytes: 9000,
        entries: 0,
        tombstones: 0,
        lowest: Seqno::ZERO,
        highest: Seqno::ZERO,
        expiring: None,
        erased_to: Seqno::ZERO,
        referred: std::collections::BTreeMap::new(),
    }
}

/// The store with a covered segment of the log, one of values, two to be replayed and a run, none of which is there.
fn without_files() -> (SimDisk, Manifest) {
    let (disk, mut manifest) = store();
    let mut active = manifest.segments.remove(0);
    assert_eq!(active.id, SegmentId::FIRST);
    active.id = SegmentId::new(8);
    let covered = SegmentEntry {
        id: SegmentId::new(2),
        state: SegmentState::Sealed,
        max_seqno: Seqno::new(1),
        ..active
    };
    let replayed = SegmentEntry {
        id: SegmentId::new(6),
        state: SegmentState::Sealed,
        max_seqno: Seqno::new(2),
        ..active
    };
    let values = SegmentEntry {
        id: SegmentId::new(4),
        state: SegmentState::Values,
        ..active
    };
    manifest.segments = vec![covered, values, replayed, active];
    manifest.checkpoint = Some(Checkpoint {
        seqno: Seqno::new(1),
        segment: SegmentId::new(2),
        offset: 104,
        chain: 0,
        frames: 0,
        records: 0,
        min_seqno: None,
    });
    manifest.runs = vec![run(7)];
    manifest.check().unwrap();
    (disk, manifest)
}

fn names_of(missing: &[DataFile]) -> Vec<String> {
    missing.iter().map(|file| file.name()).collect()
}

#[test]
fn named_files_that_are_not_there_are_missing() {
    let (disk, manifest) = without_files();
    let missing = || {
        let names = disk.storage().list(Path::new(DB)).unwrap();
        let all = all_named_are_there(&files(&disk), &manifest, &names);
        (missing_files(&manifest, &names), all)
    };
    let (found, refused) = missing();
    let expected = [
        "00000002.seg",
        "00000004.seg",
        "00000006.seg",
        "00000008.seg",
        "00000007.run",
    ];
    assert_eq!(names_of(&found), expected);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("00000002.seg"), "{message}");
    assert!(message.contains("4 more are missing"), "{message}");
    for name in &expected[..4] {
        disk.write_file(format!("{DB}/{name}"), b"").unwrap();
    }
    let (found, refused) = missing();
    assert_eq!(names_of(&found), ["00000007.run"]);
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    let message = refused.to_string();
    assert!(message.contains("00000007.run"), "{message}");
    assert!(message.contains("keys [start, end)"), "{message}");
    disk.write_file("/db/00000007.run", b"").unwrap();
    let (found, all) = missing();
    assert_eq!(names_of(&found), [""; 0]);
    all.unwrap();
}

// A manifest of before a merge was put back by hand: what it names was removed, and what took its place looks like debris.
#[test]
fn a_named_run_that_is_missing_is_told_before_debris_goes() {
    let disk = SimDisk::new();
    let store = Engine::open(DB, options(&disk)).unwrap();
    store.put(b"k", b"v").unwrap();
    store.close().unwrap();
    let before = read(&disk);
    let active = before.active().copied().unwrap();
    let bytes = disk.read_file("/db/00000001.seg").unwrap();
    let (_, chain) = SegmentHeader::decode(&bytes[..104]).unwrap();
    let catalog = Catalog::new(disk.storage(), DB.into(), before, SegmentId::FIRST);
    let id = catalog.allocate().unwrap();
    let mut edit = Edit::default();
    edit.run(&run(id.get()));
    edit.checkpoint(&Checkpoint {
        seqno: Seqno::ZERO,
        segment: active.id,
        offset: 104,
        chain,
        frames: 0,
        records: 0,
        min_seqno: None,
    });
    catalog.apply(&edit).unwrap();
    disk.write_file("/db/MANIFEST.2.new", b"left").unwrap();
    disk.write_file("/db/00000001.run", b"").unwrap();
    let named = RunId::from(id);
    for _ in 0..2 {
        let verified = crate::verify(DB, options(&disk)).unwrap();
        assert_eq!(verified.damages.len(), 1, "{verified:?}");
        let damage = &verified.damages[0];
        assert!(damage.path.ends_with(format!("{named}.run")), "{damage}");
        assert_eq!(verified.debris, [""; 0]);
        let refused = Engine::open(DB, options(&disk)).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Corrupt);
        let message = refused.to_string();
        assert!(message.contains(&format!("{named}.run")), "{message}");
        let names = disk.files();
        for name in ["/db/00000001.run", "/db/MANIFEST.2.new"] {
            assert!(names.contains(&name.to_owned()), "{names:?}");
        }
    }
}

#[test]
fn ids_are_given_out_above_every_run_that_is_there() {
    let (disk, _) = store();
    let next = || layout::next_id(&disk.storage().list(Path::new(DB)).unwrap());
    assert_eq!(next(), SegmentId::new(2));
    disk.write_file("/db/00000040.run", b"somebody's").unwrap();
    assert_eq!(next(), SegmentId::new(41));
    disk.write_file("/db/00000050.seg", b"").unwrap();
    disk.write_file(format!("/db/{}.run", 1_u64 << 62), b"")
        .unwrap();
    assert_eq!(next(), SegmentId::new(51));
}

// The manifest was lost: nothing may be made in its place.
#[test]
fn a_run_or_copied_values_without_a_manifest_show_that_it_was_lost() {
    for (name, bytes) in headers(20, 3) {
        let disk = SimDisk::new();
        disk.storage().create_dir(Path::new(DB)).unwrap();
        let path = format!("{DB}/{name}");
        disk.write_file(&path, &bytes).unwrap();
        let names = disk.storage().list(Path::new(DB)).unwrap();
        let error = unfinished(&files(&disk), &names).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let message = error.to_string();
        assert!(message.contains("the manifest is missing"), "{message}");
        let opened = Engine::open(DB, options(&disk)).map(drop).unwrap_err();
        assert_eq!(opened.kind(), ErrorKind::Corrupt);
        assert!(disk.files().contains(&path));
    }
}

#[test]
fn a_store_is_made_beside_a_file_with_a_runs_name_and_around_its_number() {
    let disk = SimDisk::new();
    disk.storage().create_dir(Path::new(DB)).unwrap();
    disk.write_file("/db/00000001.run", b"somebody's").unwrap();
    let store = Engine::open(DB, options(&disk)).unwrap();
    store.put(b"k", b"v").unwrap();
    store.close().unwrap();
    let names = disk.files();
    assert!(names.contains(&"/db/00000001.run".to_owned()));
    assert!(names.contains(&"/db/00000002.seg".to_owned()));
    let store = Engine::open(DB, options(&disk)).unwrap();
    assert_eq!(store.recovery_report().foreign, ["00000001.run"]);
}
