//! What is done next, a slice at a time: checkpoint, what was let go, units of merges.
//!
//! The checkpoint goes first: writers wait for it. It may come between two slices of a unit, for it only adds a level that
//! is newer than those that the unit merges. It waits for merges only where one more level would be one too many, and not
//! for merges that fail. What a unit has set free is let go before the next one begins, so that a long pass gives space back
//! on its way.

use super::checkpoint::Checkpointing;
use super::erasing;
use super::ground::Ground;
use super::merge::Merging;
use super::policy::{Budgets, Pass, Policy, Shape, Unit, Usage};
use super::release::{self, Graveyard};
use super::shape::{self, Circumstances};
use super::slice::Slice;
use crate::format::erasures::ERASURES_MANY;
use crate::format::ids::{LevelId, SegmentId};
use crate::stats::{ChoreKind, DAMAGES_MAX};
use crate::store::reserve::Quota;
use kv_trait::{Error, ErrorKind, Result};
use std::collections::BTreeSet;
use std::time::Duration;

/// What fails is tried again after this long, then twice as long, up to the longest.
const BACK_OFF_MIN: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// Files that views pin are looked at again after this long: nobody says when a view goes.
const PINS_LOOKED_AT: Duration = Duration::from_millis(200);
/// On a full disk no unit is shorter than this: each begins a run.
const FULL_UNIT_BYTES_MIN: u64 = 8 * 1024;
/// As often as this a unit that finds no room is made smaller at once, before it waits.
const SHRUNK_AT_ONCE: u32 = 4;
/// The store takes this much of what is live, in percent, and writers wait for a pass that gives space back.
const PRESSURE_PERCENT: u64 = 225;
/// A compaction ends where the store takes this much of what is live, in percent: 1.2 times, with room for what is estimated.
const COMPACT_PERCENT: u64 = 115;

/// What one slice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Something was done, and there may be more.
    Worked,
    /// There is nothing to do now.
    Idle,
    /// Somebody else is at it.
    Busy,
    /// It failed, and is tried again later; [`super::Chores::failure`] says why.
    Failed,
}

/// Why one kind of work waits, and until when.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) error: Option<Error>,
    until: Duration,
    back_off: Duration,
}

impl Trouble {
    fn waits(&self, now: Duration) -> bool {
        self.error.is_some() && now < self.until
    }

    fn failed(&mut self, now: Duration, error: Error) {
        self.back_off = (self.back_off * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
        self.until = now.saturating_add(self.back_off);
        self.error = Some(error);
    }

    fn ended(&mut self) {
        *self = Self::default();
    }
}

/// What a pass was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All levels into one.
    OneLevel,
    /// Segments emptied, without a floor, until the store takes little.
    Space,
}

/// All that is under way.
#[derive(Debug)]
pub(super) struct Machine {
    policy: Policy,
    checkpointing: Option<Checkpointing>,
    merging: Option<Merging>,
    pub(super) graveyard: Graveyard,
    spared: BTreeSet<SegmentId>,
    /// The run that a checkpoint writes, about.
    checkpoint_bytes: u64,
    /// A step found no room.
    disk_full: bool,
    /// The quota for chores was spent for what is under way, and had so much.
    lent: bool,
    given: u64,
    /// The pass under way was begun when there was no room: its victims are as few as fit.
    begun_full: bool,
    /// Why a unit was given up for want of room, if none has ended since.
    pub(super) starved: Option<Error>,
    /// Units that found no room even so, one behind the other: each is half as long as the one before.
    shrunk: u32,
    pub(super) checkpoint_trouble: Trouble,
    pub(super) merge_trouble: Trouble,
    /// The newest and the oldest level of the pass that fails; others go on beside it.
    failing: Option<(LevelId, LevelId)>,
    unlink_trouble: Trouble,
    pub(super) damages: BTreeSet<String>,
    pub(super) asked: Option<Asked>,
    pub(super) standing: Standing,
}

/// What was found when it was looked at last: for those who only ask.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    pub(crate) levels: usize,
    pub(crate) levels_max: usize,
    pub(crate) live_bytes: u64,
    pub(crate) total_bytes: u64,
    /// Bytes of files that only scans keep.
    pub(crate) pinned_bytes: u64,
    /// Bytes of files that the manifest does not name: not yet, or no more.
    pub(super) unnamed_bytes: u64,
    /// The store takes so much that writers wait for what is under way.
    pub(super) crowded: bool,
    /// Runs are written anew because too much is erased.
    pub(super) erasing: bool,
    /// When a slice has something to do, as far as is known; `None`: when something is frozen, and not before.
    pub(super) due_at: Option<Duration>,
    /// What is frozen waits for that time, too.
    pub(super) frozen_waits: bool,
}

