// Included by the examples of `KVLog`: the smallest runtime there is, and a store on it. Programs take an adapter.

use kv_log_engine::storage::sim::SimDisk;
use kv_log_engine::{KVLog, Options};
use kv_trait::{BlockingWork, PoolId, Result, Runtime};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// A thread for each piece of blocking work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads;

impl Runtime for Threads {
    fn pool(&self) -> Result<PoolId> {
        Ok(PoolId::of::<Self>(0))
    }

    fn spawn_blocking(&self, work: BlockingWork) -> Result<()> {
        drop(std::thread::spawn(work));
        Ok(())
    }

    fn poll_proceed(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => return outcome,
            Poll::Pending => std::thread::park(),
        }
    }
}

pub type Store = KVLog<String, u64, Threads>;

/// Runs an example on a fresh store on a simulated disk.
pub fn with_store(example: impl AsyncFnOnce(Store) -> Result<()>) {
    block_on(async {
        let options = Options::new().storage(SimDisk::new().storage());
        example(Store::load_with("/db", options).await?).await
    })
    .expect("the example works");
}
