//! A store in numbers: checkpoints, merges and segments of entries that have keys and sizes and nothing else, to see what a
//! policy makes of a history.

use super::policy::{Budgets, LevelShape, Policy, RunShape, SegmentShape, Shape, Unit};
use crate::format::ids::{LevelId, SegmentId};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes in a run: of an entry with its value, of one that names a separated value, of a tombstone.
const HERE: u64 = 110;
const NAMED: u64 = 32;
const TOMBSTONE: u64 = 26;
/// Bytes of records.
const RECORD_HERE: u64 = 120;
const RECORD_SEPARATED: u64 = 1060;
const RECORD_TOMBSTONE: u64 = 40;

#[derive(Clone, Copy, Debug)]
pub(super) enum Write {
    Put(u32),
    Delete(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Here,
    In(u64),
    Tombstone,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u32,
    seqno: u64,
    held: Held,
}

impl Entry {
    const fn bytes(self) -> u64 {
        match self.held {
            Held::Here => HERE,
            Held::In(_) => NAMED,
            Held::Tombstone => TOMBSTONE,
        }
    }
}

#[derive(Clone, Debug)]
struct Run {
    entries: Vec<Entry>,
    /// The first entry that is live.
    start: usize,
    shape: RunShape,
}

impl Run {
    fn new(entries: Vec<Entry>, from: Vec<u8>, to: Option<Vec<u8>>) -> Self {
        let mut run = Self {
            shape: RunShape {
                from,
                to,
                cut: false,
                file_bytes: entries.iter().map(|entry| entry.bytes()).sum(),
                live_bytes: 0,
                entries: 0,
                tombstones: 0,
                expired: 0,
                earliest_expiry_ms: None,
                referred: BTreeMap::new(),
            },
            entries,
            start: 0,
        };
        run.measure();
        run
    }

    fn live(&self) -> &[Entry] {
        &self.entries[self.start..]
    }

    /// Everything below this key was merged away.
    fn cut(&mut self, to: u32) {
        let cut = self.live().partition_point(|entry| entry.key < to);
        if cut > 0 {
            self.start += cut;
            self.shape.cut = true;
            self.shape.from = key_bytes(to);
            self.measure();
        }
    }

