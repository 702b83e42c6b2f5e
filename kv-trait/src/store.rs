//! The contract itself: what every store offers, whatever stands behind it.
//!
//! [`KVStore`] is small on purpose. Its five methods work on a map in memory, on one machine's disk and across a
//! network alike; what only some stores can do (batches, scans, snapshots) is in traits of its own
//! ([`capability`](crate::capability)), and `KVStore` tells which of them a store has.
//! The words *acknowledged*, *durable*, *visible*, *effect* and *cancel safe* are those of the crate documentation.

use crate::{
    Batches, Capability, Closing, Effect, Expiry, Keyspaces, RangeDeletes, Result, Scans,
    Snapshots, Transactions, Updates, Versions, Watches,
};
use async_trait::async_trait;
use std::sync::Arc;

/// A map from keys to values that outlives the process, shared by any number of tasks.
///
/// Every method takes `&self`. The trait is dyn-compatible: `Arc<dyn KVStore<K, V>>` is a store, and so are `&T`,
/// `Box<T>` and `Arc<T>` of one. An absent key is `Ok(None)`, never an error.
///
/// # Duties of an implementor
/// - **One order.** All writes form one sequence, that of their first polls, and each operation takes effect at one
///   point between its first poll and its answer. `set` and `delete` answer with the value that this order says was
///   there before: over the history of one key the prior values form a chain without gap or repeat.
/// - **Acknowledged implies durable**, **visible implies durable**: an answer, prior values and `None` included, never
///   depends on a write that a power cut could still take back. A store that is weaker says so in its name and in
///   its documentation.
/// - **Errors tell the effect.** [`Error::effect`](crate::Error::effect) is true whenever it says
///   [`Effect::Nothing`] or [`Effect::Applied`]; in doubt it is [`Effect::Unknown`]. Reads fail with
///   [`Effect::Nothing`].
/// - **Whole or not at all**: a write is never seen in part, neither by a reader nor after a crash.
/// - Every method is cancel safe, and none blocks the thread that polls it.
///
/// # Rights of a caller
/// - After an acknowledged write, every `get` that starts later sees it or a later write, on every task and thread,
///   also after a crash and reopen.
/// - Methods may be called concurrently without a lock of the caller's own; of two concurrent writes to one key the
///   one that was polled first comes first, and the prior values show which.
/// - A future may be dropped at any time: that harms neither the store nor other callers.
/// - After an error with effect *nothing* the call may be repeated. After *unknown* only a reopened store knows.
///
/// # Example
/// A store in memory: what a test may use in place of a real one. It promises no durability, and its name says so. The
/// rest of the contract it keeps: a key that no store takes it refuses, too.
///
/// ```
/// use kv_trait::{Key, KVStore, Result, key};
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
///
/// struct VolatileMap<K, V>(Mutex<BTreeMap<K, V>>);
///
/// impl<K: Key, V> VolatileMap<K, V> {
///     /// Refuses, as `TooLarge` or `Codec`, a key whose encoding is too long or does not exist.
///     fn holding(&self, key: &K) -> Result<MutexGuard<'_, BTreeMap<K, V>>> {
///         key::encode(key)?;
///         Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner))
///     }
/// }
///
/// #[async_trait::async_trait]
/// impl<K, V> KVStore<K, V> for VolatileMap<K, V>
/// where
///     K: Key + Clone,
///     V: Clone + Send + Sync + 'static,
/// {
///     async fn get(&self, key: &K) -> Result<Option<V>> {
///         Ok(self.holding(key)?.get(key).cloned())
///     }
///     async fn set(&self, key: &K, value: &V) -> Result<Option<V>> {
///         Ok(self.holding(key)?.insert(key.clone(), value.clone()))
///     }
///     async fn delete(&self, key: &K) -> Result<Option<V>> {
///         Ok(self.holding(key)?.remove(key))
///     }
/// }
///
/// async fn count_visit(store: Arc<dyn KVStore<String, u64>>) -> Result<Option<u64>> {
///     let page = "front".to_owned();
///     store.put(&page, &1).await?;
///     store.set(&page, &2).await
/// }
///
/// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
/// let store = Arc::new(VolatileMap(Mutex::default()));
/// let mut visit = pin!(count_visit(store.clone()));
/// # // Nothing in it waits, so one poll is enough.
/// # let poll = visit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
/// # let Poll::Ready(before) = poll else { panic!("a map in memory never waits") };
/// assert_eq!(before?, Some(1));
/// let too_long = "k".repeat(kv_trait::KEY_BYTES_MAX + 1);
/// # let mut read = pin!(store.get(&too_long));
/// # let Poll::Ready(read) = read.as_mut().poll(&mut Context::from_waker(Waker::noop())) else { panic!("never waits") };
/// // `store.get(&too_long).await` answers
/// assert_eq!(read.unwrap_err().kind(), kv_trait::ErrorKind::TooLarge);
/// # Ok::<(), kv_trait::Error>(())
/// ```
#[async_trait]
pub trait KVStore<K, V>: Send + Sync
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The value stored under `key`, or `None` if there is none.
    ///
    /// What it answers is durable.
    ///
    /// # Cancel safety
    /// Dropping it has no effect on the store.
    ///
    /// # Errors
    /// `Codec`: the key cannot be encoded, or the stored bytes are no `V`. `TooLarge`: the encoded key is longer
    /// than [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX). `Corrupt`, `Io`: the value cannot be read. `Closed`,
    /// `Unavailable`: there is nobody to answer.
    async fn get(&self, key: &K) -> Result<Option<V>>;

    /// Stores `value` under `key` and answers with the value it replaced, or `None` if there was none.
    ///
    /// Resolves once the write is durable and visible. [`KVStore::put`] does the same without asking for the prior
    /// value, which may spare a read.
    ///
    /// # Cancel safety
    /// Cancel safe, as the crate documentation defines it.
    ///
    /// # Errors
    /// As [`KVStore::get`], and with effect *nothing* also `StorageFull`, `Poisoned`, and `TooLarge` for a value
    /// longer than [`VALUE_BYTES_MAX`](crate::VALUE_BYTES_MAX). With effect *unknown*: `Io`, `StorageFull` (a sync may
    /// find no room, too), `Poisoned`, and `Locked` where somebody took the store away while it was written. With
    /// effect *applied* the write is durable and visible, but the prior value could not be produced.
    async fn set(&self, key: &K, value: &V) -> Result<Option<V>>;

    /// Removes `key` and answers with the value it had, or `None` if there was none.
    ///
    /// Resolves once the removal is durable and visible. Removing an absent key is no error.
    ///
    /// # Cancel safety
    /// Cancel safe, as the crate documentation defines it.
    ///
    /// # Errors
    /// As [`KVStore::set`].
    async fn delete(&self, key: &K) -> Result<Option<V>>;

    /// Stores `value` under `key` without asking what was there before.
    ///
    /// The same write as [`KVStore::set`]. Because nobody asks for the prior value, a prior value that cannot be
    /// produced (bytes that are no `V`, a damaged record) is no error here. An implementor who can spare the read
    /// overrides this.
    ///
    /// # Cancel safety
    /// Cancel safe, as the crate documentation defines it.
    ///
    /// # Errors
    /// As [`KVStore::set`], but never with effect *applied*.
    async fn put(&self, key: &K, value: &V) -> Result<()> {
        forget_prior(self.set(key, value).await)
    }

    /// Removes `key` without asking what was there before.
    ///
    /// Stands to [`KVStore::delete`] as [`KVStore::put`] stands to [`KVStore::set`].
    ///
    /// # Cancel safety
    /// Cancel safe, as the crate documentation defines it.
    ///
    /// # Errors
    /// As [`KVStore::delete`], but never with effect *applied*.
    async fn remove(&self, key: &K) -> Result<()> {
        forget_prior(self.delete(key).await)
    }

    /// Ends it on purpose, if this store has that.
    fn closing(&self) -> Option<&dyn Closing> {
        None
    }

    /// Several changes as one write, if this store has that.
    fn batches(&self) -> Option<&dyn Batches<K, V>> {
        None
    }

    /// Its keys in their order, if this store has that.
    fn scans(&self) -> Option<&dyn Scans<K, V>> {
        None
    }

    /// Removing many keys as one write, if this store has that.
    fn range_deletes(&self) -> Option<&dyn RangeDeletes> {
        None
    }

    /// Conditional writes, if this store has that.
    fn versions(&self) -> Option<&dyn Versions<K, V>> {
        None
    }

    /// Reading, deciding and writing as one step, if this store has that.
    fn updates(&self) -> Option<&dyn Updates<K, V>> {
        None
    }

    /// Many reads of one point, if this store has that.
    fn snapshots(&self) -> Option<&dyn Snapshots<K, V>> {
        None
    }

    /// Serializable transactions, if this store has that.
    fn transactions(&self) -> Option<&dyn Transactions<K, V>> {
        None
    }

    /// Values that go by themselves, if this store has that.
    fn expiry(&self) -> Option<&dyn Expiry<K, V>> {
        None
    }

    /// Following what is written, if this store has that.
    fn watches(&self) -> Option<&dyn Watches<K, V>> {
        None
    }

    /// Several maps in one store, if this store has that.
    fn keyspaces(&self) -> Option<&dyn Keyspaces<K, V>> {
        None
    }

    /// What this store can do beyond the methods above: those of the eleven that are not `None`.
    fn capabilities(&self) -> Vec<Capability> {
        use Capability as C;
        let all = [
            (C::Closing, self.closing().is_some()),
            (C::Batches, self.batches().is_some()),
            (C::Scans, self.scans().is_some()),
            (C::RangeDeletes, self.range_deletes().is_some()),
            (C::Versions, self.versions().is_some()),
            (C::Updates, self.updates().is_some()),
            (C::Snapshots, self.snapshots().is_some()),
            (C::Transactions, self.transactions().is_some()),
            (C::Expiry, self.expiry().is_some()),
            (C::Watches, self.watches().is_some()),
            (C::Keyspaces, self.keyspaces().is_some()),
        ];
        let there = all.into_iter().filter(|(_, there)| *there);
        there.map(|(capability, _)| capability).collect()
    }
}

