//! The chores of a store as everybody else sees them: is there anything to do, do a slice of it, must writers wait.
//!
//! One slice at a time. The lock is held to take the machine out and to put it back, and never while anything is done: who
//! finds it gone goes on with something else, or waits for it if it has to.

use super::ground::Ground;
use super::machine::{Asked, Machine, Progress, Standing};
use crate::fault;
use crate::format::erasures::ERASURES_PRESSING;
use crate::stats::Pressure;
use crate::store::lock::StoreLock;
use crate::sync::lock_std as lock;
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A clean close writes a checkpoint only behind a longer tail than these: a command that writes ten keys must not leave a
/// run each time.
const TAIL_BYTES: u64 = 1 << 20;
const TAIL_RECORDS: u64 = 10_000;

/// What everybody may ask without the machine.
#[derive(Debug, Default)]
struct Shown {
    standing: Standing,
    checkpoint_failure: Option<Error>,
    merge_failure: Option<Error>,
    #[cfg(test)]
    buried: usize,
    damages: Vec<String>,
}

#[derive(Debug)]
struct State {
    /// Out while a slice is done.
    machine: Option<Box<Machine>>,
    /// The store closes: nobody but the closer takes it.
    closing: bool,
    shown: Shown,
}

/// All chores of a store.
#[derive(Debug)]
pub(crate) struct Chores {
    ground: Ground,
    /// Guards the place of the machine, not its work. Nothing else is taken under it.
    state: Mutex<State>,
    /// The machine was put back.
    back: Condvar,
    /// What an open without proof of a clean end owes is paid: the disk may be changed.
    settled: AtomicBool,
    /// When the store was opened: what is written is spread from then on.
    opened: Duration,
}

/// The machine while it is out. Put back when this is dropped, also by a panic: then what was half done is abandoned.
struct Out<'a> {
    chores: &'a Chores,
    machine: Option<Box<Machine>>,
    /// Nobody else may open the store in the middle of a slice.
    owned: Option<Arc<StoreLock>>,
    /// Whether this thread was unwinding when it took the machine.
    panicking: bool,
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        let Some(mut machine) = self.machine.take() else {
            return;
        };
        if std::thread::panicking() && !self.panicking {
            // In an edit, perhaps: nobody knows whether it is durable, or what the view lacks of it. Nothing is removed.
            let error = Error::new(ErrorKind::Poisoned, "a chore panicked");
            let ground = &self.chores.ground;
            ground.poison.set(&error.with_effect(Effect::Unknown));
            machine.abandon(ground);
        }
        // Before anybody can go on: whoever closes the store gives the lock back with the last hold on it.
        drop(self.owned.take());
        let mut state = lock(&self.chores.state);
        state.shown = Shown {
            standing: Standing {
                unnamed_bytes: machine.unnamed_bytes(),
                ..machine.standing
            },
            checkpoint_failure: machine.checkpoint_trouble.error.clone(),
            merge_failure: machine.merge_trouble.error.clone(),
            #[cfg(test)]
            buried: machine.graveyard.len(),
            damages: machine.damages.iter().cloned().collect(),
        };
        state.machine = Some(machine);
        drop(state);
        self.chores.back.notify_all();
    }
}

impl Chores {
    /// The chores of a store that was just opened. Nothing is changed before [`Chores::settled`].
    pub(crate) fn new(ground: Ground) -> Arc<Self> {
        let machine = Box::new(Machine::new(&ground));
        let shown = Shown {
            standing: machine.standing,
            ..Shown::default()
        };
        Arc::new(Self {
            opened: ground.host.now(),
            ground,
            state: Mutex::new(State {
                machine: Some(machine),
                closing: false,
                shown,
            }),
            back: Condvar::new(),
            settled: AtomicBool::new(false),
        })
    }

    pub(crate) const fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The store may be changed from now on: it may be written to, and the open owes the disk nothing.
    pub(crate) fn settled(&self) {
        self.settled.store(true, Ordering::Release);
    }

    pub(crate) fn is_settled(&self) -> bool {
        planted!(ChoreBeforeSettled) || self.settled.load(Ordering::Acquire)
    }

