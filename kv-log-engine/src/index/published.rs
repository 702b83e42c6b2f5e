//! What readers see: memtables, runs, and the segments that both point into, each changed by one owner.
//!
//! The leader builds the next memtable aside, after the group's sync, and exchanges it under a lock that is held for one
//! assignment. A reader holds that lock for the cloning of one `Arc`, and looks up without any. So a group becomes
//! visible in one step, also to two successive point reads; nobody waits while it is built, however large it is; and
//! a panic half way leaves what there was. Whoever changes the view replaces only its own part of the one that is
//! current at the exchange: the leader memtables and the active segment, chores runs and what those need.

use super::forgotten::Forgotten;
use super::levels::Levels;
use super::lookup::{Lookup, Segments};
use super::memtable::{Change, Filler, Memtable};
use super::merge::{Merge, Yield};
use super::retired::Retired;
use super::run::level::LiveRun;
use super::slot::Found;
use crate::clock::Clock;
use crate::fault;
use crate::format::erasures::{ERASURES_MANY, Erasures};
use crate::format::ids::{SegmentId, Seqno};
use crate::format::manifest::Checkpoint;
use crate::format::record::Record;
use crate::format::run::block::Version;
use crate::format::run::split_key;
use crate::format::tables::Tables;
use crate::index::source::{Direction, Interval, Source};
use crate::log::files::Segment;
use kv_trait::{Error, ErrorKind, Result};
use std::sync::{Arc, PoisonError, RwLock};

/// Replaced nodes that the leader lets go of behind an exchange, besides some for each record: a few milliseconds.
const RELEASED_AT_ONCE: usize = 32 * 1024;
const RELEASED_A_RECORD: usize = 256;

/// Runs of so many bytes of which nothing counts are worth a checkpoint: they are let go behind it.
const ERASED_BYTES: u64 = 4 << 20;

/// Freeing an index with more keys takes a millisecond or more: not on an executor's thread.
const LARGE_KEYS: usize = 16 * 1024;

/// A memtable that a checkpoint writes. Nothing changes it.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) memtable: Memtable,
    /// What the manifest says once the run that it becomes is named.
    pub(crate) checkpoint: Checkpoint,
    /// What the manifest says then, too.
    pub(crate) tables: Tables,
    /// Every record above this one, and up to the checkpoint's, is in it.
    above: Seqno,
}