/// Drops the prior value, and with it the error that says only that it could not be produced.
fn forget_prior<V>(outcome: Result<Option<V>>) -> Result<()> {
    match outcome {
        Err(error) if error.effect() != Effect::Applied => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// All methods are forwarded: a default here would undo an implementor's cheaper `put` and `remove`, and hide what it can do.
macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[async_trait]
        impl<K, V, T> KVStore<K, V> for $pointer
        where
            K: Send + Sync + 'static,
            V: Send + Sync + 'static,
            T: KVStore<K, V> + ?Sized,
        {
            async fn get(&self, key: &K) -> Result<Option<V>> {
                (**self).get(key).await
            }

            async fn set(&self, key: &K, value: &V) -> Result<Option<V>> {
                (**self).set(key, value).await
            }

            async fn delete(&self, key: &K) -> Result<Option<V>> {
                (**self).delete(key).await
            }

            async fn put(&self, key: &K, value: &V) -> Result<()> {
                (**self).put(key, value).await
            }

            async fn remove(&self, key: &K) -> Result<()> {
                (**self).remove(key).await
            }

            fn closing(&self) -> Option<&dyn Closing> {
                (**self).closing()
            }

            fn batches(&self) -> Option<&dyn Batches<K, V>> {
                (**self).batches()
            }

            fn scans(&self) -> Option<&dyn Scans<K, V>> {
                (**self).scans()
            }

            fn range_deletes(&self) -> Option<&dyn RangeDeletes> {
                (**self).range_deletes()
            }

            fn versions(&self) -> Option<&dyn Versions<K, V>> {
                (**self).versions()
            }

            fn updates(&self) -> Option<&dyn Updates<K, V>> {
                (**self).updates()
            }

            fn snapshots(&self) -> Option<&dyn Snapshots<K, V>> {
                (**self).snapshots()
            }

            fn transactions(&self) -> Option<&dyn Transactions<K, V>> {
                (**self).transactions()
            }

            fn expiry(&self) -> Option<&dyn Expiry<K, V>> {
                (**self).expiry()
            }

            fn watches(&self) -> Option<&dyn Watches<K, V>> {
                (**self).watches()
            }

            fn keyspaces(&self) -> Option<&dyn Keyspaces<K, V>> {
                (**self).keyspaces()
            }

            fn capabilities(&self) -> Vec<Capability> {
                (**self).capabilities()
            }
        }
    )+};
}

forward!(&T, Box<T>, Arc<T>);
