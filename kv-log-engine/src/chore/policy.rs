//! What to merge next: a pure function of the levels, the segments and the budgets.
//!
//! The shape is *tiers above one bottom*. Levels above the bottom are of classes, each three times the one before, the
//! first that of a checkpoint; three levels of a class are merged into one of the next, in one go with the classes that
//! become three by it. Once the levels above weigh half as much as the bottom, or the store takes more than it should,
//! everything is merged into the bottom (*a pass over all levels*), and segments with much garbage are emptied by it.
//! A pass works in units; between two of them young levels may be merged first, so that the number of levels stays in
//! bounds while a long pass goes on. A pass that a restart cut short is recognised by the runs that it has cut, and
//! goes on where it was: else a process that lives shorter than a pass never ends one.
//!
//! What a simulation of it says (`policy_tests`; 10,000 keys, 100 writes a checkpoint, so about 100 : 1; merges write up to
//! 12 bytes for each byte of log before the next checkpoint; values of 100 bytes in the runs, *here*, or of 1,000 in
//! segments, *separated*). Space is in units of what is live, two checkpoints' worth of log taken off; values copied are
//! bytes for each byte of log:
//!
//! | history | entries written a write | values copied | levels, most | mean | space, mean | peak |
//! |---|---|---|---|---|---|---|
//! | uniform, here | 6.1 | | 8 | 7.1 | 1.15 | 1.27 |
//! | uniform, separated | 6.1 | 0.64 | 8 | 6.4 | 1.54 | 1.88 |
//! | 90 % on 10 %, here | 4.3 | | 8 | 6.9 | 1.11 | 1.27 |
//! | 90 % on 10 %, separated | 4.9 | 0.25 | 8 | 5.1 | 1.58 | 1.83 |
//! | queue, here | 2.8 | | 7 | 4.0 | 1.05 | 1.23 |
//! | queue, separated | 4.4 | 0.04 | 6 | 3.7 | 1.06 | 1.61 |
//! | appending, here | 3.7 | | 10 | 7.1 | 0.99 | 1.01 |
//! | appending, separated | 4.3 | 0.00 | 10 | 5.4 | 0.99 | 0.99 |
//! | deleting all, here | 3.1 | | 8 | 4.5 | 1.12 | 1.77 |
//! | deleting all, separated | 4.7 | 12 | 8 | 2.9 | 1.53 | 2.24 |
//! | one key never overwritten, separated | 4.2 | 0.04 | 8 | 4.4 | 1.20 | 1.82 |
//! | uniform, here, 900 : 1 | 7.3 | | 10 | 9.1 | 1.19 | 1.70 |
//!
//! (Appending grows to 550 : 1, where ten levels may be. A delete has 40 bytes of log, and a value 1,060.)
//!
//! Whatever is decided here is safe; only how much is written, kept and looked through depends on it. What is live is
//! an estimate: every entry above the bottom is taken to replace one of it. That is right for overwriting and for deleting,
//! and for new keys it only means merging earlier.

use crate::format::ids::{LevelId, SegmentId};
use std::collections::{BTreeMap, BTreeSet};

/// Levels of one class that are merged into one of the next.
pub(crate) const TIER_LEVELS: usize = 3;

/// What disks give and take.
const BLOCK_BYTES: u64 = 4096;

/// A run as the policy sees it.
#[derive(Clone, Debug)]
pub(crate) struct RunShape {
    /// The keys that are live in it: from this one on,
    pub(crate) from: Vec<u8>,
    /// and below this one; `None`: to the end.
    pub(crate) to: Option<Vec<u8>>,
    /// A unit has cut a prefix off.
    pub(crate) cut: bool,
    /// Length of the file, and an estimate of the share of it that is live.
    pub(crate) file_bytes: u64,
    pub(crate) live_bytes: u64,
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    /// Entries whose time has passed, by an estimate that is right when it says none.
    pub(crate) expired: u64,
    /// When the first of those that expire does, in milliseconds since 1970.
    pub(crate) earliest_expiry_ms: Option<u64>,
    /// Bytes of records that it refers to, for each segment.
    pub(crate) referred: BTreeMap<SegmentId, u64>,
}

