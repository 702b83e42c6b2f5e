//! Reading a value, deciding and writing as one step.

use super::{KVLog, resumed};
use crate::combine::{Runner, Waiting};
use kv_trait::key::{self, Key, KeyOf};
use kv_trait::{Codec, Error, ErrorKind, Result, Runtime};
use std::future::poll_fn;
use std::task::Poll;

impl<K, V, R, C> KVLog<K, V, R, C>
where
    K: Key,
    V: Send + Sync + 'static,
    R: Runtime,
    C: Codec<V>,
{
    /// Replaces the value of `key` by what `update` makes of it: no write comes between the value that it was last given and
    /// the one that it answered. It is given `None` where the key is absent, and removes it, or leaves it absent, by `None`.
    /// Resolves with what the key holds then, once that is durable and visible.
    ///
    /// ```
    /// # mod my { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/runtime.rs")); }
    /// # my::with_store(async |store| {
    /// let visits = store.update("visits", |visits| Some(visits.unwrap_or(0) + 1)).await?;
    /// assert_eq!(visits, Some(1));
    /// let none = store.update("visits", |visits| visits.filter(|visits| *visits > 1)).await?;
    /// assert_eq!((none, store.get("visits").await?), (None, None));
    /// # Ok(()) });
    /// ```
    ///
    /// Many at once are cheap: those for one key that wait at the same time run one after the other and are one write, so that a
    /// thousand tasks that raise a counter share their syncs. They run in the order of first polls, on a blocking thread of the
    /// runtime, outside any lock of the store: one that takes long holds up other updates, and nobody else. It may run again,
    /// on another value, if somebody wrote in between or a closure beside it panicked; what counts is its last answer. A value
    /// that comes back as it was, to the byte, is not written. A value that [expires](KVLog::put_with_ttl) keeps its moment.
    ///
    /// # Cancel safety
    /// Dropped before its first poll: nothing happened. Dropped later: the closure may or may not have run, and what it
    /// answered is written whole or not at all.
    ///
    /// # Panics
    /// With the panic of `update`: nothing was written then, and nobody else notices.
    ///
    /// # Errors
    /// `Conflict`, effect *nothing*: others wrote the key in between, a hundred times in a row. Otherwise as for
    /// [`KVLog::set`].
    pub async fn update<Q, F>(&self, key: &Q, update: F) -> Result<Option<V>>
    where
        Q: KeyOf<K> + Sync + ?Sized,
        F: FnMut(Option<V>) -> Option<V> + Send + 'static,
    {
        self.runtime.pool()?;
        let key = key::encode_borrowed::<K, Q>(key)?;
        let waiting = Waiting::enter(&self.updates, key, Box::new(update));
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = waiting.poll(cx) {
                return Poll::Ready(outcome);
            }
            match self.find_runner(&waiting) {
                Err(error) if waiting.withdraw() => Poll::Ready(Err(error)),
                // Without a thread: somebody has taken it already.
                Err(_) | Ok(()) => Poll::Pending,
            }
        })
        .await;
        Ok(resumed(outcome?))
    }

    /// Hands a runner to this runtime, unless there is one for this key or the pool holds one already.
    ///
    /// # Errors
    /// `Unavailable`: one is needed, and this runtime has no thread, or drops what it is handed.
    fn find_runner(&self, waiting: &Waiting<V>) -> Result<()> {
        if !waiting.needs_runner() {
            return Ok(());
        }
        if waiting.was_dropped() {
            return Err(dropped());
        }
        let pool = self.runtime.pool()?;
        if !waiting.hand_to(pool) {
            return Ok(());
        }
        let engine = self.handle().clone();
        let runner = Runner::<V, C>::new(waiting, pool, engine, self.probed);
        let handed = self.runtime.spawn_blocking(Box::new(move || runner.run()));
        if waiting.was_dropped() {
            handed?;
            return Err(dropped());
        }
        handed
    }
}

fn dropped() -> Error {
    let message = "the runtime shut down before the update began";
    Error::new(ErrorKind::Unavailable, message)
}
