//! Prefixes: what a range of keys has in common, and the bytes that all of its encodings begin with.
//!
//! Fields are written one after the other, and each says by itself where it ends. So the encoding of a tuple's first fields is
//! the beginning of the encoding of exactly those tuples that have these fields.

use super::{ByteKey, encode_into};
use crate::{Error, ErrorKind, KEY_BYTES_MAX, Result};
use serde::ser::Serialize;

/// The beginning of keys of type `K`: a store with such keys may be asked for all that begin with a `Self`.
///
/// - A text begins texts, bytes begin a [`ByteKey`].
/// - A tuple begins longer tuples whose first fields are the same. One field is `(field,)`.
/// - A slice begins vectors.
/// - A struct is written as a tuple is: name its first fields by an implementation of your own.
///
/// # The law
/// What [`PrefixOf::encode_prefix`] appends is the beginning of the encodings of those keys, and of no others.
///
/// ```
/// use kv_trait::key::{self, PrefixOf};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
/// struct Account { bank: String, number: u64 }
///
/// impl PrefixOf<Account> for (&str,) { // all of a bank
///     fn encode_prefix(&self, out: &mut Vec<u8>) -> kv_trait::Result<()> {
///         key::encode_into(self, out)
///     }
/// }
///
/// fn begins<K: key::Key, P: PrefixOf<K> + ?Sized>(prefix: &P, key: &K) -> bool {
///     let prefix = key::encode_prefix::<K, P>(prefix).expect("a short prefix");
///     key::encode(key).expect("a short key").starts_with(&prefix)
/// }
/// assert!(begins(&("north",), &Account { bank: "north".to_owned(), number: 7 }));
/// assert!(!begins(&("nor",), &Account { bank: "north".to_owned(), number: 7 })); // another bank
/// assert!(begins("nor", &"north".to_owned()));
/// assert!(begins(&(1, "a"), &(1_u32, "a".to_owned(), 2_u8)));
/// ```
///
/// What stands for another type is refused by the compiler:
///
/// ```compile_fail,E0277
/// # use kv_trait::key::PrefixOf;
/// fn begins<K, P: PrefixOf<K> + ?Sized>(_: &P) {}
/// begins::<(u32, String), _>(&(1_u64,));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not begin keys of type `{K}`",
    note = "tuples begin with tuples of their first fields, as `(1_u32,)` for `(u32, String)`; texts with `&str`",
    note = "for a struct implement `PrefixOf` for the tuple of its first fields"
)]
pub trait PrefixOf<K: ?Sized> {
    /// Appends the bytes that encodings of such keys begin with, 0 to [`KEY_BYTES_MAX`].
    ///
    /// # Errors
    /// As [`encode`](super::encode).
    fn encode_prefix(&self, out: &mut Vec<u8>) -> Result<()>;
}

/// The bytes that the encodings of all keys begin with that begin with `prefix`. What a store calls.
///
/// # Errors
/// As [`encode`](super::encode).
pub fn encode_prefix<K, P: PrefixOf<K> + ?Sized>(prefix: &P) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    prefix.encode_prefix(&mut out)?;
    if out.len() > KEY_BYTES_MAX {
        let message =
            format!("cannot encode prefix of a key: it is longer than {KEY_BYTES_MAX} bytes");
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    Ok(out)
}

/// The first bytes behind all that begin with `prefix`; `None`: there are none.
///
/// ```
/// use kv_trait::key::prefix_end;
/// assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
/// assert_eq!(prefix_end(&[1, 0xFF]), Some(vec![2]));
/// assert_eq!(prefix_end(&[0xFF]), None);
/// ```
#[must_use]
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// Stands for a `T` as a field of a key: it is written as a `T` is.
///
/// Every type does for itself, and a reference to it; `&str` does for `String`.
pub trait FieldOf<T: ?Sized>: Serialize {}

impl<T: Serialize + ?Sized> FieldOf<T> for T {}
impl<T: Serialize + ?Sized> FieldOf<T> for &T {}
impl FieldOf<String> for &str {}

macro_rules! text_or_bytes {
    ($([$($generics:tt)*] $prefix:ty => $key:ty, $as_bytes:expr;)+) => {$(
        impl<$($generics)*> PrefixOf<$key> for $prefix {
            fn encode_prefix(&self, out: &mut Vec<u8>) -> Result<()> {
                let as_bytes: fn(&Self) -> &[u8] = $as_bytes;
                out.extend_from_slice(as_bytes(self));
                Ok(())
            }
        }
    )+};
}

text_or_bytes!(
    [] str => String, |text| text.as_bytes();
    [] &str => String, |text| text.as_bytes();
    [] String => String, |text| text.as_bytes();
    [] [u8] => ByteKey, |bytes| bytes;
    [] Vec<u8> => ByteKey, |bytes| bytes;
    [] ByteKey => ByteKey, |bytes| bytes;
    [const N: usize] [u8; N] => ByteKey, |bytes| bytes;
);

impl<T: Serialize> PrefixOf<Vec<T>> for [T] {
    fn encode_prefix(&self, out: &mut Vec<u8>) -> Result<()> {
        encode_into(self, out)?;
        // The mark of its end.
        out.pop();
        Ok(())
    }
}

impl<T: Serialize> PrefixOf<Self> for Vec<T> {
    fn encode_prefix(&self, out: &mut Vec<u8>) -> Result<()> {
        self.as_slice().encode_prefix(out)
    }
}

/// First fields with what stands for them, and those that follow.
macro_rules! first_fields {
    ($([$($field:ident $stands:ident),+] [$($rest:ident),+];)+) => {$(
        impl<$($field,)+ $($stands: FieldOf<$field>,)+ $($rest,)+> PrefixOf<($($field,)+ $($rest,)+)>
            for ($($stands,)+)
        {
            fn encode_prefix(&self, out: &mut Vec<u8>) -> Result<()> {
                encode_into(self, out)
            }
        }
    )+};
}

first_fields!(
    [A P] [B];
    [A P] [B, C];
    [A P] [B, C, D];
    [A P] [B, C, D, E];
    [A P] [B, C, D, E, F];
    [A P, B Q] [C];
    [A P, B Q] [C, D];
    [A P, B Q] [C, D, E];
    [A P, B Q] [C, D, E, F];
    [A P, B Q, C R] [D];
    [A P, B Q, C R] [D, E];
    [A P, B Q, C R] [D, E, F];
    [A P, B Q, C R, D S] [E];
    [A P, B Q, C R, D S] [E, F];
    [A P, B Q, C R, D S, E T] [F];
);