impl RunShape {
    /// What is left of this much of it without what has expired.
    fn unexpired(&self, bytes: u64) -> u64 {
        bytes - share(bytes, self.expired.min(self.entries), self.entries)
    }

    /// Whether rewriting it is worth the while for what has expired alone.
    const fn has_mostly_expired(&self) -> bool {
        self.expired > 0 && self.expired * 2 >= self.entries
    }

    /// The file, and what it refers to.
    fn weight(&self) -> u64 {
        self.live_bytes + self.referred.values().sum::<u64>()
    }
}

/// A level: disjoint runs in the order of their keys.
#[derive(Clone, Debug)]
pub(crate) struct LevelShape {
    pub(crate) id: LevelId,
    pub(crate) runs: Vec<RunShape>,
}

impl LevelShape {
    fn sum(&self, of: impl Fn(&RunShape) -> u64) -> u64 {
        self.runs.iter().map(of).sum()
    }

    fn live_bytes(&self) -> u64 {
        self.sum(|run| run.live_bytes)
    }
}

/// A segment as the policy sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentShape {
    pub(crate) id: SegmentId,
    pub(crate) bytes: u64,
    /// Wholly before the replay start, and pinned by no view: its values may be copied out.
    pub(crate) may_go: bool,
}

/// What the policy keeps to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budgets {
    /// The run that a checkpoint writes, about: the first class.
    pub(crate) checkpoint_bytes: u64,
    /// Bytes of log from one checkpoint to the next: what the store may take beside.
    pub(crate) log_bytes: u64,
    /// Levels that lookups may meet. A checkpoint that would add one more waits, and with it writers.
    pub(crate) levels_max: usize,
    /// A merge above the bottom that would weigh this share of it, in percent, takes the bottom in.
    pub(crate) above_percent: u64,
    /// A pass begins when the store takes this much of what is live, in percent.
    pub(crate) begin_percent: u64,
    /// Victims are chosen until it should take this much after the pass.
    pub(crate) reach_percent: u64,
    /// A segment with less garbage, in percent, is no victim: copying costs more than it gives.
    pub(crate) garbage_percent_min: u64,
    /// There is no room left: then every segment with garbage is a victim.
    pub(crate) disk_full: bool,
    /// What may be copied out of victims by one pass: nothing of them is given back before it ends.
    pub(crate) copies_max: u64,
}

impl Budgets {
    /// For a mean of at most twice what is live, of a store whose oldest level takes so many bytes.
    pub(crate) const fn new(checkpoint_bytes: u64, log_bytes: u64, bottom_bytes: u64) -> Self {
        Self {
            checkpoint_bytes,
            log_bytes,
            levels_max: levels_max(bottom_bytes, checkpoint_bytes),
            above_percent: 25,
            begin_percent: 175,
            reach_percent: 140,
            garbage_percent_min: 33,
            disk_full: false,
            copies_max: u64::MAX,
        }
    }
}

/// Eight levels where the oldest weighs a hundred checkpoints, two more for each factor of nine.
const fn levels_max(bottom_bytes: u64, checkpoint_bytes: u64) -> usize {
    let mut levels = 8;
    let mut reach = checkpoint_bytes.saturating_mul(150);
    while bottom_bytes > reach && levels < 64 {
        levels += 2;
        reach = reach.saturating_mul(9);
    }
    levels
}

/// Everything that a decision depends on.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// The newest first.
    pub(crate) levels: Vec<LevelShape>,
    pub(crate) segments: Vec<SegmentShape>,
    pub(crate) budgets: Budgets,
    /// The reading of the store's clock that `expired` goes by.
    pub(crate) now_ms: u64,
}

/// Why a unit is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// Three levels of a class.
    Tier,
    /// More levels than may be.
    Levels,
    /// The levels above weigh too much beside the bottom.
    Above,
    /// The store takes too much beside what is live.
    Space,
    /// A restart cut a pass short.
    Resumed,
    /// Somebody asked for it.
    Asked,
}

