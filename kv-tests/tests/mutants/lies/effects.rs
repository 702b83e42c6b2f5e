//! What a store says became of a write that failed.

use crate::lying_store::{Answer, Lie, lie};
use kv_tests::executor::Executor;
use kv_tests::fixture::{Key, Value};
use kv_tests::kvlog::Store;
use kv_trait::{Effect, Error, ErrorKind, Result};
use std::sync::atomic::{AtomicU64, Ordering};

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

lie! {
    /// A key that is too long may have been written, or not.
    TooLongIsUnknown(()) {
        set(inner, (), key, value) -> Option<Value> {
            tell(inner.set(key, value).await, Effect::Nothing, Effect::Unknown)
        }
    }
}
