//! The queue: where the order of writes is fixed, who waits for room, and who has the lead.
//!
//! Submitting takes one lock for a moment and fixes the batch's place. Batches for which there is no room wait in one
//! first-in-first-out line that the fast path may not pass; whoever frees room admits from its head under the same
//! lock, without asking the waiter, so an executor that nobody drives holds nobody up.

use super::cell::{Cell, wake_all};
use super::seam::{Answer, GroupWriter};
use super::state::{Lead, Limits, Pending, Phase, State, waiters};
use crate::fault;
use crate::sync::{Condvar, Mutex, MutexGuard, current, lock};
use kv_trait::{Error, ErrorKind, PoolId, Result};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Batches on their way to the log, and the lead. Shared by all handles, tickets and running leads of a store.
pub(crate) struct CommitQueue<W: GroupWriter> {
    /// Guards everything that is decided about order, room and lead. Outermost; never held across a group.
    pub(super) state: Mutex<State<W>>,
    /// Tells a lingering leader of work, and a closer of a lead that is free.
    pub(super) changed: Condvar,
    pub(super) limits: Limits,
    pub(super) clock: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl<W: GroupWriter> fmt::Debug for CommitQueue<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitQueue")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl<W: GroupWriter> CommitQueue<W> {
    pub(crate) fn new(
        writer: W,
        limits: Limits,
        clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::new(writer)),
            changed: Condvar::new(),
            limits,
            clock,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<W>> {
        lock(&self.state)
    }

    /// Gives a batch its place, which is returned, in the queue or in the line before it.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`. Effect *nothing*.
    pub(super) fn enqueue(&self, request: W::Request, cell: &Arc<Cell<Answer<W>>>) -> Result<u64> {
        let mut state = self.lock();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        if state.phase != Phase::Open {
            return Err(fault::closed());
        }
        let number = state.next_number;
        state.next_number += 1;
        let pending = Pending {
            number,
            request,
            cell: Arc::clone(cell),
            abandoned: false,
        };
        if state.line.is_empty() && state.has_room(&pending, &self.limits) {
            state.admit(pending);
        } else {
            state.line.insert(number, pending);
        }
        if state.lead == Lead::None {
            state.lead = Lead::Offered;
        }
        let wake_leader = state.lingering;
        #[cfg(all(test, loom))]
        let wake_leader =
            wake_leader && !super::planted::is(super::planted::NO_WAKE_OF_LINGERING_LEADER);
        drop(state);
        if wake_leader {
            self.changed.notify_all();
        }
        Ok(number)
    }

    /// Wakes everybody who could lead, if the lead is offered.
    pub(super) fn wake_waiters(&self) {
        let state = self.lock();
        let wakes = if state.lead == Lead::Offered {
            waiters(&state)
        } else {
            Vec::new()
        };
        drop(state);
        wake_all(wakes);
    }

    /// A token that nobody started: its pool may be asked again, and everybody who could lead is woken.
    pub(super) fn take_back(&self, pool: PoolId) {
        self.lock().handed.retain(|holder| *holder != pool);
        self.wake_waiters();
    }

    /// Refuses a blocking call on the thread that leads: it would wait for itself. A waker can make one.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub(crate) fn refuse_if_leading(&self) -> Result<()> {
        let state = self.lock();
        if state.lead == Lead::Running(current().id()) {
            let message = "a blocking call from a waker, on the thread that leads the group";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(())
    }

    /// Offered to running, if it is offered.
    pub(super) fn try_start(&self) -> Option<W> {
        let mut state = self.lock();
        match state.lead {
            // While a close waits the offer is for the closer: it finishes what was admitted.
            Lead::Offered if state.phase == Phase::Open => Some(state.start()),
            Lead::Offered | Lead::None | Lead::Running(_) => None,
        }
    }

    /// Takes a batch out that no leader has taken yet.
    pub(super) fn withdraw(&self, number: u64) -> bool {
        let mut state = self.lock();
        let mut withdrawn = state.line.remove(&number);
        if withdrawn.is_none() {
            withdrawn = state.remove_admitted(number);
            state.admit_from_line(&self.limits);
        }
        drop(state);
        withdrawn.is_some()
    }

    /// A caller has lost interest. In the line: nothing happened. Later: the batch finishes, as if awaited if a leader is to
    /// be found for it (`to_be_led`), and otherwise when the next caller waits.
    ///
    /// Returns whether a leader must be found for that: the lead is offered, and those who could take it may all be
    /// gone by now, this caller among them.
    pub(super) fn abandon(&self, number: u64, to_be_led: bool) -> bool {
        let mut state = self.lock();
        let in_line = state.line.remove(&number);
        if to_be_led && let Some(admitted) = state.admitted.get_mut(&number) {
            admitted.abandoned = true;
            state.abandoned += 1;
        }
        let leaderless =
            state.abandoned > 0 && state.lead == Lead::Offered && state.phase == Phase::Open;
        drop(state);
        drop(in_line);
        leaderless
    }

    /// The last handle is dropped: what is queued is discarded, a running leader stops after the group in flight. Neither
    /// blocks nor writes.
    pub(crate) fn drop_last(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Dropped;
        }
        let discarded = state.take_queued();
        let writer = match state.lead {
            Lead::Running(_) => None,
            Lead::None | Lead::Offered => {
                state.lead = Lead::None;
                state.writer.take()
            }
        };
        drop(state);
        self.changed.notify_all();
        Self::resolve_all(discarded, |_| Err(fault::closed()));
        drop(writer);
    }

    /// Resolves tickets, all of them before anybody is woken, and wakes without a lock.
    pub(super) fn resolve_all(
        pending: impl IntoIterator<Item = Pending<W::Request>>,
        outcome: impl Fn(&W::Request) -> Result<Answer<W>>,
    ) {
        let mut wakers = Vec::new();
        for Pending { request, cell, .. } in pending {
            wakers.extend(cell.resolve(outcome(&request)));
        }
        wake_all(wakers);
    }
}
