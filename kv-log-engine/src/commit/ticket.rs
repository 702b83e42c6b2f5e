//! A ticket: one submitted batch, as its caller waits for it. Blocking or as a future on `std::task` alone.

use super::cell::Cell;
use super::queue::CommitQueue;
use super::seam::{Answer, GroupWriter};
use super::state::Lead;
use super::token::LeadToken;
use kv_trait::{Error, ErrorKind, Result, Runtime};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A submitted batch. Resolves when it is durable and visible, or is known not to be.
///
/// Dropped while its batch still waits in line for room: nothing happens. Dropped later: the batch finishes or fails
/// as if awaited.
#[derive(Debug)]
pub(crate) struct Ticket<W: GroupWriter> {
    queue: Arc<CommitQueue<W>>,
    cell: Arc<Cell<Answer<W>>>,
    number: u64,
    done: bool,
}

impl<W: GroupWriter> CommitQueue<W> {
    /// Fixes the batch's place in the order, now. Never blocks.
    ///
    /// # Errors
    /// `Closed`, `Poisoned`, or `InvalidInput` when a waker calls this on the thread that leads. Effect *nothing*.
    pub(crate) fn submit(self: &Arc<Self>, request: W::Request) -> Result<Ticket<W>> {
        let cell = Cell::new();
        let number = self.enqueue(request, &cell)?;
        Ok(Ticket {
            queue: Arc::clone(self),
            cell,
            number,
            done: false,
        })
    }
}

impl<W: GroupWriter> Ticket<W> {
    /// Whether [`Ticket::wait`] would return at once.
    pub(crate) fn is_done(&self) -> bool {
        self.cell.is_resolved()
    }

    /// Waits, leading whenever the lead is offered. Blocks.
    ///
    /// # Errors
    /// What became of the batch.
    pub(crate) fn wait(mut self) -> Result<Answer<W>> {
        self.cell.expect_thread();
        loop {
            // Looked at before parking and whenever woken: an offer that nobody starts strands nobody.
            if !self.cell.is_resolved()
                && let Some(writer) = self.queue.try_start()
            {
                self.queue.lead(writer, Some(&self.cell));
            }
            if let Some(outcome) = self.cell.wait() {
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
    ) -> Poll<Result<Answer<W>>> {
        if let Some(outcome) = self.cell.look(cx) {
            self.done = true;
            return Poll::Ready(outcome);
        }
        // Without a pool: another waiter, or the next poll inside a runtime, hands the lead on.
        let handed = self.hand_lead(runtime);
        if self.cell.was_dropped() && self.queue.withdraw(self.number) {
            self.done = true;
            return Poll::Ready(Err(handed.err().unwrap_or_else(closure_dropped)));
        }
        Poll::Pending
    }

    /// Hands a closure that may lead to `runtime`, unless nobody is wanted or its pool holds one already.
    ///
    /// # Errors
    /// `Unavailable`: the lead is offered, and this runtime has no pool, or drops what it is handed.
    fn hand_lead(&self, runtime: &impl Runtime) -> Result<()> {
        if self.queue.lock().lead != Lead::Offered {
            return Ok(());
        }
        if self.cell.was_dropped() {
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
        self.cell.forget_waker();
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
    type Output = Result<Answer<W>>;

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
