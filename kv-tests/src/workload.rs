//! Seeded workloads: several writers, batches, deletes, rotations, faults, rude restarts, closes.
//!
//! A workload runs on one thread, so the same seed gives the same trace. Several writers at once are several batches
//! submitted before one of them is waited for: they share a group.

use crate::oracle::{BatchId, Change, Contents, Oracle};
use crate::tiny::Sizes;
use kv_log_engine::storage::sim::{EIO, ENOSPC, Fault, FaultKind, OpKind, SimDisk, Trace};
use kv_log_engine::{Batch, Engine, Options, Scan, SimHost, Submitted};
use kv_trait::{Effect, ErrorKind};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Where stores of workloads lie.
pub const STORE: &str = "/db";

/// The files of a store's reserve.
pub const RESERVES: [&str; 3] = [
    "/db/RESERVE.close",
    "/db/RESERVE.deletes",
    "/db/RESERVE.maintenance",
];

/// The store has no reserve, and there is no room for one: the disk is as full as it can be.
pub fn fill_without_reserve(disk: &SimDisk) {
    for reserve in RESERVES {
        // A store that was never changed has none.
        drop(disk.erase_file(reserve));
    }
    disk.set_capacity(Some(disk.used_bytes()));
}

/// SplitMix64: small numbers from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

/// What a workload consists of.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a plain set of numbers, meant to be written out"
)]
pub struct Shape {
    /// Steps; a group of writes each, or something rarer.
    pub steps: u32,
    /// Batches submitted together, at most.
    pub writers: u64,
    /// Records of a batch, at most.
    pub records: u64,
    /// Bytes of a value, at most.
    pub value_bytes: u64,
    /// Keys to choose from.
    pub keys: u64,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Whether writes and syncs fail now and then.
    pub faults: bool,
    /// One value of so many is larger than what is written twice, to make its room first; 0: none.
    pub large_every: u64,
    /// Whether those of the manifest do, too.
    pub manifest_faults: bool,
    /// Whether the store is closed and opened every third step.
    pub closes: bool,
    /// Budgets so small that chores never end; `None`: those of every store, of which no chore is seen.
    pub sizes: Option<Sizes>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            steps: 14,
            writers: 4,
            records: 3,
            value_bytes: 180,
            keys: 9,
            segment_bytes: 2048,
            faults: false,
            large_every: 0,
            manifest_faults: false,
            closes: false,
            sizes: None,
        }
    }
}

impl Shape {
    /// Checkpoints, merges with victims, release and unlinking in the space of a few dozen writes, a slice at a time.
    #[must_use]
    pub fn of_life() -> Self {
        let sizes = Sizes {
            segment_bytes: 1024,
            separation_bytes: 40,
            memtable_bytes: 900,
            log_bytes: 1600,
            unit_bytes: 300,
            ..Sizes::default()
        };
        Self {
            steps: 40,
            value_bytes: 90,
            keys: 16,
            segment_bytes: 1024,
            sizes: Some(sizes.by_hand()),
            ..Self::default()
        }
    }

    /// Options for a store of this shape on a simulated disk.
    pub fn options(&self, disk: &SimDisk, seed: u64) -> Options {
        let options = options(disk, seed, self.segment_bytes);
        match &self.sizes {
            Some(sizes) => sizes.apply(options),
            None => options,
        }
    }
}

/// Values of this many bytes make their room themselves, wherever they come.
const LARGE_BYTES: usize = 70 * 1024;

/// What the faults of a workload met. A fault that no call met is not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain set of counters")]
pub struct Met {
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Syncs that found no space.
    pub syncs_without_space: u64,
    /// Writes that found no space.
    pub writes_without_space: u64,
    /// Writes that broke off and failed.
    pub broken_writes: u64,
    /// Writes that were short, and no error.
    pub short_writes: u64,
    /// Values that make their room themselves.
    pub large_values: u64,
    /// Groups of which a batch was refused with effect *nothing*.
    pub refused_groups: u64,
    /// Groups of which a batch was told effect *unknown*.
    pub unknown_groups: u64,
    /// Slices of chores that failed.
    pub failed_slices: u64,
    /// Steps on a full disk.
    pub full_disks: u64,
}

/// What the chores of a workload came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a plain set of counters")]
pub struct Done {
    /// Checkpoints.
    pub checkpoints: u64,
    /// Units of merges.
    pub units: u64,
    /// Segments let go.
    pub released: u64,
    /// Scans that were kept over other steps and read to their end.
    pub kept: u64,
}

