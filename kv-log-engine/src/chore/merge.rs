//! One unit of a merge: an interval of adjacent levels becomes new runs of the oldest of them.
//!
//! | step | what the disk may hold if it stops behind it |
//! |---|---|
//! | the bound of ids is raised by an edit, before each file where it has to be | the old state |
//! | runs and value segments are made and written in slices, each whole and synced | and files below the bound that nothing names: debris |
//! | the directory is synced | the same, durably |
//! | one edit: the runs in, the interval off the inputs, empty inputs gone, value segments in, the passes under way | the old state or the new one, whole |
//! | the view changes: the new levels | the new state; files of inputs that nothing names |
//! | names of inputs that no view reads are removed, by whoever unlinks | the new state |
//!
//! A unit takes a prefix of what is left of each input, so that a run has one live interval; its output is in key order and
//! stays between the unit's bounds, so that it fits between the runs that its level keeps. Dropped, failed or killed before
//! the edit, nothing has happened but for the time that it took.
//!
//! What has expired at the unit's reading of the store's clock is a tombstone, above the bottom too: the edit records that
//! reading, so that no later one, of another process either, is below it. Without that, of two values that expired together
//! the one that was not merged yet would come back where a clock does.
//!
//! Values that lie in victims are copied, verified and otherwise unchanged, and the output names the copies; what a newer
//! layer has superseded in the meantime is copied too, and costs only space. The victims themselves go by the rule of
//! release and no other.

use super::bounds::between;
use super::erasing::name_erasures;
use super::ground::Ground;
use super::output::NewFiles;
use super::policy::{Pass, Shape, Unit};
use super::runs_out::RunsOut;
use super::shape::pass_entries;
use super::slice::Slice;
use super::values::{Copied, Values};
use crate::format::ids::{SegmentId, Seqno};
use crate::format::manifest::{Edit, Manifest, RunEntry};
use crate::format::run::block::Held;
use crate::format::run::{RunId, successor};
use crate::index::merge::{Merge, Merged, Yield};
use crate::index::run::level::Level;
use crate::index::run::named::Run;
use crate::index::source::{Direction, Entry, Interval, Item, Source};
use crate::stats::{DAMAGES_MAX, add};
use kv_trait::{Error, ErrorKind, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// A unit takes at most so many times what it may write: one that only drops has to end, too.
const TAKEN_FOR_WRITTEN: u64 = 4;
/// What an entry takes beside key and value, about.
const ENTRY_BYTES: u64 = 16;
/// A pass has so many units at most, whatever it merges: the manifest names all runs.
const UNITS_MAX: u64 = 4096;

#[derive(Clone, Copy, Debug)]
enum Stage {
    Walking,
    /// The end is known; the last files are to be finished.
    Closing,
    /// All files are whole and synced.
    Written,
    /// Their names are durable, too.
    Durable,
    /// The manifest says so.
    Named,
}

/// A unit that is being merged.
#[derive(Debug)]
pub(super) struct Merging {
    unit: Unit,
    /// The passes that are under way with it.
    passes: Vec<Pass>,
    /// The levels that it takes from, the newest first; the output goes to the last.
    levels: Vec<Level>,
    interval: Interval,
    /// Output of so many bytes is enough, and a run of so many is long enough.
    unit_bytes: u64,
    run_bytes: u64,
    merge: Merge,
    /// What is erased at this seqno or before it is left out.
    erased_to: Seqno,
    stage: Stage,
    runs: RunsOut,
    values: Values,
    files: NewFiles,
    last_key: Vec<u8>,
    /// The reading of the store's clock that all of it goes by, and the values that it ended.
    now_ms: u64,
    expired: u64,
    /// Bytes and entries that were taken of the inputs, about.
    taken_bytes: u64,
    entries: u64,
    /// The first key that it does not take, and which level the entry is of that was met there.
    end: Option<Vec<u8>>,
    met: Option<usize>,
    /// The latest change of what is in no level any more.
    dropped: Option<Seqno>,
    outcome: Outcome,
}

/// What came of a unit.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Runs that are part of the store no more, and that views may still read.
    pub(super) gone: Vec<Arc<Run>>,
    /// Victims that keep a value which could not be copied.
    pub(super) spared: BTreeSet<SegmentId>,
    /// What could not be read on the way, each once.
    pub(super) damages: BTreeSet<String>,
}

