//! Keys, values and batches that are not what was given.

use crate::lying_store::{Answer, Change, Lie, Scanned, lie, lie_beside};
use kv_tests::executor::{Executor, Task};
use kv_tests::fixture::{Key, Value};
use kv_tests::kvlog::Store;
use kv_trait::KEY_BYTES_MAX;
use std::hash::{DefaultHasher, Hash, Hasher};

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

/// A batch is its changes, one after the other.
pub(crate) struct HalfBatch;

impl Lie for HalfBatch {
    type State = ();

    fn split(changes: Vec<Change>) -> Vec<Vec<Change>> {
        changes.into_iter().map(|change| vec![change]).collect()
    }
}

/// Lies about which key or value is meant, in every method.
macro_rules! maps {
    ($($(#[$doc:meta])* $lie:ident: $keys:expr, $values:expr;)+) => {
        lie! {$(
            $(#[$doc])*
            $lie(()) {
                get(inner, (), key) -> Option<Value> { inner.get(&$keys(key)).await }
                set(inner, (), key, value) -> Option<Value> {
                    inner.set(&$keys(key), &$values(value)).await
                }
                put(inner, (), key, value) -> () { inner.put(&$keys(key), &$values(value)).await }
                delete(inner, (), key) -> Option<Value> { inner.delete(&$keys(key)).await }
                remove(inner, (), key) -> () { inner.remove(&$keys(key)).await }
            }
        )+}
    };
}

maps! {
    /// Keys are compared by their first 4,096 bytes.
    KeysEndAt4096Bytes: |key: &Key| first(key, 4_096), Value::clone;
    /// A key that is too long is cut, and not refused.
    TooLongKeysAreCut: |key: &Key| first(key, KEY_BYTES_MAX), Value::clone;
    /// Names of files on some systems.
    KeysIgnoreCase: |key: &Key| Key::from(key.to_ascii_lowercase()), Value::clone;
    /// Names of files on most systems.
    KeysArePaths: path, Value::clone;
    /// Keys are told apart by sixteen bits of a hash.
    KeysAreHashed: |key: &Key| Key::from(hash(key).to_le_bytes()), Value::clone;
    /// Values end at 512 KiB.
    ValuesEndAt512KiB: Key::clone, |value: &Value| value[..value.len().min(512 * 1024)].to_vec();
    /// Values lose the zeros at their end, as in a store of fixed pages.
    ValuesLoseTrailingZeros: Key::clone, without_zeros;
    /// Values are text.
    ValuesAreText: Key::clone, |value: &Value| String::from_utf8_lossy(value).into_owned().into_bytes();
}

fn first(key: &Key, bytes: usize) -> Key {
    Key::from(key[..key.len().min(bytes)].to_vec())
}

fn path(key: &Key) -> Key {
    let parts = key.split(|byte| *byte == b'/');
    let named: Vec<&[u8]> = parts
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    Key::from(named.join(&b'/'))
}

fn hash(key: &Key) -> u16 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    (hasher.finish() & 0xffff) as u16
}

fn without_zeros(value: &Value) -> Value {
    let end = value.iter().rposition(|byte| *byte != 0);
    value[..end.map_or(0, |last| last + 1)].to_vec()
}

lie! {
    /// The empty key is nobody's.
    EmptyKeyIsForgotten(()) {
        set(inner, (), key, value) -> Option<Value> {
            if key.is_empty() {
                return Ok(None);
            }
            inner.set(key, value).await
        }
    }

    /// To write nothing is to delete.
    AnEmptyValueDeletes(()) {
        set(inner, (), key, value) -> Option<Value> {
            if value.is_empty() {
                return inner.delete(key).await;
            }
            inner.set(key, value).await
        }
    }
}

lie_beside! {
    /// A batch is two.
    BatchInTwoHalves{
        fn split(mut changes: Vec<Change>) -> Vec<Vec<Change>> {
            let second = changes.split_off(changes.len() / 2);
            vec![changes, second]
        }
    }

    /// The end of a large batch is left out.
    LargeBatchIsCut{
        fn split(mut changes: Vec<Change>) -> Vec<Vec<Change>> {
            changes.truncate(512);
            vec![changes]
        }
    }

    /// A batch only adds.
    BatchDeletesNothing{
        fn split(mut changes: Vec<Change>) -> Vec<Vec<Change>> {
            changes.retain(|(_, value)| value.is_some());
            vec![changes]
        }
    }

    /// Of two changes of one key in a batch the first one wins.
    BatchIsReversed{
        fn split(mut changes: Vec<Change>) -> Vec<Vec<Change>> {
            changes.reverse();
            vec![changes]
        }
    }

    /// A scan is of two points: its second half is read later.
    ScanIsTwoReads{
        fn scan(scan: &dyn Fn() -> Task<Scanned>) -> Task<Scanned> {
            let (first, second) = (scan(), scan());
            Box::pin(async move {
                let (mut found, later) = (first.await?, second.await?);
                found.truncate(found.len() / 2);
                let half = found.len();
                found.extend(later.into_iter().skip(half));
                Ok(found)
            })
        }
    }

    /// A scan ends before the last key.
    ScanMissesTheLast{
        fn scan(scan: &dyn Fn() -> Task<Scanned>) -> Task<Scanned> {
            let scanned = scan();
            Box::pin(async move {
                let mut found = scanned.await?;
                found.pop();
                Ok(found)
            })
        }
    }

    /// A scan is in the order of shorter keys first.
    ScanIsByLength{
        fn scan(scan: &dyn Fn() -> Task<Scanned>) -> Task<Scanned> {
            let scanned = scan();
            Box::pin(async move {
                let mut found = scanned.await?;
                found.sort_by_key(|(key, _)| key.len());
                Ok(found)
            })
        }
    }
}