/// What one record of a group does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    /// A key has another version.
    Key(Change<'a>),
    /// Keyspaces or erasures are others, from this seqno on.
    Tables(Record<'a>, Seqno),
}

/// A frozen memtable, and what has become of it.
#[derive(Clone, Debug)]
struct FrozenState {
    frozen: Arc<Frozen>,
    /// The runs hold it too. It stays until the next one is frozen: conditions are judged by what memory has, and what was
    /// written just before must not be forgotten in the middle of that.
    written: bool,
}

/// One consistent point.
#[derive(Clone, Debug)]
struct Point {
    memtable: Memtable,
    /// Every record above this one is in the memtable.
    above: Seqno,
    frozen: Option<FrozenState>,
    levels: Arc<Levels>,
    /// Keyspaces and erasures.
    tables: Tables,
    /// What neither memtables nor levels nor tables tell.
    forgotten: Arc<Forgotten>,
    /// Bytes of runs of which nothing counts, by what was erased since the last freeze.
    erased_bytes: u64,
    /// Holds every segment that a memtable points into, and those that runs do, as far as the store has them.
    segments: Arc<Segments>,
    /// The last record that shows.
    last: Seqno,
    /// The reading of the store's clock that its last group was judged by: nobody sees this point by an earlier one.
    now_ms: u64,
    /// There is nothing because the store was closed, not because it holds nothing.
    closed: bool,
}

impl Point {
    /// What memtables say of a key that runs do not. The frozen one that runs have already is not asked: segments that it
    /// points into may be gone.
    #[inline]
    fn in_memory(&self, key: &[u8]) -> Option<Found<'_>> {
        self.memtable
            .get(key)
            .or_else(|| self.unwritten()?.memtable.get(key))
    }

    /// The newest erasure over a key that memory knows of: the frozen memtable remembers those that runs need no more.
    fn erased_to(&self, key: &[u8]) -> Seqno {
        if planted!(ErasureUnnoticed) {
            return Seqno::ZERO;
        }
        let frozen = self.frozen.as_ref();
        let frozen = frozen.map_or(Seqno::ZERO, |state| state.frozen.tables.erasures.floor(key));
        self.tables.erasures.floor(key).max(frozen)
    }

    /// The version of a key as far as memory goes back: the frozen memtable tells it also when runs have it.
    fn remembered(&self, key: &[u8], now_ms: u64) -> Option<Option<Known>> {
        let found = self.memtable.get(key).or_else(|| {
            let state = self.frozen.as_ref()?;
            state.frozen.memtable.get(key)
        });
        let floor = self.erased_to(key);
        match found {
            Some(found) if found.version.seqno <= floor => Some(None),
            Some(found) => Some(Known::of(&found.version, now_ms)),
            // What is older than all that memory knows of is older than the erasure.
            None if floor > self.remembers_above() => Some(None),
            None => None,
        }
    }

    /// # Errors
    /// The keyspace of a full key is not there.
    fn check_keyspace(&self, key: &[u8]) -> Result<()> {
        match split_key(key) {
            Some((id, _)) if !self.tables.keyspaces.has(id) => Err(fault::dropped_keyspace(id)),
            _ => Ok(()),
        }
    }

    /// The first key of an interval that was written behind a record, deletes included, as far as memory goes back; or the
    /// first one of what was erased.
    fn changed_in_memory(&self, interval: &Interval, above: Seqno) -> Option<Box<[u8]>> {
        let frozen = self.frozen.as_ref();
        let found = self.memtable.changed_above(interval, above);
        let found = found.or_else(|| frozen?.frozen.memtable.changed_above(interval, above));
        let found = found.or_else(|| erased_above(&self.tables, interval, above));
        found.or_else(|| erased_above(&frozen?.frozen.tables, interval, above))
    }

    /// What leaves no trace once these erasures are not in the table any more.
    fn forgetting(&self, retired: Option<&Erasures>) -> Arc<Forgotten> {
        let mut forgotten = Arc::clone(&self.forgotten);
        for piece in retired.map_or(&[][..], Erasures::pieces) {
            Arc::make_mut(&mut forgotten).add(&piece.from, Some(&piece.to), piece.seqno);
        }
        forgotten
    }

    fn lookup(&self, key: &[u8], now_ms: u64) -> Lookup {
        self.lookup_above(key, self.tables.erasures.floor(key), now_ms)
    }

    /// What there is of a key above an erasure.
    fn lookup_above(&self, key: &[u8], floor: Seqno, now_ms: u64) -> Lookup {
        match self.in_memory(key) {
            Some(found) if found.version.seqno <= floor => Lookup::Absent,
            Some(found) => Lookup::of(key, &found, &self.segments, now_ms),
            None => Lookup::below(key, &self.levels, &self.segments, (floor, now_ms)),
        }
    }

    /// Every record above this one is in a memtable.
    fn remembers_above(&self) -> Seqno {
        let frozen = self.frozen.as_ref();
        frozen.map_or(self.above, |state| state.frozen.above)
    }

    /// The frozen memtable that runs do not have yet.
    fn unwritten(&self) -> Option<&Arc<Frozen>> {
        let state = self.frozen.as_ref().filter(|state| !state.written)?;
        Some(&state.frozen)
    }
}

/// The version of a key that holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The place of its record in the order of writes.
    pub(crate) seqno: Seqno,
    /// From this moment on, in milliseconds since 1970, the key is absent.
    pub(crate) expiry_ms: Option<u64>,
}