impl Reason {
    /// What a manifest knows it by.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Tier => 0,
            Self::Levels => 1,
            Self::Above => 2,
            Self::Space => 3,
            Self::Resumed => 4,
            Self::Asked => 5,
        }
    }

    /// The reason of a number; one that a later version gave is a pass that goes on.
    pub(crate) const fn of(number: u32) -> Self {
        match number {
            0 => Self::Tier,
            1 => Self::Levels,
            2 => Self::Above,
            3 => Self::Space,
            5 => Self::Asked,
            _ => Self::Resumed,
        }
    }
}

/// A merge of adjacent levels that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(crate) newest: LevelId,
    /// The output goes here.
    pub(crate) oldest: LevelId,
    pub(crate) victims: BTreeSet<SegmentId>,
    pub(crate) reason: Reason,
    /// What had expired by then goes, however little it is: somebody asked for it. Not known any more behind a restart.
    pub(crate) expired_by_ms: u64,
}

/// One unit of a pass: levels, and where it begins. It ends where its output is long enough, or at `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Positions of the newest and the oldest level.
    pub(crate) newest: usize,
    pub(crate) oldest: usize,
    /// Whether nothing older is left below: tombstones go.
    pub(crate) bottom: bool,
    /// The first key; no run of these levels has it inside of its interval.
    pub(crate) from: Vec<u8>,
    /// Nothing has to be merged from here on; `None`: the end.
    pub(crate) to: Option<Vec<u8>>,
    pub(crate) victims: BTreeSet<SegmentId>,
    pub(crate) reason: Reason,
}

/// Decides, and remembers the passes that are under way: a long one, and a young one that goes first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    passes: Vec<Pass>,
}

impl Policy {
    /// The next unit, if there is any work. Asked again after each unit; the same question has the same answer.
    pub(crate) fn next(&mut self, shape: &Shape) -> Option<Unit> {
        if self.passes.len() < 2 {
            let begun = match self.passes.first() {
                // Only what is newer than the pass can be merged beside it.
                Some(pass) => young(shape, newest_of(shape, pass)),
                None => begin(shape),
            };
            self.passes.extend(begun);
        }
        while let Some(pass) = self.passes.last() {
            if let Some(unit) = next_of(shape, pass) {
                return Some(unit);
            }
            self.passes.pop();
        }
        None
    }

    /// Goes on with the passes that a manifest names, the outer one first.
    pub(crate) const fn resume(passes: Vec<Pass>) -> Self {
        Self { passes }
    }

    /// The passes that are under way, the outer one first.
    pub(crate) fn passes(&self) -> &[Pass] {
        &self.passes
    }

    /// A segment cannot be emptied, and is a victim no more.
    pub(crate) fn spare(&mut self, segment: SegmentId) {
        for pass in &mut self.passes {
            pass.victims.remove(&segment);
        }
    }

    /// Begins a pass over all levels, which empties what the budgets make victims, in place of those under way. Returns
    /// whether there is anything to do.
    pub(crate) fn ask_for_all(&mut self, shape: &Shape) -> bool {
        self.passes.clear();
        let Some(bottom) = shape.levels.len().checked_sub(1) else {
            return false;
        };
        let all = Pass {
            victims: victims(shape),
            expired_by_ms: shape.now_ms,
            ..pass(shape, 0, bottom, Reason::Asked)
        };
        let due = next_of(shape, &all).is_some();
        self.passes.extend(due.then_some(all));
        due
    }

    /// What is known of passes is forgotten, as by a restart.
    pub(crate) fn forget(&mut self) {
        self.passes.clear();
    }
}

/// The position of a pass's newest level that is left. One without runs is gone.
fn newest_of(shape: &Shape, pass: &Pass) -> usize {
    shape.levels.partition_point(|level| level.id > pass.newest)
}

/// The pass that begins where none is under way.
fn begin(shape: &Shape) -> Option<Pass> {
    let bottom = shape.levels.len().checked_sub(1)?;
    resumed(shape, bottom)
        .or_else(|| space(shape, bottom))
        .or_else(|| above(shape, bottom))
        .or_else(|| young(shape, bottom))
        .or_else(|| alone(shape, bottom))
        .or_else(|| expired(shape, bottom))
}

