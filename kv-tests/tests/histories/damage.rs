//! What `verify` says of a store that is damaged in several places: all of them, and the keys at risk.

use super::*;
use kv_log_engine::{Damage, VerifyReport};

/// Twelve keys of 300 bytes, three to a segment, and the first of them once more at the end.
fn store() -> SimDisk {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1024)).unwrap();
    for number in 0..12 {
        store.put(key(number).as_bytes(), &[b'v'; 250]).unwrap();
    }
    store.put(key(0).as_bytes(), b"again").unwrap();
    store.close().unwrap();
    disk
}

fn key(number: usize) -> String {
    format!("key-{number:02}")
}

/// The segment that holds a key's first record, and where the key stands in it.
fn place(disk: &SimDisk, key: &str) -> (String, usize) {
    let find = |path: &String| {
        let bytes = disk.read_file(path).unwrap();
        bytes.windows(key.len()).position(|at| at == key.as_bytes())
    };
    let mut segments = disk.files();
    segments.retain(|path| path.ends_with(".seg"));
    let found = segments
        .iter()
        .find_map(|path| Some((path.clone(), find(path)?)));
    found.unwrap()
}

fn check(disk: &SimDisk) -> VerifyReport {
    let names = disk.files();
    let refused = Engine::open(STORE, options(disk, 2, 1024)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt);
    let report = verify(STORE, options(disk, 3, 1024)).unwrap();
    assert!(!report.is_clean());
    assert_eq!(disk.files(), names, "nothing is changed");
    report
}

fn keys(damage: &Damage) -> Vec<&str> {
    let text = |key| std::str::from_utf8(key).unwrap();
    damage.keys.iter().map(|key| text(key)).collect()
}

#[test]
fn verify_names_all_damage_and_the_keys_at_risk() {
    let disk = store();
    assert!(verify(STORE, options(&disk, 2, 1024)).unwrap().is_clean());
    // A value; a value of a key that was written again; a frame's header; a whole segment.
    let (in_value, at) = place(&disk, "key-04");
    flip(&disk, &in_value, at + 100);
    let (replaced, at) = place(&disk, "key-00");
    flip(&disk, &replaced, at + 100);
    let (in_header, at) = place(&disk, "key-07");
    flip(&disk, &in_header, at - 28 - 80 + 20);
    let (missing, _) = place(&disk, "key-10");
    disk.erase_file(&missing).unwrap();

    let report = check(&disk);
    assert_eq!((report.damages.len(), report.more_damages), (4, 0));
    let of = |path: &str| {
        let found = |damage: &&Damage| damage.path == std::path::Path::new(path);
        report.damages.iter().find(found).unwrap()
    };
    let value = of(&in_value);
    assert_eq!((value.records, keys(value)), (1, vec!["key-04"]));
    assert!(value.end.is_some_and(|end| end > value.offset));
    assert!(value.cause.to_string().contains("record check mismatch"));
    let again = of(&replaced);
    assert_eq!(
        (again.records, keys(again)),
        (1, vec![]),
        "a later one is good"
    );
    let header = of(&in_header);
    assert_eq!((header.records, keys(header)), (1, vec!["key-07"]));
    let file = of(&missing);
    assert!(file.keys.is_empty() && file.unnamed_records == file.records && file.records > 0);
    let good = 13 - 3 - file.records;
    assert_eq!((report.records, report.frames >= good), (good, true));
    let told = value.to_string();
    assert!(told.ends_with("; keys at risk: \"key-04\""), "{told}");
    assert!(file.to_string().ends_with(" that cannot be read"));
}

#[test]
fn verify_goes_on_behind_a_damaged_header_and_a_damaged_manifest() {
    let disk = store();
    let first = disk.fork();
    flip(&first, SEGMENT, 20);
    let report = check(&first);
    assert_eq!((report.damages.len(), report.records), (1, 13));
    assert_eq!((report.damages[0].end, report.live_keys), (Some(104), 12));

    let manifest = disk.fork();
    for copy in COPIES {
        manifest.write_file(copy, b"short").unwrap();
    }
    let (segment, at) = place(&manifest, "key-04");
    flip(&manifest, &segment, at + 100);
    let report = check(&manifest);
    let paths: Vec<_> = report
        .damages
        .iter()
        .map(|damage| damage.path.clone())
        .collect();
    assert_eq!(
        paths,
        ["/db/MANIFEST".into(), std::path::PathBuf::from(segment)]
    );
    assert_eq!(
        (report.records, keys(&report.damages[1])),
        (12, vec!["key-04"])
    );
}

#[test]
fn verify_names_the_keys_of_a_sector_that_was_wiped() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 65536)).unwrap();
    for number in 0..40 {
        store.put(key(number).as_bytes(), &[b'v'; 250]).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let mut bytes = disk.read_file(SEGMENT).unwrap();
    bytes[4096..4608].fill(0);
    disk.write_file(SEGMENT, &bytes).unwrap();
    let report = check(&disk);
    assert_eq!(report.damages.len(), 1);
    let damage = &report.damages[0];
    assert!(damage.offset < 4608 && damage.end.unwrap() > 4096);
    assert_eq!(damage.records, 40 - report.records);
    assert_eq!(
        damage.keys.len() as u64 + damage.unnamed_records,
        damage.records
    );
    assert!(damage.unnamed_records <= 2, "{damage}");
}

// The list is bounded, not the reading.
#[test]
fn very_much_damage_is_listed_up_to_a_bound_and_counted_beyond() {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options(&disk, 1, 1 << 20)).unwrap();
    for number in 0..600 {
        store.put(key(number).as_bytes(), b"value").unwrap();
    }
    store.close().unwrap();
    drop(store);
    let mut bytes = disk.read_file(SEGMENT).unwrap();
    let values = bytes
        .windows(5)
        .enumerate()
        .filter(|(_, five)| five == b"value");
    let values: Vec<_> = values.map(|(at, _)| at).step_by(2).collect();
    values.iter().for_each(|at| bytes[*at] ^= 1);
    disk.write_file(SEGMENT, &bytes).unwrap();
    let report = check(&disk);
    assert_eq!(report.damages.len(), VerifyReport::DAMAGES_MAX);
    assert_eq!(report.more_damages, 300 - VerifyReport::DAMAGES_MAX as u64);
    assert_eq!((report.records, report.live_keys), (300, 300));
}
