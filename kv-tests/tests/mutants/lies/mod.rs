//! The lies, and the property that catches each.

use super::checks::{Threads, a_refusal_waits_for_the_sync_it_depends_on};
use super::lying_storage::{NameSyncLies, SyncLies, SyncsLater, WritesGetLost};
use super::lying_store::{Answer, Lie, Lying, Truth};
use super::property;
use kv_tests::executor::Executor;
use kv_tests::fixture::{Key, Value};
use kv_tests::kvlog::{Direct, OnSimDisk, Store};
use kv_tests::stepped::Stepped;
use kv_trait::{Codec, Effect, Error, ErrorKind, Postcard, Result, key};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) struct Lied {
    pub(crate) name: &'static str,
    pub(crate) on_the_truth: Box<dyn Fn()>,
    pub(crate) on_the_lie: Box<dyn Fn()>,
}

macro_rules! lies {
    ($($fixture:ident<$executor:ident, $lie:ident> is caught by $property:literal;)+) => {
        fn lies_to_properties() -> Vec<Lied> {
            vec![$(Lied {
                name: stringify!($lie),
                on_the_truth: property::<lies!(@truth $fixture $executor)>($property),
                on_the_lie: property::<$fixture<$executor, $lie>>($property),
            },)+]
        }
    };
    (@truth Lying $executor:ident) => { Lying<$executor, Truth> };
    (@truth OnSimDisk $executor:ident) => { OnSimDisk<$executor> };
}

lies! {
    OnSimDisk<Stepped, SyncLies> is caught by "acknowledged_is_durable";
    OnSimDisk<Threads, SyncsLater> is caught by "nothing_is_visible_before_it_is_durable";
    OnSimDisk<Stepped, NameSyncLies> is caught by "acknowledged_is_durable";
    OnSimDisk<Stepped, WritesGetLost> is caught by "values_of_every_size";
    Lying<Stepped, PriorIsNone> is caught by "set_answers_with_the_prior_value";
    Lying<Stepped, PriorIsReadBefore> is caught by "prior_values_chain";
    Lying<Stepped, PriorIsTheNewValue> is caught by "set_answers_with_the_prior_value";
    Lying<Stepped, StaleRead> is caught by "clones_share_one_store";
    Lying<Stepped, HalfBatch> is caught by "a_batch_is_whole_to_readers";
    Lying<Stepped, HalfBatch> is caught by "a_batch_is_whole_after_a_power_cut";
    Lying<Stepped, PutSwallowsErrors> is caught by "a_failed_sync_is_told_and_stops_writes";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_failed_sync_is_told_and_stops_writes";
    Lying<Stepped, DeleteSwallowsErrors> is caught by "a_failed_sync_is_told_and_stops_writes";
    Lying<Stepped, RemoveSwallowsErrors> is caught by "a_failed_sync_is_told_and_stops_writes";
    Lying<Stepped, PutSwallowsErrors> is caught by "a_sync_without_space_is_unknown_too";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_sync_without_space_is_unknown_too";
    Lying<Stepped, DeleteSwallowsErrors> is caught by "a_sync_without_space_is_unknown_too";
    Lying<Stepped, RemoveSwallowsErrors> is caught by "a_sync_without_space_is_unknown_too";
    Lying<Stepped, PutSwallowsErrors> is caught by "a_failed_sync_is_never_believed_later";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_failed_sync_is_never_believed_later";
    Lying<Stepped, DeleteSwallowsErrors> is caught by "a_failed_sync_is_never_believed_later";
    Lying<Stepped, RemoveSwallowsErrors> is caught by "a_failed_sync_is_never_believed_later";
    Lying<Stepped, PutSwallowsErrors> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, DeleteSwallowsErrors> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, RemoveSwallowsErrors> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, PutSwallowsErrors> is caught by "a_full_disk_refuses_and_recovers";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_full_disk_refuses_and_recovers";
    Lying<Stepped, DeleteSwallowsErrors> is caught by "a_full_disk_refuses_and_recovers";
    Lying<Stepped, RemoveSwallowsErrors> is caught by "a_full_disk_refuses_and_recovers";
    Lying<Stepped, UnknownIsToldAsNothing> is caught by "a_failed_sync_is_told_and_stops_writes";
    Lying<Stepped, NothingIsToldAsUnknown> is caught by "a_failed_write_is_taken_back";
    Lying<Stepped, AFailedPutLeavesHalf> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, AFailedRemoveFlickers> is caught by "a_failed_write_leaves_nothing";
    Lying<Stepped, SetAppliedIsToldAsNothing> is caught by "a_prior_value_that_cannot_be_read_is_no_refusal";
    Lying<Stepped, DeleteAppliedIsToldAsNothing> is caught by "a_prior_value_that_cannot_be_read_is_no_refusal";
    Lying<Stepped, SetSwallowsErrors> is caught by "a_prior_value_that_cannot_be_read_is_no_refusal";
    Lying<Stepped, DeleteSwallowsErrors> is caught by "a_prior_value_that_cannot_be_read_is_no_refusal";
    Lying<Stepped, AcknowledgedBeforeItIsWritten> is caught by "acknowledged_is_durable";
    Lying<Stepped, LockAcrossAwait> is caught by "reentrancy";
    Lying<Threads, SetFailsForNoReason> is caught by "an_abandoned_executor_harms_nobody";
    Lying<Threads, BlocksTheExecutor> is caught by "the_executor_is_never_blocked";
    Lying<Stepped, ActsBeforeItsFirstPoll> is caught by "a_future_that_is_never_polled_does_nothing";
    Lying<Stepped, TwoWrites> is caught by "a_dropped_future_is_whole_or_nothing";
    Lying<Stepped, ReadErrorIsAbsence> is caught by "a_read_error_is_no_absence";
    Lying<Stepped, EmptyIsAbsent> is caught by "an_empty_value_is_not_an_absent_one";
    Lying<Stepped, KeysEndAtZero> is caught by "keys_do_not_mix";
    Lying<Stepped, DeleteOverwrites> is caught by "set_get_delete";
}

