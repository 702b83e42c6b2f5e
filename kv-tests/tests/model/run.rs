//! A history as it is run, beside the map that knows what must be there.

use crate::kept::Kept;
use crate::step::{Failure, Step, Write1};
use kv_log_engine::storage::sim::{CrashPolicy, EIO, Fault, FaultKind, OpKind, SimDisk};
use kv_log_engine::{Batch, KVLog, Options, Seqno, SimHost, verify};
use kv_tests::oracle::{BatchId, Change, Contents, Oracle};
use kv_tests::stepped::Stepped;
use kv_tests::tiny::Sizes;
use kv_tests::workload::{STORE, options};
use kv_trait::{ByteKey, Effect, Error, ErrorKind, Raw, Result};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Small enough that long values do not fit and rotations are frequent.
const SEGMENT_BYTES: u64 = 2048;
/// What the clock says when a history begins.
const NOON: u64 = 1_000_000;
/// Longer than the longest pause behind a chore that failed.
const LONG: Duration = Duration::from_secs(60);

pub(crate) type Store = KVLog<ByteKey, Vec<u8>, Stepped, Raw>;

/// What `set` and `delete` say.
type Answer = Result<Option<Vec<u8>>>;

pub(crate) struct Run {
    disk: SimDisk,
    host: Arc<SimHost>,
    runtime: Stepped,
    store: Option<Store>,
    /// `None`: those of every store, of which no chore is seen.
    sizes: Option<Sizes>,
    /// What was written last, of what has expired, too.
    map: Contents,
    /// When values expire that do. No two values are equal.
    ends: BTreeMap<Vec<u8>, u64>,
    /// What the store's clock reads, and what the system's does, which is never set to less than the third.
    now_ms: u64,
    wall_ms: u64,
    wall_least_ms: u64,
    /// The versions of keys, where they were told.
    versions: BTreeMap<Vec<u8>, Seqno>,
    /// What may be there after a crash.
    oracle: Oracle,
    kept: Vec<Kept>,
    serial: u64,
    full: bool,
    poisoned: bool,
    /// Calls of chores failed: what waits for them may be refused until they are done again.
    trouble: bool,
    /// Something failed at some time: nobody waits for merges that fail, and there may be more levels.
    failed: bool,
    pub(crate) done: Done,
}

/// What chores came to in a history.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) checkpoints: u64,
    pub(crate) units: u64,
    pub(crate) released: u64,
    pub(crate) expired: u64,
    pub(crate) refused: u64,
    pub(crate) poisoned: u64,
    pub(crate) conflicts: u64,
    pub(crate) kept: u64,
    pub(crate) over_closed: u64,
}

impl std::ops::AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.checkpoints += other.checkpoints;
        self.units += other.units;
        self.released += other.released;
        self.expired += other.expired;
        self.refused += other.refused;
        self.poisoned += other.poisoned;
        self.conflicts += other.conflicts;
        self.kept += other.kept;
        self.over_closed += other.over_closed;
    }
}

fn key(number: u8) -> ByteKey {
    match number {
        // The empty key is one of them, and one that begins like it.
        0..8 => ByteKey::from(vec![b'k'; usize::from(number)]),
        _ => ByteKey::from(format!("key {number:03}").into_bytes()),
    }
}

fn change(key: &ByteKey, value: Option<&Vec<u8>>) -> Change {
    (key.as_ref().to_vec(), value.cloned())
}

impl Run {
    pub(crate) fn new(sizes: Option<Sizes>) -> Self {
        Self {
            disk: SimDisk::new(),
            host: Arc::new(SimHost::new(0)),
            runtime: Stepped::default(),
            store: None,
            sizes,
            map: Contents::new(),
            ends: BTreeMap::new(),
            now_ms: 0,
            wall_ms: NOON,
            wall_least_ms: 0,
            versions: BTreeMap::new(),
            oracle: Oracle::new(),
            kept: Vec::new(),
            serial: 0,
            full: false,
            poisoned: false,
            trouble: false,
            failed: false,
            done: Done::default(),
        }
    }

