//! What runs on the smol adapter, as the conformance suite sees it: smol's executors, async-std, and none at all.
#![allow(dead_code, reason = "each test target takes the executor it is about")]
#![allow(
    clippy::allow_attributes,
    reason = "a target may use all, and then nothing is dead"
)]

use kv_runtime_smol::Smol;
use kv_tests::executor::{Executor, Task, thread};
use std::sync::Arc;
use std::thread::JoinHandle;

/// `smol::block_on` and `smol::spawn`: the executor that belongs to the process.
pub(crate) struct Global;

/// One thread's own executor.
pub(crate) struct Local(smol::LocalExecutor<'static>);

/// An executor that several threads run.
pub(crate) struct Threads {
    executor: Arc<smol::Executor<'static>>,
    stop: smol::channel::Sender<()>,
    threads: Vec<JoinHandle<()>>,
}

pub(crate) struct AsyncStd;

/// `futures_lite::future::block_on` on one thread for each future, and nothing else.
pub(crate) struct NoRuntime;

impl Executor for Global {
    type Runtime = Smol;
    const CAN_BE_DROPPED: bool = false;

    fn start() -> Self {
        Self
    }

    fn runtime(&self) -> Smol {
        Smol::default()
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        smol::block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        detached(smol::spawn(future))
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        thread(|| smol::block_on(future))
    }
}

impl Executor for Local {
    type Runtime = Smol;

    fn start() -> Self {
        Self(smol::LocalExecutor::new())
    }

    fn runtime(&self) -> Smol {
        Smol::default()
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        smol::future::block_on(self.0.run(future))
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        detached(self.0.spawn(future))
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        thread(|| {
            let local = smol::LocalExecutor::new();
            smol::future::block_on(local.run(future))
        })
    }
}

impl Executor for Threads {
    type Runtime = Smol;

    fn start() -> Self {
        let executor = Arc::new(smol::Executor::new());
        let (stop, stopped) = smol::channel::bounded::<()>(1);
        let threads = (0..4)
            .map(|_| {
                let (executor, stopped) = (Arc::clone(&executor), stopped.clone());
                thread(move || {
                    // The channel is closed when the executor goes.
                    let closed = smol::future::block_on(executor.run(stopped.recv()));
                    assert!(closed.is_err(), "nobody sends");
                })
            })
            .collect();
        Self {
            executor,
            stop,
            threads,
        }
    }

    fn runtime(&self) -> Smol {
        Smol::default()
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        smol::future::block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        detached(self.executor.spawn(future))
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let executor = Arc::clone(&self.executor);
        thread(move || smol::future::block_on(executor.run(future)))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.close();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a task panicked");
        }
    }
}

impl Executor for AsyncStd {
    type Runtime = Smol;
    const CAN_BE_DROPPED: bool = false;

    fn start() -> Self {
        Self
    }

    fn runtime(&self) -> Smol {
        Smol::default()
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        async_std::task::block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        // Dropping async-std's handle detaches by itself.
        Box::pin(async_std::task::spawn(future))
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        thread(|| async_std::task::block_on(future))
    }
}

impl Executor for NoRuntime {
    type Runtime = Smol;
    const CAN_BE_DROPPED: bool = false;

    fn start() -> Self {
        Self
    }

    fn runtime(&self) -> Smol {
        Smol::default()
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        futures_lite::future::block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        let (sender, receiver) = smol::channel::bounded(1);
        drop(thread(|| {
            futures_lite::future::block_on(async move {
                // Nobody may be waiting for the answer.
                drop(sender.send(future.await).await);
            });
        }));
        Box::pin(async move { receiver.recv().await.expect("the task does not panic") })
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        thread(|| futures_lite::future::block_on(future))
    }
}

/// smol cancels a task whose handle is dropped; the suite's tasks go on.
fn detached<T: Send + 'static>(task: smol::Task<T>) -> Task<T> {
    struct Detaches<T>(Option<smol::Task<T>>);
    impl<T> Drop for Detaches<T> {
        fn drop(&mut self) {
            if let Some(task) = self.0.take() {
                task.detach();
            }
        }
    }
    let mut task = Detaches(Some(task));
    Box::pin(std::future::poll_fn(move |cx| {
        let running = task.0.as_mut().expect("not polled after its end");
        let polled = std::pin::Pin::new(running).poll(cx);
        if polled.is_ready() {
            task.0 = None;
        }
        polled
    }))
}