fn pass(shape: &Shape, newest: usize, oldest: usize, reason: Reason) -> Pass {
    Pass {
        newest: shape.levels[newest].id,
        oldest: shape.levels[oldest].id,
        victims: BTreeSet::new(),
        reason,
        expired_by_ms: 0,
    }
}

/// A pass that somebody began and did not end: its upper levels lack a prefix.
fn resumed(shape: &Shape, bottom: usize) -> Option<Pass> {
    let cut = |level: &LevelShape| level.runs.first().is_some_and(|run| run.cut);
    let above = &shape.levels[..bottom];
    let newest = above.iter().position(cut)?;
    let last = above.iter().rposition(cut)?;
    Some(Pass {
        victims: victims(shape),
        ..pass(shape, newest, last + 1, Reason::Resumed)
    })
}

/// All levels, because the store takes too much.
fn space(shape: &Shape, bottom: usize) -> Option<Pass> {
    let budgets = &shape.budgets;
    let usage = Usage::of(shape);
    let allowed = usage.live * budgets.begin_percent / 100 + budgets.log_bytes;
    if usage.total <= allowed && !budgets.disk_full {
        return None;
    }
    let victims = victims(shape);
    // A pass that cannot give back a twentieth would begin again and again.
    let gain = usage.garbage_above + garbage_of(shape, &victims);
    let least = if budgets.disk_full {
        (usage.live / 100).max(BLOCK_BYTES)
    } else {
        usage.live.max(budgets.log_bytes) / 20
    };
    if gain < least || gain == 0 {
        return None;
    }
    Some(Pass {
        victims,
        ..pass(shape, 0, bottom, Reason::Space)
    })
}

/// One level and no other, much of which deletes what is not there: a checkpoint that was the first of its store.
fn alone(shape: &Shape, bottom: usize) -> Option<Pass> {
    let level = shape.levels.first().filter(|_| bottom == 0)?;
    let tombstones = level.sum(|run| run.tombstones);
    let due = tombstones > 0 && tombstones * 2 >= level.sum(|run| run.entries);
    due.then(|| pass(shape, 0, 0, Reason::Space))
}

/// The bottom and no other level, because most of one of its runs has expired: nothing that is written anew has to come that
/// far. A run that was rewritten for it has nothing that has expired, so that this ends.
fn expired(shape: &Shape, bottom: usize) -> Option<Pass> {
    let mut runs = shape.levels[bottom].runs.iter();
    let due = runs.any(RunShape::has_mostly_expired);
    due.then(|| pass(shape, bottom, bottom, Reason::Space))
}

/// All levels, because those above weigh too much beside the bottom: twice the share, or the share as soon as that much
/// would be merged anyway, for then there are few of them.
fn above(shape: &Shape, bottom: usize) -> Option<Pass> {
    let bytes = |levels: &[LevelShape]| levels.iter().map(LevelShape::live_bytes).sum::<u64>();
    let (above, below) = shape.levels.split_at(bottom);
    let share = bytes(below) * shape.budgets.above_percent / 100;
    let merged = tier(shape, bottom).map_or(0, |oldest| bytes(&above[..=oldest]));
    let due = bottom > 0 && (bytes(above) >= 2 * share || merged > 0 && merged >= share);
    due.then(|| Pass {
        victims: if crowded(shape) {
            victims(shape)
        } else {
            BTreeSet::new()
        },
        ..pass(shape, 0, bottom, Reason::Above)
    })
}

/// Whether the store takes more than a pass should leave: then a pass that is due anyway empties victims, too.
fn crowded(shape: &Shape) -> bool {
    let usage = Usage::of(shape);
    let middle = u64::midpoint(shape.budgets.reach_percent, shape.budgets.begin_percent);
    usage.total > usage.live * middle / 100 + shape.budgets.log_bytes
}

/// A merge among the levels before `end`: three of a class, or the cheapest where there are too many.
fn young(shape: &Shape, end: usize) -> Option<Pass> {
    if let Some(oldest) = tier(shape, end) {
        return Some(pass(shape, 0, oldest, Reason::Tier));
    }
    if shape.levels.len() < shape.budgets.levels_max || end < 2 {
        return None;
    }
    let cost = |at: &usize| shape.levels[*at].live_bytes() + shape.levels[*at + 1].live_bytes();
    let newest = (0..end - 1).min_by_key(cost)?;
    Some(pass(shape, newest, newest + 1, Reason::Levels))
}

