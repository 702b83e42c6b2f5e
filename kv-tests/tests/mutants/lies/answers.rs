//! What a store says was there, and is there.

use crate::lying_store::{Answer, Lie, lie};
use kv_tests::executor::Executor;
use kv_tests::fixture::{Key, Value};
use kv_tests::kvlog::Store;
use kv_trait::{Error, ErrorKind};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `set` never tells what was there.
pub(crate) struct PriorIsNone;

impl Lie for PriorIsNone {
    type State = ();

    fn set<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move { inner.put(key, value).await.map(|()| None) })
    }
}

/// `set` reads first and writes then: two writers are told the same prior value.
pub(crate) struct PriorIsReadBefore;

impl Lie for PriorIsReadBefore {
    type State = ();

    fn set<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move {
            let prior = inner.get(key).await?;
            inner.put(key, value).await.map(|()| prior)
        })
    }
}

/// `set` tells what is there now.
pub(crate) struct PriorIsTheNewValue;

impl Lie for PriorIsTheNewValue {
    type State = ();

    fn set<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move {
            inner.put(key, value).await?;
            inner.get(key).await
        })
    }
}

/// What a handle has read once it goes on telling.
pub(crate) struct StaleRead;

/// A clone of a handle begins with a cache of its own.
#[derive(Default)]
pub(crate) struct Cache(Mutex<BTreeMap<Key, Value>>);

impl Clone for Cache {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Lie for StaleRead {
    type State = Cache;

    fn get<'a, E: Executor>(
        inner: &'a Store<E>,
        cache: &'a Cache,
        key: &'a Key,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move {
            let lock = || cache.0.lock().unwrap_or_else(PoisonError::into_inner);
            let known = lock().get(key).cloned();
            if known.is_some() {
                return Ok(known);
            }
            let found = inner.get(key).await?;
            if let Some(value) = &found {
                lock().insert(key.clone(), value.clone());
            }
            Ok(found)
        })
    }
}

/// `delete` leaves something behind.
pub(crate) struct DeleteOverwrites;

impl Lie for DeleteOverwrites {
    type State = ();

    fn delete<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move { inner.set(key, &b"deleted".to_vec()).await })
    }
}

type Shared<T> = Arc<Mutex<T>>;

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

lie! {
    /// `delete` never tells what was there.
    DeleteTellsNothing(()) {
        delete(inner, (), key) -> Option<Value> { inner.remove(key).await.map(|()| None) }
    }

    /// The prior value is what this handle wrote last.
    PriorIsFromTheOwnCache(Cache) {
        set(inner, cache, key, value) -> Option<Value> {
            let known = lock(&cache.0).insert(key.clone(), value.clone());
            let prior = inner.set(key, value).await?;
            Ok(known.or(prior))
        }
    }

    /// What is there already is not written, and nothing is told of it.
    EqualValueIsSkipped(()) {
        set(inner, (), key, value) -> Option<Value> {
            if inner.get(key).await?.as_ref() == Some(value) {
                return Ok(None);
            }
            inner.set(key, value).await
        }
    }

    /// There must be something to remove.
    RemoveOfNothingIsAnError(()) {
        remove(inner, (), key) -> () {
            match inner.delete(key).await? {
                Some(_) => Ok(()),
                None => Err(Error::new(ErrorKind::NotFound, "a lie")),
            }
        }
    }

    /// The first read after a write shows what was there before it.
    ReadsLagBehind(Shared<BTreeMap<Key, Option<Value>>>) {
        get(inner, old, key) -> Option<Value> {
            let lagging = lock(old).remove(key);
            match lagging {
                Some(old) => Ok(old),
                None => inner.get(key).await,
            }
        }
        put(inner, old, key, value) -> () {
            let before = inner.get(key).await?;
            inner.put(key, value).await?;
            lock(old).insert(key.clone(), before);
            Ok(())
        }
    }

    /// What was read once is told when the store is closed, too.
    AClosedStoreAnswers(Cache) {
        get(inner, cache, key) -> Option<Value> {
            let told = inner.get(key).await;
            match &told {
                Ok(Some(value)) => drop(lock(&cache.0).insert(key.clone(), value.clone())),
                Err(error) if error.kind() == ErrorKind::Closed => {
                    return Ok(lock(&cache.0).get(key).cloned());
                }
                _ => {}
            }
            told
        }
    }

    /// A clone is another store.
    ACloneIsACopy(Cache) {
        get(inner, own, key) -> Option<Value> {
            let known = lock(&own.0).get(key).cloned();
            match known {
                Some(value) => Ok(Some(value)),
                None => inner.get(key).await,
            }
        }
        put(_inner, own, key, value) -> () {
            lock(&own.0).insert(key.clone(), value.clone());
            Ok(())
        }
    }

    /// Versions of a key are counted in a byte: the one that comes to zero is lost.
    The256thWriteOfAKeyIsLost(Shared<BTreeMap<Key, u8>>) {
        set(inner, versions, key, value) -> Option<Value> {
            let version = {
                let mut versions = lock(versions);
                let version = versions.entry(key.clone()).or_default();
                *version = version.wrapping_add(1);
                *version
            };
            if version == 0 {
                return inner.get(key).await;
            }
            inner.set(key, value).await
        }
    }
}