impl std::ops::AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.checkpoints += other.checkpoints;
        self.units += other.units;
        self.released += other.released;
        self.kept += other.kept;
    }
}

impl std::ops::AddAssign for Met {
    fn add_assign(&mut self, other: Self) {
        self.failed_syncs += other.failed_syncs;
        self.syncs_without_space += other.syncs_without_space;
        self.writes_without_space += other.writes_without_space;
        self.broken_writes += other.broken_writes;
        self.short_writes += other.short_writes;
        self.large_values += other.large_values;
        self.refused_groups += other.refused_groups;
        self.unknown_groups += other.unknown_groups;
        self.failed_slices += other.failed_slices;
        self.full_disks += other.full_disks;
    }
}

impl Met {
    fn of_kind(&mut self, kind: FaultKind, on: OpKind) -> &mut u64 {
        match (kind, on) {
            (FaultKind::Errno(EIO), OpKind::Sync) => &mut self.failed_syncs,
            (_, OpKind::Sync) => &mut self.syncs_without_space,
            (FaultKind::Errno(_), _) => &mut self.writes_without_space,
            (FaultKind::PartThenErrno(..), _) => &mut self.broken_writes,
            _ => &mut self.short_writes,
        }
    }
}

/// A workload that has run: the disk's trace and what its callers know.
#[derive(Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// The seed it followed from.
    pub seed: u64,
    /// What it consists of.
    pub shape: Shape,
    /// Everything the disk was told.
    pub trace: Trace,
    /// Everything the callers were told.
    pub oracle: Oracle,
    /// The disk at the end.
    pub disk: SimDisk,
    /// How often something failed.
    pub met: Met,
    /// What chores came to.
    pub done: Done,
}

impl Recorded {
    /// Options for the store that the workload left.
    pub fn options(&self, disk: &SimDisk, seed: u64) -> Options {
        self.shape.options(disk, seed)
    }
}

/// Options for a store on a simulated disk that depend on nothing but the seed.
pub fn options(disk: &SimDisk, seed: u64, segment_bytes: u64) -> Options {
    Options::new()
        .storage(disk.storage())
        .host(Arc::new(SimHost::new(seed)))
        .segment_bytes(segment_bytes)
        .linger(Duration::ZERO)
}

/// Everything that a store shows.
///
/// # Panics
/// If a value cannot be read.
#[must_use]
pub fn contents_of(store: &Engine) -> Contents {
    let scan = store.scan(..).expect("the store is open");
    scan.map(|found| found.expect("every live record can be read"))
        .collect()
}

struct Run {
    seed: u64,
    random: Random,
    shape: Shape,
    disk: SimDisk,
    oracle: Oracle,
    store: Option<Engine>,
    serial: u64,
    /// The fault that waits for its call.
    armed: Option<(FaultKind, OpKind)>,
    /// A scan that is kept, and what it has to show.
    kept: Option<(Scan, Contents)>,
    met: Met,
    done: Done,
}

/// Runs the workload of a seed, from creation on.
///
/// # Panics
/// If the store breaks a promise that shows without a power cut.
#[must_use]
pub fn run(seed: u64, shape: Shape) -> Recorded {
    let disk = SimDisk::new();
    disk.start_trace();
    let mut run = Run {
        seed,
        random: Random::new(seed),
        shape,
        disk,
        oracle: Oracle::new(),
        store: None,
        serial: 0,
        armed: None,
        kept: None,
        met: Met::default(),
        done: Done::default(),
    };
    for _ in 0..shape.steps {
        run.step();
    }
    run.end();
    let trace = run.disk.trace().expect("the trace was started");
    Recorded {
        seed,
        shape,
        trace,
        oracle: run.oracle,
        disk: run.disk,
        met: run.met,
        done: run.done,
    }
}

impl Run {
    fn step(&mut self) {
        if self.shape.closes && self.random.below(3) == 0 {
            self.close();
            return;
        }
        if self.shape.sizes.is_some() && self.random.below(2) == 0 {
            self.step_of_life();
            return;
        }
        match self.random.below(14) {
            0 => self.rude_restart(),
            1 => self.close(),
            2 => self.look(),
            _ => {
                // Most groups meet a fault then: the campaign is about them.
                if self.shape.faults && self.random.below(5) > 0 {
                    self.fail_something();
                }
                self.write_group();
            }
        }
    }

