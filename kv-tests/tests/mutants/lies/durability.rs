//! Writes that are acknowledged and not durable.

use crate::lying_store::{Answer, Lie, lie, lie_beside};
use kv_tests::executor::Executor;
use kv_tests::fixture::{Key, Value};
use kv_tests::kvlog::Store;
use kv_trait::Result;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// `put` begins a write and answers.
pub(crate) struct AcknowledgedBeforeItIsWritten;

impl Lie for AcknowledgedBeforeItIsWritten {
    type State = ();

    fn put<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut write = Box::pin(inner.put(key, value));
            std::future::poll_fn(|cx| {
                drop(write.as_mut().poll(cx));
                std::task::Poll::Ready(())
            })
            .await;
            Ok(())
        })
    }
}

/// Every two thousandth write stays in memory: for good, or until the next one.
pub(crate) struct Every2000th<const UNTIL_THE_NEXT: bool>;

pub(crate) type Every2000thIsLost = Every2000th<false>;
pub(crate) type Every2000thIsLate = Every2000th<true>;

#[derive(Default)]
pub(crate) struct Memory {
    writes: u64,
    kept: BTreeMap<Key, Option<Value>>,
}

type Shared<T> = Arc<Mutex<T>>;

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn really<E: Executor>(
    inner: &Store<E>,
    key: &Key,
    value: Option<&Value>,
) -> Result<Option<Value>> {
    match value {
        Some(value) => inner.set(key, value).await,
        None => inner.delete(key).await,
    }
}

impl<const UNTIL_THE_NEXT: bool> Every2000th<UNTIL_THE_NEXT> {
    async fn write<E: Executor>(
        inner: &Store<E>,
        memory: &Mutex<Memory>,
        key: &Key,
        value: Option<&Value>,
    ) -> Result<Option<Value>> {
        if UNTIL_THE_NEXT {
            let late = std::mem::take(&mut lock(memory).kept);
            for (key, value) in late {
                really::<E>(inner, &key, value.as_ref()).await?;
            }
        }
        let (kept, is_kept) = {
            let mut memory = lock(memory);
            memory.writes += 1;
            (memory.kept.remove(key), memory.writes.is_multiple_of(2_000))
        };
        let prior = if is_kept {
            let prior = inner.get(key).await?;
            lock(memory).kept.insert(key.clone(), value.cloned());
            prior
        } else {
            really::<E>(inner, key, value).await?
        };
        Ok(kept.unwrap_or(prior))
    }
}

impl<const UNTIL_THE_NEXT: bool> Lie for Every2000th<UNTIL_THE_NEXT> {
    type State = Shared<Memory>;

    fn get<'a, E: Executor>(
        inner: &'a Store<E>,
        memory: &'a Self::State,
        key: &'a Key,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move {
            let kept = lock(memory).kept.get(key).cloned();
            match kept {
                Some(kept) => Ok(kept),
                None => inner.get(key).await,
            }
        })
    }

    fn set<'a, E: Executor>(
        inner: &'a Store<E>,
        memory: &'a Self::State,
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(Self::write::<E>(inner, memory, key, Some(value)))
    }

    fn put<'a, E: Executor>(
        inner: &'a Store<E>,
        memory: &'a Self::State,
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            Self::write::<E>(inner, memory, key, Some(value))
                .await
                .map(drop)
        })
    }

    fn delete<'a, E: Executor>(
        inner: &'a Store<E>,
        memory: &'a Self::State,
        key: &'a Key,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(Self::write::<E>(inner, memory, key, None))
    }

    fn remove<'a, E: Executor>(
        inner: &'a Store<E>,
        memory: &'a Self::State,
        key: &'a Key,
    ) -> Answer<'a, ()> {
        Box::pin(async move { Self::write::<E>(inner, memory, key, None).await.map(drop) })
    }
}

lie! {
    /// A `set` is seen from its first poll on.
    SeenWhileItIsWritten(Shared<BTreeMap<Key, Value>>) {
        get(inner, written, key) -> Option<Value> {
            let early = lock(written).get(key).cloned();
            match early {
                Some(value) => Ok(Some(value)),
                None => inner.get(key).await,
            }
        }
        set(inner, written, key, value) -> Option<Value> {
            lock(written).insert(key.clone(), value.clone());
            let told = inner.set(key, value).await;
            lock(written).remove(key);
            told
        }
    }
}

lie_beside! {
    /// A process opens a place once.
    OpensOnce{
        const OPENS: u32 = 1;
    }
}