impl Known {
    /// `None`: absent at this reading of the store's clock.
    fn of<V>(version: &Version<V>, now_ms: u64) -> Option<Self> {
        version.is_visible(now_ms).then_some(Self {
            seqno: version.seqno,
            expiry_ms: version.expiry_ms,
        })
    }

    /// Its seqno, if the key is still there at a later reading.
    pub(crate) fn version(self, now_ms: u64) -> Option<Seqno> {
        let is_over = self.expiry_ms.is_some_and(|expiry_ms| expiry_ms <= now_ms);
        (!is_over).then_some(self.seqno)
    }
}

/// What memory knows of a key's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// `None`: absent.
    Version(Option<Seqno>),
    /// Nothing was written to it above this record; what was there then, runs know.
    UnchangedSince(Seqno),
}

/// What memory knows of a range of keys behind some record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// This full key was.
    Key(Box<[u8]>),
    Nothing,
    /// It does not go back so far.
    Unknown,
}

/// One consistent point, and a pin on everything that may be read from it.
#[derive(Debug)]
pub(crate) struct View {
    /// `None` only while this is being dropped.
    point: Option<Arc<Point>>,
    /// By this reading of the store's clock.
    now_ms: u64,
    retired: Arc<Retired>,
}

impl View {
    fn point(&self) -> &Point {
        self.point
            .as_ref()
            .expect("a view has its point until it is dropped")
    }

    /// The same point once more.
    pub(crate) fn another(&self) -> Self {
        Self {
            point: self.point.clone(),
            now_ms: self.now_ms,
            retired: Arc::clone(&self.retired),
        }
    }

    /// What memory says of a full key, with a pin on what is to be read for the rest.
    pub(crate) fn lookup(&self, key: &[u8]) -> Lookup {
        self.point().lookup(key, self.now_ms)
    }

    /// The last record that it shows.
    pub(crate) fn last(&self) -> Seqno {
        self.point().last
    }

    /// The reading of the store's clock that it is seen by, however long it is kept.
    pub(crate) const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// What it shows of an interval, one way. To be dropped before the view, which knows where to leave nodes.
    pub(crate) fn walk(&self, interval: &Interval, direction: Direction, wanted: Yield) -> Merge {
        let point = self.point();
        let mut sources: Vec<Box<dyn Source>> = Vec::with_capacity(2 + point.levels.len());
        sources.push(Box::new(point.memtable.source(interval, direction)));
        if let Some(frozen) = point.unwritten() {
            sources.push(Box::new(frozen.memtable.source(interval, direction)));
        }
        let erasures = &point.tables.erasures;
        sources.extend(point.levels.sources(interval, direction, erasures));
        Merge::new(sources, direction, wanted).without(erasures.clone())
    }