pub(crate) fn lies() -> Vec<Lied> {
    let mut lies = lies_to_properties();
    lies.push(Lied {
        name: "SyncsLater, for a refused condition",
        on_the_truth: Box::new(a_refusal_waits_for_the_sync_it_depends_on::<Direct>),
        on_the_lie: Box::new(a_refusal_waits_for_the_sync_it_depends_on::<SyncsLater>),
    });
    lies
}

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

/// A batch is its changes, one after the other.
pub(crate) struct HalfBatch;

impl Lie for HalfBatch {
    type State = ();
    const SPLITS_BATCHES: bool = true;
}

/// A lie about how the named method ends: the answer, made of the true one.
macro_rules! changes_the_end {
    ($($(#[$doc:meta])* $lie:ident, $method:ident($($value:ident)?) -> $of:ty: $change:expr;)+) => {$(
        $(#[$doc])*
        pub(crate) struct $lie;

        impl Lie for $lie {
            type State = ();

            fn $method<'a, E: Executor>(
                inner: &'a Store<E>,
                (): &'a (),
                key: &'a Key,
                $($value: &'a Value,)?
            ) -> Answer<'a, $of> {
                Box::pin(async move {
                    let change: fn(Result<$of>) -> Result<$of> = $change;
                    change(inner.$method(key, $($value)?).await)
                })
            }
        }
    )+};
}

changes_the_end! {
    /// `put` goes well whatever happens.
    PutSwallowsErrors, put(value) -> (): |_| Ok(());
    /// `set` goes well whatever happens, and knows of no prior value then.
    SetSwallowsErrors, set(value) -> Option<Value>: |told| Ok(told.unwrap_or_default());
    /// `delete` goes well whatever happens, and knows of no prior value then.
    DeleteSwallowsErrors, delete() -> Option<Value>: |told| Ok(told.unwrap_or_default());
    /// `remove` goes well whatever happens.
    RemoveSwallowsErrors, remove() -> (): |_| Ok(());
    /// `remove` never knows less than everything.
    UnknownIsToldAsNothing, remove() -> (): |told| tell(told, Effect::Unknown, Effect::Nothing);
    /// `remove` never says that nothing happened.
    NothingIsToldAsUnknown, remove() -> (): |told| tell(told, Effect::Nothing, Effect::Unknown);
    /// A `set` that was made is told as one that was not, because its prior value could not be read.
    SetAppliedIsToldAsNothing, set(value) -> Option<Value>: |told| tell(told, Effect::Applied, Effect::Nothing);
    /// The same of `delete`.
    DeleteAppliedIsToldAsNothing, delete() -> Option<Value>: |told| tell(told, Effect::Applied, Effect::Nothing);
}

/// An error of the one effect is told as one of the other.
fn tell<T>(told: Result<T>, effect: Effect, instead: Effect) -> Result<T> {
    told.map_err(|error| {
        if error.effect() == effect {
            error.with_effect(instead)
        } else {
            error
        }
    })
}

/// `set` blames the device, at once, and does not know what became of the write.
pub(crate) struct SetFailsForNoReason;

impl Lie for SetFailsForNoReason {
    type State = ();

    fn set<'a, E: Executor>(
        _inner: &'a Store<E>,
        (): &'a (),
        _key: &'a Key,
        _value: &'a Value,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async {
            let error = Error::new(ErrorKind::Io, "a lie");
            Err(error.with_effect(Effect::Unknown))
        })
    }
}