impl Outcome {
    /// A disk that has lost much must not fill the memory with it.
    fn note(&mut self, cause: &str) {
        if self.damages.len() < DAMAGES_MAX && !self.damages.contains(cause) {
            self.damages.insert(cause.to_owned());
        }
    }
}

impl Merging {
    /// The unit that the policy chose, of a shape with these levels; `enough` is what it writes, in runs of
    /// `run_bytes`.
    ///
    /// # Errors
    /// The view has other levels than the manifest: nothing may be merged by positions.
    pub(super) fn new(
        ground: &Ground,
        unit: Unit,
        passes: Vec<Pass>,
        shape: &Shape,
        (enough, run_bytes): (u64, u64),
    ) -> Result<Self> {
        let view = ground.layers.levels();
        let named = shape.levels.iter().map(|level| level.id);
        let same = view.levels().iter().map(Level::id).eq(named);
        let levels = view.levels().get(unit.newest..=unit.oldest);
        let Some((levels, last)) = levels
            .filter(|_| same)
            .and_then(|levels| Some((levels, levels.last()?)))
        else {
            let message = "the view and the manifest do not have the same levels";
            return Err(Error::new(ErrorKind::Io, message));
        };
        let interval = Interval {
            lower: Bound::Included(unit.from.clone()),
            upper: unit.to.clone().map_or(Bound::Unbounded, Bound::Excluded),
        };
        let source =
            |level: &Level| Box::new(level.range(&interval, Direction::Forward)) as Box<dyn Source>;
        let levels: Vec<Level> = levels
            .iter()
            .enumerate()
            .filter(|(at, _)| !planted!(LevelLeftOut) || *at == 0 || *at + 1 == levels.len())
            .map(|(_, level)| level.clone())
            .collect();
        // As of C: what is newer the log has, and another unit comes to it.
        let (erasures, erased_to) = ground.catalog.read(|manifest| {
            let covered = manifest.checkpoint.map(|covered| covered.seqno);
            (
                manifest.tables.erasures.clone(),
                covered.unwrap_or_default(),
            )
        });
        let merge = Merge::new(levels.iter().map(source), Direction::Forward, Yield::Newest);
        let merge = merge.without(erasures);
        let merged = shape.levels.get(unit.newest..=unit.oldest);
        let merged = merged.into_iter().flatten().flat_map(|level| &level.runs);
        let least = merged.map(|run| run.live_bytes).sum::<u64>() / UNITS_MAX;
        Ok(Self {
            unit_bytes: enough.max(least),
            run_bytes: run_bytes.max(least),
            runs: RunsOut::of(last.id(), unit.from.clone()),
            values: Values::new(ground, &unit.victims),
            levels,
            unit,
            passes,
            merge,
            erased_to,
            interval,
            stage: Stage::Walking,
            files: NewFiles::default(),
            last_key: Vec::new(),
            now_ms: ground.clock.reading_ms(),
            expired: 0,
            taken_bytes: 0,
            entries: 0,
            end: None,
            met: None,
            dropped: None,
            outcome: Outcome::default(),
        })
    }

    /// Goes on until the slice is used up. `Some`: the unit is done.
    ///
    /// # Errors
    /// What the disk says. Nothing has changed, unless the store is poisoned now; the caller gives the files up.
    pub(super) fn step(&mut self, ground: &Ground, slice: &mut Slice) -> Result<Option<Outcome>> {
        while !slice.is_used_up() {
            let stage = self.stage;
            self.stage = match stage {
                Stage::Walking if self.walk(ground, slice)? => Stage::Closing,
                Stage::Walking => return Ok(None),
                Stage::Closing => {
                    self.close(ground)?;
                    slice.wrote_file();
                    Stage::Written
                }
                Stage::Written => {
                    self.files.sync_names(ground)?;
                    Stage::Durable
                }
                Stage::Durable => {
                    self.name(ground)?;
                    Stage::Named
                }
                Stage::Named => {
                    let added = self.values.segments(ground);
                    if let Some(dropped) = self.dropped {
                        let to = self.end.as_deref();
                        ground.layers.forget(&self.unit.from, to, dropped);
                    }
                    ground.layers.replace(ground.levels_as_named(), added);
                    return Ok(Some(std::mem::take(&mut self.outcome)));
                }
            };
        }
        Ok(None)
    }