impl Machine {
    /// Goes on with the passes that the manifest names.
    pub(super) fn new(ground: &Ground) -> Self {
        let (passes, newest) = ground.catalog.read(|manifest| {
            let newest = manifest.runs.first().map(|run| run.level);
            let of_newest = manifest.runs.iter().filter(|run| Some(run.level) == newest);
            let bytes = of_newest.map(|run| run.file_bytes).sum::<u64>();
            (shape::passes(manifest), bytes)
        });
        let mut machine = Self {
            policy: Policy::resume(passes),
            checkpointing: None,
            merging: None,
            graveyard: Graveyard::default(),
            spared: BTreeSet::new(),
            // What is there may be of any class; that of a checkpoint is not far from what memory holds.
            checkpoint_bytes: newest.min(ground.tuning.memtable_bytes).max(1),
            disk_full: false,
            lent: false,
            given: 0,
            begun_full: false,
            starved: None,
            shrunk: 0,
            checkpoint_trouble: Trouble::default(),
            merge_trouble: Trouble::default(),
            failing: None,
            unlink_trouble: Trouble::default(),
            damages: BTreeSet::new(),
            asked: None,
            standing: Standing::default(),
        };
        machine.look(ground);
        machine.standing.due_at = Some(Duration::ZERO);
        machine
    }

    fn shape(&self, ground: &Ground) -> Shape {
        let log_bytes = ground.tuning.log_bytes(self.standing.live_bytes);
        let circumstances = Circumstances {
            checkpoint_bytes: self.checkpoint_bytes,
            log_bytes,
            levels_max: ground.tuning.levels_max,
            now_ms: ground.clock.reading_ms(),
            disk_full: self.is_full(ground),
            unit_bytes: ground.tuning.unit_bytes,
            room: (self.room(ground) / 2)
                .checked_shr(self.shrunk)
                .unwrap_or(0),
            spared: &self.spared,
        };
        ground
            .catalog
            .read(|manifest| shape::shape(manifest, &circumstances))
    }

    /// What the store looks like now. When a slice is due stays as it is.
    fn look(&mut self, ground: &Ground) -> Shape {
        let shape = self.shape(ground);
        let usage = Usage::of(&shape);
        let log_bytes = shape.budgets.log_bytes;
        let allowed = usage.live.max(log_bytes) / 100 * PRESSURE_PERCENT + 2 * log_bytes;
        self.standing = Standing {
            levels: shape.levels.len(),
            levels_max: shape.budgets.levels_max,
            live_bytes: usage.live,
            total_bytes: usage.total,
            crowded: usage.total > allowed && !self.policy.passes().is_empty(),
            ..self.standing
        };
        shape
    }

    /// One slice.
    ///
    /// # Errors
    /// Nothing may be changed any more, or something failed and is tried again later.
    pub(super) fn slice(&mut self, ground: &Ground) -> Result<Progress> {
        ground.check()?;
        let now = ground.host.now();
        let done = self.step(ground, now);
        let is_idle = matches!(done, Ok(Progress::Idle));
        self.standing.frozen_waits = is_idle && ground.layers.frozen().is_some();
        self.standing.due_at = if is_idle {
            self.next_due(now)
        } else {
            Some(Duration::ZERO)
        };
        done
    }

    /// When what waits for time, or for a view to go, is tried again.
    fn next_due(&self, now: Duration) -> Option<Duration> {
        let troubles = [
            &self.checkpoint_trouble,
            &self.merge_trouble,
            &self.unlink_trouble,
        ];
        let pauses = troubles
            .into_iter()
            .filter(|trouble| trouble.error.is_some());
        let pauses = pauses.map(|trouble| trouble.until.max(now.saturating_add(BACK_OFF_MIN)));
        let pinned = (self.graveyard.len() > 0).then(|| now.saturating_add(PINS_LOOKED_AT));
        pauses.chain(pinned).min()
    }