/// The oldest level of a merge from the newest one on, if three of a class are there. An older level counts as of the
/// class of the newer ones at least: where merges or deletes left it smaller, it is no obstacle.
fn tier(shape: &Shape, end: usize) -> Option<usize> {
    let class_of = |bytes| class_of(bytes, shape.budgets.checkpoint_bytes);
    let (mut found, mut count, mut class, mut bytes) = (None, 0, 0, 0);
    for (at, level) in shape.levels[..end].iter().enumerate() {
        let own = class_of(level.live_bytes());
        if own > class {
            // What is merged so far counts as one of the next class, if it gets there.
            let carried = at > 0 && found == Some(at - 1) && class_of(bytes) >= own;
            count = usize::from(carried);
            class = own;
        }
        count += 1;
        bytes += level.live_bytes();
        if count >= TIER_LEVELS {
            found = Some(at);
        }
    }
    found
}

/// 0 for a checkpoint, one more for each factor of three; half a class is given for what overwriting takes off.
fn class_of(bytes: u64, checkpoint_bytes: u64) -> u32 {
    let mut class = 0;
    let mut least = checkpoint_bytes.max(1) * 2;
    while bytes >= least {
        class += 1;
        least = least.saturating_mul(TIER_LEVELS as u64);
    }
    class
}

/// What the store takes, and what of it is live by the estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) total: u64,
    pub(crate) live: u64,
    /// What a pass over all levels takes out of the runs.
    pub(crate) garbage_above: u64,
}

impl Usage {
    pub(crate) fn of(shape: &Shape) -> Self {
        let segments = shape.segments.iter().filter(|segment| segment.may_go);
        let segments: u64 = segments.map(|segment| segment.bytes).sum();
        let files = shape.levels.iter();
        let files: u64 = files.map(|level| level.sum(|run| run.file_bytes)).sum();
        let weight = |run: &RunShape| run.unexpired(run.weight());
        let Some((bottom, above)) = shape.levels.split_last() else {
            return Self {
                total: segments,
                live: 0,
                garbage_above: 0,
            };
        };
        let sum =
            |of: &dyn Fn(&RunShape) -> u64| above.iter().map(|level| level.sum(of)).sum::<u64>();
        let entries_above = sum(&|run| run.entries);
        let puts_above = entries_above - sum(&|run| run.tombstones).min(entries_above);
        let entries = bottom.sum(|run| run.entries);
        let weight_below = bottom.sum(weight);
        let killed = share(weight_below, entries_above.min(entries), entries);
        let weight_above = sum(&weight);
        let added = share(weight_above, puts_above, entries_above);
        let over = |run: &RunShape| run.weight() - weight(run);
        let rewritten = bottom.runs.iter().filter(|run| run.has_mostly_expired());
        let expired = sum(&over) + rewritten.map(over).sum::<u64>();
        Self {
            total: segments + files,
            live: weight_below - killed + added,
            garbage_above: killed.min(bottom.live_bytes()) + (weight_above - added) + expired,
        }
    }
}