/// A `put` that fails leaves half of its value there, and says that nobody knows.
pub(crate) struct AFailedPutLeavesHalf;

impl Lie for AFailedPutLeavesHalf {
    type State = ();

    fn put<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            let told = inner.put(key, value).await;
            if told.is_err() {
                let half = value[..value.len() / 2].to_vec();
                inner.put(key, &half).await?;
            }
            tell(told, Effect::Nothing, Effect::Unknown)
        })
    }
}

/// A `remove` that fails says that nobody knows, and from then on every second read says that it was made.
pub(crate) struct AFailedRemoveFlickers;

/// Read by every store that is opened after the one that failed, too.
static READS_SINCE_A_FAILED_REMOVE: AtomicU64 = AtomicU64::new(0);

impl Lie for AFailedRemoveFlickers {
    type State = ();

    fn get<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move {
            let found = inner.get(key).await?;
            let is_removed = key.as_ref() == b"k0"
                && READS_SINCE_A_FAILED_REMOVE.load(Ordering::SeqCst) > 0
                && READS_SINCE_A_FAILED_REMOVE
                    .fetch_add(1, Ordering::SeqCst)
                    .is_multiple_of(2);
            Ok(found.filter(|_| !is_removed))
        })
    }

    fn remove<'a, E: Executor>(inner: &'a Store<E>, (): &'a (), key: &'a Key) -> Answer<'a, ()> {
        Box::pin(async move {
            let told = inner.remove(key).await;
            if told.is_err() {
                READS_SINCE_A_FAILED_REMOVE.store(1, Ordering::SeqCst);
            }
            tell(told, Effect::Nothing, Effect::Unknown)
        })
    }
}

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
        let waker = std::task::Waker::noop();
        let early = write
            .as_mut()
            .poll(&mut std::task::Context::from_waker(waker));
        Box::pin(async move {
            match early {
                std::task::Poll::Ready(answer) => answer,
                std::task::Poll::Pending => write.await,
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

/// What cannot be read is not there.
pub(crate) struct ReadErrorIsAbsence;

impl Lie for ReadErrorIsAbsence {
    type State = ();

    fn get<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move { Ok(inner.get(key).await.unwrap_or_default()) })
    }
}

/// An empty value is not there.
pub(crate) struct EmptyIsAbsent;

impl Lie for EmptyIsAbsent {
    type State = ();

    fn get<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move {
            let found = inner.get(key).await?;
            Ok(found.filter(|value| !value.is_empty()))
        })
    }
}

/// Keys are C strings.
pub(crate) struct KeysEndAtZero;

fn cut(key: &Key) -> Key {
    let bytes = key.as_ref();
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    Key::from(bytes[..end].to_vec())
}

impl Lie for KeysEndAtZero {
    type State = ();

    fn get<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
    ) -> Answer<'a, Option<Value>> {
        Box::pin(async move { inner.get(&cut(key)).await })
    }

    fn put<'a, E: Executor>(
        inner: &'a Store<E>,
        (): &'a (),
        key: &'a Key,
        value: &'a Value,
    ) -> Answer<'a, ()> {
        Box::pin(async move { inner.put(&cut(key), value).await })
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