    /// The version of a full key; `None`: absent. Reads runs where no memtable knows the key.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub(crate) fn version(&self, key: &[u8]) -> Result<Option<Known>> {
        if let Some(remembered) = self.remembered(key) {
            return Ok(remembered);
        }
        let point = self.point();
        let floor = point.tables.erasures.floor(key);
        let found = point.levels.get_above(key, floor)?;
        Ok(found.and_then(|version| Known::of(&version, self.now_ms)))
    }

    /// The same as far as memory tells.
    pub(crate) fn remembered(&self, key: &[u8]) -> Option<Option<Known>> {
        self.point().remembered(key, self.now_ms)
    }

    /// A full key of an interval that was changed behind a record, deletes included. Reads runs where memory does not go back
    /// so far.
    ///
    /// # Errors
    /// `TooOld`: a merge may have dropped the trace of a change. `Io`, `Corrupt`: a run that may have one cannot be read.
    pub(crate) fn changed_above(
        &self,
        interval: &Interval,
        above: Seqno,
    ) -> Result<Option<Box<[u8]>>> {
        let point = self.point();
        let found = point.changed_in_memory(interval, above);
        if found.is_some() || above >= point.remembers_above() {
            return Ok(found);
        }
        if point.forgotten.above(interval, above) && !planted!(DroppedIsUnchanged) {
            return Err(trace_dropped(above));
        }
        let found = point.levels.changed_above(interval, above)?;
        Ok(found.map(Vec::into_boxed_slice))
    }

    /// The last record that runs have.
    pub(crate) fn covered(&self) -> Seqno {
        let point = self.point();
        point.unwritten().map_or(point.above, |frozen| frozen.above)
    }

    /// Pieces of erasures that are newer than what runs cover.
    pub(crate) fn erased_behind_runs(&self) -> usize {
        let covered = self.covered();
        let pieces = self.tables().erasures.pieces().iter();
        pieces.filter(|piece| piece.seqno > covered).count()
    }

    /// The keyspaces and erasures that it shows.
    pub(crate) fn tables(&self) -> &Tables {
        &self.point().tables
    }

    /// What it points into.
    pub(crate) fn segments(&self) -> &Segments {
        &self.point().segments
    }

    /// Whether it was taken after the store was closed: it holds no entries then.
    pub(crate) fn is_closed(&self) -> bool {
        self.point().closed
    }

    pub(crate) fn levels(&self) -> &Arc<Levels> {
        &self.point().levels
    }

    /// The memtable that takes writes.
    pub(crate) fn memtable(&self) -> &Memtable {
        &self.point().memtable
    }

    /// The frozen memtable, and whether runs have it already.
    pub(crate) fn frozen(&self) -> Option<(&Arc<Frozen>, bool)> {
        let state = self.point().frozen.as_ref()?;
        Some((&state.frozen, state.written))
    }
}

/// The first full key of an interval that was erased behind a record.
pub(crate) fn erased_above(
    tables: &Tables,
    interval: &Interval,
    above: Seqno,
) -> Option<Box<[u8]>> {
    let (from, to) = interval.ends();
    let mut over = tables.erasures.over(&from, Some(&to)).iter();
    let erasure = over.find(|erasure| erasure.seqno > above)?;
    Some(erasure.from.clone().max(from.into()))
}

fn trace_dropped(above: Seqno) -> Error {
    let message = format!(
        "what was deleted behind version {above} may have left no trace, so nobody can tell whether the range has changed; begin again"
    );
    Error::new(ErrorKind::TooOld, message)
}

impl Drop for View {
    fn drop(&mut self) {
        if let Some(point) = self.point.take() {
            let_go(&self.retired, point);
        }
    }
}

/// Drops a reader's hold on a point. The last one to go does not free its trees, but leaves them.
fn let_go(retired: &Retired, point: Arc<Point>) {
    let Some(last) = Arc::into_inner(point) else {
        return retired.slice();
    };
    let Point {
        memtable, frozen, ..
    } = last;
    let frozen = frozen.and_then(|state| Arc::into_inner(state.frozen));
    for memtable in frozen
        .map(|frozen| frozen.memtable)
        .into_iter()
        .chain([memtable])
    {
        retired.retire(memtable.into_tree().into_root());
    }
}

/// The view that readers look at.
#[derive(Debug)]
pub(crate) struct Published {
    /// Held for a clone or an exchange of the `Arc`; alone.
    current: RwLock<Arc<Point>>,
    retired: Arc<Retired>,
    clock: Arc<Clock>,
}

impl Published {
    /// A first view. `above`: what runs cover; `last`: the last record of the memtable and of `tables`, or of the runs.
    pub(crate) fn new(
        memtable: Memtable,
        above: Seqno,
        last: Seqno,
        levels: Levels,
        segments: Segments,
        tables: Tables,
        clock: Arc<Clock>,
    ) -> Self {
        let point = Point {
            memtable,
            above,
            frozen: None,
            levels: Arc::new(levels),
            tables,
            forgotten: Arc::new(Forgotten::up_to(above)),
            erased_bytes: 0,
            segments: Arc::new(segments),
            last,
            now_ms: 0,
            closed: false,
        };
        Self {
            current: RwLock::new(Arc::new(point)),
            retired: Arc::default(),
            clock,
        }
    }

