//! Every byte of the runs and the segments of a store with chores behind it flipped, and every length cut.
//!
//! | file | flipped or cut |
//! |---|---|
//! | a run, a segment of values, one that runs cover | opens; each read answers right, or *corrupt* with the file's name |
//! | what is replayed | the table of [`crate::corruption`]: not repeated here |
//!
//! A scan shows nothing that is not there, and where it leaves a key out it has said *corrupt*. What memory and newer
//! layers have is served whatever is damaged below. `verify` names the file of whatever a read could not serve. Then all
//! of it is merged: what was right is right, and what was corrupt is corrupt or right, and never absent. At last each key
//! is written anew, and everything is right.

use crate::oracle::Contents;
use crate::tiny::Sizes;
use crate::workload::{STORE, options};
use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{Engine, Options, SimHost, verify};
use kv_trait::{Error, ErrorKind};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

const KEYS: u32 = 40;
/// Of the damaged stores every so many are merged, too.
const MERGED_EVERY: usize = 7;

const SIZES: Sizes = Sizes {
    segment_bytes: 1024,
    separation_bytes: 40,
    memtable_bytes: 1 << 20,
    log_bytes: 1 << 20,
    block_bytes: 100,
    run_bytes: 1 << 20,
    unit_bytes: 600,
    slice_bytes: 1 << 20,
    levels_max: 5,
    compress: false,
    by_hand: true,
};

/// What became of a damaged store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Verdict {
    /// Every read is right, and `verify` says nothing.
    Right,
    /// Every read is right, and `verify` names the file.
    Named,
    /// Some reads are *corrupt*, and `verify` names the file.
    Corrupt,
    /// The open was refused, with the file's name.
    Refused,
}

/// How often each verdict was met, by kind of file.
pub type Counts = BTreeMap<(&'static str, Verdict), u64>;

/// A store with two levels of runs, copied values, covered segments, and a tail.
#[derive(Debug)]
#[non_exhaustive]
pub struct OldStore {
    /// The disk it is on.
    pub disk: SimDisk,
    /// What it holds.
    pub contents: Contents,
    closed: bool,
}

/// Options for that store.
pub fn options_of(disk: &SimDisk, seed: u64) -> Options {
    let host = Arc::new(SimHost::new(seed));
    SIZES
        .apply(options(disk, seed, SIZES.segment_bytes))
        .host(host)
}

fn key(number: u32) -> Vec<u8> {
    format!("key-{number:03}").into_bytes()
}

/// Makes such a store.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn old_store(closed: bool) -> OldStore {
    let disk = SimDisk::new();
    let store = Engine::open(STORE, options_of(&disk, 1)).expect("a new store");
    let mut contents = Contents::new();
    let mut write = |number: u32, round: u32| {
        let length = if number.is_multiple_of(3) { 70 } else { 9 };
        let mut value = format!("{round}/{number}").into_bytes();
        value.resize(length, b'.');
        store.put(&key(number), &value).expect("the disk is good");
        contents.insert(key(number), value);
    };
    let chores = || {
        store.freeze().expect("the disk is good");
        while store.run_slice().expect("the disk is good") {}
    };
    for number in 0..KEYS {
        write(number, 0);
    }
    chores();
    for number in (0..KEYS).filter(|number| number % 6 == 3 || number % 5 == 1) {
        write(number, 1);
    }
    let compacted = store.compact(|_| ControlFlow::Continue(()));
    assert!(compacted.expect("the disk is good").finished);
    for number in (0..KEYS).step_by(4) {
        write(number, 2);
    }
    // A checkpoint, and no merge.
    store.freeze().expect("the disk is good");
    let before = store.stats().checkpoints;
    while store.stats().checkpoints == before {
        assert!(store.run_slice().expect("the disk is good"));
    }
    for number in [1, 6, 39] {
        write(number, 3);
    }
    let stats = store.stats();
    assert!(stats.levels.len() >= 2, "{:?}", stats.levels);
    let values = stats.segments.iter();
    let values = values.filter(|segment| segment.kind.as_str() != "log");
    assert!(
        values.count() > 0,
        "no value was copied: {:?}",
        stats.segments
    );
    if closed {
        store.close().expect("the disk is good");
    } else {
        disk.power_cut_losing_all();
    }
    drop(store);
    OldStore {
        disk,
        contents,
        closed,
    }
}

/// What the keys answer: those that are corrupt.
fn read(store: &Engine, contents: &Contents, file: &str, context: &str) -> BTreeSet<Vec<u8>> {
    let by_name = |error: &Error| {
        let name = file.rsplit('/').next().unwrap_or(file);
        assert!(
            error.kind() == ErrorKind::Corrupt && error.to_string().contains(name),
            "{context}: {error:?}"
        );
    };
    let mut corrupt = BTreeSet::new();
    for number in 0..KEYS + 2 {
        let key = key(number);
        match store.get(&key) {
            Ok(found) => assert_eq!(
                found.as_ref(),
                contents.get(&key),
                "{context}: {}",
                String::from_utf8_lossy(&key)
            ),
            Err(error) => {
                by_name(&error);
                corrupt.insert(key);
            }
        }
    }
    let (mut left_out, mut errors) = (contents.clone(), 0);
    // One error for each range that is lost, and one for each value.
    for found in store.scan(..).expect("the store is open").take(1000) {
        match found {
            Ok((key, value)) => assert_eq!(left_out.remove(&key), Some(value), "{context}"),
            Err(error) => {
                by_name(&error);
                errors += 1;
            }
        }
    }
    // A get asks the filter of a run whose block is lost, and may find the key below; a scan has to name all of the range.
    assert!(
        left_out.is_empty() || errors > 0,
        "{context}: a scan left {left_out:?} out without a word"
    );
    corrupt
}

