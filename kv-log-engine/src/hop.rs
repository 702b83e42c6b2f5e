//! One piece of blocking work on a runtime's blocking thread, awaited.
//!
//! Opens, closes and reads go this way, never a write: those have tickets. So whatever became of the work, the effect
//! of its error is *nothing*; who reads on behalf of a write that is applied says so.

use crate::sync::lock_std as lock;
use kv_trait::{Error, ErrorKind, Result, Runtime};
use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

struct Slot<T> {
    outcome: Option<Result<T>>,
    waker: Option<Waker>,
}

/// The worker's end: says so when the runtime drops the work unrun.
struct Worker<T>(Arc<Mutex<Slot<T>>>);

impl<T> Worker<T> {
    fn finish(&self, outcome: Result<T>) {
        let mut slot = lock(&self.0);
        if slot.outcome.is_none() {
            slot.outcome = Some(outcome);
        }
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        let message = "the runtime shut down before the work was done";
        self.finish(Err(Error::new(ErrorKind::Unavailable, message)));
    }
}

/// Runs `work` on a blocking thread of `runtime`. Dropped while it waits: the work goes on, its result is dropped.
///
/// # Errors
/// What `work` says; `Unavailable` if there is no runtime, if it shuts down first, or if `work` panics.
pub(crate) async fn hop<T: Send + 'static>(
    runtime: &impl Runtime,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let slot = Arc::new(Mutex::new(Slot {
        outcome: None,
        waker: None,
    }));
    let worker = Worker(Arc::clone(&slot));
    runtime.spawn_blocking(Box::new(move || {
        // Nothing that the work has touched is looked at after a panic.
        let outcome = catch_unwind(AssertUnwindSafe(work));
        worker.finish(outcome.unwrap_or_else(|panic| Err(panicked(&*panic))));
    }))?;
    let waiting = Arc::clone(&slot);
    poll_fn(move |cx| {
        // Cloning and dropping a waker is foreign code: not under the lock.
        let mine = cx.waker().clone();
        let mut slot = lock(&waiting);
        if let Some(outcome) = slot.outcome.take() {
            // Seen once: whoever polls again is told that the work is gone, not left asleep.
            drop(slot);
            return Poll::Ready(outcome);
        }
        let old = slot.waker.replace(mine);
        drop(slot);
        drop(old);
        Poll::Pending
    })
    .await
}

/// The panic hook has reported it; the caller, who waits elsewhere, is told what it said.
fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = format!(
        "the work panicked on a blocking thread: {}",
        text.unwrap_or("it did not say why")
    );
    Error::new(ErrorKind::Unavailable, message)
}