    fn value(&mut self, length: u16) -> Vec<u8> {
        self.serial += 1;
        let mut value = self.serial.to_string().into_bytes();
        value.resize(value.len().max(usize::from(length)), b'.');
        value
    }

    fn options(&mut self) -> Options {
        self.serial += 1;
        let mut options = options(&self.disk, self.serial, SEGMENT_BYTES);
        self.host = Arc::new(SimHost::new(self.serial));
        self.host.set_unix_ms(self.wall_ms);
        options = options.host(Arc::clone(&self.host) as _);
        match &self.sizes {
            Some(sizes) => sizes.apply(options),
            None => options,
        }
    }

    fn load(&mut self) -> Result<Store> {
        let options = self.options();
        let opened = Store::load_on(self.runtime.clone(), STORE, options);
        self.runtime.block_on(opened)
    }

    /// The open store; `None` where a full disk is no place for a new one.
    fn store(&mut self) -> Option<Store> {
        if let Some(store) = &self.store {
            return Some(store.clone());
        }
        let store = match self.load() {
            Ok(store) => store,
            Err(error) if self.full && error.kind() == ErrorKind::StorageFull => return None,
            Err(error) => panic!("the store does not open: {error:?}"),
        };
        self.opened(&store, usize::MAX, "open");
        Some(store)
    }

