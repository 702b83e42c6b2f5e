//! Shorthand of the properties.

use crate::any::{AnyFixture, AnyStore, Place};
use crate::executor::yield_now;
use crate::fixture::{Key, SyncGate, Value};
use kv_trait::{KVStore, Result};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

pub(crate) fn key(text: &str) -> Key {
    Key::from(text.as_bytes().to_vec())
}

/// A value that is its number, and tells it in any context.
pub(crate) fn value(number: u64) -> Value {
    number.to_string().into_bytes()
}

pub(crate) fn number(value: &Value) -> u64 {
    let text = String::from_utf8(value.clone()).expect("a value that this suite wrote");
    text.parse().expect("a value that this suite wrote")
}

pub(crate) fn opened(outcome: Result<AnyStore>) -> AnyStore {
    match outcome {
        Ok(store) => store,
        Err(error) => panic!("the store does not open: {error:?}"),
    }
}

/// Runs a property's body on a fresh store.
pub(crate) fn with_store<T>(
    place: &Place,
    body: impl AsyncFnOnce(&AnyFixture, AnyStore) -> T,
) -> T {
    let fixture = place.create();
    fixture.block_on(async {
        let store = opened(fixture.open().await);
        body(&fixture, store).await
    })
}

pub(crate) async fn get(store: &impl KVStore<Key, Value>, name: &str) -> Option<Value> {
    match store.get(&key(name)).await {
        Ok(found) => found,
        Err(error) => panic!("cannot read {name:?}: {error:?}"),
    }
}

pub(crate) async fn put(store: &impl KVStore<Key, Value>, name: &str, number: u64) {
    if let Err(error) = store.put(&key(name), &value(number)).await {
        panic!("cannot write {name:?}: {error:?}");
    }
}

/// A write under way, without its prior value.
pub(crate) type Write<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// The ways to write one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Writing {
    Set,
    Put,
    Delete,
    Remove,
}

/// All of them: what must hold of a write must hold of each, because a store may implement each by itself.
pub(crate) const WRITES: [Writing; 4] =
    [Writing::Set, Writing::Put, Writing::Delete, Writing::Remove];

impl Writing {
    pub(crate) fn start<'a>(
        self,
        store: &'a AnyStore,
        key: &'a Key,
        value: &'a Value,
    ) -> Write<'a> {
        match self {
            Self::Set => Box::pin(async { store.set(key, value).await.map(drop) }),
            Self::Put => store.put(key, value),
            Self::Delete => Box::pin(async { store.delete(key).await.map(drop) }),
            Self::Remove => store.remove(key),
        }
    }

    /// What the key holds after a write of `value`.
    pub(crate) fn leaves(self, value: &Value) -> Option<Value> {
        matches!(self, Self::Set | Self::Put).then(|| value.clone())
    }

    /// Whether it answers with the prior value.
    pub(crate) const fn tells_prior(self) -> bool {
        matches!(self, Self::Set | Self::Delete)
    }
}

/// Polls once; the waker wakes nobody.
pub(crate) fn poll_once<T>(future: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>) -> Poll<T> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// The order in which values followed each other, from the prior value that each write was told.
///
/// # Panics
/// If the prior values are no chain: one told twice, one missing, a gap.
pub(crate) fn chain(writes: &[(u64, Option<u64>)], last: Option<u64>) -> Vec<u64> {
    let mut after: BTreeMap<Option<u64>, u64> = BTreeMap::new();
    for (written, prior) in writes {
        if let Some(other) = after.insert(*prior, *written) {
            panic!("the prior value {prior:?} was told to two writes, {other} and {written}");
        }
    }
    let mut order = Vec::new();
    let mut at = None;
    while let Some(next) = after.remove(&at) {
        order.push(next);
        at = Some(next);
    }
    assert!(
        after.is_empty(),
        "prior values with a gap: {after:?} follow nothing that follows the first write"
    );
    assert_eq!(
        order.last().copied(),
        last,
        "the last write is what is there"
    );
    order
}

/// Polls a future, which must not be ready, until a sync is held. It must go on being polled: the lead may be handed
/// back to it.
pub(crate) async fn poll_until_held<T>(
    future: &mut Pin<Box<dyn Future<Output = T> + Send + '_>>,
    gate: &dyn SyncGate,
) {
    while gate.held() == 0 {
        assert!(poll_once(future).is_pending(), "an answer before the sync");
        yield_now().await;
    }
}