impl OldStore {
    fn try_damaged(&self, file: &str, bytes: &[u8], at: usize, context: &str) -> Verdict {
        let disk = self.disk.fork();
        disk.write_file(file, bytes).expect("the file is there");
        let name = file.rsplit('/').next().unwrap_or(file);
        let verified = disk.fork();
        let report = verify(STORE, options_of(&verified, 9));
        let named = match &report {
            Ok(report) => report
                .damages
                .iter()
                .any(|damage| damage.path.ends_with(name)),
            Err(error) => error.to_string().contains(name),
        };
        let store = match Engine::open(STORE, options_of(&disk, 5)) {
            Ok(store) => store,
            Err(error) => {
                let refused = error.kind() == ErrorKind::Corrupt
                    || error.kind() == ErrorKind::UnsupportedFormat;
                assert!(
                    refused && error.to_string().contains(name) && named,
                    "{context}: {error:?}; verify: {report:?}"
                );
                return Verdict::Refused;
            }
        };
        let corrupt = read(&store, &self.contents, file, context);
        if at.is_multiple_of(MERGED_EVERY) {
            self.merge(&store, &corrupt, file, context);
        }
        match (corrupt.is_empty(), named) {
            (true, false) => Verdict::Right,
            (true, true) => Verdict::Named,
            (false, true) => Verdict::Corrupt,
            (false, false) => panic!("{context}: corrupt, and verify does not say so: {report:?}"),
        }
    }

    fn merge(&self, store: &Engine, corrupt: &BTreeSet<Vec<u8>>, file: &str, context: &str) {
        let context = format!("{context}, merged");
        let compacted = store.compact(|_| ControlFlow::Continue(()));
        if let Err(error) = compacted {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{context}: {error:?}");
        }
        let now = read(store, &self.contents, file, &context);
        // A hole hides all that older layers say of its range, also what the lost block did not have: nobody can tell.
        assert!(
            now.is_subset(corrupt) || !corrupt.is_empty(),
            "{context}: {now:?} beyond {corrupt:?}"
        );
        let mut contents = Contents::new();
        for number in 0..KEYS + 2 {
            let value = format!("anew {number}").into_bytes();
            store
                .put(&key(number), &value)
                .unwrap_or_else(|error| panic!("{context}: {error:?}"));
            contents.insert(key(number), value);
        }
        let context = format!("{context}, written anew");
        let now = read(store, &contents, file, &context);
        assert!(now.is_empty(), "{context}: {now:?}");
    }

    /// The files of runs and segments, with what they are; not what is replayed.
    fn files(&self) -> Vec<(String, &'static str, Vec<u8>)> {
        let store = Engine::open(STORE, options_of(&self.disk.fork(), 8)).expect("it is good");
        let stats = store.stats();
        let kind_of = |name: &str| {
            if name.ends_with(".run") {
                return Some("run");
            }
            let segment = stats
                .segments
                .iter()
                .find(|segment| name.ends_with(&format!("{}.seg", segment.id)))?;
            match (segment.active, segment.kind.as_str()) {
                (true, _) => None,
                (false, "log") => Some("covered segment"),
                (false, _) => Some("segment of values"),
            }
        };
        let names = self.disk.files().into_iter();
        names
            .filter_map(|name| {
                let kind = kind_of(&name)?;
                let bytes = self.disk.read_file(&name).ok()?;
                Some((name, kind, bytes))
            })
            .collect()
    }

    /// Flips every `every`-th byte of every such file.
    ///
    /// # Panics
    /// If the outcome is not the table's. The message names file and offset.
    #[must_use]
    pub fn flip_bytes(&self, every: usize) -> Counts {
        let mut counts = Counts::new();
        for (file, kind, whole) in self.files() {
            for at in (0..whole.len()).step_by(every) {
                let pattern = [0x01, 0xff, 0x80][at / every % 3];
                let mut bytes = whole.clone();
                bytes[at] ^= pattern;
                let context = format!("closed: {}, {file}, byte {at} ^ {pattern:#x}", self.closed);
                let verdict = self.try_damaged(&file, &bytes, at, &context);
                *counts.entry((kind, verdict)).or_default() += 1;
            }
        }
        counts
    }

    /// Cuts every such file to every `every`-th length.
    ///
    /// # Panics
    /// If the outcome is not the table's. The message names file and length.
    #[must_use]
    pub fn cut_lengths(&self, every: usize) -> Counts {
        let mut counts = Counts::new();
        for (file, kind, whole) in self.files() {
            for length in (0..whole.len()).step_by(every) {
                let context = format!("closed: {}, {file}, cut to {length}", self.closed);
                let verdict = self.try_damaged(&file, &whole[..length], length, &context);
                *counts.entry((kind, verdict)).or_default() += 1;
            }
        }
        counts
    }
}
