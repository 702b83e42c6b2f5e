//! Histories that break a store which lacks one rule each. The rules are those of docs/DURABILITY.md; a test that is about
//! one promise says which. Crash enumeration covers most of them by brute force; here they stand by name.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may panic like tests"
)]

use kv_log_engine::storage::Storage;
use kv_log_engine::storage::sim::{
    CrashPolicy, EACCES, EFBIG, EIO, EMFILE, ENOSPC, EROFS, Fault, FaultKind, OpKind, SimDisk,
};
use kv_log_engine::{Batch, Create, Engine, KVLog, Options, SimHost, Tuning, verify};
use kv_tests::crash::images;
use kv_tests::executor::Executor;
use kv_tests::stepped::Stepped;
use kv_tests::workload::{self, RESERVES, STORE, contents_of, fill_without_reserve};
use kv_trait::{Effect, ErrorKind, Fingerprint, Postcard};
use siphasher::sip::SipHasher24;
use std::error::Error as _;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SEGMENT: &str = "/db/00000001.seg";
const COPIES: [&str; 2] = ["/db/MANIFEST", "/db/MANIFEST.2"];

/// Both copies of the manifest go.
fn erase_manifest(disk: &SimDisk) {
    for copy in COPIES {
        disk.erase_file(copy).unwrap();
    }
}

/// Chores are done where writers wait for them and nowhere else: a call that fails, or finds no room, is one of the history.
fn options(disk: &SimDisk, seed: u64, segment_bytes: u64) -> Options {
    workload::options(disk, seed, segment_bytes).tuning(Tuning {
        by_hand: true,
        ..Tuning::default()
    })
}

fn open(disk: &SimDisk, seed: u64) -> Engine {
    Engine::open(STORE, options(disk, seed, 64 * 1024)).unwrap()
}

fn fail(disk: &SimDisk, kind: OpKind, errno: i32) {
    disk.inject(
        Fault::new(FaultKind::Errno(errno))
            .on(kind)
            .path_contains(".seg"),
    );
}

fn policy() -> CrashPolicy {
    CrashPolicy {
        garbled: 24,
        ..CrashPolicy::default()
    }
}

/// Flips one bit, durably.
fn flip(disk: &SimDisk, path: &str, at: usize) {
    let mut bytes = disk.read_file(path).unwrap();
    bytes[at] ^= 0x10;
    disk.write_file(path, &bytes).unwrap();
}

/// Where the last frame byte of a segment stands.
fn last_byte(disk: &SimDisk, path: &str) -> usize {
    disk.read_file(path)
        .unwrap()
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap()
}

/// The histories of a file, as tests. They are functions of their own, so that `mutants` can run them on a store that is
/// broken.
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        mod runs {
            $(
                #[test]
                fn $name() {
                    super::$name();
                }
            )+
        }
    };
}

mod checkpoints;
mod damage;
mod erasures;
mod expiry;
mod files;
mod life;
mod merges;
mod names;
mod owners;
mod reserve;
mod snapshots;
mod space;
mod transactions;
mod types;
mod views;
mod watches;
mod writes;