    fn step(&mut self, ground: &Ground, now: Duration) -> Result<Progress> {
        let mut slice = Slice::new(&ground.tuning);
        if self.checkpoint_goes_first(ground, now) {
            return self.checkpoint(ground, &mut slice, now);
        }
        if self.merging.is_some() {
            return self.merge(ground, &mut slice, now);
        }
        if let Some(progress) = self.let_go(ground, now)? {
            return Ok(progress);
        }
        let asked = self.asked;
        if let Some((unit, shape)) = self.unit_for_erasures(ground, now) {
            self.begin(ground, unit, &shape, now)?;
            return self.merge(ground, &mut slice, now);
        }
        if let Some((unit, shape)) = self.unit_to_go_on_with(ground, now) {
            self.begin(ground, unit, &shape, now)?;
            return self.merge(ground, &mut slice, now);
        }
        if self.asked.is_none() && asked.is_some() {
            // What the last pass came to before more was erased: that is asked for, too.
            self.asked = asked;
            if let Some((unit, shape)) = self.unit_for_erasures(ground, now) {
                self.begin(ground, unit, &shape, now)?;
                return self.merge(ground, &mut slice, now);
            }
            self.asked = None;
        }
        if ground.layers.frozen().is_some() && !self.checkpoint_trouble.waits(now) {
            return self.checkpoint(ground, &mut slice, now);
        }
        self.repay_now(ground);
        // Nothing fits into what is left by now: whoever asks next begins with all of what there is then.
        self.shrunk = 0;
        Ok(Progress::Idle)
    }

    /// A run that is to be written anew, because too much is erased that it keeps from going, or everything is to be given
    /// back that can be. Not in the middle of a pass, which comes to most of them by itself.
    fn unit_for_erasures(&mut self, ground: &Ground, now: Duration) -> Option<(Unit, Shape)> {
        if !self.policy.passes().is_empty() || self.merge_trouble.waits(now) {
            return None;
        }
        let pieces = ground
            .catalog
            .read(|manifest| manifest.tables.erasures.len());
        let wanted = pieces >= ERASURES_MANY || self.asked.is_some() || self.is_full(ground);
        if pieces == 0 || !wanted {
            self.standing.erasing = false;
            return None;
        }
        let shape = self.look(ground);
        let unit = ground
            .catalog
            .read(|manifest| erasing::unit(manifest, &shape));
        self.standing.erasing = unit.is_some();
        unit.map(|unit| (unit, shape))
    }

    /// The next unit that may be begun now. While one pass fails others are merged that do not need what it needs: else one
    /// bad block lets levels pile up. On a full disk none is: each would fail.
    fn unit_to_go_on_with(&mut self, ground: &Ground, now: Duration) -> Option<(Unit, Shape)> {
        if !self.merge_trouble.waits(now) {
            let unit = self.next_unit(ground);
            if unit.is_none() {
                self.merges_work();
            }
            return unit;
        }
        let error = self.merge_trouble.error.as_ref()?;
        if error.kind() == ErrorKind::StorageFull {
            return None;
        }
        let unit = self.next_unit(ground);
        unit.filter(|_| self.failing.is_some() && levels_of(self.policy.passes()) != self.failing)
    }

    fn merges_work(&mut self) {
        self.merge_trouble.ended();
        self.failing = None;
    }

    fn merges_fail(&mut self, now: Duration, passes: &[Pass], error: &Error) {
        self.failing = levels_of(passes);
        self.merge_trouble.failed(now, error.clone());
    }

    fn checkpoint_goes_first(&self, ground: &Ground, now: Duration) -> bool {
        if self.checkpoint_trouble.waits(now) || ground.layers.frozen().is_none() {
            return false;
        }
        if self.checkpointing.is_some() {
            return true;
        }
        let Standing {
            levels, levels_max, ..
        } = self.standing;
        levels < levels_max || self.merge_trouble.error.is_some()
    }

    fn checkpoint(
        &mut self,
        ground: &Ground,
        slice: &mut Slice,
        now: Duration,
    ) -> Result<Progress> {
        let checkpointing = match self.checkpointing.take() {
            Some(begun) => Some(begun),
            None => {
                self.keep_in_bound(ground);
                let run_bytes = ground.tuning.run_bytes(self.standing.live_bytes);
                let frozen = ground.layers.frozen();
                frozen.map(|frozen| Checkpointing::new(frozen, run_bytes))
            }
        };
        let Some(mut checkpointing) = checkpointing else {
            return Ok(Progress::Idle);
        };
        ground.counters.begin(ChoreKind::Checkpoint);
        match checkpointing.step(ground, slice) {
            Ok(false) => self.checkpointing = Some(checkpointing),
            Ok(true) => {
                ground.counters.end(Ok(()));
                self.checkpoint_trouble.ended();
                self.disk_full &= self.lent;
                self.repay(ground);
                let bytes = checkpointing.file_bytes;
                if bytes > 0 {
                    self.checkpoint_bytes = match self.checkpoint_bytes {
                        0 | 1 => bytes,
                        known => (known / 4).saturating_mul(3) + bytes / 4,
                    };
                }
                self.changed(ground);
            }
            Err(error) => {
                ground.counters.end(Err(&error));
                checkpointing.files.give_up(ground);
                if self.is_worth_again(ground, &error) {
                    return Ok(Progress::Worked);
                }
                self.repay_now(ground);
                self.checkpoint_trouble.failed(now, error.clone());
                if is_disk_full(&error) && ground.reserve.is_short() {
                    self.checkpoint_trouble.until = now;
                }
                return Err(error);
            }
        }
        Ok(Progress::Worked)
    }

