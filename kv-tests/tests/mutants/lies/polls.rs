//! Futures: when they act, whom they wake, whom they keep waiting, and what dropping them does.

use crate::lying_store::{Answer, Lie, lie};
use kv_tests::executor::{Executor, yield_now};
use kv_tests::fixture::{Key, Value};
use kv_tests::kvlog::Store;
use kv_trait::{Codec, Postcard, Result, key};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// An async lock held over the whole operation: a future that nobody polls keeps everybody else out.
pub(crate) struct LockAcrossAwait;

impl Lie for LockAcrossAwait {
    type State = Arc<smol::lock::Mutex<()>>;

    fn set<'a, E: Executor>(
        inner: &'a Store<E>,
        lock: &'a Self::State,
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move {
            let _alone = lock.lock().await;
            inner.set(key, value).await
        })
    }
}

/// The synchronous store, called where it must not be.
pub(crate) struct BlocksTheExecutor;

impl Lie for BlocksTheExecutor {
    type State = ();

    fn set<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move {
            let mut bytes = Vec::new();
            <Postcard as Codec<Value>>::encode(value, &mut bytes)?;
            let key = key::encode(key)?;
            let prior = inner.engine().set(&key, &bytes)?;
            prior
                .map(|bytes| <Postcard as Codec<Value>>::decode(&bytes))
                .transpose()
        })
    }
}

/// Making the future is doing it.
pub(crate) struct ActsBeforeItsFirstPoll;

impl Lie for ActsBeforeItsFirstPoll {
    type State = ();

    fn set<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, Option<Value>> {
        let mut write = Box::pin(inner.set(key, value));
        let waker = Waker::noop();
        let early = write.as_mut().poll(&mut Context::from_waker(waker));
        Box::pin(async move {
            match early {
                Poll::Ready(answer) => answer,
                Poll::Pending => write.await,
            }
        })
    }
}

/// `set` is a delete and a put.
pub(crate) struct TwoWrites;

impl Lie for TwoWrites {
    type State = ();

    fn set<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move {
            let prior = inner.delete(key).await?;
            inner.put(key, value).await.map(|()| prior)
        })
    }
}

/// Does a write on a thread, by whatever thread comes first, and hands the answer back.
async fn on_a_thread<E: Executor>(
    inner: &Store<E>,
    key: &Key,
    value: Option<&Value>,
    lock: Option<&Arc<Mutex<()>>>,
) -> Result<Option<Value>> {
    let (engine, lock) = (inner.engine().clone(), lock.cloned());
    let key = key::encode(key)?;
    let mut bytes = Vec::new();
    if let Some(value) = value {
        <Postcard as Codec<Value>>::encode(value, &mut bytes)?;
    }
    let is_set = value.is_some();
    let (sender, receiver) = smol::channel::bounded(1);
    let work = smol::unblock(move || {
        let _alone = lock.as_ref().map(|lock| lock.lock());
        let prior = if is_set {
            engine.set(&key, &bytes)
        } else {
            engine.delete(&key)
        };
        drop(sender.try_send(prior)); // its caller may have gone
    });
    work.detach();
    let prior = receiver.recv().await.expect("the thread answers")?;
    prior
        .map(|bytes| <Postcard as Codec<Value>>::decode(&bytes))
        .transpose()
}

/// Passes polls on with the waker of the first one.
struct FirstWaker<'a, T> {
    inner: Answer<'a, T>,
    waker: Option<Waker>,
}

impl<T> Future for FirstWaker<'_, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T>> {
        let waker = self.waker.get_or_insert_with(|| cx.waker().clone()).clone();
        self.inner.as_mut().poll(&mut Context::from_waker(&waker))
    }
}

/// Does something to the shared state when it is dropped before its end.
struct Unfinished<'a>(&'a AtomicBool, bool);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

lie! {
    /// A thread for each write: the order is that of the threads.
    AThreadForEachWrite(()) {
        set(inner, (), key, value) -> Option<Value> { on_a_thread::<E>(inner, key, Some(value), None).await }
        put(inner, (), key, value) -> () { on_a_thread::<E>(inner, key, Some(value), None).await.map(drop) }
        delete(inner, (), key) -> Option<Value> { on_a_thread::<E>(inner, key, None, None).await }
        remove(inner, (), key) -> () { on_a_thread::<E>(inner, key, None, None).await.map(drop) }
    }

    /// The waker of the first poll is kept for good.
    TheFirstWakerIsKept(()) {
        set(inner, (), key, value) -> Option<Value> {
            FirstWaker { inner: Box::pin(inner.set(key, value)), waker: None }.await
        }
    }

    /// One waiter in fifty is never woken.
    AWakeupGetsLost(Arc<AtomicU64>) {
        set(inner, calls, key, value) -> Option<Value> {
            let waker = (calls.fetch_add(1, Ordering::SeqCst) % 50 == 49).then(|| Waker::noop().clone());
            match waker {
                Some(waker) => FirstWaker { inner: Box::pin(inner.set(key, value)), waker: Some(waker) }.await,
                None => inner.set(key, value).await,
            }
        }
    }

    /// A poll that comes although nobody woke the future writes again.
    PolledAgainWritesAgain(()) {
        set(inner, (), key, value) -> Option<Value> {
            let mut write = Box::pin(inner.set(key, value));
            let mut polls = 0;
            std::future::poll_fn(|cx| {
                polls += 1;
                if polls > 2 {
                    let mut again = Box::pin(inner.put(key, value));
                    drop(again.as_mut().poll(&mut Context::from_waker(Waker::noop())));
                }
                write.as_mut().poll(cx)
            })
            .await
        }
    }

    /// Who gives up takes the next one along.
    ADropTakesTheNextAlong(Arc<AtomicBool>) {
        set(inner, dropped, key, value) -> Option<Value> {
            if dropped.swap(false, Ordering::SeqCst) {
                return Ok(None);
            }
            let mut unfinished = Unfinished(dropped, false);
            let told = inner.set(key, value).await;
            unfinished.1 = true;
            told
        }
    }

    /// A read that is dropped keeps its lock.
    ADroppedReadKeepsItsLock(Arc<AtomicBool>) {
        get(inner, held, key) -> Option<Value> {
            let mut unfinished = Unfinished(held, false);
            yield_now().await;
            let found = inner.get(key).await;
            unfinished.1 = true;
            found
        }
        set(inner, held, key, value) -> Option<Value> {
            if held.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            inner.set(key, value).await
        }
    }

    /// A read waits for the lock that a write holds, and its thread waits with it.
    AReadBlocksOnAWrite(Arc<Mutex<()>>) {
        get(inner, lock, key) -> Option<Value> {
            drop(lock.lock());
            inner.get(key).await
        }
        set(inner, lock, key, value) -> Option<Value> {
            on_a_thread::<E>(inner, key, Some(value), Some(lock)).await
        }
    }

    /// A read waits for the writes before it.
    AReadWaitsForAWrite(Arc<smol::lock::Mutex<()>>) {
        get(inner, lock, key) -> Option<Value> {
            drop(lock.lock().await);
            inner.get(key).await
        }
        set(inner, lock, key, value) -> Option<Value> {
            let _alone = lock.lock().await;
            inner.set(key, value).await
        }
    }
}
