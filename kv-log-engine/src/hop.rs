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
use std::task::{Context, Poll, Waker};

struct Slot<T> {
    outcome: Option<Result<T>>,
    waker: Option<Waker>,
}

/// The worker's end: says so when the runtime drops the work unrun.
pub(crate) struct Promise<T>(Arc<Mutex<Slot<T>>>);

/// The end of the one who waits.
pub(crate) struct Promised<T>(Arc<Mutex<Slot<T>>>);

/// Two ends of an answer.
pub(crate) fn promise<T>() -> (Promise<T>, Promised<T>) {
    let slot = Arc::new(Mutex::new(Slot {
        outcome: None,
        waker: None,
    }));
    (Promise(Arc::clone(&slot)), Promised(slot))
}

impl<T> Promise<T> {
    /// Answers, once.
    pub(crate) fn finish(&self, outcome: Result<T>) {
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

    /// Has the one who waits poll again, without an answer.
    pub(crate) fn nudge(&self) {
        let waker = lock(&self.0).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        let message = "the runtime shut down before the work was done";
        self.finish(Err(Error::new(ErrorKind::Unavailable, message)));
    }
}

impl<T> Promised<T> {
    /// The answer, seen once: whoever polls again is told that the work is gone, not left asleep.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        // Cloning and dropping a waker is foreign code: not under the lock.
        let mine = cx.waker().clone();
        let mut slot = lock(&self.0);
        if let Some(outcome) = slot.outcome.take() {
            drop(slot);
            return Poll::Ready(outcome);
        }
        let old = slot.waker.replace(mine);
        drop(slot);
        drop(old);
        Poll::Pending
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
    let (promise, promised) = promise();
    runtime.spawn_blocking(Box::new(move || {
        // Nothing that the work has touched is looked at after a panic.
        let outcome = catch_unwind(AssertUnwindSafe(work));
        promise.finish(outcome.unwrap_or_else(|panic| Err(panicked(&*panic))));
    }))?;
    poll_fn(move |cx| promised.poll(cx)).await
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
/// The value's own code, on a thread that is not its caller's. What it touches is not looked at after a panic.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> std::thread::Result<T> {
    catch_unwind(AssertUnwindSafe(code))
}
