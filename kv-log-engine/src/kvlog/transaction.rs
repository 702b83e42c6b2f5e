//! Typed transactions, and the loop that tries again.

use super::piece::Source;
use super::records::Records;
use super::scan::prefix_bounds;
use super::{KVLog, proceed_on, read_versioned_on, version_of};
use crate::engine::Engine;
use crate::scan::{End, Record};
use crate::transaction::{Seen, Transaction, TransactionScan};
use crate::turns::Turn;
use kv_trait::codec::encode_checked;
use kv_trait::key::{self, EncodedBounds, Key, KeyBounds, KeyOf, PrefixOf};
use kv_trait::{Codec, Error, ErrorKind, Postcard, Result, Runtime, Version};
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

/// [`KVLog::transaction`] tries so often.
pub(crate) const ATTEMPTS_MAX: u32 = 64;
/// And so often before it takes turns with others that have lost as often.
const ATTEMPTS_AT_ONCE: u32 = 4;

/// Reads and writes that happen at one point of the order of writes, or not at all. Made by [`KVLog::begin`], or handed to the
/// closure of [`KVLog::transaction`].
///
/// Serializable, optimistic, without locks: see [`Transaction`], whose limits it has. It may live across awaits, and for as long
/// as its snapshot may be kept. Clones are handles to the same transaction; [`KVTransaction::of`] is one for another keyspace.
///
/// ```
/// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
/// # my::with_store(async |store| {
/// store.put("ann", &10).await?;
/// let transfer = store.begin()?;
/// let ann = transfer.get("ann").await?.unwrap_or_default();
/// transfer.put("ann", &(ann - 3))?;
/// transfer.put("bob", &3)?;
/// assert_eq!(transfer.range(..).count().await?, 2); // it sees what it wrote
/// assert_eq!(store.get("bob").await?, None); // nobody else does yet
/// transfer.commit().await?;
/// assert_eq!(store.get("bob").await?, Some(3));
/// # Ok(()) });
/// ```
///
/// # Drop
/// Dropped with its last clone before [`KVTransaction::commit`] is polled, nothing has happened.
pub struct KVTransaction<K, V, R, C = Postcard> {
    transaction: Transaction,
    store: KVLog<K, V, R, C>,
}

impl<K, V, R: Clone, C> Clone for KVTransaction<K, V, R, C> {
    fn clone(&self) -> Self {
        Self {
            transaction: self.transaction.clone(),
            store: self.store.clone(),
        }
    }
}

