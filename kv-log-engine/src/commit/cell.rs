//! A cell: where the outcome of one batch is left for whoever waits for it, and how the waiter is woken.

use crate::sync::{Condvar, Mutex, lock, wait};
use kv_trait::Result;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Waker};

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

    /// The runtime dropped the closure that this cell's ticket handed to it.
    pub(super) fn was_dropped(&self) -> bool {
        lock(&self.state).dropped
    }

    pub(super) fn is_resolved(&self) -> bool {
        lock(&self.state).outcome.is_some()
    }

    /// From here on a thread is woken, and no task.
    pub(super) fn expect_thread(&self) {
        lock(&self.state).blocking = true;
    }

    /// Blocks until there is an outcome, or until the lead was offered since the last look: `None`.
    pub(super) fn wait(&self) -> Option<Result<A>> {
        let mut state = lock(&self.state);
        while state.outcome.is_none() && !state.nudged {
            state = wait(&self.resolved, state);
        }
        state.nudged = false;
        state.outcome.take()
    }

    /// The outcome, or else the task is woken when there is one.
    pub(super) fn look(&self, cx: &Context<'_>) -> Option<Result<A>> {
        let mut state = lock(&self.state);
        let known = state
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()));
        let mut unused = None;
        if state.outcome.is_none() && !known {
            // Cloning and dropping a waker is foreign code: not under the lock. The outcome may come meanwhile.
            drop(state);
            unused = Some(cx.waker().clone());
            state = lock(&self.state);
            if state.outcome.is_none() {
                std::mem::swap(&mut state.waker, &mut unused);
            }
        }
        let outcome = state.outcome.take();
        drop(state);
        drop(unused);
        outcome
    }

    /// Nobody is to be woken any more.
    pub(super) fn forget_waker(&self) {
        let waker = lock(&self.state).waker.take();
        drop(waker); // foreign code: not under the lock
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
