//! Borrowed keys: what may stand for a `K` when a store is asked.
//!
//! `Borrow` does not do: it promises equal order and hash, not equal encodings. `[u8; 3]` borrows as `[u8]` and
//! encodes without the marks of a sequence, so a lookup would silently miss.

use super::{ByteKey, Key, decode, encode_into};
use crate::{Error, ErrorKind, KEY_BYTES_MAX, Result};
use serde::ser::Serialize;
use std::borrow::Cow;
use std::sync::Arc;

/// Encodes as `K`: a store with keys of type `K` may be asked for a `Self`.
///
/// Every key type encodes as itself, and a reference to it as well; `str` as `String`, `[T]` as `Vec<T>`, bytes as [`ByteKey`], and what a `Box`, `Arc`
/// or `Cow` points at as the pointer.
///
/// # The law
/// For every `q` there is a key `k: K` such that `q.encode_key` appends what `key::encode(&k)` gives. An
/// implementation of your own that breaks it makes lookups miss; one that borrows a struct's fields usually derives
/// `Serialize` with the fields in the same order and calls [`encode_into`].
///
/// ```
/// use kv_trait::key::{self, KeyOf};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
/// struct Account { bank: String, number: u64 }
///
/// #[derive(Serialize)]
/// struct AccountRef<'a> { bank: &'a str, number: u64 }
///
/// impl KeyOf<Account> for AccountRef<'_> {
///     fn encode_key(&self, out: &mut Vec<u8>) -> kv_trait::Result<()> {
///         key::encode_into(self, out)
///     }
/// }
///
/// fn lookup<K: key::Key, Q: KeyOf<K> + ?Sized>(_store_of: &[K], key: &Q) -> Vec<u8> {
///     key::encode_borrowed::<K, Q>(key).expect("a short key")
/// }
/// let owned = Account { bank: "b".to_owned(), number: 7 };
/// let store_of = [owned];
/// assert_eq!(lookup(&store_of, &AccountRef { bank: "b", number: 7 }), lookup(&store_of, &store_of[0]));
/// assert_eq!(lookup(&["x".to_owned()], "visits"), b"visits");
/// ```
///
/// A slice encodes as a vector, an array does not:
///
/// ```
/// # use kv_trait::key::KeyOf;
/// fn encodes_as<K, Q: KeyOf<K> + ?Sized>(_: &Q) {}
/// encodes_as::<Vec<u8>, [u8]>(&[1, 2, 3]);
/// ```
/// ```compile_fail,E0277
/// # use kv_trait::key::KeyOf;
/// fn encodes_as<K, Q: KeyOf<K> + ?Sized>(_: &Q) {}
/// encodes_as::<Vec<u8>, [u8; 3]>(&[1, 2, 3]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not encode as the key type `{K}`",
    note = "pass a `&{K}`, or a borrowed form of it such as `&str` for `String` and `&[T]` for `Vec<T>`"
)]
pub trait KeyOf<K: ?Sized> {
    /// Appends the encoding, 0 to [`KEY_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// As [`encode`](super::encode).
    fn encode_key(&self, out: &mut Vec<u8>) -> Result<()>;
}

/// The encoding of the key of type `K` that `key` stands for. What a store calls: it checks the length whoever wrote
/// the implementation. Where debug assertions are on it checks the law too, and panics if there is no such `K`.
///
/// # Errors
/// As [`encode`](super::encode).
pub fn encode_borrowed<K: Key, Q: KeyOf<K> + ?Sized>(key: &Q) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    key.encode_key(&mut out)?;
    if out.len() > KEY_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("cannot encode key: it is longer than {KEY_BYTES_MAX} bytes"),
        ));
    }
    debug_assert!(
        is_encoding_of_some::<K>(&out),
        "what was encoded is the encoding of no `{}`: other keys may be taken for it, and it cannot be read back",
        std::any::type_name::<K>()
    );
    Ok(out)
}

/// There may be no `K` to compare with, so this finds only what shows in the bytes.
fn is_encoding_of_some<K: Key>(bytes: &[u8]) -> bool {
    decode::<K>(bytes).is_ok_and(|key| super::encode(&key).is_ok_and(|again| again == bytes))
}

macro_rules! encodes_as {
    ($([$($generics:tt)*] $borrowed:ty => $key:ty;)+) => {$(
        impl<$($generics)*> KeyOf<$key> for $borrowed {
            fn encode_key(&self, out: &mut Vec<u8>) -> Result<()> {
                encode_into(self, out)
            }
        }
    )+};
}

encodes_as!(
    [K: Serialize + ?Sized] K => K;
    [K: Serialize + ?Sized] &K => K;
    [] str => String;
    [] &str => String;
    [T: Serialize] [T] => Vec<T>;
    [T: Serialize + ?Sized] T => Box<T>;
    [T: Serialize + ?Sized] T => Arc<T>;
    ['a, T: Serialize + ToOwned + ?Sized] T => Cow<'a, T>;
);

/// As a [`ByteKey`] bytes are a string of bytes, not a sequence of numbers.
macro_rules! bytes_encode_as_byte_key {
    ($([$($generics:tt)*] $bytes:ty;)+) => {$(
        impl<$($generics)*> KeyOf<ByteKey> for $bytes {
            fn encode_key(&self, out: &mut Vec<u8>) -> Result<()> {
                encode_into(&AsBytes(self), out)
            }
        }
    )+};
}

bytes_encode_as_byte_key!(
    [] [u8];
    [const N: usize] [u8; N];
    [] Vec<u8>;
);

struct AsBytes<'a>(&'a [u8]);

impl Serialize for AsBytes<'_> {
    fn serialize<S: serde::Serializer>(
        &self,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}
