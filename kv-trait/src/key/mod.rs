//! Order-preserving encoding of keys: an on-disk format, written once and kept.
//!
//! The law: `a.cmp(&b) == encode(a).cmp(&encode(b))` (bytes compared lexicographically), `decode(encode(a)) == a`, and
//! the encoding of a tuple's proper prefix is a prefix of the tuple's encoding, so that prefix scans work.
//! It holds wherever `Ord` is derived or structural. [`check_order_preserved`] tests it for a type of your own.
//!
//! # Format, version 1
//! The encoding is not self-describing: the type decides how bytes are read. Everything in the table has one encoding,
//! and no other bytes are read as it. What the type makes of it is the type's affair: the sequence 2, 1 decodes as the
//! `BTreeSet` {1, 2}, and 5 s and 2,000,000,000 ns as a `Duration` of 7 s, which encode as something else. [`decode`] does
//! not encode again to find out, which would at least double the time for each key of a scan: a store reads what
//! [`encode`] wrote, under a checksum. Who takes bytes from elsewhere compares them with the encoding of what they decode to.
//!
//! | value | bytes |
//! |---|---|
//! | `bool` | `00` false, `01` true |
//! | `u8` ... `u128` | big-endian; `usize` as `u64` |
//! | `i8` ... `i128` | big-endian with the sign bit flipped; `isize` as `i64` |
//! | `f32`, `f64` (through [`TotalF32`], [`TotalF64`]) | IEEE bits big-endian: sign bit flipped if it was 0, all bits flipped if it was 1 |
//! | `char` | scalar value as `u32` |
//! | `()`, unit struct | nothing |
//! | `Option` | `00` none; `01`, then the value |
//! | tuple, array, struct, newtype | the fields, one after the other |
//! | enum | the variant's index in one byte if it is below 255, else `FF` and the index as `u32`; then the fields |
//! | sequence (`Vec`, `BTreeSet`, ...) | each element after a `01`; at the end `00` |
//! | string, bytes: the whole key | as they are |
//! | string, bytes: inside anything else | each `00` as `00 FF`; at the end `00 01` |
//! | map | refused |
//!
//! "The whole key" holds also through newtypes, `Box`, `Arc` and `Cow`. `Vec<u8>` is a sequence to serde and takes two
//! bytes a byte: [`ByteKey`] stores bytes as themselves.
//!
//! # Where the order is not that of `Ord`
//! Scans see the order of the bytes, and a key is found by its bytes: enums with explicit discriminants out of
//! declaration order, `std::cmp::Reverse`, types that serialise as text and compare as something else (dates), types with
//! an `Ord` of their own. Where that calls keys equal whose bytes differ, they are two keys: `a/b` and `a//b` as `PathBuf`,
//! which compares by component.
//!
//! # Where two keys become one
//! What serde is not told is not in the encoding. Keys that differ in nothing else are one key, a write to the one
//! replaces the other, and nothing reports it:
//!
//! - `SocketAddrV6`, also in a `SocketAddr`: its scope and flow information. `[fe80::1%2]:80` is `[fe80::1%3]:80`.
//! - Fields with `#[serde(skip)]` or `skip_serializing`, and those whose `serialize_with` rounds or shortens.
//! - Tuple structs with `skip_serializing_if`: which field was left out. With named fields it is told, and refused.
//! - Untagged enums: which variant it is. [`probe`] refuses them, unless the type does not like the values that the probe
//!   makes up before it comes to the enum: in `(Email, Untagged)`, say, where an `Email` has an `@`.
//!
//! [`check_order_preserved`] finds each of these, given a key that holds what is lost. Where debug assertions are on, every
//! key that a store is asked for is decoded and encoded again, which finds the last two.
//!
//! # Bounds
//! Encodings have 0 to [`KEY_BYTES_MAX`] bytes; values nest at most [`KEY_DEPTH_MAX`] levels, in both directions.
//! Decoding allocates in proportion to the input.

mod byte_key;
mod decoder;
mod encoder;
pub(crate) mod failure;
mod key_bounds;
mod key_of;
mod prefix_of;
mod prober;
mod total;

pub use byte_key::ByteKey;
pub use key_bounds::{EncodedBounds, KeyBounds};
pub use key_of::{KeyOf, encode_borrowed};
pub use prefix_of::{FieldOf, PrefixOf, encode_prefix, prefix_end};
pub use prober::{KeyShape, probe};
pub use total::{TotalF32, TotalF64};

use crate::{Error, ErrorKind, KEY_BYTES_MAX, Result};
use failure::Failure;
use serde::de::{Deserialize, DeserializeOwned};
use serde::ser::Serialize;

/// How many levels of tuples, structs, enums, options and sequences a key may nest.
pub const KEY_DEPTH_MAX: usize = 64;

