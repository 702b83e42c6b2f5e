//! A small store whose chores are done by hand, beside a map that knows what must be there.

use kv_log_engine::storage::sim::{CrashPoint, CrashPolicy, SimDisk};
use kv_log_engine::{Engine, Options, SimHost, Tuning};
use kv_tests::workload::{STORE, contents_of};
use kv_trait::Result;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Slices after which work that does not end is a fault.
const SLICES_MAX: usize = 20_000;

/// What a store in these histories is tuned to: blocks of some entries, runs of some blocks, slices of one or two blocks. A
/// memtable is frozen by hand alone.
pub(crate) fn tuning() -> Tuning {
    Tuning {
        block_bytes: Some(100),
        run_bytes: Some(600),
        unit_bytes: Some(1200),
        slice_bytes: Some(300),
        by_hand: true,
        ..Tuning::default()
    }
}

/// A store, its disk, and what must be in it.
pub(crate) struct Life {
    pub(crate) disk: SimDisk,
    pub(crate) host: Arc<SimHost>,
    pub(crate) tuning: Tuning,
    pub(crate) segment_bytes: u64,
    pub(crate) model: Model,
    store: Option<Engine>,
}

impl Life {
    pub(crate) fn new() -> Self {
        Self::tuned(tuning())
    }

    pub(crate) fn tuned(tuning: Tuning) -> Self {
        Self::with_segments(tuning, 2048)
    }

    pub(crate) fn with_segments(tuning: Tuning, segment_bytes: u64) -> Self {
        let mut life = Self {
            disk: SimDisk::new(),
            host: Arc::new(SimHost::new(1)),
            tuning,
            segment_bytes,
            model: Model::new(),
            store: None,
        };
        life.open();
        life
    }

    pub(crate) fn options(&self, disk: &SimDisk) -> Options {
        Options::new()
            .storage(disk.storage())
            .host(Arc::clone(&self.host) as Arc<_>)
            .segment_bytes(self.segment_bytes)
            .separation_bytes(64)
            .linger(Duration::ZERO)
            .tuning(self.tuning)
    }

    pub(crate) fn try_open(&self, disk: &SimDisk) -> Result<Engine> {
        Engine::open(STORE, self.options(disk))
    }

    pub(crate) fn open(&mut self) {
        self.store = None;
        self.store = Some(self.try_open(&self.disk).unwrap());
    }

    /// Opens a store that was closed otherwise than usual.
    pub(crate) fn open_with(&mut self, options: Options) {
        self.store = None;
        self.store = Some(Engine::open(STORE, options).unwrap());
    }

    /// The process dies, and another one opens the store.
    pub(crate) fn die(&mut self) {
        self.disk.kill_process();
        self.disk.clear_faults();
        self.open();
    }

    /// The process dies, and nobody opens the store.
    pub(crate) fn abandon(&mut self) {
        self.disk.kill_process();
        self.store = None;
    }

    /// The power is cut, and only what is durable is left; another process opens the store.
    pub(crate) fn cut(&mut self) {
        self.disk.power_cut_losing_all();
        self.disk.clear_faults();
        self.open();
    }

    pub(crate) fn close(&mut self) {
        self.store().close().unwrap();
        self.store = None;
    }

    /// The store's last handle goes, without a close.
    pub(crate) fn drop_handles(&mut self) {
        self.store = None;
    }

    pub(crate) fn store(&self) -> &Engine {
        self.store.as_ref().unwrap()
    }