    /// Chores, and what may come between two of their slices.
    fn step_of_life(&mut self) {
        let faults = self.shape.faults && self.random.below(3) == 0;
        if faults {
            self.fail_something();
        }
        match self.random.below(10) {
            0 => {
                let store = self.store();
                let frozen = store.freeze();
                self.chore(frozen.map(|()| false));
            }
            1 => self.compact(),
            2 => self.keep(),
            3 if self.shape.faults => self.full_disk(),
            // As in use: a few now, a few later.
            _ => {
                let slices = 1 + self.random.below(12);
                self.slices(slices);
            }
        }
        if faults {
            self.clear_faults();
        }
    }

    fn slices(&mut self, count: u64) {
        for _ in 0..count {
            let store = self.store();
            let slice = store.run_slice();
            if !self.chore(slice) {
                break;
            }
        }
    }

    /// Whether there was something to do, and the store is good.
    fn chore(&mut self, slice: kv_trait::Result<bool>) -> bool {
        match slice {
            Ok(worked) => worked,
            Err(error) => {
                assert!(self.shape.faults, "seed {}: {error:?}", self.seed);
                self.met.failed_slices += 1;
                if self.store.as_ref().is_some_and(|s| s.stats().poisoned) {
                    self.leave();
                }
                false
            }
        }
    }

    fn compact(&mut self) {
        let store = self.store();
        let mut left = self.random.below(40);
        let compacted = store.compact(|_| {
            if left == 0 {
                return ControlFlow::Break(());
            }
            left -= 1;
            ControlFlow::Continue(())
        });
        self.chore(compacted.map(|_| false));
    }

    /// What a scan shows is that of its moment, whatever has become of its files.
    fn keep(&mut self) {
        self.read_kept();
        let store = self.store();
        let scan = store.scan(..).expect("the store is open");
        let contents = contents_of(&store);
        self.kept = Some((scan, contents));
    }

    fn read_kept(&mut self) {
        let Some((scan, contents)) = self.kept.take() else {
            return;
        };
        let shown: Contents = scan
            .map(|found| found.expect("a scan that is kept pins its files"))
            .collect();
        assert!(shown == contents, "seed {}: a kept scan", self.seed);
        self.done.kept += 1;
    }

    /// Groups and slices while the disk is full, or nearly so.
    fn full_disk(&mut self) {
        drop(self.store());
        let room = self.random.below(3000);
        self.disk.set_capacity(Some(self.disk.used_bytes() + room));
        self.met.full_disks += 1;
        for _ in 0..2 {
            if self.store.is_some() {
                self.write_group();
            }
            if self.store.is_some() {
                self.slices(8);
            }
        }
        self.disk.set_capacity(None);
    }

    /// The handle goes, and what its chores did is counted.
    fn leave(&mut self) {
        let Some(store) = self.store.take() else {
            return;
        };
        let stats = store.stats();
        self.done.checkpoints += stats.checkpoints;
        self.done.units += stats.merge_units;
        self.done.released += stats.segments_released;
    }

    fn end(&mut self) {
        self.clear_faults();
        self.look();
        self.read_kept();
        if self.random.below(2) == 0 {
            self.close();
        }
        self.leave();
    }

    fn clear_faults(&mut self) {
        if let Some((kind, on)) = self.armed.take() {
            *self.met.of_kind(kind, on) += self.disk.fault_hits();
        }
        self.disk.clear_faults();
    }

    fn store(&mut self) -> Engine {
        if let Some(store) = &self.store {
            return store.clone();
        }
        self.serial += 1;
        // One that was never met may still wait, and opens that fail are the error loop's subject.
        self.clear_faults();
        let seed = self.seed ^ (self.serial << 32);
        let options = self.shape.options(&self.disk, seed);
        let store = match Engine::open(STORE, options) {
            Ok(store) => store,
            Err(error) => panic!("seed {}: cannot open: {error:?}", self.seed),
        };
        let contents = contents_of(&store);
        let context = format!("seed {}, open", self.seed);
        self.oracle
            .reopened(self.disk.op_count(), &contents, &context);
        self.store = Some(store.clone());
        store
    }

    fn changes(&mut self) -> Vec<Change> {
        let count = 1 + self.random.below(self.shape.records);
        (0..count).map(|_| self.change()).collect()
    }

