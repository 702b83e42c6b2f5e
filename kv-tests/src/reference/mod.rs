//! A store in memory that has every capability: what to compare with, and what the suite is tested with.
//!
//! It keeps every version of every key for ever, behind one lock, so that each promise is a line or two. It is not durable,
//! and its clock is its own ([`Reference::pass`]). [`Reference::lying`] breaks one promise: whatever property is about
//! that promise must notice.

mod fixture;
mod lie;
mod reads;
mod spaces;
mod state;
mod transaction;
mod watching;
mod writes;

pub use fixture::{InMemory, Says, Truth};
pub use lie::Lie;

use crate::executor::yield_now;
use crate::fixture::{Key, Value};
use kv_trait::{
    Batches, Closing, Error, ErrorKind, Expiry, KEY_BYTES_MAX, KVStore, Keyspaces, RangeDeletes,
    Result, Scans, Snapshots, Transactions, Updates, Versions, Watches, async_trait,
};
use state::{Put, State};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A handle of a keyspace of the store. Clones share it.
#[derive(Clone)]
pub struct Reference {
    shared: Arc<Shared>,
    keyspace: u32,
}

struct Shared {
    state: Mutex<State>,
    lie: Option<Lie>,
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reference")
            .field("keyspace", &self.keyspace)
            .field("lie", &self.shared.lie)
            .finish_non_exhaustive()
    }
}

impl Default for Reference {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Reference {
    /// An empty store; with a lie it breaks the promise that the lie is about.
    #[must_use]
    pub fn new(lie: Option<Lie>) -> Self {
        let state = Mutex::default();
        Self {
            shared: Arc::new(Shared { state, lie }),
            keyspace: 0,
        }
    }

    /// An empty store that breaks this promise.
    #[must_use]
    pub fn lying(lie: Lie) -> Self {
        Self::new(Some(lie))
    }

    /// Lets so much time pass for it.
    pub fn pass(&self, time: Duration) {
        self.lock().now += time;
    }

    fn lies(&self, lie: Lie) -> bool {
        self.shared.lie == Some(lie)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = &self.shared.state;
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, if this handle can be used.
    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        state.batch += 1;
        if state.closed {
            return Err(Error::new(ErrorKind::Closed, "the store is closed"));
        }
        if state.dropped.contains(&self.keyspace) && !self.lies(Lie::ADroppedKeyspaceAnswers) {
            return Err(Error::new(ErrorKind::NotFound, "the keyspace was dropped"));
        }
        Ok(state)
    }

    /// The same, for one key.
    fn holding(&self, key: &Key) -> Result<MutexGuard<'_, State>> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::new(ErrorKind::TooLarge, "the key is too long"));
        }
        self.open()
    }

    /// Writes one value, and answers with what was there.
    fn put_one(&self, key: &Key, put: Put) -> Result<Option<Value>> {
        let mut state = self.holding(key)?;
        let view = state.view();
        let mut prior = state.value(self.keyspace, key, view);
        if self.lies(Lie::ExpiredIsPrior) {
            prior = state.even_expired(self.keyspace, key, view);
        }
        let mut put = put;
        if self.lies(Lie::TtlStays) {
            put.expires = state
                .live(self.keyspace, key, view)
                .and_then(|(_, put)| put.expires);
        }
        state.write(self.keyspace, key, put);
        Ok(prior)
    }
}

#[async_trait]
impl KVStore<Key, Value> for Reference {
    async fn get(&self, key: &Key) -> Result<Option<Value>> {
        yield_now().await;
        let state = self.holding(key)?;
        Ok(state.value(self.keyspace, key, state.view()))
    }

    async fn set(&self, key: &Key, value: &Value) -> Result<Option<Value>> {
        self.put_one(key, Put::value(value))
    }

    async fn delete(&self, key: &Key) -> Result<Option<Value>> {
        self.put_one(key, Put::NOTHING)
    }

    fn closing(&self) -> Option<&dyn Closing> {
        Some(self)
    }

    fn batches(&self) -> Option<&dyn Batches<Key, Value>> {
        Some(self)
    }

    fn scans(&self) -> Option<&dyn Scans<Key, Value>> {
        Some(self)
    }

    fn range_deletes(&self) -> Option<&dyn RangeDeletes> {
        Some(self)
    }

    fn versions(&self) -> Option<&dyn Versions<Key, Value>> {
        Some(self)
    }

    fn updates(&self) -> Option<&dyn Updates<Key, Value>> {
        Some(self)
    }

    fn snapshots(&self) -> Option<&dyn Snapshots<Key, Value>> {
        Some(self)
    }

    fn transactions(&self) -> Option<&dyn Transactions<Key, Value>> {
        Some(self)
    }

    fn expiry(&self) -> Option<&dyn Expiry<Key, Value>> {
        Some(self)
    }

    fn watches(&self) -> Option<&dyn Watches<Key, Value>> {
        Some(self)
    }

    fn keyspaces(&self) -> Option<&dyn Keyspaces<Key, Value>> {
        Some(self)
    }
}

#[async_trait]
impl Closing for Reference {
    async fn close(&self) -> Result<()> {
        let mut state = self.lock();
        if !self.lies(Lie::CloseDoesNothing) {
            state.closed = true;
        }
        state.wake();
        Ok(())
    }
}