    /// Whether there is no room: for a step, or for somebody who wants to write.
    fn is_full(&self, ground: &Ground) -> bool {
        self.disk_full || ground.reserve.is_short()
    }

    /// Whether what has failed, and was given up, is to be done once more: where it found no room, and its quota had some.
    fn is_worth_again(&mut self, ground: &Ground, error: &Error) -> bool {
        if !is_disk_full(error) || ground.is_poisoned() {
            return false;
        }
        self.disk_full = true;
        self.lend(ground)
    }

    /// Gives up the quota for chores, until what is under way is done. Says whether it had any.
    fn lend(&mut self, ground: &Ground) -> bool {
        if self.lent {
            return false;
        }
        self.given = ground.reserve.held(Quota::Maintenance);
        self.lent = ground.reserve.spend(Quota::Maintenance);
        self.lent
    }

    /// The step is over, and no other of the same pass comes: what can be had of its quota is taken again. Under a bound the
    /// next put does that, which knows whether it may.
    fn repay(&mut self, ground: &Ground) {
        if self.is_between_units() && self.policy.passes().is_empty() {
            self.repay_now(ground);
        }
    }

    fn repay_now(&mut self, ground: &Ground) {
        if !std::mem::take(&mut self.lent) {
            return;
        }
        if ground.tuning.disk_bytes_max.is_none() {
            ground.reserve.take_again(Quota::Maintenance);
        } else {
            ground.reserve.end_step(Quota::Maintenance);
        }
    }

    /// Gives up the quota before a step that could take the store beyond its bound: what the step writes comes in its place.
    fn keep_in_bound(&mut self, ground: &Ground) {
        let Some(bound) = ground.tuning.disk_bytes_max else {
            return;
        };
        let named = ground.catalog.read(|manifest| {
            let segments = manifest.segments.iter().map(|segment| segment.end);
            let runs = manifest.runs.iter().map(|run| run.file_bytes);
            segments.chain(runs).sum::<u64>() + manifest.segment_bytes
        });
        let kept = ground.reserve.bytes_when_whole() + ground.reserve.wanted(Quota::Maintenance);
        if named + ground.catalog.file_bytes() + self.unnamed_bytes() + kept > bound {
            self.lend(ground);
        }
    }

    /// Bytes of files that the manifest does not name.
    pub(super) fn unnamed_bytes(&self) -> u64 {
        let checkpoint = self.checkpointing.as_ref().map(Checkpointing::written);
        let merge = self.merging.as_ref().map(Merging::written);
        self.graveyard.bytes() + checkpoint.unwrap_or_default() + merge.unwrap_or_default()
    }

    /// What a unit writes: on a full disk a part of what its quota has, or less where that was too much.
    fn unit_bytes(&self, ground: &Ground) -> u64 {
        let usual = ground.tuning.unit_bytes;
        if !self.is_full(ground) && !self.lent {
            return usual;
        }
        let shrunk = (self.room(ground) / 3).checked_shr(self.shrunk);
        let shrunk = shrunk.unwrap_or(0).max(FULL_UNIT_BYTES_MIN);
        shrunk.min(usual)
    }

    /// What a pass has on a full disk.
    fn room(&self, ground: &Ground) -> u64 {
        if self.lent {
            self.given
        } else {
            ground.reserve.held(Quota::Maintenance)
        }
    }

    /// The next unit, if any is due.
    fn next_unit(&mut self, ground: &Ground) -> Option<(Unit, Shape)> {
        let shape = self.look(ground);
        let begins = self.policy.passes().is_empty();
        let mut unit = self.policy.next(&shape);
        if begins {
            self.begun_full = self.is_full(ground);
        }
        while unit.is_none()
            && let Some(asked) = self.asked
        {
            self.ask(asked, &shape);
            unit = self.policy.next(&shape);
        }
        self.standing.crowded &= unit.is_some();
        Some((unit?, shape))
    }