    /// What readers must see of it.
    fn visible(&self, contents: &Contents) -> Contents {
        let left = contents.iter().filter(|(_, value)| self.is_visible(value));
        left.map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    fn is_visible(&self, value: &Vec<u8>) -> bool {
        let end = self.ends.get(value);
        end.is_none_or(|end| self.now_ms < *end)
    }

    /// What the store's clock reads now. Nothing holds it but what the process, or one before it, had read.
    fn read_clock(&mut self, store: &Store, is_new: bool) {
        let read = store.engine().expiry_after(Duration::ZERO).unwrap();
        let most = self.wall_ms.max(self.now_ms);
        let least = if is_new { self.wall_ms } else { most };
        assert!((least..=most).contains(&read), "{read}, {least}, {most}");
        self.now_ms = read;
    }

    /// What a new process shows is what is left of an allowed state by its clock.
    fn opened(&mut self, store: &Store, op: usize, what: &str) {
        self.read_clock(store, true);
        let shown = scan(store);
        let mut found: Option<Contents> = None;
        let mut differ = false;
        self.oracle.each_state(op, |state| {
            if self.visible(state) == shown {
                differ |= found.as_ref().is_some_and(|found| found != state);
                found.get_or_insert_with(|| state.clone());
            }
        });
        let Some(contents) = found else {
            panic!(
                "{what}: no allowed state is there, but {} keys",
                shown.len()
            );
        };
        if differ {
            // Which of them it is, only a clock that goes back further would show.
            self.wall_least_ms = self.wall_least_ms.max(self.now_ms);
        }
        let levels = store.engine().stats().levels.len();
        if let Some(sizes) = self.sizes.filter(|_| !self.failed) {
            // One of the checkpoint that waits for merges, one of the close.
            assert!(levels <= sizes.levels_max + 2, "{levels} levels");
        }
        self.restart_oracle(contents);
        self.poisoned = false;
        self.trouble = false;
        self.store = Some(store.clone());
    }

    /// Everything so far is certain: these contents are there, whatever comes.
    fn restart_oracle(&mut self, contents: Contents) {
        self.oracle = Oracle::new();
        let all = contents.iter();
        let all = all.map(|(key, value)| (key.clone(), Some(value.clone())));
        let id = self.oracle.submitted(0, all.collect());
        self.oracle.acknowledged(0, id);
        // No two values are equal: the same value is the same version.
        let before = std::mem::replace(&mut self.map, contents);
        let map = &self.map;
        self.versions
            .retain(|key, _| map.contains_key(key) && map.get(key) == before.get(key));
    }

    /// Handles go; what the chores did is counted.
    fn let_go(&mut self) {
        if let Some(store) = self.store.take() {
            let stats = store.engine().stats();
            self.done.checkpoints += stats.checkpoints;
            self.done.units += stats.merge_units;
            self.done.released += stats.segments_released;
            self.done.expired += stats.values_expired;
        }
    }

    fn refused(&mut self, id: BatchId, error: &Error, may_fail: bool) {
        self.expect_failure(error, may_fail);
        match error.effect() {
            Effect::Nothing => self.oracle.refused(0, id),
            Effect::Unknown => self.poisoned = true,
            Effect::Applied => panic!("every prior value can be read: {error:?}"),
        }
    }

    fn expect_failure(&mut self, error: &Error, may_fail: bool) {
        let expected = match error.kind() {
            ErrorKind::StorageFull => self.full || self.trouble || may_fail,
            ErrorKind::Poisoned => self.poisoned,
            ErrorKind::Io => self.trouble || may_fail,
            _ => false,
        };
        assert!(expected, "not the time for {error:?}");
        self.done.refused += 1;
    }

    fn apply(&mut self, key: &ByteKey, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        self.versions.remove(key.as_ref());
        let before = match value {
            Some(value) => self.map.insert(key.as_ref().to_vec(), value),
            None => self.map.remove(key.as_ref()),
        };
        before.filter(|value| self.is_visible(value))
    }

    /// A chore that failed may have poisoned the store, and one that found no room waits.
    fn look(&mut self, store: &Store, may_fail: bool) {
        let stats = store.engine().stats();
        if stats.poisoned && !self.poisoned {
            assert!(may_fail, "poisoned without a cause");
            self.poisoned = true;
            self.done.poisoned += 1;
        }
        self.trouble |= self.full || may_fail;
        self.failed |= self.trouble;
    }

    /// Writes submitted together, on `clock` as the moment of each answer. Checks each prior value.
    fn write(&mut self, writes: &[Write1], may_fail: bool, clock: impl Fn(&SimDisk) -> usize) {
        let Some(store) = self.store() else { return };
        let writes: Vec<(ByteKey, Option<Vec<u8>>)> = writes
            .iter()
            .map(|(number, length)| (key(*number), length.map(|length| self.value(length))))
            .collect();
        let ids: Vec<_> = writes
            .iter()
            .map(|(key, value)| self.oracle.submitted(0, vec![change(key, value.as_ref())]))
            .collect();
        let mut futures: Vec<Pin<Box<dyn Future<Output = Answer>>>> = writes
            .iter()
            .map(|(key, value)| {
                let (store, key, value) = (store.clone(), key.clone(), value.clone());
                Box::pin(async move {
                    match value {
                        Some(value) => store.set(&key, &value).await,
                        None => store.delete(&key).await,
                    }
                }) as Pin<Box<dyn Future<Output = _>>>
            })
            .collect();
        let pinned = futures
            .iter_mut()
            .map(|future| future.as_mut() as Pin<&mut dyn Future<Output = _>>);
        let outcomes: Vec<Answer> = self.runtime.join(pinned.collect());
        // Refusals first: a write acknowledged behind a refused one does not make that one true. And what is unknown
        // poisons, which explains the refusals behind it.
        self.poisoned |= outcomes.iter().any(|outcome| {
            outcome
                .as_ref()
                .is_err_and(|error| error.effect() == Effect::Unknown)
        });
        // A rotation before the group poisons, too, and the group was never handed over.
        self.look(&store, may_fail || self.poisoned);
        for (id, outcome) in ids.iter().zip(&outcomes) {
            if let Err(error) = outcome {
                self.refused(*id, error, may_fail);
            }
        }
        for ((id, outcome), (key, value)) in ids.iter().zip(outcomes).zip(writes) {
            if let Ok(prior) = outcome {
                self.oracle.acknowledged(clock(&self.disk), *id);
                assert_eq!(prior, self.apply(&key, value), "the prior value of {key:?}");
            }
        }
    }

    /// Without asking for the prior value.
    fn write_blind(&mut self, number: u8, length: Option<u16>, ttl: Option<i16>) {
        let Some(store) = self.store() else { return };
        let key = key(number);
        let value = length.map(|length| self.value(length));
        let end = ttl.map(|ttl| self.now_ms.saturating_add_signed(ttl.into()));
        if let (Some(value), Some(end)) = (&value, end) {
            self.ends.insert(value.clone(), end);
        }
        let id = self.oracle.submitted(0, vec![change(&key, value.as_ref())]);
        let outcome = match &value {
            Some(value) if end.is_some() => {
                let end = end.unwrap_or_default();
                store.engine().put_until(key.as_ref(), value, end)
            }
            Some(value) => self.runtime.block_on(store.put(&key, value)),
            None => self.runtime.block_on(store.remove(&key)),
        };
        match outcome {
            Ok(()) => {
                self.oracle.acknowledged(0, id);
                self.apply(&key, value);
            }
            Err(error) => self.refused(id, &error, false),
        }
    }

    /// Under a condition. A key that is there, and whose version is not known, is expected to be absent.
    fn expect(&mut self, (number, length): Write1, right: bool) {
        let Some(store) = self.store() else { return };
        let key = key(number);
        let value = length.map(|length| self.value(length));
        let there = self.map.get(key.as_ref());
        let is_there = there.is_some_and(|value| self.is_visible(value));
        let known = self.versions.get(key.as_ref()).copied();
        let known = known.filter(|_| is_there);
        let versions = self.versions.values().copied();
        let other = versions.map(Some).find(|version| *version != known);
        let (expected, holds) = match (right, other) {
            (true, _) => (known, known.is_some() || !is_there),
            (false, Some(other)) => (other, false),
            (false, None) if is_there => (None, false),
            (false, None) => return,
        };
        let mut batch = Batch::new().with_priors();
        batch.expect(key.as_ref(), expected).unwrap();
        match &value {
            Some(value) => batch.put(key.as_ref(), value).unwrap(),
            None => batch.delete(key.as_ref()).unwrap(),
        }
        let id = self.oracle.submitted(0, vec![change(&key, value.as_ref())]);
        let was_full = self.full;
        match store.engine().write(batch) {
            Ok(receipt) => {
                assert!(holds, "a condition on {key:?} that does not hold was taken");
                self.oracle.acknowledged(0, id);
                let is_put = value.is_some();
                let before = self.apply(&key, value);
                assert_eq!(receipt.priors().unwrap(), [before], "{key:?}");
                if is_put {
                    let version = receipt.first_seqno();
                    self.versions.insert(key.as_ref().to_vec(), version);
                }
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                assert!(!holds, "{key:?}, expected {expected:?}: {error:?}");
                assert_eq!(error.effect(), Effect::Nothing);
                self.oracle.refused(0, id);
                self.done.conflicts += 1;
            }
            Err(error) => self.refused(id, &error, false),
        }
        self.trouble |= was_full;
    }

    fn power_cut_in(&mut self, burst: &[Write1], slices: u8, at: u16, choice: u16) {
        if self.store().is_none() || self.poisoned {
            return;
        }
        self.disk.start_trace();
        self.write(burst, false, SimDisk::last_sync);
        self.slices(slices, false);
        let trace = self.disk.trace().unwrap();
        let points: Vec<_> = trace.crash_points().collect();
        let point = &points[usize::from(at) % points.len()];
        let choices = point.choices(&CrashPolicy::default());
        let chosen = &choices[usize::from(choice) % choices.len()];
        let image = point.image(chosen);
        self.let_go();
        self.kept.clear();
        let capacity = self.full.then(|| image.used_bytes());
        image.set_capacity(capacity);
        self.disk = image;
        // Quarantine needs room: a full disk may keep a torn store closed until there is some.
        let store = match self.load() {
            Err(error) if self.full && error.kind() == ErrorKind::StorageFull => {
                self.full = false;
                self.disk.set_capacity(None);
                self.load().unwrap()
            }
            opened => opened.unwrap(),
        };
        let what = format!(
            "cut after {} operations of the burst ({}), {chosen:?}",
            point.op(),
            trace.describe(point.op())
        );
        self.opened(&store, point.op(), &what);
    }

    fn move_clock(&mut self, by: i16) {
        let wall_ms = self.wall_ms.saturating_add_signed(by.into());
        self.wall_ms = wall_ms.max(self.wall_least_ms);
        self.host.set_unix_ms(self.wall_ms);
        if let Some(store) = self.store.clone() {
            self.read_clock(&store, false);
        }
    }

    fn fail(&mut self, kind: FaultKind, on: OpKind, write: Write1) {
        if self.store().is_none() {
            return;
        }
        self.disk
            .inject(Fault::new(kind).on(on).path_contains(".seg"));
        self.write(&[write], true, |_| 0);
        self.disk.clear_faults();
    }

    fn slices(&mut self, count: u8, may_fail: bool) {
        let Some(store) = self.store() else { return };
        for _ in 0..count {
            match store.engine().run_slice() {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.look(&store, may_fail);
                    self.expect_failure(&error, may_fail);
                }
            }
        }
        self.look(&store, may_fail);
    }