    fn point(&self) -> Arc<Point> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The exchange: `next` makes the new point of the current one, in a moment. What was there is let go of behind the
    /// lock; of what no reader holds a few nodes are freed here, and the rest is left to whoever may take the time.
    fn exchange(&self, next: impl FnOnce(&Point) -> Point) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let next = Arc::new(next(&current));
        let replaced = std::mem::replace(&mut *current, next);
        drop(current);
        let_go(&self.retired, replaced);
    }

    /// What memory says of a full key, with a pin on what is to be read for the rest. Neither waits nor frees more than a few
    /// nodes.
    ///
    /// # Errors
    /// `Closed`; `NotFound`: its keyspace is not there.
    pub(crate) fn lookup(&self, key: &[u8]) -> Result<Lookup> {
        // The time before the point: a value that was renewed in between is found, and not that it was about to go.
        let now_ms = self.clock.reading_ms();
        let point = self.point();
        let found = if point.closed {
            Err(fault::closed())
        } else {
            let known = point.check_keyspace(key);
            known.map(|()| point.lookup(key, now_ms.max(point.now_ms)))
        };
        let_go(&self.retired, point);
        found
    }

    /// Keyspaces and erasures: for the leader, as they are before the group.
    pub(crate) fn tables(&self) -> Tables {
        let point = self.point();
        let tables = point.tables.clone();
        let_go(&self.retired, point);
        tables
    }

    /// The reading of the store's clock that a group is judged by: its conditions, and what was there before it. `expires`:
    /// one of its records does.
    pub(crate) fn group_reading_ms(&self, expires: bool) -> u64 {
        if expires {
            self.clock.note_use();
        }
        self.clock.reading_ms()
    }

    /// What memory knows of the version of a full key, at a reading of the store's clock: for the leader, which reads no disk
    /// and is not there any more after a close.
    pub(crate) fn remembered(&self, key: &[u8], now_ms: u64) -> Remembered {
        let point = self.point();
        let known = match point.remembered(key, now_ms) {
            Some(known) => Remembered::Version(known.map(|known| known.seqno)),
            None if point.levels.is_empty() => Remembered::Version(None),
            None => Remembered::UnchangedSince(point.remembers_above()),
        };
        let_go(&self.retired, point);
        known
    }

    /// What memory knows of changes of an interval behind a record, for the leader.
    pub(crate) fn changed_above(&self, interval: &Interval, above: Seqno) -> Changed {
        let point = self.point();
        let changed = match point.changed_in_memory(interval, above) {
            Some(key) => Changed::Key(key),
            None if above >= point.remembers_above() || planted!(LookBelieved) => Changed::Nothing,
            None => Changed::Unknown,
        };
        let_go(&self.retired, point);
        changed
    }

    /// A merge is about to drop the newest entries of some keys of an interval, the latest of them written at `seqno`; by
    /// chores, before the levels without them come in.
    pub(crate) fn forget(&self, from: &[u8], to: Option<&[u8]>, seqno: Seqno) {
        let mut forgotten = Forgotten::clone(&self.point().forgotten);
        forgotten.add(from, to, seqno);
        let forgotten = Arc::new(forgotten);
        self.exchange(|current| Point {
            forgotten,
            ..current.clone()
        });
    }

    /// A consistent point.
    pub(crate) fn view(&self) -> View {
        let now_ms = self.clock.reading_ms(); // as for a lookup
        let point = self.point();
        View {
            now_ms: now_ms.max(point.now_ms),
            point: Some(point),
            retired: Arc::clone(&self.retired),
        }
    }

    /// Lets readers find records in a new segment. Called before the first record of it is published, by the leader.
    pub(crate) fn add_segment(&self, segment: &Arc<Segment>) {
        let added = |current: &Point| {
            let mut segments = Segments::clone(&current.segments);
            segments.insert(segment.id, Arc::clone(segment));
            Point {
                segments: Arc::new(segments),
                ..current.clone()
            }
        };
        self.exchange(added);
    }

    /// Makes the records of a group visible, in one step for every reader; by the leader. Returns what was there before, at
    /// the group's reading of the clock, for the steps that ask for it, in order. If `steps` panics, nothing is visible.
    pub(crate) fn publish<'a>(
        &self,
        steps: impl Iterator<Item = (Step<'a>, bool)>,
        now_ms: u64,
    ) -> Vec<Lookup> {
        let view = self.view();
        let before_group = view.point();
        let asked_ms = if planted!(ExpiredPrior) { 0 } else { now_ms };
        let mut memtable = before_group.memtable.clone();
        let mut filler = Filler::new(&mut memtable);
        let mut tables = before_group.tables.clone();
        let mut erased_bytes = before_group.erased_bytes;
        let mut last = before_group.last;
        let mut records = 0;
        let mut replaced = Vec::new();
        for (step, wants_prior) in steps {
            records += 1;
            let change = match step {
                Step::Key(change) => change,
                Step::Tables(record, seqno) => {
                    let applied = tables.apply(&record, seqno);
                    applied.expect("the plan of the group has done it before");
                    last = seqno;
                    if wants_prior {
                        replaced.push(Lookup::Absent);
                    }
                    continue;
                }
            };
            last = change.seqno;
            let mut known = None;
            let key = filler.apply(&change, |key, before| {
                if wants_prior && before.version.seqno <= tables.erasures.floor(key) {
                    known = Some(Lookup::Absent);
                } else if wants_prior {
                    // The segment of an entry that the group has made is one of this point: segments come first.
                    known = Some(Lookup::of(key, before, &before_group.segments, asked_ms));
                }
            });
            if wants_prior {
                let known = known.filter(|_| !planted!(WrongPrior));
                let floor = tables.erasures.floor(key);
                let before = || before_group.lookup_above(key, floor, asked_ms);
                replaced.push(known.unwrap_or_else(before));
            }
        }
        if records == 0 {
            return replaced;
        }
        if tables.erasures != before_group.tables.erasures {
            erased_bytes = before_group.levels.erased_bytes(&tables.erasures);
        }
        self.exchange(|current| Point {
            memtable,
            tables,
            erased_bytes,
            last,
            now_ms: now_ms.max(current.now_ms),
            ..current.clone()
        });
        drop(view);
        self.retired
            .release(RELEASED_AT_ONCE + RELEASED_A_RECORD * records);
        replaced
    }

    /// Freezes the memtable, and begins an empty one; by the leader, at a group's end, while no frozen one is unwritten.
    /// `checkpoint` is what the manifest will say once runs have it.
    pub(crate) fn freeze(&self, checkpoint: Checkpoint) {
        self.exchange(|current| {
            debug_assert!(current.unwritten().is_none(), "one frozen memtable at most");
            let frozen = Frozen {
                memtable: current.memtable.clone(),
                checkpoint,
                tables: current.tables.clone(),
                above: current.above,
            };
            Point {
                memtable: current.memtable.emptied(),
                erased_bytes: 0,
                above: checkpoint.seqno,
                frozen: Some(FrozenState {
                    frozen: Arc::new(frozen),
                    written: false,
                }),
                ..current.clone()
            }
        });
    }

    /// What the memtable that takes writes takes itself.
    pub(crate) fn memtable_bytes(&self) -> u64 {
        let point = self.point();
        let bytes = point.memtable.approximate_bytes() as u64;
        let_go(&self.retired, point);
        bytes
    }

    /// What the frozen memtable takes that has to be written.
    pub(crate) fn unwritten_bytes(&self) -> u64 {
        let unwritten = self.unwritten();
        unwritten.map_or(0, |frozen| frozen.memtable.approximate_bytes() as u64)
    }

    /// The frozen memtable that has to be written.
    pub(crate) fn unwritten(&self) -> Option<Arc<Frozen>> {
        let point = self.point();
        let unwritten = point.unwritten().map(Arc::clone);
        let_go(&self.retired, point);
        unwritten
    }

    /// Runs have the frozen memtable now: they come in and it goes out in one step.
    pub(crate) fn install(&self, levels: Levels) {
        let covered = self.unwritten().map(|frozen| frozen.checkpoint.seqno);
        let retired = self.retired_by(&levels, covered.unwrap_or_default());
        let levels = Arc::new(levels);
        self.exchange(|current| {
            debug_assert!(current.unwritten().is_some(), "a checkpoint has ended");
            let mut frozen = current.frozen.clone();
            if let Some(state) = &mut frozen {
                state.written = true;
            }
            Point {
                frozen,
                levels,
                tables: current.tables.without(retired.as_ref()),
                forgotten: current.forgetting(retired.as_ref()),
                ..current.clone()
            }
        });
        // What was frozen before this one: it was let go of when this one was frozen, by a leader with writers behind it.
        self.retired.release(RELEASED_AT_ONCE);
    }

    /// The erasures that nothing is left under, once these are the runs and they cover the log up to there: the same that
    /// the manifest has let go of.
    fn retired_by(&self, levels: &Levels, covered: Seqno) -> Option<Erasures> {
        let erasures = self.tables().erasures;
        let runs = levels.runs().map(LiveRun::covered);
        erasures.retired(covered, runs)
    }

    /// Pieces of erasures; and whether so many, or such that cover so much, are newer than what is frozen that a checkpoint
    /// would be of use.
    pub(crate) fn erased(&self) -> (usize, bool) {
        let point = self.point();
        let erasures = &point.tables.erasures;
        let newer = || erasures.pieces().iter().filter(|p| p.seqno > point.above);
        let many = erasures.len() >= ERASURES_MANY && newer().count() >= ERASURES_MANY / 2;
        let found = (erasures.len(), many || point.erased_bytes >= ERASED_BYTES);
        let_go(&self.retired, point);
        found
    }

    /// Other runs from now on, with segments that come and go; by chores. What is taken out is returned: the last who hold
    /// it pin it.
    pub(crate) fn replace(
        &self,
        levels: Option<Levels>,
        come: &[Arc<Segment>],
        go: &[SegmentId],
    ) -> Vec<Arc<Segment>> {
        let covered = self.view().covered();
        let retired = levels
            .as_ref()
            .and_then(|levels| self.retired_by(levels, covered));
        let levels = levels.map(Arc::new);
        let mut gone = Vec::new();
        self.exchange(|current| {
            let mut segments = Arc::clone(&current.segments);
            if !come.is_empty() || !go.is_empty() {
                let mut changed = Segments::clone(&segments);
                changed.extend(come.iter().map(|new| (new.id, Arc::clone(new))));
                gone.extend(go.iter().filter_map(|id| changed.remove(id)));
                segments = Arc::new(changed);
            }
            Point {
                levels: levels.unwrap_or_else(|| Arc::clone(&current.levels)),
                tables: current.tables.without(retired.as_ref()),
                forgotten: current.forgetting(retired.as_ref()),
                segments,
                ..current.clone()
            }
        });
        gone
    }

    /// The store is closed: nothing is found any more, and the index is freed here, but for what readers still hold.
    pub(crate) fn close(&self) {
        self.exchange(|current| Point {
            memtable: current.memtable.freed(),
            frozen: None,
            levels: Arc::new(current.levels.after(&[])),
            closed: true,
            ..current.clone()
        });
        self.retired.release(usize::MAX);
    }

    /// Whether dropping this takes so long that no executor's thread should do it.
    pub(crate) fn is_large(&self) -> bool {
        let point = self.point();
        let frozen = point.frozen.as_ref();
        let frozen = frozen.map_or(0, |state| state.frozen.memtable.len());
        point.memtable.len() + frozen > LARGE_KEYS
    }
}

#[cfg(test)]
#[path = "published_tests.rs"]
mod tests;
