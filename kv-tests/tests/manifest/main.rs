//! The manifest's rules, one named test each: two copies of which either serves, edits that count when both have them, ids
//! that are never used again, nothing removed in doubt, nothing written after a clean end, and a format that later versions
//! can add to.
#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]
#![expect(clippy::cast_possible_truncation, reason = "small numbers made here")]

mod clean;
mod compared;
mod copies;
mod doubt;
mod forge;
mod frames;
mod ids;
mod later;
mod room;

use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{Engine, Tuning};
use kv_tests::reader::{self, FileContents, Unreadable};
use kv_tests::workload::{STORE, options};
use kv_trait::Error;

const COPIES: [&str; 2] = ["/db/MANIFEST", "/db/MANIFEST.2"];
const SEGMENT: &str = "/db/00000001.seg";
const SEGMENT_BYTES: u64 = 1024;

fn try_open(disk: &SimDisk, seed: u64) -> Result<Engine, Error> {
    // Chores are not what is tested here, and would give room where there is none.
    let options = options(disk, seed, SEGMENT_BYTES).tuning(Tuning {
        by_hand: true,
        ..Tuning::default()
    });
    Engine::open(STORE, options)
}

fn open(disk: &SimDisk, seed: u64) -> Engine {
    try_open(disk, seed).unwrap()
}

/// Writes until a segment more is full.
fn rotate(store: &Engine) -> Result<(), Error> {
    let before = store.stats().segments.len();
    for number in 0..8_u8 {
        store.put(&[b'r', number], &[number; 200])?;
        if store.stats().segments.len() > before {
            return Ok(());
        }
    }
    unreachable!("eight of them do not fit a segment");
}

/// Names of the segments that are there.
fn segments(disk: &SimDisk) -> Vec<String> {
    let mut names = disk.files();
    names.retain(|name| name.ends_with(".seg"));
    names
}

/// What the second reader says of a store.
fn read_again(disk: &SimDisk) -> Result<FileContents, Unreadable> {
    let directory = tempfile::tempdir().unwrap();
    for file in disk.files() {
        if let Ok(bytes) = disk.read_file(&file) {
            let name = file.rsplit('/').next().unwrap();
            put_file(&directory.path().join(name), &bytes);
        }
    }
    reader::read(directory.path())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the reader reads files that no store of this process wrote"
)]
fn put_file(path: &std::path::Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}