/// What a type needs to be a key. It is implemented for every type that has the parts; nobody implements it by hand.
///
/// `Ord` is asked for because a key has an order and one encoding: hash maps, hash sets and plain floats have not, and
/// are refused by the compiler. [`TotalF64`] is a float that can be a key. Whether the type can be decoded back is
/// found by [`probe`] when a store is opened.
///
/// ```compile_fail,E0277
/// # use kv_trait::key::Key;
/// fn accepts<K: Key>() {}
/// accepts::<f64>(); // NaN equals nothing, not even itself
/// ```
/// ```compile_fail,E0277
/// # use kv_trait::key::Key;
/// fn accepts<K: Key>() {}
/// accepts::<std::collections::HashMap<String, u64>>(); // iterates in any order
/// ```
/// ```compile_fail,E0277
/// # use kv_trait::key::Key;
/// fn accepts<K: Key>() {}
/// accepts::<std::collections::HashSet<String>>(); // would encode like a vector in any order
/// ```
/// ```
/// # use kv_trait::key::{ByteKey, Key, TotalF64};
/// fn accepts<K: Key>() {}
/// accepts::<(String, Option<u64>, TotalF64)>();
/// accepts::<ByteKey>();
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of a store",
    note = "a key is `Ord + Serialize + DeserializeOwned + Send + Sync + 'static`",
    note = "floats: wrap them in `TotalF64`; hash maps and sets have no order and cannot be keys"
)]
pub trait Key: Ord + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Ord + Serialize + DeserializeOwned + Send + Sync + 'static> Key for T {}

/// The order-preserving encoding of `key`, 0 to [`KEY_BYTES_MAX`] bytes.
///
/// ```
/// use kv_trait::key;
/// assert_eq!(key::encode("visits")?, b"visits"); // a bare string is stored as itself
/// assert!(key::encode(&(1_u32, "b"))? < key::encode(&(2_u32, "a"))?);
/// # Ok::<(), kv_trait::Error>(())
/// ```
///
/// # Errors
/// `Codec`: the type holds a map, skips a field, writes another number of fields than it announced, nests too deep, or its
/// own `Serialize` failed. `TooLarge`: the encoding is longer than [`KEY_BYTES_MAX`].
pub fn encode<K: Serialize + ?Sized>(key: &K) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    encode_into(key, &mut out)?;
    Ok(out)
}

/// Appends the encoding of `key` to `out`. After an error `out` is as long as it was.
///
/// # Errors
/// As [`encode`]; only the bytes appended here count against the limit.
pub fn encode_into<K: Serialize + ?Sized>(key: &K, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    encoder::append(key, out).map_err(|failure| {
        out.truncate(start);
        failure.into_error("encode")
    })
}

/// The key whose encoding is `bytes`, all of them.
///
/// A bare string or byte slice may borrow from `bytes`, and so may a nested one that holds no NUL.
///
/// # Errors
/// `Codec`: `bytes` is not the encoding of a `K`, or has bytes left over. `TooLarge`: `bytes` is longer than
/// [`KEY_BYTES_MAX`].
pub fn decode<'de, K: Deserialize<'de>>(bytes: &'de [u8]) -> Result<K> {
    decoder::whole(bytes).map_err(|failure| failure.into_error("decode"))
}

/// Checks the law of this module for two keys: both decode back to themselves, and their encodings compare as they do.
///
/// For tests of key types of your own: call it with many pairs, as a property test does.
///
/// ```
/// use kv_trait::key::check_order_preserved;
/// check_order_preserved(&("a".to_owned(), 2_u8), &("a\0".to_owned(), 1))?;
/// // `Reverse` serialises like what it wraps, so its order is lost.
/// assert!(check_order_preserved(&std::cmp::Reverse(1_u8), &std::cmp::Reverse(2)).is_err());
/// # Ok::<(), kv_trait::Error>(())
/// ```
///
/// # Errors
/// `InvalidInput`: the law does not hold for these two; the message says what differs. Otherwise as [`encode`] and
/// [`decode`].
pub fn check_order_preserved<K: Key>(a: &K, b: &K) -> Result<()> {
    let (a_bytes, b_bytes) = (encode(a)?, encode(b)?);
    for (key, bytes) in [(a, &a_bytes), (b, &b_bytes)] {
        let back: K = decode(bytes)?;
        if back.cmp(key).is_ne() || encode(&back)? != *bytes {
            return Err(law_broken::<K>("a key does not decode back to itself"));
        }
    }
    if a.cmp(b) != a_bytes.cmp(&b_bytes) {
        return Err(law_broken::<K>(&format!(
            "the keys compare {:?}, their encodings {:?}",
            a.cmp(b),
            a_bytes.cmp(&b_bytes)
        )));
    }
    Ok(())
}

fn law_broken<K>(what: &str) -> Error {
    let name = std::any::type_name::<K>();
    Error::new(
        ErrorKind::InvalidInput,
        format!("the encoding of `{name}` does not keep its order: {what}"),
    )
}

/// Whether so many bytes can be a key.
fn within_limit(bytes: usize) -> Result<(), Failure> {
    if bytes > KEY_BYTES_MAX {
        return Err(Failure::TooLarge);
    }
    Ok(())
}
