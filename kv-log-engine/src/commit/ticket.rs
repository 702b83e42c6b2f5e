//! A ticket: one submitted batch, as its caller waits for it. Blocking or as a future on `std::task` alone.

use super::lead::LeadToken;
use super::queue::{CommitQueue, Lead};
use super::{GroupWriter, Request};
use crate::sync::{Condvar, Mutex, lock, wait};
use kv_trait::{Error, ErrorKind, Result, Runtime};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// What a ticket and whoever resolves it share.
#[derive(Debug)]
pub(super) struct Cell<A> {
    /// Innermost: taken under the queue's lock, never the other way round.
    state: Mutex<CellState<A>>,
    resolved: Condvar,
}

#[derive(Debug)]
struct CellState<A> {
    outcome: Option<Result<A>>,
    waker: Option<Waker>,
    /// A synchronous caller waits, or is about to.
    blocking: bool,
    /// The lead was offered since the synchronous caller looked last.
    nudged: bool,
    /// The runtime dropped the closure that this ticket handed to it.
    dropped: bool,
}

/// How to wake somebody, once no lock is held.
#[derive(Debug)]
pub(super) enum Wake<A> {
    Task(Waker),
    Thread(Arc<Cell<A>>),
}

impl<A> Cell<A> {
    pub(super) fn new() -> Arc<Self> {
        let state = CellState {
            outcome: None,
            waker: None,
            blocking: false,
            nudged: false,
            dropped: false,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            resolved: Condvar::new(),
        })
    }

    /// Sets the outcome; the first one stays.
    pub(super) fn resolve(self: &Arc<Self>, outcome: Result<A>) -> Option<Wake<A>> {
        let mut state = lock(&self.state);
        if state.outcome.is_none() {
            state.outcome = Some(outcome);
        }
        if state.blocking {
            Some(Wake::Thread(Arc::clone(self)))
        } else {
            state.waker.take().map(Wake::Task)
        }
    }

    /// Tells a waiter that the lead is offered. Synchronous ones only if `thread`.
    pub(super) fn nudge(self: &Arc<Self>, thread: bool) -> Option<Wake<A>> {
        let mut state = lock(&self.state);
        if state.blocking {
            if thread {
                state.nudged = true;
                return Some(Wake::Thread(Arc::clone(self)));
            }
            None
        } else {
            // Taken, not cloned: that would be foreign code under two locks. A task that is woken registers anew.
            state.waker.take().map(Wake::Task)
        }
    }

    pub(super) fn closure_dropped(self: &Arc<Self>) -> Option<Wake<A>> {
        let mut state = lock(&self.state);
        state.dropped = true;
        state.waker.take().map(Wake::Task)
    }

    pub(super) fn is_resolved(&self) -> bool {
        lock(&self.state).outcome.is_some()
    }
}

/// Wakes, with no lock held. A waker that panics does not keep the others asleep.
pub(super) fn wake_all<A>(wakes: impl IntoIterator<Item = Wake<A>>) {
    for wake in wakes {
        match wake {
            Wake::Task(waker) => {
                if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                    // The waker belongs to the caller's executor; its panic hook has spoken. Nobody else may suffer.
                }
            }
            Wake::Thread(cell) => cell.resolved.notify_all(),
        }
    }
}

/// A submitted batch. Resolves when it is durable and visible, or is known not to be.
///
/// Dropped while its batch still waits in line for room: nothing happens. Dropped later: the batch finishes or fails
/// as if awaited.
#[derive(Debug)]
pub(crate) struct Ticket<W: GroupWriter> {
    queue: Arc<CommitQueue<W>>,
    cell: Arc<Cell<<W::Request as Request>::Answer>>,
    number: u64,
    done: bool,
}

impl<W: GroupWriter> Ticket<W> {
    pub(super) const fn new(
        queue: Arc<CommitQueue<W>>,
        cell: Arc<Cell<<W::Request as Request>::Answer>>,
        number: u64,
    ) -> Self {
        Self {
            queue,
            cell,
            number,
            done: false,
        }
    }

    /// Whether [`Ticket::wait`] would return at once.
    pub(crate) fn is_done(&self) -> bool {
        self.cell.is_resolved()
    }

    /// Waits, leading whenever the lead is offered. Blocks.
    ///
    /// # Errors
    /// What became of the batch.
    pub(crate) fn wait(mut self) -> Result<<W::Request as Request>::Answer> {
        lock(&self.cell.state).blocking = true;
        loop {
            // Looked at before parking and whenever woken: an offer that nobody starts strands nobody.
            if !self.cell.is_resolved()
                && let Some(writer) = self.queue.try_start()
            {
                self.queue.lead(writer, Some(&self.cell));
            }
            let mut state = lock(&self.cell.state);
            while state.outcome.is_none() && !state.nudged {
                state = wait(&self.cell.resolved, state);
            }
            state.nudged = false;
            if let Some(outcome) = state.outcome.take() {
                drop(state);
                self.done = true;
                return outcome;
            }
        }
    }

