//! A runtime that does only what it is told, and notices when nothing is left to do.
//!
//! Tasks and futures are polled in turn, in the order they were given. Blocking work waits in a queue until the executor has nothing else to do. A future that waits while no task can run
//! and no work is queued is stuck for ever: that is reported at once, without a clock.

use crate::oneshot::oneshot;
use kv_trait::{BlockingWork, PoolId, Result, Runtime};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Rounds of polls after which blocking work runs although tasks are still busy.
const ROUNDS_PER_WORK: u64 = 8;

/// A runtime whose pool of blocking threads is a queue.
#[derive(Clone, Default)]
pub struct Stepped {
    work: Arc<Mutex<VecDeque<BlockingWork>>>,
    /// Tasks that are not being polled just now.
    tasks: Arc<Mutex<Vec<Spawned>>>,
}

struct Spawned {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    woken: Arc<Flag>,
}

impl fmt::Debug for Stepped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepped").finish_non_exhaustive()
    }
}

impl Runtime for Stepped {
    fn pool(&self) -> Result<PoolId> {
        Ok(PoolId::new(Arc::as_ptr(&self.work).addr() as u64))
    }

    fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
        self.work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(work);
        Ok(())
    }

    fn poll_proceed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

#[derive(Debug, Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A waker that wakes nobody, for polling by hand.
#[must_use]
pub fn idle_waker() -> Waker {
    Waker::from(Arc::new(Flag::default()))
}

impl Stepped {
    /// Runs one piece of queued work; `false` if there is none.
    #[must_use]
    pub fn run_one(&self) -> bool {
        let next = self
            .work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front();
        next.is_some_and(|work| {
            work();
            true
        })
    }

    /// Drops all queued work unrun, as a runtime does that shuts down.
    pub fn drop_work(&self) {
        let dropped: Vec<_> = self
            .work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect();
        drop(dropped);
    }

    /// How much work is queued.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.work
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Starts a task: it is polled while [`Stepped::block_on`] or [`Stepped::join`] runs.
    ///
    /// # Panics
    /// The returned future panics if the task did.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static {
        let (sender, receiver) = oneshot();
        let spawned = Spawned {
            future: Box::pin(async move { sender.send(future.await) }),
            woken: Arc::new(Flag(AtomicBool::new(true))),
        };
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(spawned);
        async move { receiver.await.expect("the task was dropped") }
    }

    /// Polls each task that was woken, once. Tasks may spawn tasks. Returns whether there was one.
    fn poll_tasks(&self) -> bool {
        let lock = || self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut polled = Vec::new();
        let mut ran = false;
        let tasks = std::mem::take(&mut *lock());
        for mut task in tasks {
            if !task.woken.0.swap(false, Ordering::SeqCst) {
                polled.push(task);
                continue;
            }
            ran = true;
            let waker = Waker::from(Arc::clone(&task.woken));
            let mut cx = Context::from_waker(&waker);
            if task.future.as_mut().poll(&mut cx).is_pending() {
                polled.push(task);
            }
        }
        let mut tasks = lock();
        polled.append(&mut tasks);
        *tasks = polled;
        ran
    }

    /// Drops all tasks, as an executor does that is dropped itself.
    pub fn drop_tasks(&self) {
        let dropped =
            std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        drop(dropped);
    }

    /// Runs a future to its end, and queued work when the future waits.
    ///
    /// # Panics
    /// If the future waits and there is nothing left to run: it would wait for ever.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let future = pin!(future);
        let mut outcomes = self.join(vec![future as Pin<&mut dyn Future<Output = T>>]);
        outcomes.pop().expect("one future, one outcome")
    }

    /// Runs futures side by side to their ends; each is polled first in the order given.
    ///
    /// # Panics
    /// As for [`Stepped::block_on`].
    pub fn join<T>(&self, futures: Vec<Pin<&mut dyn Future<Output = T>>>) -> Vec<T> {
        let mut outcomes: Vec<Option<T>> = futures.iter().map(|_| None).collect();
        let mut waiting: Vec<_> = futures
            .into_iter()
            .enumerate()
            .map(|(at, future)| (at, future, Arc::new(Flag(AtomicBool::new(true)))))
            .collect();
        let mut rounds = 0_u64;
        while !waiting.is_empty() {
            let mut ran = false;
            waiting.retain_mut(|(at, future, flag)| {
                if !flag.0.swap(false, Ordering::SeqCst) {
                    return true;
                }
                ran = true;
                let waker = Waker::from(Arc::clone(flag));
                match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    Poll::Ready(outcome) => {
                        outcomes[*at] = Some(outcome);
                        false
                    }
                    Poll::Pending => true,
                }
            });
            let ran = self.poll_tasks() || ran;
            rounds += 1;
            // A task that yields for ever must not keep the pool from its work.
            let ran = rounds.is_multiple_of(ROUNDS_PER_WORK) && self.run_one() || ran;
            assert!(
                ran || waiting.is_empty() || self.run_one(),
                "{} futures wait, and nothing is left to run",
                waiting.len()
            );
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.expect("every future ended"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "nothing is left to run")]
    fn a_future_that_nobody_wakes_is_noticed() {
        Stepped::default().block_on(std::future::pending::<()>());
    }
}