    /// The passes that are under way with it.
    pub(super) fn passes(&self) -> &[Pass] {
        &self.passes
    }

    pub(super) fn files(&mut self) -> &mut NewFiles {
        &mut self.files
    }

    /// Takes entries. Returns whether the end is reached.
    fn walk(&mut self, ground: &Ground, slice: &mut Slice) -> Result<bool> {
        while !slice.is_used_up() {
            let before = self.written();
            let next = match self.merge.next() {
                // What was taken is kept, and the next unit, which begins here, says what it is that cannot be read: else each
                // attempt would write the same bytes again, for as long as the block does not heal.
                Err(error) if error.kind() == ErrorKind::Io && !self.last_key.is_empty() => {
                    self.end = Some(successor(&self.last_key));
                    return Ok(true);
                }
                next => next?,
            };
            let Some(Merged { age, item }) = next else {
                self.end.clone_from(&self.unit.to);
                return Ok(true);
            };
            match item {
                Item::Hole(hole) => {
                    self.outcome.note(&hole.cause);
                    if planted!(HoleDropped) {
                        continue;
                    }
                    if let Some(hole) = self.interval.clip(hole) {
                        self.runs.push_hole(ground, &mut self.files, hole)?;
                    }
                }
                Item::Entry(entry) => {
                    if let Some(end) = self.ends_before(&entry.key) {
                        self.end = Some(end);
                        self.met = Some(age);
                        return Ok(true);
                    }
                    self.take(ground, entry, slice)?;
                }
            }
            slice.wrote(self.written().saturating_sub(before));
        }
        Ok(false)
    }

    /// Bytes of output, about.
    pub(super) fn written(&self) -> u64 {
        self.runs.bytes() + self.values.bytes()
    }

    /// Where the unit ends, if it is long enough. Keys that have long prefixes in common have no short bounds.
    fn ends_before(&self, key: &[u8]) -> Option<Vec<u8>> {
        let is_past = |times: u64| {
            let enough = self.unit_bytes.saturating_mul(times);
            self.written() >= enough || self.taken_bytes >= enough.saturating_mul(TAKEN_FOR_WRITTEN)
        };
        let bound = between(&self.last_key, key, is_past(1), is_past(2));
        bound.map(<[u8]>::to_vec)
    }

    fn take(&mut self, ground: &Ground, mut entry: Entry, slice: &mut Slice) -> Result<()> {
        let next = self
            .runs
            .next_begins(self.run_bytes, &self.last_key, &entry.key);
        if let Some(bound) = next {
            self.runs.split(ground, &mut self.files, &bound)?;
            slice.wrote_file();
        }
        let value_bytes = match &entry.version.held {
            Held::Here(value) => value.len(),
            Held::Tombstone | Held::Separated(_) => 0,
        };
        self.taken_bytes += (entry.key.len() + value_bytes) as u64 + ENTRY_BYTES;
        self.entries += 1;
        if entry.version.has_expired(self.now_ms) && !entry.version.is_tombstone() {
            self.expired += 1;
            if planted!(ExpiredDroppedEarly) {
                return Ok(());
            }
            entry.version.expiry_ms = None;
            entry.version.held = Held::Tombstone;
        }
        if planted!(ExpiryForgotten) {
            entry.version.expiry_ms = None;
        }
        let bottom = self.unit.bottom && !planted!(TombstoneKept);
        if (bottom || planted!(TombstoneDroppedEarly)) && entry.version.is_tombstone() {
            self.dropped = self.dropped.max(Some(entry.version.seqno));
            self.runs.push_absent(&entry.key, &entry.version)?;
        } else {
            self.carry_value(ground, &mut entry)?;
            self.runs
                .push(ground, &mut self.files, &entry.key, &entry.version)?;
        }
        self.last_key = entry.key;
        Ok(())
    }