    /// Asks for the outcome, and hands the lead to `runtime` if it is offered. Never leads, never blocks.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        runtime: &impl Runtime,
    ) -> Poll<Result<<W::Request as Request>::Answer>> {
        if let Some(outcome) = self.look(cx) {
            return Poll::Ready(outcome);
        }
        // Without a pool: another waiter, or the next poll inside a runtime, hands the lead on.
        let handed = self.hand_lead(runtime);
        let dropped = lock(&self.cell.state).dropped;
        if dropped && self.queue.withdraw(self.number) {
            self.done = true;
            return Poll::Ready(Err(handed.err().unwrap_or_else(closure_dropped)));
        }
        Poll::Pending
    }

    fn look(&mut self, cx: &Context<'_>) -> Option<Result<<W::Request as Request>::Answer>> {
        let mut state = lock(&self.cell.state);
        let known = state
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        let mut unused = None;
        if state.outcome.is_none() && !known {
            // Cloning and dropping a waker is foreign code: not under the lock. The outcome may come meanwhile.
            drop(state);
            unused = Some(cx.waker().clone());
            state = lock(&self.cell.state);
            if state.outcome.is_none() {
                std::mem::swap(&mut state.waker, &mut unused);
            }
        }
        let outcome = state.outcome.take();
        drop(state);
        drop(unused);
        self.done |= outcome.is_some();
        outcome
    }

    /// Hands a closure that may lead to `runtime`, unless nobody is wanted or its pool holds one already.
    ///
    /// # Errors
    /// `Unavailable`: the lead is offered, and this runtime has no pool, or drops what it is handed.
    fn hand_lead(&self, runtime: &impl Runtime) -> Result<()> {
        if self.queue.lock().lead != Lead::Offered {
            return Ok(());
        }
        if lock(&self.cell.state).dropped {
            return Err(closure_dropped());
        }
        // Asked without a lock.
        let pool = runtime.pool()?;
        let mut state = self.queue.lock();
        if state.lead != Lead::Offered || state.handed.contains(&pool) {
            return Ok(());
        }
        state.handed.push(pool);
        drop(state);
        let token = LeadToken::new(&self.queue, Arc::clone(&self.cell), pool);
        runtime.spawn_blocking(Box::new(move || token.run()))
    }

    /// The same as a future on `runtime`.
    pub(crate) const fn on<R: Runtime>(self, runtime: &R) -> Awaited<'_, W, R> {
        Awaited {
            ticket: self,
            runtime,
        }
    }

    /// Loses interest, once. Returns whether a leader must be found for what is queued.
    fn abandon(&mut self, to_be_led: bool) -> bool {
        if std::mem::replace(&mut self.done, true) {
            return false;
        }
        let waker = lock(&self.cell.state).waker.take();
        drop(waker);
        self.queue.abandon(self.number, to_be_led)
    }
}

fn closure_dropped() -> Error {
    let message = "the runtime shut down before the write began";
    Error::new(ErrorKind::Unavailable, message)
}

/// A ticket on the runtime that its task runs on.
///
/// Dropped while the lead is offered, it hands the lead to the runtime: it may have been the one whom the offer woke, and
/// a batch that has its place finishes. Where the runtime is gone, other waiters are woken; without any, what is queued
/// waits for the next call.
#[derive(Debug)]
pub(crate) struct Awaited<'a, W: GroupWriter, R: Runtime> {
    ticket: Ticket<W>,
    runtime: &'a R,
}

impl<W: GroupWriter, R: Runtime> Future for Awaited<'_, W, R> {
    type Output = Result<<W::Request as Request>::Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { ticket, runtime } = &mut *self;
        ticket.poll(cx, *runtime)
    }
}

impl<W: GroupWriter, R: Runtime> Drop for Awaited<'_, W, R> {
    fn drop(&mut self) {
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        if !self.ticket.abandon(true) {
            return;
        }
        // A runtime that has no thread to give may panic, and this may be part of unwinding already.
        let handed = catch_unwind(AssertUnwindSafe(|| self.ticket.hand_lead(self.runtime)));
        if !matches!(handed, Ok(Ok(()))) {
            self.ticket.queue.wake_waiters();
        }
    }
}

impl<W: GroupWriter> Drop for Ticket<W> {
    fn drop(&mut self) {
        // The model checker's locks are gone by the time it reports a deadlock.
        #[cfg(loom)]
        if std::thread::panicking() {
            return;
        }
        // Whoever leads, or waits next, finishes it.
        self.abandon(false);
    }
}