fn share(of: u64, part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    let share = u128::from(of) * u128::from(part) / u128::from(whole);
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// Bytes of records that runs refer to, for each segment: what has not expired.
fn referred(shape: &Shape) -> BTreeMap<SegmentId, u64> {
    let mut sums = BTreeMap::new();
    for run in shape.levels.iter().flat_map(|level| &level.runs) {
        for (segment, bytes) in &run.referred {
            *sums.entry(*segment).or_insert(0) += run.unexpired(*bytes);
        }
    }
    sums
}

fn garbage_of(shape: &Shape, victims: &BTreeSet<SegmentId>) -> u64 {
    let referred = referred(shape);
    let chosen = shape
        .segments
        .iter()
        .filter(|segment| victims.contains(&segment.id));
    let garbage = chosen.map(|segment| {
        let live = referred.get(&segment.id).copied().unwrap_or_default();
        segment.bytes.saturating_sub(live)
    });
    garbage.sum()
}

/// The segments to empty: those with most garbage first, until the store should take little enough.
fn victims(shape: &Shape) -> BTreeSet<SegmentId> {
    let budgets = &shape.budgets;
    let referred = referred(shape);
    let mut candidates: Vec<(u64, u64, u64, SegmentId)> = Vec::new();
    for segment in shape.segments.iter().filter(|segment| segment.may_go) {
        let live = referred.get(&segment.id).copied().unwrap_or_default();
        let garbage = segment.bytes.saturating_sub(live);
        let percent = garbage * 100 / segment.bytes.max(1);
        let least = if budgets.disk_full {
            // Less than a block of garbage is a header, and comes back with the copies.
            if garbage < BLOCK_BYTES { 101 } else { 1 }
        } else {
            budgets.garbage_percent_min
        };
        // One that nothing refers to goes by itself.
        if live > 0 && percent >= least {
            candidates.push((percent, garbage, live, segment.id));
        }
    }
    candidates.sort_by(|a, b| b.cmp(a));
    let usage = Usage::of(shape);
    let reach = usage.live * budgets.reach_percent / 100;
    let mut left = usage.total.saturating_sub(usage.garbage_above);
    let mut chosen = BTreeSet::new();
    let mut copies = 0;
    for (_, garbage, live, id) in candidates {
        if left <= reach && !budgets.disk_full {
            break;
        }
        if copies + live > budgets.copies_max {
            continue;
        }
        copies += live;
        left = left.saturating_sub(garbage);
        chosen.insert(id);
    }
    chosen
}

/// The next unit of a pass: from the smallest key that is left above its oldest level, or in a run of that which refers to
/// a victim, or has mostly expired, or, where that is the only one, has tombstones. `None`: the pass has ended.
fn next_of(shape: &Shape, pass: &Pass) -> Option<Unit> {
    let newest = newest_of(shape, pass);
    let oldest = shape
        .levels
        .partition_point(|level| level.id >= pass.oldest);
    let oldest = oldest.checked_sub(1).filter(|oldest| newest <= *oldest)?;
    let above = shape.levels[newest..oldest]
        .iter()
        .flat_map(|level| &level.runs);
    let bottom = oldest + 1 == shape.levels.len();
    let alone = bottom && pass.newest == pass.oldest;
    let asked = |run: &RunShape| {
        let earliest_ms = run.earliest_expiry_ms;
        earliest_ms.is_some_and(|earliest_ms| earliest_ms <= pass.expired_by_ms)
    };
    let wanted = |run: &&RunShape| {
        run.referred.keys().any(|id| pass.victims.contains(id))
            || bottom && (run.has_mostly_expired() || asked(run))
            || alone && run.tombstones > 0
    };
    let below = shape.levels[oldest].runs.iter().filter(wanted);
    let needed: Vec<&RunShape> = above.chain(below).collect();
    let first = needed.iter().map(|run| &run.from).min()?;
    let from = begin_of(&shape.levels[oldest], first);
    Some(Unit {
        newest,
        oldest,
        bottom,
        to: reach(&needed, first),
        from,
        victims: pass.victims.clone(),
        reason: pass.reason,
    })
}

/// Where a unit begins that has to have `key`: at the begin of the run whose interval has it, for a unit takes prefixes.
fn begin_of(oldest: &LevelShape, key: &[u8]) -> Vec<u8> {
    let inside = oldest
        .runs
        .iter()
        .find(|run| *run.from <= *key && run.to.as_ref().is_none_or(|to| *key < **to));
    inside.map_or_else(|| key.to_vec(), |run| run.from.clone())
}

/// How far runs reach from `first` on without a gap.
fn reach(needed: &[&RunShape], first: &[u8]) -> Option<Vec<u8>> {
    let mut sorted = needed.to_vec();
    sorted.sort_by(|a, b| a.from.cmp(&b.from));
    let mut end = first.to_vec();
    for run in sorted {
        if *run.from > *end {
            break;
        }
        match &run.to {
            None => return None,
            Some(to) if *to > end => end.clone_from(to),
            Some(_) => {}
        }
    }
    Some(end)
}
