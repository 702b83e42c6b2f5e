//! What an open does before the first change, with a manifest that lies.

use crate::format::ids::EditNumber;
use crate::format::manifest::Manifest;
use crate::storage::sim::SimDisk;
use crate::store::{catalog, manifest};
use crate::{Engine, Options, SimHost};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

const DB: &str = "/db";

fn open(disk: &SimDisk) -> Engine {
    let host = Arc::new(SimHost::new(1));
    let options = Options::new().storage(disk.storage()).host(host);
    Engine::open(DB, options).unwrap()
}

/// Changes what both copies say, under checks that hold.
fn forge(disk: &SimDisk, change: impl FnOnce(&mut Manifest)) {
    let read = manifest::read(&*disk.storage(), Path::new(DB)).unwrap();
    let mut forged = read.manifest;
    forged.edit = EditNumber::new(forged.edit.get() + 1);
    change(&mut forged);
    forged.check().unwrap();
    catalog::create(&*disk.storage(), Path::new(DB), &forged).unwrap();
}

/// A run that is said to be long would have the reserve keep as much beside it: puts would be refused for ever, or the disk
/// be full of it.
#[test]
fn an_open_keeps_no_more_for_a_full_disk_than_what_its_files_really_have() {
    for clean in [false, true] {
        let disk = SimDisk::new();
        let store = open(&disk);
        for number in 0..500_u32 {
            let value = [7; 2000];
            store.put(&number.to_le_bytes(), &value).unwrap();
        }
        store.compact(|_| ControlFlow::Continue(())).unwrap();
        store.put(b"key", b"value").unwrap();
        if clean {
            store.close().unwrap();
        }
        drop(store);
        forge(&disk, |manifest| {
            for run in &mut manifest.runs {
                run.file_bytes = 1 << 40;
                for referred in run.referred.values_mut() {
                    referred.bytes = 1 << 40;
                }
            }
            for segment in &mut manifest.segments {
                if manifest.checkpoint.is_some_and(|c| segment.id < c.segment) {
                    segment.end = 1 << 40;
                }
            }
            assert!(manifest.segments.len() > 1, "{manifest:?}");
            assert!(!manifest.runs.is_empty());
        });
        let before = disk.used_bytes();
        disk.set_capacity(Some(before + (16 << 20)));
        let store = open(&disk);
        store.put(b"key", b"other").unwrap();
        assert!(disk.used_bytes() < 2 * before + (1 << 20), "clean: {clean}");
        store.close().unwrap();
        drop(store);
        // What a copy lost by this is what it lied about, and nothing else.
        let store = open(&disk);
        assert_eq!(store.get(b"key").unwrap().unwrap(), b"other");
    }
}
