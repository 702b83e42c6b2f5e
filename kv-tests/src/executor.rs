//! Executors, as far as tests of a store need one. An adapter's tests implement [`Executor`] once for each flavour of
//! their runtime; [`crate::kvlog`] makes fixtures of it.

use crate::stepped::Stepped;
use kv_trait::Runtime;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::thread::JoinHandle;

/// A task: resolves with what its future returned. Dropping it leaves the task running.
pub type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An executor and the store's runtime on it.
pub trait Executor: Sized + 'static {
    /// What the store asks for blocking threads.
    type Runtime: Runtime;

    /// Whether blocking work runs on threads of its own while futures are polled. Only then can a test hold a sync and
    /// go on.
    const HAS_THREADS: bool = true;

    /// Whether dropping it drops its tasks. An executor that belongs to the process, or that is no value at all, cannot
    /// be dropped: what is said of abandoned executors is not tried on it.
    const CAN_BE_DROPPED: bool = true;

    /// A new one, independent of all others as far as the runtime allows that.
    fn start() -> Self;

    /// The store's runtime.
    fn runtime(&self) -> Self::Runtime;

    /// Drives a future to its end on this thread.
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T;

    /// Starts a task. It runs at least while [`Executor::block_on`] does.
    fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static)
    -> Task<T>;

    /// Drives a future to its end on a new thread. Only called if [`Executor::HAS_THREADS`].
    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T>;
}

/// Starts a named thread.
///
/// # Panics
/// If the system has none to give.
pub fn thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::Builder::new()
        .name("kv-tests".into())
        .spawn(work)
        .expect("the system gives a thread")
}

/// Lets other tasks run once.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Everything on one thread, in an order that depends on nothing but the test; a future that would wait for ever is
/// noticed at once.
impl Executor for Stepped {
    type Runtime = Self;
    const HAS_THREADS: bool = false;

    fn start() -> Self {
        Self::default()
    }

    fn runtime(&self) -> Self {
        self.clone()
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        Self::block_on(self, future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        Box::pin(Self::spawn(self, future))
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        _future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        unreachable!("a stepped executor has one thread")
    }
}