    /// Begins what was asked for; once it is done nothing is asked any more.
    fn ask(&mut self, asked: Asked, shape: &Shape) {
        let mut shape = shape.clone();
        shape.budgets = match asked {
            // What is garbage is known better once all is in one level.
            Asked::OneLevel => Budgets {
                reach_percent: 1_000_000,
                ..shape.budgets
            },
            Asked::Space => Budgets {
                reach_percent: COMPACT_PERCENT,
                garbage_percent_min: 1,
                ..shape.budgets
            },
        };
        if !self.policy.ask_for_all(&shape) {
            self.asked = match asked {
                Asked::OneLevel => Some(Asked::Space),
                Asked::Space => None,
            };
        }
    }

    fn begin(&mut self, ground: &Ground, unit: Unit, shape: &Shape, now: Duration) -> Result<()> {
        let passes: Vec<Pass> = self.policy.passes().to_vec();
        self.keep_in_bound(ground);
        let run_bytes = ground.tuning.run_bytes(self.standing.live_bytes);
        let lengths = (self.unit_bytes(ground), run_bytes);
        match Merging::new(ground, unit, passes.clone(), shape, lengths) {
            Ok(merging) => {
                self.merging = Some(merging);
                Ok(())
            }
            Err(error) => {
                self.merges_fail(now, &passes, &error);
                Err(error)
            }
        }
    }

    fn merge(&mut self, ground: &Ground, slice: &mut Slice, now: Duration) -> Result<Progress> {
        let Some(mut merging) = self.merging.take() else {
            return Ok(Progress::Idle);
        };
        ground.counters.begin(ChoreKind::Merge);
        match merging.step(ground, slice) {
            Ok(None) => self.merging = Some(merging),
            Ok(Some(outcome)) => {
                ground.counters.end(Ok(()));
                if self.failing.is_none() || self.failing == levels_of(merging.passes()) {
                    self.merges_work();
                }
                self.disk_full &= self.lent;
                self.starved = None;
                self.shrunk = 0;
                self.repay(ground);
                for segment in &outcome.spared {
                    self.policy.spare(*segment);
                }
                self.spared.extend(outcome.spared);
                let room = DAMAGES_MAX.saturating_sub(self.damages.len());
                self.damages.extend(outcome.damages.into_iter().take(room));
                drop(merging);
                self.graveyard.bury_runs(outcome.gone);
                self.changed(ground);
            }
            Err(error) => {
                ground.counters.end(Err(&error));
                merging.files().give_up(ground);
                let passes = merging.passes().to_vec();
                drop(merging);
                if is_disk_full(&error) && !self.begun_full {
                    // The pass was begun with more room. Its units would use up the quota one after the other, and its victims
                    // go only with the last: another has as few as fit.
                    self.policy.forget();
                }
                if self.is_worth_again(ground, &error) {
                    return Ok(Progress::Worked);
                }
                if is_disk_full(&error) {
                    self.starved = Some(error.clone());
                    self.shrunk = self.shrunk.saturating_add(1);
                    self.policy.forget();
                    if self.shrunk <= SHRUNK_AT_ONCE && !ground.is_poisoned() {
                        return Ok(Progress::Worked);
                    }
                }
                self.repay_now(ground);
                self.merges_fail(now, &passes, &error);
                if is_disk_full(&error) && ground.reserve.is_short() {
                    // Who has no room tries again himself, and a delete may have changed everything by then.
                    self.merge_trouble.until = now;
                }
                return Err(error);
            }
        }
        Ok(Progress::Worked)
    }

    /// The manifest says something else than before.
    fn changed(&mut self, ground: &Ground) {
        self.look(ground);
    }