impl<K, V, R: fmt::Debug, C> fmt::Debug for KVTransaction<K, V, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KVTransaction")
            .field("at", &self.transaction.at())
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl Source for TransactionScan {
    fn record(&mut self, end: End, reads_value: bool) -> Option<Result<Record>> {
        let version = self.at();
        let found = self.step(end, reads_value)?;
        Some(found.map(|(key, value)| Record {
            key,
            value,
            version,
        }))
    }
}

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// Begins a transaction on what there is now. Costs next to nothing, and does not block.
    ///
    /// # Errors
    /// `Closed`; `InvalidInput`: this keyspace was dropped.
    pub fn begin(&self) -> Result<KVTransaction<K, V, R, C>> {
        Ok(KVTransaction {
            transaction: self.handle().begin()?,
            store: self.clone(),
        })
    }

    /// Runs `work` in a transaction, commits it, and resolves with what `work` says. Where somebody else changed what it has
    /// read, all of it is done again, on what is there by then: up to 64 times, from the fifth on one at a time with others that
    /// have lost as often, so that whoever reads and writes what many want comes to it. If `work` fails, nothing is written.
    ///
    /// `work` may run several times, and what it does beside the transaction it does each time. Nobody waits while it does: a
    /// turn is given up as soon as `work` waits for anything.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// store.put("ann", &10).await?;
    /// let left = store
    ///     .transaction(async |tx| {
    ///         let ann = tx.get("ann").await?.unwrap_or_default();
    ///         let bob = tx.get("bob").await?.unwrap_or_default();
    ///         tx.put("ann", &(ann - 3))?;
    ///         tx.put("bob", &(bob + 3))?;
    ///         Ok(ann - 3)
    ///     })
    ///     .await?;
    /// assert_eq!(left, 7);
    /// # Ok(()) });
    /// ```
    ///
    /// # Cancel safety
    /// Dropped while `work` runs, or before its batch has a place in the order: nothing happened. Dropped later: it commits or
    /// is refused whole, as if awaited.
    ///
    /// # Errors
    /// What `work` says. `Conflict`, `TooOld`: the last attempt was refused as those before; effect *nothing*. Otherwise as for
    /// [`KVTransaction::commit`].
    #[expect(
        clippy::future_not_send,
        reason = "it is Send where the future of the work is"
    )]
    pub async fn transaction<T>(
        &self,
        work: impl AsyncFn(KVTransaction<K, V, R, C>) -> Result<T>,
    ) -> Result<T> {
        let mut place = None;
        let mut attempt = 1;
        loop {
            let mut turn = None;
            if attempt > ATTEMPTS_AT_ONCE {
                let turns = &self.handle().handle().turns;
                let place = &*place.get_or_insert_with(|| turns.take_place());
                turn = Some(poll_fn(|cx| place.poll_turn(cx)).await);
            }
            let outcome = self.attempt(&work, turn).await;
            match outcome {
                Err(error) if is_again(&error) && attempt < ATTEMPTS_MAX => attempt += 1,
                outcome => return outcome?,
            }
        }
    }

    /// `Err`: it may be tried again, if that is what the error is about; otherwise what the work says.
    #[expect(
        clippy::future_not_send,
        reason = "it is Send where the future of the work is"
    )]
    async fn attempt<T>(
        &self,
        work: &impl AsyncFn(KVTransaction<K, V, R, C>) -> Result<T>,
        mut turn: Option<Turn>,
    ) -> Result<Result<T>> {
        let handle = self.begin()?;
        let transaction = handle.transaction.clone();
        let mut working = pin!(work(handle));
        let done = poll_fn(|cx| {
            let polled = working.as_mut().poll(cx);
            if polled.is_pending() {
                turn = None;
            }
            polled
        })
        .await;
        let value = match done {
            Ok(value) => value,
            // It was ended while it was read: that has nothing to do with the work.
            Err(error) if error.kind() == ErrorKind::TooOld => return Err(error),
            Err(error) => return Ok(Err(error)),
        };
        self.commit_transaction(transaction, turn).await?;
        Ok(Ok(value))
    }

    async fn commit_transaction(
        &self,
        transaction: Transaction,
        turn: Option<Turn>,
    ) -> Result<Option<Version>> {
        self.runtime.pool()?;
        let (_, batch) = transaction.into_batch()?;
        let Some(mut batch) = batch else {
            return Ok(None);
        };
        batch.turn = turn.map(Arc::new);
        let committed = self.write(batch).await?;
        Ok(Some(version_of(committed.last_seqno)))
    }
}

/// Whether an attempt was refused for what others have done.
fn is_again(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::TooOld)
}