    pub(crate) fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (key, value) = (key.as_ref(), value.as_ref());
        self.store().put(key, value).unwrap();
        self.model.insert(key.to_vec(), value.to_vec());
    }

    pub(crate) fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.store().remove(key.as_ref()).unwrap();
        self.model.remove(key.as_ref());
    }

    /// Freezes the memtable; the checkpoint is for slices to write.
    pub(crate) fn freeze(&self) {
        self.store().freeze().unwrap();
    }

    /// One slice; whether there was anything to do.
    pub(crate) fn slice(&self) -> bool {
        self.store().run_slice().unwrap()
    }

    /// Slices until there is nothing to do.
    pub(crate) fn work(&self) -> usize {
        let slices = (0..SLICES_MAX).take_while(|_| self.slice()).count();
        assert!(slices < SLICES_MAX, "chores do not end");
        slices
    }

    /// Slices until the checkpoint of what is frozen is done, and no further.
    pub(crate) fn finish_checkpoint(&self) {
        let before = self.store().stats().checkpoints;
        for _ in 0..SLICES_MAX {
            if self.store().stats().checkpoints > before {
                return;
            }
            assert!(self.slice(), "the checkpoint is not due");
        }
        panic!("the checkpoint does not end");
    }

    /// Writes until the memtable is frozen because it is full: the log goes on in the same segment then.
    pub(crate) fn fill(&mut self) {
        for number in 0..1000 {
            self.put(format!("filled {number}"), short(number));
            if self.store().stats().frozen_bytes > 0 {
                return;
            }
        }
        panic!("the memtable is never full");
    }

    /// What is in memory becomes a run, and no merge is begun.
    pub(crate) fn checkpoint(&self) {
        self.freeze();
        self.finish_checkpoint();
    }

    /// What is in memory becomes a run, and whatever is due behind that is done.
    pub(crate) fn checkpoint_and_work(&self) {
        self.freeze();
        self.work();
    }

    /// Everything in one level.
    pub(crate) fn compact(&self) {
        self.store().compact(|_| ControlFlow::Continue(())).unwrap();
    }

    /// Time passes until whatever failed may be tried again.
    pub(crate) fn wait(&self) {
        self.host.advance(Duration::from_secs(60));
    }

    pub(crate) fn check(&self, what: &str) {
        check(self.store(), &self.model, what);
    }

    pub(crate) fn levels(&self) -> usize {
        self.store().stats().levels.len()
    }

    /// Entries of all runs, tombstones included.
    pub(crate) fn entries(&self) -> u64 {
        let levels = self.store().stats().levels;
        levels.iter().map(|level| level.entries).sum()
    }

    pub(crate) fn tombstones(&self) -> u64 {
        let levels = self.store().stats().levels;
        levels.iter().map(|level| level.tombstones).sum()
    }

    /// The files with this ending.
    pub(crate) fn files(&self, ending: &str) -> BTreeSet<String> {
        files(&self.disk, ending)
    }

    /// Every state that a power cut leaves of what was done since the trace was begun, opened: it shows one of `allowed`,
    /// the same when its own chores are done, and the same to the next process, without a file too many or too few.
    pub(crate) fn cut_everywhere(&self, policy: &CrashPolicy, allowed: &[&Model]) -> usize {
        let trace = self.disk.trace().unwrap();
        let mut seen = HashSet::new();
        for point in trace.crash_points() {
            for choice in point.choices(policy) {
                let image = point.image(&choice);
                if seen.insert(image.image_hash()) {
                    let what = format!("after {}, {choice:?}", trace.describe(point.op()));
                    self.judge(&image, allowed, &what);
                }
            }
        }
        seen.len()
    }

    /// The same for a process that dies at each operation.
    pub(crate) fn die_everywhere(&self, allowed: &[&Model]) -> usize {
        let trace = self.disk.trace().unwrap();
        let points: Vec<CrashPoint> = trace.crash_points().collect();
        for point in &points {
            let what = format!("died after {}", trace.describe(point.op()));
            let left = point.died();
            self.judge(&left, allowed, &what);
            // Without a power cut nothing is garbled, and what is of the store is known as its own.
            let foreign = self.try_open(&left).unwrap();
            let foreign = &foreign.recovery_report().foreign;
            assert!(foreign.is_empty(), "{what}: {foreign:?}");
        }
        points.len()
    }

    pub(crate) fn judge(&self, image: &SimDisk, allowed: &[&Model], what: &str) {
        let store = self.try_open(image);
        let store = store.unwrap_or_else(|error| panic!("{what}: {error}"));
        let shown = contents_of(&store);
        assert!(
            allowed.iter().any(|model| **model == shown),
            "{what}: {} keys are shown, which nothing leads to",
            shown.len()
        );
        // The first change pays for the open; chores begin behind it.
        store.freeze().unwrap();
        while store.run_slice().unwrap() {}
        check(&store, &shown, what);
        drop(store);
        let again = self.try_open(image).unwrap();
        let report = again.recovery_report();
        assert!(report.debris.is_empty(), "{what}: {:?}", report.debris);
        check(&again, &shown, what);
    }
}

pub(crate) fn files(disk: &SimDisk, ending: &str) -> BTreeSet<String> {
    let files = disk.files().into_iter();
    files.filter(|name| name.ends_with(ending)).collect()
}

/// Scans both ways and reads each key.
pub(crate) fn check(store: &Engine, model: &Model, what: &str) {
    let mut expected = model.iter();
    for found in store.scan(..).unwrap() {
        let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
        let expected = expected.next().map(|(key, value)| (&**key, &**value));
        assert!(
            Some((&*found.0, &*found.1)) == expected,
            "{what}: {} where {:?} is expected",
            found.0.escape_ascii(),
            expected.map(|(key, _)| key.escape_ascii().to_string())
        );
    }
    let missed = expected.next();
    assert!(missed.is_none(), "{what}: the scan ends early");
    for (key, value) in model {
        let found = store.get(key);
        let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(
            found.as_ref() == Some(value),
            "{what}: {} is not what was written",
            key.escape_ascii()
        );
    }
}

/// Few choices for many crash points.
pub(crate) fn few() -> CrashPolicy {
    CrashPolicy {
        exhaustive_units_max: 3,
        seeded: 2,
        garbled: 1,
        seed: 7,
    }
}

pub(crate) fn key(number: u64) -> Vec<u8> {
    format!("key {number:04}").into_bytes()
}

/// A value that stays in runs.
pub(crate) fn short(turn: u64) -> Vec<u8> {
    format!("value {turn}").into_bytes()
}

/// A value that stays in its segment.
pub(crate) fn long(turn: u64) -> Vec<u8> {
    format!("long value {turn} ").repeat(8).into_bytes()
}

/// A value that stays in its segment, and takes much of it.
pub(crate) fn large(turn: u64) -> Vec<u8> {
    format!("large value {turn} ").repeat(30).into_bytes()
}

/// A store with some levels, more than one unit of keys, and segments full of garbage.
pub(crate) fn wide() -> Life {
    wide_of(80)
}

pub(crate) fn wide_of(keys: u64) -> Life {
    let mut life = Life::with_segments(tuning(), 4096);
    for turn in 0..3 {
        for number in 0..keys {
            match number % 4 {
                0 => life.put(key(number), large(turn * 100 + number)),
                1 if turn == 2 => life.delete(key(number)),
                _ => life.put(key(number), short(turn * 100 + number)),
            }
        }
        life.checkpoint();
    }
    life
}
