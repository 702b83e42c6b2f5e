//! Reading, deciding and writing as one step.

use crate::Result;
use async_trait::async_trait;

/// What makes of the value of a key, or its absence, the one that follows: `None` removes the key, or leaves it absent.
///
/// It may run again, with another value, if somebody wrote in between; it is not to have effects of its own that count.
pub type Update<V> = Box<dyn FnMut(Option<V>) -> Option<V> + Send>;

/// A store that changes a value where it is, in the order of writes.
#[async_trait]
pub trait Updates<K, V>: Send + Sync
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Replaces the value of `key` by what `update` makes of it, atomically: no write comes between the value that it
    /// was given last and the one that it answered. No lock of the store is held while it runs. Answers with what `key`
    /// holds now.
    ///
    /// A panic of `update` reaches whoever awaits this; nothing is written then.
    ///
    /// # Errors
    /// `Conflict`, effect *nothing*: others came before too often.
    async fn update(&self, key: &K, update: Update<V>) -> Result<Option<V>>;
}
