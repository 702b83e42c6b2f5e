//! The queue: where the order of writes is fixed, who waits for room, and who has the lead.
//!
//! Submitting takes one lock for a moment and fixes the batch's place. Batches for which there is no room wait in one
//! first-in-first-out line that the fast path may not pass; whoever frees room admits from its head under the same
//! lock, without asking the waiter, so an executor that nobody drives holds nobody up.

use super::ticket::{Cell, Ticket};
use super::{GroupWriter, Request};
use crate::fault;
use crate::sync::{Condvar, Mutex, MutexGuard, ThreadId, current, lock, wait};
use kv_trait::{Error, ErrorKind, PoolId, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The bounds of a queue and of a leader's work. `docs/DURABILITY.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Batches are admitted while the queue holds no more than this, in bytes; one larger batch is admitted alone.
    pub(crate) queue_bytes: u64,
    /// And no more than this many batches.
    pub(crate) queue_batches: usize,
    /// A group ends at this many bytes; one larger batch is a group alone.
    pub(crate) group_bytes: u64,
    /// A leader hands over after this time,
    pub(crate) term: Duration,
    /// or after this many groups.
    pub(crate) term_groups: u32,
    /// How long an idle leader waits for the next batch before it resigns.
    pub(crate) linger: Duration,
    /// The longest that a leader waits for the callers it has just answered.
    pub(crate) gather: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_bytes: 16 * 1024 * 1024,
            queue_batches: 16 * 1024,
            group_bytes: 4 * 1024 * 1024,
            term: Duration::from_millis(50),
            term_groups: 64,
            linger: Duration::from_millis(2),
            gather: Duration::from_micros(500),
        }
    }
}

/// A batch with the cell that its caller looks into.
#[derive(Debug)]
pub(super) struct Pending<R: Request> {
    /// Its place in the order: rises from batch to batch.
    pub(super) number: u64,
    pub(super) request: R,
    pub(super) cell: Arc<Cell<R::Answer>>,
    /// Admitted, and then its ticket was dropped: it finishes, but nobody comes to lead for it.
    pub(super) abandoned: bool,
}

/// Who leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// Nobody, and nothing is queued.
    None,
    /// Nobody yet: whoever waits may start.
    Offered,
    /// This thread.
    Running(ThreadId),
}

/// Where the store stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// No new batch; what was admitted is finished.
    Closing,
    /// The last handle is gone: nobody waits, what is queued is discarded.
    Dropped,
}

pub(super) struct State<W: GroupWriter> {
    /// By number: a caller who gives up finds its batch without a search through everybody else's, under a lock that
    /// every submit takes.
    pub(super) admitted: BTreeMap<u64, Pending<W::Request>>,
    pub(super) admitted_bytes: u64,
    /// How many of them are abandoned.
    pub(super) abandoned: usize,
    /// By number; each is higher than any that was admitted.
    pub(super) line: BTreeMap<u64, Pending<W::Request>>,
    next_number: u64,
    pub(super) lead: Lead,
    /// The pools that hold a closure which has not run yet. It will start whatever lead is offered then, so one for each
    /// pool is enough, and a pool that is stuck does not gather more.
    pub(super) handed: Vec<PoolId>,
    pub(super) phase: Phase,
    pub(super) refusal: Option<Error>,
    /// In here while nobody leads.
    pub(super) writer: Option<W>,
    /// The leader waits for work.
    pub(super) lingering: bool,
}

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

type Answer<W> = <<W as GroupWriter>::Request as Request>::Answer;