    fn change(&mut self) -> Change {
        let key = format!("key-{}", self.random.below(self.shape.keys)).into_bytes();
        if self.random.below(5) == 0 {
            return (key, None);
        }
        self.serial += 1;
        let mut value = self.serial.to_string().into_bytes();
        let mut length = self.random.below(self.shape.value_bytes) as usize;
        if self.shape.large_every > 0 && self.random.below(self.shape.large_every) == 0 {
            length += LARGE_BYTES;
            self.met.large_values += 1;
        }
        value.resize(value.len().max(length), b'.');
        (key, Some(value))
    }

    fn write_group(&mut self) {
        let store = self.store();
        let count = 1 + self.random.below(self.shape.writers);
        let mut pending: Vec<(BatchId, Submitted)> = Vec::new();
        for _ in 0..count {
            let changes = self.changes();
            let mut batch = Batch::new();
            for (key, value) in &changes {
                match value {
                    Some(value) => batch.put(key, value),
                    None => batch.delete(key),
                }
                .expect("sizes are within the limits");
            }
            match store.submit(batch) {
                Ok(submitted) => {
                    let id = self.oracle.submitted(self.disk.op_count(), changes);
                    pending.push((id, submitted));
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Poisoned, "seed {}", self.seed);
                    self.leave();
                    break;
                }
            }
        }
        drop(store);
        while !pending.is_empty() {
            // The first leads its group. Whoever else was answered then is noted at once, before the next group.
            let (id, submitted) = pending.remove(0);
            match self.wait(id, submitted) {
                Some(Effect::Nothing) => self.met.refused_groups += 1,
                Some(_) => self.met.unknown_groups += 1,
                None => {}
            }
            let (done, waiting): (Vec<_>, Vec<_>) = pending
                .into_iter()
                .partition(|(_, submitted)| submitted.is_done());
            for (id, submitted) in done {
                let _shared: Option<Effect> = self.wait(id, submitted);
            }
            pending = waiting;
        }
    }

    /// The effect of the error, if it is one.
    fn wait(&mut self, id: BatchId, submitted: Submitted) -> Option<Effect> {
        let Err(error) = submitted.wait() else {
            // The last successful sync is the earliest moment at which the answer can have been given.
            self.oracle.acknowledged(self.disk.last_sync(), id);
            return None;
        };
        match error.effect() {
            Effect::Nothing => self.oracle.refused(self.disk.op_count(), id),
            Effect::Unknown => self.leave(),
            Effect::Applied => panic!("seed {}: a batch without priors: {error:?}", self.seed),
        }
        Some(error.effect())
    }

    fn look(&mut self) {
        let store = self.store();
        let context = format!("seed {}, read", self.seed);
        self.oracle
            .seen(self.disk.op_count(), &contents_of(&store), &context);
    }

    /// The process dies, the page cache stays.
    fn rude_restart(&mut self) {
        if self.random.below(2) == 0 {
            self.disk.kill_process();
            self.kept = None;
        }
        self.leave();
        self.clear_faults();
    }

    fn close(&mut self) {
        self.read_kept();
        let store = self.store();
        match store.close() {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(
                    error.effect(),
                    Effect::Nothing,
                    "seed {}: {error:?}",
                    self.seed
                );
                assert!(self.shape.faults, "seed {}: {error:?}", self.seed);
            }
        }
        self.leave();
        self.clear_faults();
    }

    fn fail_something(&mut self) {
        // Opened first: an open that is refused by a fault is the error loop's subject.
        drop(self.store());
        self.clear_faults();
        let (kind, on) = match self.random.below(6) {
            0 => (FaultKind::Errno(ENOSPC), OpKind::Sync),
            1 => (FaultKind::Errno(ENOSPC), OpKind::Write),
            2 => (
                FaultKind::PartThenErrno(1 + self.random.below(300) as usize, EIO),
                OpKind::Write,
            ),
            3 => (
                FaultKind::Short(1 + self.random.below(100) as usize),
                OpKind::Write,
            ),
            // What matters most, twice as often.
            _ => (FaultKind::Errno(EIO), OpKind::Sync),
        };
        let skip = self.random.below(4) / 3;
        self.armed = Some((kind, on));
        let manifest = self.shape.manifest_faults && self.random.below(2) == 0;
        let file = match (manifest, self.shape.sizes) {
            (true, _) => "MANIFEST",
            (false, None) => ".seg",
            (false, Some(_)) => [".seg", ".run", ""][self.random.below(3) as usize],
        };
        self.disk
            .inject(Fault::new(kind).on(on).path_contains(file).skip(skip));
    }
}
