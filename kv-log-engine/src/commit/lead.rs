//! Leading: taking groups from the queue, resolving their tickets, handing over.
//!
//! A lead has a term, so that a runtime that shuts down waits for a bounded time, and a synchronous caller leads no
//! longer than until its own ticket resolved. A lead that ends with work queued is offered to everybody who waits. Where
//! nobody does, because those whose futures were waiting have dropped them, the leader stays for what is queued then and
//! for one more term, and no longer: they were promised that a batch which has its place finishes, and everybody else that
//! a leader comes to an end.

use super::cell::{Cell, wake_all};
use super::queue::CommitQueue;
use super::seam::{Answer, GroupEnd, GroupWriter, Request};
use super::state::{Lead, Pending, Phase, State, waiters};
use super::term::Term;
use crate::fault;
use crate::sync::{MutexGuard, wait_for, yield_now};
use kv_trait::{Effect, Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a leader finds when it asks for work.
enum Next<R: Request> {
    /// The first batch of a group, taken out: nobody can withdraw it while room is made for it.
    First(Pending<R>),
    /// Nothing is queued.
    Idle,
    /// Somebody wants the lead, or nobody is left: stop now.
    Stop,
}

impl<W: GroupWriter> CommitQueue<W> {
    /// Leads until the term is over or nothing is queued. `own`: a synchronous leader stops once its ticket resolved.
    ///
    /// A panic ends here: whoever leads does so for others, and they must not wait for a leader that is gone.
    pub(super) fn lead(self: &Arc<Self>, writer: W, own: Option<&Arc<Cell<Answer<W>>>>) {
        let mut writer = Some(writer);
        let mut term = Term::new();
        let led = guarded(|| self.lead_groups(&mut writer, &mut term, own));
        if let (Err(Panicked), Some(mut writer)) = (led, writer) {
            self.note_panic(&mut writer, term);
            self.end_poisoned(writer);
        }
    }

    /// Until the writer has left.
    fn lead_groups(
        &self,
        slot: &mut Option<W>,
        term: &mut Term<Answer<W>>,
        own: Option<&Arc<Cell<Answer<W>>>>,
    ) {
        term.start = (self.clock)();
        while let Some(writer) = slot.as_mut() {
            if self.has_work() && writer.relieve() {
                // A slice took its time: the lead is offered anew, and whoever waits may go on with it.
                let over = own.map_or_else(|| self.term_over(term), |cell| cell.is_resolved());
                if over {
                    // As behind a group: what nobody comes for is finished here.
                    let now = (self.clock)();
                    let state = self.lock();
                    let stays = term.may_stay(&state, &self.limits, now);
                    self.leave_or_stay(state, slot, stays);
                }
                continue;
            }
            match self.next_work(own.is_none()) {
                Next::Stop => self.leave(self.lock(), slot),
                Next::Idle => {
                    self.note_idle(writer, own.is_none());
                    self.resign(slot);
                }
                Next::First(first) => {
                    let Some(answered) = self.one_group(writer, first, term) else {
                        if let Some(writer) = slot.take() {
                            self.end_poisoned(writer);
                        }
                        return;
                    };
                    let over = own.map_or_else(|| self.term_over(term), |cell| cell.is_resolved());
                    if over {
                        self.note_idle(writer, own.is_none());
                        let now = (self.clock)();
                        let state = self.lock();
                        let stays = term.may_stay(&state, &self.limits, now);
                        self.leave_or_stay(state, slot, stays);
                    } else if own.is_none() {
                        self.gather(answered, term);
                    }
                }
            }
        }
    }

    /// Whether a group is to be written, and no close waits for the lead.
    fn has_work(&self) -> bool {
        let state = self.lock();
        state.phase == Phase::Open && !state.admitted.is_empty()
    }

    fn term_over(&self, term: &Term<Answer<W>>) -> bool {
        term.groups >= self.limits.term_groups
            || (self.clock)().saturating_sub(term.start) >= self.limits.term
    }

    /// Waits for work, a leader on a pool up to its linger.
    fn next_work(&self, linger: bool) -> Next<W::Request> {
        let mut state = self.lock();
        let mut lingered = !linger || self.limits.linger.is_zero();
        loop {
            match state.phase {
                // A closer takes over what was admitted.
                Phase::Closing | Phase::Dropped => return Next::Stop,
                Phase::Open => {}
            }
            if let Some(first) = state.take_first() {
                return Next::First(first);
            }
            if lingered {
                return Next::Idle;
            }
            state.lingering = true;
            state = wait_for(&self.changed, state, self.limits.linger);
            state.lingering = false;
            lingered = true;
        }
    }

    /// Nothing is queued, and no close waits for the lead: the time for an idle mark, after a linger. A synchronous caller
    /// goes at once, so that it never knows whether the next one is about to come: a mark after each lone write would be
    /// one more write for each.
    fn note_idle(&self, writer: &mut W, lingered: bool) {
        let state = self.lock();
        let is_idle = state.phase == Phase::Open && state.admitted.is_empty();
        drop(state);
        if is_idle && lingered {
            writer.idle();
        }
    }

    /// One group from queue to resolved tickets. Returns how many callers are expected to come back; `None`: poisoned.
    pub(super) fn one_group(
        &self,
        writer: &mut W,
        first: Pending<W::Request>,
        term: &mut Term<Answer<W>>,
    ) -> Option<usize> {
        term.in_hand.push(Arc::clone(&first.cell));
        let began = (self.clock)();
        let room = match caught(writer, |writer| writer.prepare(&first.request)) {
            Ok(room) => room,
            Err(error) => {
                self.lock().admit_from_line(&self.limits);
                term.in_hand.clear();
                return self.resolve_refused(writer, first, &error);
            }
        };
        let group = self.take_group(first, room.min(self.limits.group_bytes));
        term.in_hand.clear();
        let mut requests = Vec::with_capacity(group.len());
        for Pending { request, cell, .. } in group {
            requests.push(request);
            term.in_hand.push(cell);
        }
        let mut answered = None;
        let committed = catch_unwind(AssertUnwindSafe(|| {
            writer.commit(requests, |outcomes, end| {
                answered = Some(self.resolve_group(&mut term.in_hand, outcomes, end));
            });
        }));
        if committed.is_err() {
            let error = writer.panicked();
            let outcomes = term.in_hand.iter().map(|_| Err(error.clone())).collect();
            let end = GroupEnd::Poisoned(fault::poisoned(&error));
            answered = Some(self.resolve_group(&mut term.in_hand, outcomes, end));
        }
        let answered = answered.expect("a writer resolves its group, or panics");
        term.groups += 1;
        term.learn((self.clock)().saturating_sub(began));
        answered
    }

    /// Resolves all tickets of the group in hand, then wakes. Returns how many callers are expected to come back; `None`:
    /// poisoned.
    fn resolve_group(
        &self,
        in_hand: &mut Vec<Arc<Cell<Answer<W>>>>,
        outcomes: Vec<Result<Answer<W>>>,
        end: GroupEnd,
    ) -> Option<usize> {
        debug_assert_eq!(
            outcomes.len(),
            in_hand.len(),
            "one outcome for each request"
        );
        let poisoned = self.note_end(&end);
        let forgotten = usize::from(planted!(WaiterLeftHanging) && outcomes.len() > 1);
        let told = outcomes.len() - forgotten;
        let resolved = in_hand.iter().zip(outcomes).take(told);
        let wakes: Vec<_> = resolved
            .filter_map(|(cell, outcome)| cell.resolve(outcome))
            .collect();
        // Sampled before anybody is woken: a caller that is back already must not be counted twice.
        let expected = in_hand.len() + self.lock().admitted.len();
        in_hand.clear();
        wake_all(wakes);
        (!poisoned).then_some(expected)
    }

    /// Poison is known to every later submit before any ticket of the group resolves.
    fn note_end(&self, end: &GroupEnd) -> bool {
        match end {
            GroupEnd::Good => false,
            GroupEnd::Poisoned(refusal) => {
                self.lock().refusal = Some(refusal.clone());
                true
            }
        }
    }

    fn resolve_refused(
        &self,
        writer: &W,
        refused: Pending<W::Request>,
        error: &Error,
    ) -> Option<usize> {
        let refusal = writer.refusal();
        if refusal.is_some() {
            self.lock().refusal.clone_from(&refusal);
        }
        Self::resolve_all([refused], |_| {
            Err(error.clone().with_effect(Effect::Nothing))
        });
        refusal.is_none().then_some(0)
    }

    /// The next group: the first batch, and those behind it while they fit. Whoever waits in line moves up.
    fn take_group(&self, first: Pending<W::Request>, bytes: u64) -> Vec<Pending<W::Request>> {
        let mut sum = first.request.bytes();
        let mut group = vec![first];
        let mut state = self.lock();
        while let Some(next) = state.first() {
            sum += next.request.bytes();
            if sum > bytes {
                break;
            }
            group.extend(state.take_first());
        }
        state.admit_from_line(&self.limits);
        group
    }

    /// Waits for the callers that were just answered, because two half groups cost two syncs. Bounded by half of what a
    /// group takes; yields, never sleeps, and holds no lock.
    fn gather(&self, expected: usize, term: &Term<Answer<W>>) {
        let bound = (term.average / 2).min(self.limits.gather);
        let start = (self.clock)();
        while (self.clock)().saturating_sub(start) < bound {
            let state = self.lock();
            if state.admitted.len() >= expected || state.phase != Phase::Open {
                return;
            }
            drop(state);
            yield_now();
        }
    }

    /// What a panic outside a group's own steps leaves behind. Whatever was in hand may be on the disk or not.
    pub(super) fn note_panic(&self, writer: &mut W, term: Term<Answer<W>>) {
        let error = writer.panicked();
        self.note_end(&GroupEnd::Poisoned(fault::poisoned(&error)));
        let in_hand = term.in_hand.into_iter();
        wake_all(in_hand.filter_map(|cell| cell.resolve(Err(error.clone()))));
    }

    /// Gives the lead back because nothing is queued; keeps it if something is by now.
    fn resign(&self, slot: &mut Option<W>) {
        let state = self.lock();
        if state.admitted.is_empty() || state.phase != Phase::Open {
            self.leave(state, slot);
        }
    }

    /// The writer goes back to its place; with work queued the lead is offered, and those who could take it are woken.
    fn leave(&self, state: MutexGuard<'_, State<W>>, slot: &mut Option<W>) {
        self.leave_or_stay(state, slot, false);
    }

    /// The same, but if it `may_stay` the writer stays in the slot where there is nobody to wake, and a batch in the queue
    /// whose future was dropped: then this leader goes on, one group at a time, until either has changed. The closer of a
    /// store comes for all of them.
    fn leave_or_stay(
        &self,
        mut state: MutexGuard<'_, State<W>>,
        slot: &mut Option<W>,
        may_stay: bool,
    ) {
        if state.phase == Phase::Dropped {
            state.lead = Lead::None;
            let discarded = state.take_queued();
            drop(state);
            Self::resolve_all(discarded, |_| Err(fault::closed()));
            drop(slot.take());
            return;
        }
        let wakes = if state.admitted.is_empty() || planted!(LeadNeverHandedOver) {
            state.lead = Lead::None;
            Vec::new()
        } else {
            let wakes = waiters(&state);
            if may_stay && wakes.is_empty() && state.abandoned > 0 && state.phase == Phase::Open {
                return;
            }
            state.lead = Lead::Offered;
            wakes
        };
        state.writer = slot.take();
        drop(state);
        #[cfg(all(test, loom))]
        let wakes = if super::planted::is(super::planted::NO_WAKE_ON_OFFER) {
            Vec::new()
        } else {
            wakes
        };
        #[cfg(all(test, loom))]
        if super::planted::is(super::planted::NO_WAKE_OF_CLOSER) {
            return wake_all(wakes);
        }
        self.changed.notify_all();
        wake_all(wakes);
    }

    /// Nobody writes any more: all who are queued learn why.
    fn end_poisoned(&self, writer: W) {
        let mut state = self.lock();
        let queued = state.take_queued();
        let refusal = state.refusal.clone();
        self.leave(state, &mut Some(writer));
        Self::refuse_all(queued, refusal);
    }

    pub(super) fn refuse_all(queued: Vec<Pending<W::Request>>, refusal: Option<Error>) {
        let refusal = refusal.unwrap_or_else(fault::closed);
        Self::resolve_all(queued, |_| {
            Err(refusal.clone().with_effect(Effect::Nothing))
        });
    }
}

/// Something of the caller's has panicked: the writer, or the clock.
pub(super) struct Panicked;

/// Runs all that a leader does.
pub(super) fn guarded(work: impl FnOnce()) -> std::result::Result<(), Panicked> {
    // The model checker reports by panics.
    #[cfg(loom)]
    {
        work();
        Ok(())
    }
    #[cfg(not(loom))]
    catch_unwind(AssertUnwindSafe(work)).map_err(|_panic| Panicked)
}

/// Runs the writer; a panic poisons and becomes an error.
fn caught<W: GroupWriter, T>(writer: &mut W, work: impl FnOnce(&mut W) -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(|| work(writer))) {
        Ok(result) => result,
        Err(_panic) => Err(writer.panicked()),
    }
}