    fn failed_slices(&mut self, failure: Failure, slices: u8) {
        if self.store().is_none() {
            return;
        }
        let fault = Fault::new(failure.kind)
            .on(failure.on)
            .path_contains(failure.file)
            .skip(failure.skip.into());
        self.disk.inject(if failure.forever {
            fault.forever()
        } else {
            fault
        });
        self.slices(slices, true);
        self.disk.clear_faults();
    }

    fn compact(&mut self, slices: u8) {
        let Some(store) = self.store() else { return };
        let mut left = slices;
        let compacted = store.engine().compact(|_| {
            let goes_on = left > 0;
            left -= u8::from(left > 0 && left < u8::MAX);
            if goes_on {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        match compacted {
            Ok(report) => {
                let one_level = report.levels_after <= 1 || self.trouble || self.full;
                assert!(!report.finished || one_level, "{report:?}");
            }
            Err(error) => {
                self.look(&store, false);
                self.expect_failure(&error, false);
            }
        }
    }

    fn keep(&mut self, from: u8, to: u8) {
        let Some(store) = self.store() else { return };
        let bounds = [key(from).as_ref().to_vec(), key(to).as_ref().to_vec()];
        self.kept.truncate(3);
        self.kept
            .push(Kept::new(&store, bounds, &self.visible(&self.map)));
        self.done.kept += 1;
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Set(number, length) => self.write(&[(*number, Some(*length))], false, |_| 0),
            Step::Put(number, length) => self.write_blind(*number, Some(*length), None),
            Step::PutUntil(number, length, ttl) => {
                self.write_blind(*number, Some(*length), Some(*ttl));
            }
            Step::Clock(by) => self.move_clock(*by),
            Step::Delete(number) => self.write(&[(*number, None)], false, |_| 0),
            Step::Remove(number) => self.write_blind(*number, None, None),
            Step::Get(number) => {
                let Some(store) = self.store() else { return };
                let key = key(*number);
                let found = self.runtime.block_on(store.get(&key)).unwrap();
                let there = self.map.get(key.as_ref());
                let there = there.filter(|value| self.is_visible(value));
                assert_eq!(found.as_ref(), there, "{key:?}");
            }
            Step::Scan => {
                let Some(store) = self.store() else { return };
                assert_eq!(scan(&store), self.visible(&self.map));
            }
            Step::Burst(writes) => self.write(writes, false, |_| 0),
            Step::Close => self.close(),
            Step::Reopen { dead } => {
                self.let_go();
                // Those behind a close go on; behind a mere drop nothing is promised to them.
                self.kept.clear();
                if *dead {
                    self.disk.kill_process();
                }
            }
            Step::PowerCut { seed } => {
                self.disk.power_cut(*seed);
                self.let_go();
                self.kept.clear();
            }
            Step::PowerCutIn {
                burst,
                slices,
                at,
                choice,
            } => self.power_cut_in(burst, *slices, *at, *choice),
            Step::DiskFull => {
                self.full = true;
                self.disk.set_capacity(Some(self.disk.used_bytes()));
            }
            Step::DiskHasSpace => {
                self.trouble |= self.full;
                self.full = false;
                self.disk.set_capacity(None);
            }
            Step::FailedSync(write) => self.fail(FaultKind::Errno(EIO), OpKind::Sync, *write),
            Step::FailedWrite(write, part) => {
                let part = FaultKind::PartThenErrno(usize::from(*part) * 4, EIO);
                self.fail(part, OpKind::Write, *write);
            }
            Step::Slices(count) => self.slices(*count, false),
            Step::Freeze => {
                let Some(store) = self.store() else { return };
                if let Err(error) = store.engine().freeze() {
                    self.look(&store, false);
                    self.expect_failure(&error, false);
                }
            }
            Step::Compact(slices) => self.compact(*slices),
            Step::Keep(from, to) => self.keep(*from, *to),
            Step::ReadKept { which, count, back } => {
                if let Some(kept) = self.kept.get_mut(usize::from(*which)) {
                    self.done.over_closed += kept.read(*count, *back);
                }
            }
            Step::DropKept(which) => {
                if usize::from(*which) < self.kept.len() {
                    drop(self.kept.swap_remove((*which).into()));
                }
            }
            Step::Expect { write, right } => self.expect(*write, *right),
            Step::FailedSlices { fault, slices } => self.failed_slices(*fault, *slices),
            Step::Wait => self.host.advance(LONG),
        }
    }

    fn close(&mut self) {
        let Some(store) = self.store() else { return };
        match self.runtime.block_on(store.close()) {
            Ok(()) => assert!(!self.poisoned, "a poisoned store was closed without a word"),
            Err(error) => {
                assert!(self.poisoned, "close: {error:?}");
                assert_eq!(error.kind(), ErrorKind::Poisoned);
            }
        }
        for kept in &mut self.kept {
            kept.closed();
        }
        self.let_go();
    }

    /// At the end everything must be there once more, and with the keys everything goes.
    pub(crate) fn end(mut self) -> Done {
        self.step(&Step::DiskHasSpace);
        self.step(&Step::Scan);
        self.step(&Step::Reopen { dead: true });
        self.step(&Step::Scan);
        self.step(&Step::PowerCut { seed: 7 });
        self.step(&Step::Scan);
        if self.sizes.is_some() {
            self.empty();
        }
        self.done
    }

    fn empty(&mut self) {
        self.step(&Step::Compact(u8::MAX));
        self.step(&Step::Scan);
        self.step(&Step::Close);
        let options = self.options();
        let report = verify(STORE, options).unwrap();
        assert!(report.is_clean(), "{report:?}");
        for key in self.map.clone().into_keys() {
            let store = self.store().unwrap();
            store.engine().remove(&key).unwrap();
            self.map.remove(&key);
        }
        let store = self.store().unwrap();
        for _ in 0..2 {
            let report = store
                .engine()
                .compact(|_| ControlFlow::Continue(()))
                .unwrap();
            assert!(report.finished, "{report:?}");
        }
        let stats = store.engine().stats();
        assert!(stats.levels.is_empty(), "{:?}", stats.levels);
        assert!(
            stats.segments.len() <= 2,
            "nothing lives, and there are {:?}",
            stats.segments
        );
        assert_eq!(scan(&store), Contents::new());
        drop(store);
        self.let_go();
        self.disk.power_cut(3);
        assert_eq!(scan(&self.load().unwrap()), Contents::new());
        let files = self.disk.files();
        let of_data = files.iter().filter(|name| {
            let name = name.as_str();
            [".run", ".seg"].iter().any(|end| name.ends_with(end))
        });
        assert!(of_data.count() <= 3, "{files:?}");
    }
}

pub(crate) fn scan(store: &Store) -> Contents {
    let found = store.engine().scan(..).unwrap();
    found.map(|record| record.unwrap()).collect()
}