impl<W: GroupWriter> CommitQueue<W> {
    pub(crate) fn new(
        writer: W,
        limits: Limits,
        clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    ) -> Arc<Self> {
        let state = State {
            admitted: BTreeMap::new(),
            admitted_bytes: 0,
            abandoned: 0,
            line: BTreeMap::new(),
            next_number: 0,
            lead: Lead::None,
            handed: Vec::new(),
            phase: Phase::Open,
            refusal: None,
            writer: Some(writer),
            lingering: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            limits,
            clock,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<W>> {
        lock(&self.state)
    }

    /// Fixes the batch's place in the order, now. Never blocks.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`, or `InvalidInput` when a waker calls this on the thread that leads. Effect *nothing*.
    pub(crate) fn submit(self: &Arc<Self>, request: W::Request) -> Result<Ticket<W>> {
        let cell = Cell::new();
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
            cell: Arc::clone(&cell),
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
        Ok(Ticket::new(Arc::clone(self), cell, number))
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

    /// CLOSE 1: no new batches, the line is told; waits for the lead, and keeps it.
    ///
    /// # Errors
    /// `Closed`: another close came first. `InvalidInput`: a waker calls this on the thread that leads.
    pub(crate) fn begin_close(self: &Arc<Self>) -> Result<Closer<W>> {
        self.refuse_if_leading()?;
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Err(fault::closed());
        }
        state.phase = Phase::Closing;
        let line = std::mem::take(&mut state.line);
        drop(state);
        self.changed.notify_all();
        Self::resolve_all(line.into_values(), |_| Err(fault::closed()));
        let mut state = self.lock();
        let writer = loop {
            match state.lead {
                Lead::Running(_) => state = wait(&self.changed, state),
                Lead::None | Lead::Offered => break state.start(),
            }
        };
        drop(state);
        let writer = self.finish_admitted(writer);
        // Nobody can start any more, and this thread may be asked other things.
        self.lock().lead = Lead::None;
        Ok(Closer { writer })
    }

    /// DROP of the last handle: what is queued is discarded, a running leader stops after the group in flight. Neither
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
        super::ticket::wake_all(wakers);
    }
}

/// The lead of a store that closes, held to the end.
#[derive(Debug)]
pub(crate) struct Closer<W> {
    pub(crate) writer: W,
}

impl<W: GroupWriter> State<W> {
    fn has_room(&self, pending: &Pending<W::Request>, limits: &Limits) -> bool {
        self.admitted.is_empty()
            || (self.admitted.len() < limits.queue_batches
                && self.admitted_bytes + pending.request.queue_bytes() <= limits.queue_bytes)
    }

    fn admit(&mut self, pending: Pending<W::Request>) {
        self.admitted_bytes += pending.request.queue_bytes();
        self.admitted.insert(pending.number, pending);
    }

    /// The one way out of what was admitted, but for [`State::take_queued`].
    pub(super) fn remove_admitted(&mut self, number: u64) -> Option<Pending<W::Request>> {
        let removed = self.admitted.remove(&number)?;
        self.admitted_bytes -= removed.request.queue_bytes();
        self.abandoned -= usize::from(removed.abandoned);
        Some(removed)
    }

    /// The oldest batch that was admitted.
    pub(super) fn first(&self) -> Option<&Pending<W::Request>> {
        self.admitted.first_key_value().map(|(_, first)| first)
    }

    /// The number of the newest batch that was admitted; 0 if none is.
    pub(super) fn last_number(&self) -> u64 {
        self.admitted
            .last_key_value()
            .map_or(0, |(number, _)| *number)
    }

    pub(super) fn take_first(&mut self) -> Option<Pending<W::Request>> {
        let number = self.first()?.number;
        self.remove_admitted(number)
    }

    /// Whoever frees room admits from the head of the line. Nobody is woken: they wait for durability.
    pub(super) fn admit_from_line(&mut self, limits: &Limits) {
        while let Some((_, head)) = self.line.first_key_value() {
            if !self.has_room(head, limits) {
                break;
            }
            if let Some((_, head)) = self.line.pop_first() {
                self.admit(head);
            }
        }
    }

    /// Offered, or none for a closer, to running.
    pub(super) fn start(&mut self) -> W {
        self.lead = Lead::Running(current().id());
        self.writer
            .take()
            .expect("the writer is in its place while nobody leads")
    }

    /// Everything that no leader has taken.
    pub(super) fn take_queued(&mut self) -> Vec<Pending<W::Request>> {
        self.admitted_bytes = 0;
        self.abandoned = 0;
        let admitted = std::mem::take(&mut self.admitted);
        let line = std::mem::take(&mut self.line);
        admitted.into_values().chain(line.into_values()).collect()
    }
}