impl<K, V, R, C> KVTransaction<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// The same transaction in the keyspace of this handle.
    ///
    /// # Errors
    /// As for [`Transaction::of`].
    pub fn of<K2, V2, R2: Clone, C2>(
        &self,
        keyspace: &KVLog<K2, V2, R2, C2>,
    ) -> Result<KVTransaction<K2, V2, R2, C2>> {
        Ok(KVTransaction {
            transaction: self.transaction.of(keyspace.handle())?,
            store: keyspace.clone(),
        })
    }

    /// The value of `key`: what this transaction has written, else what was there when it began.
    ///
    /// # Cancel safety
    /// Dropping it has no effect; the key may count as read.
    ///
    /// # Errors
    /// As for [`KVLog::get`]; `TooLarge`: it has read too much; `TooOld`: its snapshot was ended; `InvalidInput`: it has ended.
    pub async fn get<Q>(&self, key: &Q) -> Result<Option<V>>
    where
        Q: KeyOf<K> + Sync + ?Sized,
    {
        let runtime = &self.store.runtime;
        runtime.pool()?;
        proceed_on(runtime).await;
        let key = key::encode_borrowed::<K, Q>(key)?;
        match self.transaction.see(&key)? {
            Seen::Own(value) => value.map(|value| C::decode(&value)).transpose(),
            Seen::Below(found) => {
                let read = read_versioned_on::<V, C>(runtime, found).await;
                let found = self.transaction.settle(read)?;
                let version = found.as_ref().map(|found| found.version.to_u64().into());
                self.transaction.has_read(&key, version)?;
                Ok(found.map(|found| found.value))
            }
        }
    }

    /// The records of a range of keys, with what the transaction has written: see [`KVLog::range`]. What is read of it, a piece
    /// that a stream has read ahead too, counts as read, with the keys that are absent there. The version of each record is the
    /// point at which the transaction began.
    pub fn range(&self, range: impl KeyBounds<K>) -> Records<K, V, R, C> {
        self.records(range.encode_bounds())
    }

    /// The records whose keys begin with `prefix`, likewise: see [`KVLog::prefix`].
    pub fn prefix<P>(&self, prefix: &P) -> Records<K, V, R, C>
    where
        P: PrefixOf<K> + ?Sized,
    {
        self.records(prefix_bounds::<K, P>(prefix))
    }

    fn records(&self, bounds: Result<EncodedBounds>) -> Records<K, V, R, C> {
        let transaction = self.transaction.clone();
        let runtime = self.store.runtime.clone();
        Records::new(runtime, bounds, move |(lower, upper)| {
            let lower = lower.as_ref().map(Vec::as_slice);
            let upper = upper.as_ref().map(Vec::as_slice);
            Ok(Box::new(transaction.scan((lower, upper))?))
        })
    }

    /// Stores `value` under `key`, for this transaction now and for others once it has committed. Encodes it here.
    ///
    /// # Errors
    /// `TooLarge`, `Codec`: the transaction is as it was. `InvalidInput`: it has ended.
    pub fn put<Q>(&self, key: &Q, value: &V) -> Result<()>
    where
        Q: KeyOf<K> + ?Sized,
    {
        let key = key::encode_borrowed::<K, Q>(key)?;
        let mut encoded = Vec::new();
        encode_checked::<V, C>(value, self.store.probed, &mut encoded)?;
        self.transaction.put_owned(&key, encoded)
    }

    /// Removes `key`, likewise.
    ///
    /// # Errors
    /// As for [`KVTransaction::put`].
    pub fn remove<Q>(&self, key: &Q) -> Result<()>
    where
        Q: KeyOf<K> + ?Sized,
    {
        let key = key::encode_borrowed::<K, Q>(key)?;
        self.transaction.delete(&key)
    }

    /// Writes all that was written here, if all that was read is still so. Resolves once it is durable and visible, with the
    /// version of its last write; `None`: it wrote nothing, and was not judged.
    ///
    /// # Cancel safety
    /// Dropped before its first poll, or while it waits in line for room: nothing happened. Dropped later: it commits or is
    /// refused whole, as if awaited.
    ///
    /// # Errors
    /// `Conflict`: a key or a range that was read has changed; the message names a key. `TooOld`: that cannot be told any more.
    /// Both have effect *nothing*: begin again. `InvalidInput`: it has ended before, or a keyspace was dropped. Otherwise as
    /// for [`KVLog::put`].
    pub async fn commit(self) -> Result<Option<Version>> {
        let Self { transaction, store } = self;
        store.commit_transaction(transaction, None).await
    }

    /// The store that it is a transaction of, on bytes.
    #[must_use]
    pub const fn engine(&self) -> &Engine {
        self.store.handle()
    }
}