    /// Log since the last checkpoint at which the next is due.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.ground.tuning.log_bytes(self.standing().live_bytes)
    }

    /// Whether a checkpoint should begin: by memory, or by the log since the one that the manifest names.
    pub(crate) fn freeze_is_due(&self) -> bool {
        let layers = &self.ground.layers;
        let tuning = &self.ground.tuning;
        let log_bytes = tuning.log_bytes(self.standing().live_bytes);
        layers.frozen().is_none()
            && (layers.memtable_bytes() >= tuning.memtable_bytes
                || layers.log_bytes() >= log_bytes
                || layers.erased().1)
    }

    /// Whether a slice has something to do, as far as is known: not while all that there is waits for a pause to end, or for a
    /// view to go. Cheap.
    pub(crate) fn due(&self) -> bool {
        if !self.is_settled() || self.ground.is_poisoned() {
            return false;
        }
        let standing = self.standing();
        if !standing.frozen_waits && self.ground.layers.frozen().is_some() {
            return true;
        }
        let oldest = self.view_age_max().zip(self.ground.views.oldest());
        let too_old = oldest.map(|(max, since)| since.saturating_add(max));
        if standing.due_at.is_none() && too_old.is_none() {
            return false;
        }
        let now = self.ground.host.now();
        standing.due_at.is_some_and(|at| now >= at) || too_old.is_some_and(|until| now > until)
    }

    /// How long a scan may be open.
    pub(crate) fn view_age_max(&self) -> Option<Duration> {
        self.ground.tuning.view_age_max
    }

    /// Whether one is due for whoever does chores while nobody waits for them: not before the rate allows it.
    pub(crate) fn due_in_time(&self) -> bool {
        if !self.due() {
            return false;
        }
        let Some(rate) = self.ground.tuning.bytes_per_second else {
            return true;
        };
        let written = u128::from(self.ground.counters.bytes());
        let took = written * 1_000_000_000 / u128::from(rate.max(1));
        let since = self.ground.host.now().saturating_sub(self.opened);
        since.as_nanos() >= took
    }

    /// Why writers have to wait now, if they have to. What they wait for is what slices do; where those fail,
    /// [`Chores::failure`] says why, and they are refused.
    pub(crate) fn pressure(&self) -> Option<Pressure> {
        let layers = &self.ground.layers;
        let tuning = &self.ground.tuning;
        let (standing, merges_fail) = {
            let state = lock(&self.state);
            (state.shown.standing, state.shown.merge_failure.is_some())
        };
        let (erased, _) = layers.erased();
        let crowds = erased >= ERASURES_PRESSING;
        if crowds && standing.erasing && !merges_fail {
            return Some(Pressure::Memory);
        }
        if layers.frozen().is_some() {
            let log_bytes = tuning.log_bytes(standing.live_bytes);
            let full = layers.memtable_bytes() >= tuning.memtable_bytes
                || layers.log_bytes() >= log_bytes.saturating_mul(2)
                || crowds;
            let crowded = standing.levels >= standing.levels_max && !merges_fail;
            match (full, crowded) {
                (true, true) => return Some(Pressure::Levels),
                (true, false) => return Some(Pressure::Memory),
                (false, _) => {}
            }
        }
        // What merges cannot give back now nobody waits for.
        (standing.crowded && !merges_fail).then_some(Pressure::Disk)
    }

    /// Why writers that wait are refused, with effect *nothing*: what they wait for failed when it was tried last.
    pub(crate) fn failure(&self, pressure: Pressure) -> Option<Error> {
        let state = lock(&self.state);
        let shown = &state.shown;
        let failure = match pressure {
            Pressure::Memory if planted!(FailedCheckpointSilent) => None,
            Pressure::Memory => shown.checkpoint_failure.as_ref(),
            Pressure::Levels => {
                let failures = [&shown.merge_failure, &shown.checkpoint_failure];
                failures.into_iter().find_map(Option::as_ref)
            }
            // Where merges fail the disk says what fits: a store that refused all writes could never be emptied.
            Pressure::Disk => None,
        };
        failure.map(|error| error.clone().with_effect(Effect::Nothing))
    }

    /// What merges could not read so far, each cause once.
    pub(crate) fn damages(&self) -> Vec<String> {
        lock(&self.state).shown.damages.clone()
    }

    /// Files that are part of the store no more, and still have a name.
    #[cfg(test)]
    pub(crate) fn buried(&self) -> usize {
        lock(&self.state).shown.buried
    }

    pub(crate) fn standing(&self) -> Standing {
        lock(&self.state).shown.standing
    }

    /// A slice of what is due, about a mebibyte of output. Blocks, also in syncs.
    pub(crate) fn slice(&self) -> Progress {
        if !self.is_settled() {
            return Progress::Idle;
        }
        let taken = {
            let mut state = lock(&self.state);
            if state.closing {
                return Progress::Idle;
            }
            state.machine.take()
        };
        let Some(machine) = taken else {
            return Progress::Busy;
        };
        self.out(machine).slice().unwrap_or(Progress::Failed)
    }

    fn out(&self, machine: Box<Machine>) -> Out<'_> {
        Out {
            chores: self,
            machine: Some(machine),
            owned: self.ground.lock.upgrade(),
            panicking: std::thread::panicking(),
        }
    }

    /// The store is going: what is being done ends with its slice, and nothing is begun.
    pub(crate) fn stop(&self) {
        lock(&self.state).closing = true;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.state).closing
    }

    /// Waits for the slice that somebody is at, if somebody is.
    pub(crate) fn wait_for_slice(&self) {
        let mut state = lock(&self.state);
        while state.machine.is_none() {
            let woken = self.back.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A slice for a test that does chores by hand: whether there was anything to do.
    ///
    /// # Errors
    /// Why it failed.
    pub(crate) fn slice_by_hand(&self) -> Result<bool> {
        if !self.is_settled() {
            return Ok(false);
        }
        let done = self.take_open()?.slice()?;
        Ok(done == Progress::Worked)
    }

    /// Takes the machine, and waits for it where somebody has it.
    fn take(&self) -> Out<'_> {
        let mut state = lock(&self.state);
        loop {
            if let Some(machine) = state.machine.take() {
                return self.out(machine);
            }
            state = self
                .back
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The same, unless the store closes: then whoever closes it may have written the mark of its end already.
    ///
    /// # Errors
    /// `Closed`.
    fn take_open(&self) -> Result<Out<'_>> {
        let mut state = lock(&self.state);
        loop {
            if state.closing {
                return Err(fault::closed());
            }
            if let Some(machine) = state.machine.take() {
                return Ok(self.out(machine));
            }
            let woken = self.back.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether a clean close should write what is in memory.
    pub(crate) const fn tail_is_long(bytes: u64, records: u64) -> bool {
        bytes >= TAIL_BYTES || records >= TAIL_RECORDS
    }

    /// The last work of a store that closes: the checkpoint that is frozen, merges until there are no more levels than may
    /// be, and what can be unlinked. Whatever else is half done is dropped. From here on no slice does anything.
    ///
    /// The caller has frozen the memtable, if it is [`Chores::tail_is_long`], and takes no more writes.
    ///
    /// # Errors
    /// The first thing that failed. Nothing is lost by it: the next open has more to replay, or more to look through.
    pub(crate) fn finish_for_close(&self) -> Result<()> {
        lock(&self.state).closing = true;
        if self.ground.is_forked() {
            // Whoever had the machine when the process was forked is not here to put it back.
            return Ok(());
        }
        let mut out = self.take();
        if !self.is_settled() {
            return Ok(());
        }
        let finished = loop {
            let machine = out.machine();
            let levels = machine.standing.levels > machine.standing.levels_max;
            if self.ground.layers.frozen().is_none() && !levels {
                break Ok(());
            }
            match out.slice() {
                Ok(Progress::Worked) => {}
                Ok(_) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let ground = &self.ground;
        let machine = out.machine();
        machine.abandon(ground);
        let unlinked = finished.and_then(|()| {
            ground.check()?;
            machine.let_all_go(ground)
        });
        unlinked.map_err(|error| error.with_effect(Effect::Nothing))
    }

    /// Ends the checkpoint of what is frozen. Whether to go on is asked between two slices; returns what was said last.
    ///
    /// # Errors
    /// Why it failed. `Closed`: the store closes.
    pub(crate) fn write_frozen(
        &self,
        mut go_on: impl FnMut() -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        while self.is_settled() && self.ground.layers.frozen().is_some() {
            let mut out = self.take_open()?;
            out.machine().try_now();
            let done = out.slice()?;
            drop(out);
            if done != Progress::Worked {
                break;
            }
            if go_on().is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Merges everything into one level, and empties segments until the store takes 1.2 times what is live. The caller has
    /// frozen the memtable. Between two slices others may write, and `go_on` is asked.
    ///
    /// # Errors
    /// What failed: the store is as good as before. `Closed`: the store closes.
    pub(crate) fn compact(&self, mut go_on: impl FnMut() -> ControlFlow<()>) -> Result<()> {
        let mut asked = Some(Asked::OneLevel);
        loop {
            let mut out = self.take_open()?;
            if let Some(first) = asked.take() {
                out.machine().asked = Some(first);
                out.machine().try_now();
                out.machine().starved = None;
            }
            let done = out.slice();
            let over = !matches!(done, Ok(Progress::Worked));
            if over {
                out.machine().asked = None;
            }
            // What waits for a pause to end is not done.
            let machine = out.machine();
            let done = match machine.trouble().or(machine.starved.as_ref()) {
                Some(error) if over && done.is_ok() => {
                    Err(error.clone().with_effect(Effect::Nothing))
                }
                _ => done,
            };
            drop(out);
            done?;
            if over {
                return Ok(());
            }
            if go_on().is_break() {
                let mut out = self.take_open()?;
                out.machine().asked = None;
                out.abandon();
                return Ok(());
            }
        }
    }
}

impl Out<'_> {
    fn machine(&mut self) -> &mut Machine {
        self.machine
            .as_mut()
            .expect("the machine is out until this is dropped")
    }

    fn abandon(&mut self) {
        let ground = &self.chores.ground;
        if let Some(machine) = &mut self.machine {
            machine.abandon(ground);
        }
    }

    fn slice(&mut self) -> Result<Progress> {
        let ground = &self.chores.ground;
        let machine = self
            .machine
            .as_mut()
            .expect("the machine is out until this is dropped");
        machine.slice(ground)
    }
}
