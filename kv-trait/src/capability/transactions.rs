//! Reads and writes that happen at one point of the order, or not at all.

use super::Query;
use crate::{Result, Version};
use async_trait::async_trait;

/// A store with optimistic, serializable transactions.
///
/// Those that commit are equal to the same transactions one after the other, in the order of their commits; and one
/// that begins behind another's answer comes behind it.
#[async_trait]
pub trait Transactions<K, V>: Send + Sync
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Begins a transaction on the state at one point between the first poll and the answer.
    ///
    /// It holds no lock: others write meanwhile, and it may live for as long as its state may be kept.
    ///
    /// # Errors
    /// Those of any read.
    async fn begin(&self) -> Result<Box<dyn Transaction<K, V>>>;
}

/// A transaction under way. Dropping it ends it: nothing happened.
#[async_trait]
pub trait Transaction<K, V>: Send
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The value of `key`: what this transaction wrote, else what the state that it began with holds.
    ///
    /// # Errors
    /// `TooOld`: that state is not kept any more; begin again.
    async fn get(&mut self, key: &K) -> Result<Option<V>>;

    /// The keys and values of a query, with this transaction's own writes. All that was walked over counts as read, the
    /// keys that are absent there included.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    async fn scan(&mut self, query: &Query) -> Result<Vec<(K, V)>>;

    /// Stores a value, for this transaction now and for others once it has committed.
    ///
    /// # Errors
    /// `TooLarge`, `Codec`: the transaction is as it was.
    fn put(&mut self, key: &K, value: &V) -> Result<()>;

    /// Removes a key, likewise.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    fn delete(&mut self, key: &K) -> Result<()>;

    /// Makes the writes durable and visible as one, if all that was read is still so. Answers with the version of the
    /// last write where the store has versions; `None` where nothing was written, which cannot conflict.
    ///
    /// # Cancel safety
    /// Cancel safe: dropped before its first poll it has done nothing, later it commits or is refused as if awaited.
    ///
    /// # Errors
    /// `Conflict`, effect *nothing*: a key or a range that was read has changed; the message names one. Begin again.
    /// `TooLarge`, effect *nothing*: it wrote more than the store takes as one.
    async fn commit(self: Box<Self>) -> Result<Option<Version>>;
}
