//! The store as a fixture, on any executor, with or without a lie.

use super::{Lie, Reference};
use crate::executor::{Executor, Task};
use crate::fixture::{Capability, Fixture};
use kv_trait::Result;
use std::fmt;
use std::marker::PhantomData;
use std::thread::JoinHandle;
use std::time::Duration;

/// What a store says of itself.
pub trait Says: 'static {
    /// The promise that it breaks.
    const LIE: Option<Lie>;
}

/// It keeps every promise.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a type that has no values")]
pub enum Truth {}

impl Says for Truth {
    const LIE: Option<Lie> = None;
}

/// All that needs no disk; threads come last.
const ALL: [Capability; 16] = [
    Capability::Close,
    Capability::Scan,
    Capability::Batch,
    Capability::Closing,
    Capability::Batches,
    Capability::Scans,
    Capability::RangeDeletes,
    Capability::Versions,
    Capability::Updates,
    Capability::Snapshots,
    Capability::Transactions,
    Capability::Expiry,
    Capability::Watches,
    Capability::Keyspaces,
    Capability::Clock,
    Capability::Threads,
];

/// A place for a [`Reference`]; what is there goes with it.
pub struct InMemory<E, S = Truth> {
    executor: E,
    store: Reference,
    says: PhantomData<fn() -> S>,
}

impl<E, S> fmt::Debug for InMemory<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemory")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl<E: Executor, S: Says> Fixture for InMemory<E, S> {
    type Store = Reference;

    const CAPABILITIES: &'static [Capability] = match ALL.split_last() {
        Some((_, others)) if !E::HAS_THREADS => others,
        _ => &ALL,
    };

    fn create() -> Self {
        Self {
            executor: E::start(),
            store: Reference::new(S::LIE),
            says: PhantomData,
        }
    }

    async fn open(&self) -> Result<Reference> {
        Ok(self.store.clone())
    }

    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.executor.block_on(future)
    }

    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        self.executor.spawn(future)
    }

    fn spawn_thread<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.executor.spawn_thread(future)
    }

    fn pass(&self, store: &Reference, time: Duration) {
        store.pass(time);
    }
}