    /// Copies the value of an entry if it lies in a victim, and lets the entry say where.
    fn carry_value(&mut self, ground: &Ground, entry: &mut Entry) -> Result<()> {
        let Held::Separated(location) = entry.version.held else {
            return Ok(());
        };
        if !self.unit.victims.contains(&location.segment) {
            return Ok(());
        }
        let written = (entry.version.seqno, entry.version.expiry_ms);
        let copied = self
            .values
            .copy(ground, &mut self.files, &entry.key, written, location)?;
        match copied {
            Copied::To(location) => entry.version.held = Held::Separated(location),
            Copied::Stays(error) => {
                if !planted!(SpoiledStaysVictim) {
                    self.outcome.spared.insert(location.segment);
                }
                self.outcome.note(&error.to_string());
            }
        }
        Ok(())
    }

    fn close(&mut self, ground: &Ground) -> Result<()> {
        let end = self.end.clone();
        self.runs.finish(ground, &mut self.files, end.as_deref())?;
        self.values.finish()
    }

    /// The one edit.
    fn name(&mut self, ground: &Ground) -> Result<()> {
        let (mut edit, gone) = ground.catalog.read(|manifest| self.inputs(manifest));
        for run in self.runs.entries() {
            edit.run(&RunEntry {
                erased_to: self.erased_to,
                ..run.clone()
            });
        }
        for segment in self.values.entries() {
            edit.segment(segment);
        }
        let mut passes = self.passes.clone();
        for pass in &mut passes {
            // A process that ends with this unit must not leave the same one to the next.
            pass.victims
                .retain(|victim| !self.outcome.spared.contains(victim));
        }
        edit.passes(&pass_entries(&passes));
        if self.expired > 0 && !planted!(ClockNotRecorded) {
            edit.clock(self.now_ms);
        }
        if planted!(UnlinkedBeforeEdit) {
            let storage = ground.files.storage();
            gone.iter()
                .for_each(|run| drop(storage.remove_file(&run.path())));
        }
        let raised = ground.catalog.raised_file_id();
        let edited = ground.catalog.apply_with(|manifest| {
            edit.counters(manifest.next_seqno, manifest.next_file_id.max(raised));
            name_erasures(&mut edit, manifest, &manifest.tables.erasures);
            Some(edit)
        });
        ground.known(edited)?;
        self.files.named();
        self.outcome.gone = gone;
        let counters = &ground.counters;
        add(&counters.units, 1);
        add(&counters.merge_bytes, self.runs.bytes());
        add(
            &counters.merge_entries,
            self.runs.entries().iter().map(|run| run.entries).sum(),
        );
        add(&counters.value_bytes, self.values.bytes());
        add(&counters.expired, self.expired);
        Ok(())
    }

    /// What becomes of the inputs: the interval is cut off, and those that have nothing left are gone.
    fn inputs(&self, manifest: &Manifest) -> (Edit, Vec<Arc<Run>>) {
        let known: BTreeMap<RunId, &RunEntry> =
            manifest.runs.iter().map(|run| (run.id, run)).collect();
        let mut edit = Edit::default();
        let mut gone = Vec::new();
        for (age, level) in self.levels.iter().enumerate() {
            // The entry at which the unit ended was looked at and not taken.
            let looked_at = self.merge.passed(age);
            let mut taken = looked_at - u64::from(self.met == Some(age));
            for live in level.runs() {
                let begins = self.end.as_ref().is_none_or(|end| *live.from < **end);
                let ended = live.to.as_ref().is_some_and(|to| **to <= *self.unit.from);
                let known = known.get(&live.run.id());
                let Some(known) = known.filter(|_| begins && !ended) else {
                    continue;
                };
                let is_used_up = |end: &Vec<u8>| live.to.as_ref().is_some_and(|to| **to <= **end);
                match &self.end {
                    Some(end) if !is_used_up(end) && !planted!(InputCutWhole) => {
                        let taken = known.taken.saturating_add(taken).min(known.entries);
                        edit.cut(known.id, end, taken);
                    }
                    _ => {
                        taken = taken.saturating_sub(known.entries.saturating_sub(known.taken));
                        gone.push(Arc::clone(&live.run));
                    }
                }
            }
        }
        let ids: Vec<u64> = gone.iter().map(|run| run.id().get()).collect();
        if !ids.is_empty() {
            edit.gone(&ids);
        }
        (edit, gone)
    }
}