    fn measure(&mut self) {
        let shape = &mut self.shape;
        (shape.live_bytes, shape.tombstones) = (0, 0);
        shape.referred.clear();
        for entry in &self.entries[self.start..] {
            shape.live_bytes += entry.bytes();
            match entry.held {
                Held::In(segment) => {
                    let referred = shape.referred.entry(SegmentId::new(segment));
                    *referred.or_insert(0) += RECORD_SEPARATED;
                }
                Held::Tombstone => shape.tombstones += 1,
                Held::Here => {}
            }
        }
        shape.entries = (self.entries.len() - self.start) as u64;
        if let Some(first) = self.entries.get(self.start) {
            let first = key_bytes(first.key);
            if shape.from < first {
                shape.from = first;
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Level {
    id: u64,
    runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    bytes: u64,
    sealed: bool,
    /// A merge wrote it.
    copied: bool,
}

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    /// Writes from one checkpoint to the next.
    pub(super) memtable: usize,
    /// Every so manieth key has a separated value; 0: none.
    pub(super) separated: u32,
    /// Bytes that merges may write for each byte of the user's before writers wait.
    pub(super) pace: u64,
    /// The process ends after so many units, and forgets what it was about.
    pub(super) lives: Option<u64>,
    /// Changes of the usual budgets.
    pub(super) above_percent: u64,
}

pub(super) const USUAL: Setup = Setup {
    memtable: 100,
    separated: 0,
    pace: 12,
    lives: None,
    above_percent: 25,
};

/// What came of it. Space is in percent of what is live, after two checkpoint thresholds were taken off.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) writes: u64,
    pub(super) entries_written: u64,
    pub(super) user_bytes: u64,
    pub(super) values_copied: u64,
    pub(super) levels_max: usize,
    pub(super) levels_sum: u64,
    pub(super) space_peak: u64,
    space_sum: u128,
    live_sum: u128,
    samples: u64,
    pub(super) waits: u64,
    pub(super) units: u64,
    pub(super) total: u64,
    pub(super) live: u64,
    pub(super) tombstones: u64,
}

impl Figures {
    pub(super) fn entries_a_write(&self) -> f64 {
        ratio(self.entries_written, self.writes)
    }

    /// Bytes of values that merges wrote for each byte of the user's.
    pub(super) fn values_a_byte(&self) -> f64 {
        ratio(self.values_copied, self.user_bytes)
    }

    pub(super) fn space_mean(&self) -> u64 {
        u64::try_from(self.space_sum * 100 / self.live_sum.max(1)).unwrap_or(u64::MAX)
    }

    pub(super) fn levels_mean(&self) -> f64 {
        ratio(self.levels_sum, self.samples)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

pub(super) struct Simulator {
    setup: Setup,
    policy: Policy,
    levels: Vec<Level>,
    segments: BTreeMap<u64, Segment>,
    memtable: BTreeMap<u32, Entry>,
    in_memtable: usize,
    active: u64,
    live: BTreeMap<u32, bool>,
    live_bytes: u64,
    seqno: u64,
    next_id: u64,
    log_bytes: u64,
    checkpoint_bytes: u64,
    measuring: bool,
    units: u64,
    pub(super) figures: Figures,
}

fn key_bytes(key: u32) -> Vec<u8> {
    crate::format::run::full_key(key, b"")
}

fn key_of(bytes: &[u8]) -> u32 {
    crate::format::run::split_key(bytes).map_or(0, |(key, _)| key)
}

impl Simulator {
    pub(super) fn new(setup: Setup) -> Self {
        let mut simulator = Self {
            setup,
            policy: Policy::default(),
            levels: Vec::new(),
            segments: BTreeMap::new(),
            memtable: BTreeMap::new(),
            in_memtable: 0,
            active: 0,
            live: BTreeMap::new(),
            live_bytes: 0,
            seqno: 0,
            next_id: 1,
            log_bytes: 0,
            checkpoint_bytes: 1,
            measuring: false,
            units: 0,
            figures: Figures::default(),
        };
        simulator.rotate();
        simulator
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn rotate(&mut self) {
        if let Some(segment) = self.segments.get_mut(&self.active) {
            segment.sealed = true;
        }
        self.active = self.id();
        let segment = Segment {
            bytes: 0,
            sealed: false,
            copied: false,
        };
        self.segments.insert(self.active, segment);
    }

    const fn is_separated(&self, key: u32) -> bool {
        self.setup.separated > 0 && key.is_multiple_of(self.setup.separated)
    }

    fn weight(&self, key: u32) -> u64 {
        if self.is_separated(key) {
            NAMED + RECORD_SEPARATED
        } else {
            HERE
        }
    }

    pub(super) fn write(&mut self, write: Write) {
        self.seqno += 1;
        let (key, held, bytes) = match write {
            Write::Put(key) if self.is_separated(key) => {
                (key, Held::In(self.active), RECORD_SEPARATED)
            }
            Write::Put(key) => (key, Held::Here, RECORD_HERE),
            Write::Delete(key) => (key, Held::Tombstone, RECORD_TOMBSTONE),
        };
        let weight = self.weight(key);
        match write {
            Write::Put(_) if self.live.insert(key, true).is_none() => self.live_bytes += weight,
            Write::Delete(_) if self.live.remove(&key).is_some() => self.live_bytes -= weight,
            Write::Put(_) | Write::Delete(_) => {}
        }
        self.memtable.insert(
            key,
            Entry {
                key,
                seqno: self.seqno,
                held,
            },
        );
        if let Some(segment) = self.segments.get_mut(&self.active) {
            segment.bytes += bytes;
        }
        if self.measuring {
            self.figures.writes += 1;
            self.figures.user_bytes += bytes;
        }
        self.in_memtable += 1;
        self.log_bytes = self.log_bytes.max(self.segments[&self.active].bytes);
        if self.in_memtable >= self.setup.memtable {
            self.checkpoint();
        }
    }

    /// From here on it counts.
    pub(super) fn measure(&mut self) {
        self.measuring = true;
    }

    pub(super) fn checkpoint(&mut self) {
        // Writers wait: too many levels, or too much space.
        while self.levels.len() >= self.budgets().levels_max || self.space() > 225 {
            self.figures.waits += u64::from(self.measuring);
            if self.unit().is_none() {
                break;
            }
        }
        let entries: Vec<Entry> = std::mem::take(&mut self.memtable).into_values().collect();
        self.in_memtable = 0;
        self.rotate();
        if !entries.is_empty() {
            let bytes: u64 = entries.iter().map(|entry| entry.bytes()).sum();
            self.checkpoint_bytes = (self.checkpoint_bytes * 3 + bytes) / 4;
            self.count_written(entries.len());
            let id = self.id();
            let (from, to) = (Vec::new(), None);
            let run = Run::new(entries, from, to);
            self.levels.insert(
                0,
                Level {
                    id,
                    runs: vec![run],
                },
            );
        }
        self.release();
        self.sample();
        let mut budget = self.setup.pace * self.log_bytes;
        while budget > 0 {
            let Some(written) = self.unit() else {
                return;
            };
            budget = budget.saturating_sub(written);
        }
    }

    fn count_written(&mut self, entries: usize) {
        if self.measuring {
            self.figures.entries_written += entries as u64;
        }
    }

    fn shape(&self) -> Shape {
        let level = |level: &Level| LevelShape {
            id: LevelId(level.id),
            runs: level.runs.iter().map(|run| run.shape.clone()).collect(),
        };
        let segments = self.segments.iter().map(|(id, segment)| SegmentShape {
            id: SegmentId::new(*id),
            bytes: segment.bytes,
            may_go: segment.sealed,
        });
        Shape {
            levels: self.levels.iter().map(level).collect(),
            segments: segments.collect(),
            budgets: Budgets {
                above_percent: self.setup.above_percent,
                ..self.budgets()
            },
            now_ms: 0,
        }
    }

    fn budgets(&self) -> Budgets {
        let bottom = self.levels.iter().next_back().into_iter();
        let runs = bottom.flat_map(|level| &level.runs);
        let bottom_bytes = runs.map(|run| run.shape.live_bytes).sum();
        Budgets::new(self.checkpoint_bytes, self.log_bytes, bottom_bytes)
    }

    /// One unit of what is due; returns the bytes that it wrote.
    pub(super) fn unit(&mut self) -> Option<u64> {
        self.units += 1;
        if self
            .setup
            .lives
            .is_some_and(|lives| self.units.is_multiple_of(lives))
        {
            self.policy.forget();
        }
        let shape = self.shape();
        let unit = self.policy.next(&shape)?;
        let written = self.merge(&unit);
        self.figures.units += u64::from(self.measuring);
        self.release();
        self.sample();
        Some(written)
    }

    fn merge(&mut self, unit: &Unit) -> u64 {
        let from = key_of(&unit.from);
        let end = unit.to.as_deref().map_or(u32::MAX, key_of);
        let unit_bytes = (self.log_bytes / 2).max(HERE);
        // So many entries fill a unit, whatever they are: no run need be looked at beyond them.
        let enough = usize::try_from(unit_bytes / TOMBSTONE).unwrap() + 1;
        let mut end = end;
        let mut pieces = Vec::new();
        for run in self.levels[unit.newest..=unit.oldest]
            .iter()
            .rev()
            .flat_map(|level| &level.runs)
        {
            let live = run.live();
            let begin = live.partition_point(|entry| entry.key < from);
            assert!(begin == 0 || begin == live.len(), "a unit takes a prefix");
            let live = &live[begin..];
            if live.first().is_none_or(|first| first.key >= end) {
                continue;
            }
            if let Some(next) = live.get(enough) {
                end = end.min(next.key);
            }
            pieces.push(&live[..live.len().min(enough)]);
        }
        let mut newest: BTreeMap<u32, Entry> = BTreeMap::new();
        for entry in pieces.into_iter().flatten().filter(|entry| entry.key < end) {
            if let Some(older) = newest.insert(entry.key, *entry) {
                assert!(older.seqno < entry.seqno, "age decides");
            }
        }
        let mut output = Vec::new();
        let (mut bytes, mut to) = (0, end);
        let mut copies: BTreeMap<bool, u64> = BTreeMap::new();
        for (key, mut entry) in newest {
            if bytes >= unit_bytes {
                to = key;
                break;
            }
            if unit.bottom && entry.held == Held::Tombstone {
                continue;
            }
            if let Held::In(segment) = entry.held
                && unit.victims.contains(&SegmentId::new(segment))
            {
                let copied = self.segments[&segment].copied;
                let new = match copies.get(&copied) {
                    Some(new) => *new,
                    None => {
                        let new = self.id();
                        copies.insert(copied, new);
                        self.segments.insert(
                            new,
                            Segment {
                                bytes: 0,
                                sealed: true,
                                copied: true,
                            },
                        );
                        new
                    }
                };
                if let Some(segment) = self.segments.get_mut(&new) {
                    segment.bytes += RECORD_SEPARATED;
                }
                entry.held = Held::In(new);
                bytes += RECORD_SEPARATED;
                if self.measuring {
                    self.figures.values_copied += RECORD_SEPARATED;
                }
            }
            bytes += entry.bytes();
            output.push(entry);
        }
        for level in &mut self.levels[unit.newest..=unit.oldest] {
            for run in &mut level.runs {
                if run.live().first().is_some_and(|entry| entry.key >= from) {
                    run.cut(to);
                }
            }
            level.runs.retain(|run| !run.live().is_empty());
        }
        self.count_written(output.len());
        let bound = (to < u32::MAX).then(|| key_bytes(to));
        if !output.is_empty() {
            let run = Run::new(output, unit.from.clone(), bound);
            let runs = &mut self.levels[unit.oldest].runs;
            let at = runs.partition_point(|known| known.shape.from < run.shape.from);
            runs.insert(at, run);
        }
        self.levels.retain(|level| !level.runs.is_empty());
        bytes.max(1)
    }

    /// Segments that no run refers to go.
    fn release(&mut self) {
        let mut referred = BTreeSet::new();
        for run in self.levels.iter().flat_map(|level| &level.runs) {
            referred.extend(run.shape.referred.keys().map(|segment| segment.get()));
        }
        self.segments
            .retain(|id, segment| !segment.sealed || referred.contains(id));
    }

    pub(super) fn total(&self) -> u64 {
        let files = self
            .levels
            .iter()
            .flat_map(|level| &level.runs)
            .map(|run| run.shape.file_bytes);
        let segments = self.segments.values().map(|segment| segment.bytes);
        files.sum::<u64>() + segments.sum::<u64>()
    }

    /// Percent of what is live, two thresholds of log taken off.
    fn space(&self) -> u64 {
        let total = self.total().saturating_sub(2 * self.log_bytes);
        total * 100 / self.live_bytes.max(self.log_bytes)
    }

    fn sample(&mut self) {
        if !self.measuring {
            return;
        }
        let (space, total) = (self.space(), self.total());
        let figures = &mut self.figures;
        figures.space_peak = figures.space_peak.max(space);
        figures.space_sum += u128::from(total.saturating_sub(2 * self.log_bytes));
        figures.live_sum += u128::from(self.live_bytes.max(self.log_bytes));
        figures.samples += 1;
        figures.levels_sum += self.levels.len() as u64;
        figures.levels_max = figures.levels_max.max(self.levels.len());
    }

    /// Does all that is due, and looks at what is left.
    pub(super) fn settle(&mut self) {
        self.checkpoint();
        let ends = (0..100_000).any(|_| self.unit().is_none());
        assert!(ends, "work that never ends");
        self.figures.total = self.total();
        self.figures.live = self.live_bytes;
        let entries = self
            .levels
            .iter()
            .flat_map(|level| &level.runs)
            .flat_map(Run::live);
        self.figures.tombstones = entries
            .filter(|entry| entry.held == Held::Tombstone)
            .count() as u64;
        self.check();
    }

    /// What a lookup would find is what was written.
    fn check(&self) {
        let mut found: BTreeMap<u32, Entry> = BTreeMap::new();
        for level in &self.levels {
            for entry in level.runs.iter().flat_map(Run::live) {
                found.entry(entry.key).or_insert(*entry);
            }
        }
        found.retain(|_, entry| entry.held != Held::Tombstone);
        assert!(
            found.keys().eq(self.live.keys()),
            "what is found is what is live"
        );
        let lost = |entry: &Entry| matches!(entry.held, Held::In(segment) if !self.segments.contains_key(&segment));
        assert!(!found.values().any(lost), "no value is lost");
    }
}