    /// Segments by an edit, then names. `None`: nothing can be let go now.
    fn let_go(&mut self, ground: &Ground, now: Duration) -> Result<Option<Progress>> {
        // Whether or not what they pin can be removed now: its room is for others as soon as it can.
        let ended = self.limit_views(ground, now);
        if self.unlink_trouble.waits(now) {
            return Ok(ended.then_some(Progress::Worked));
        }
        let mut released = self.release(ground);
        if let Err(error) = &released
            && self.is_worth_again(ground, error)
        {
            released = self.release(ground);
        }
        // On a full disk the edit may find no room, and removing names is what makes some; in doubt none is removed.
        let unlinked = if ground.is_poisoned() {
            Ok(0)
        } else {
            self.graveyard.unlink(ground)
        };
        self.repay(ground);
        match released.and_then(|released| Ok(unlinked? > 0 || released || ended)) {
            Ok(true) => {
                self.unlink_trouble.ended();
                self.look(ground);
                Ok(Some(Progress::Worked))
            }
            Ok(false) => {
                self.unlink_trouble.ended();
                Ok(None)
            }
            Err(error) => {
                self.unlink_trouble.failed(now, error.clone());
                Err(error)
            }
        }
    }

    /// Runs that are wholly erased, beside no merge, and then segments. Says whether anything went.
    fn release(&mut self, ground: &Ground) -> Result<bool> {
        let is_idle = self.policy.passes().is_empty() && self.merging.is_none();
        let erased = is_idle && release::release_erased(ground, &mut self.graveyard)?;
        if erased {
            self.look(ground);
        }
        Ok(release::release(ground, &mut self.graveyard)? || erased)
    }

    /// Takes from watches what they may not keep, and ends the oldest scan where it is open for too long, or where scans keep
    /// too much of the disk: one in a slice, for what they keep is counted anew behind it. Whether anything was.
    fn limit_views(&mut self, ground: &Ground, now: Duration) -> bool {
        let tuning = &ground.tuning;
        // Whoever watches must not be the reason that somebody else finds no room.
        let watched_max = if self.is_full(ground) {
            0
        } else {
            tuning.watch_bytes_max
        };
        let watched = ground.layers.watched_bytes();
        if watched > watched_max && ground.layers.limit_watched(watched_max) {
            return true;
        }
        self.standing.pinned_bytes = self.graveyard.pinned_bytes().saturating_sub(watched);
        let aged = tuning.view_age_max.and_then(|max| now.checked_sub(max));
        if aged.is_some_and(|before| ground.views.expire_oldest(before)) {
            return true;
        }
        let allowed = tuning.pinned_bytes_max(self.standing.live_bytes);
        self.standing.pinned_bytes > allowed && ground.views.expire_oldest(Duration::MAX)
    }

    /// What failed is tried again at once, because somebody asks for it.
    pub(super) fn try_now(&mut self) {
        for trouble in [
            &mut self.checkpoint_trouble,
            &mut self.merge_trouble,
            &mut self.unlink_trouble,
        ] {
            trouble.until = Duration::ZERO;
        }
    }

    /// Why checkpoints or merges wait, if they do.
    pub(super) fn trouble(&self) -> Option<&Error> {
        let checkpoints = self.checkpoint_trouble.error.as_ref();
        checkpoints.or(self.merge_trouble.error.as_ref())
    }

    /// Lets everything go that can be, at once.
    ///
    /// # Errors
    /// The first that could not be.
    pub(super) fn let_all_go(&mut self, ground: &Ground) -> Result<()> {
        let now = ground.host.now();
        while self.let_go(ground, now)?.is_some() {}
        Ok(())
    }

    /// Whether nothing is half done.
    const fn is_between_units(&self) -> bool {
        self.checkpointing.is_none() && self.merging.is_none()
    }

    /// What is half done is dropped, and its files are removed.
    pub(super) fn abandon(&mut self, ground: &Ground) {
        if let Some(mut checkpointing) = self.checkpointing.take() {
            checkpointing.files.give_up(ground);
        }
        if let Some(mut merging) = self.merging.take() {
            merging.files().give_up(ground);
        }
        self.repay_now(ground);
    }
}

/// The levels of the pass that is worked on, the last.
fn levels_of(passes: &[Pass]) -> Option<(LevelId, LevelId)> {
    passes.last().map(|pass| (pass.newest, pass.oldest))
}

/// Whether it is the disk that has no room; a manifest that can name no more is no reason to write more.
fn is_disk_full(error: &Error) -> bool {
    use std::error::Error as _;
    let source = error.source().and_then(|source| source.downcast_ref());
    error.kind() == ErrorKind::StorageFull && source.is_some_and(|_: &std::io::Error| true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_manifest_that_can_name_no_more_is_no_full_disk() {
        let refused = Error::new(ErrorKind::StorageFull, "too long for a manifest");
        assert!(!is_disk_full(&refused));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let full = crate::fault::io("write", "/db/00000001.run".as_ref(), full);
        assert!(is_disk_full(&full));
    }
}
