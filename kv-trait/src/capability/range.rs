//! An interval of keys, as a store sees it: by the bytes of their encodings.

use crate::Result;
use crate::key::{self, Key};
use serde::Serialize;
use std::ops::{Bound, RangeBounds};

/// An interval of encoded keys. Their order is the keys' order, because the [encoding](crate::key) keeps it.
///
/// It has no type of keys, so that it can be made of a prefix, which is no key, and passed through a trait object.
///
/// ```
/// use kv_trait::{KeyRange, key};
///
/// let mine = KeyRange::prefix(&("ann",))?; // of keys (String, u64): all of ann's
/// assert!(mine.contains(&key::encode(&("ann", 7_u64))?));
/// assert!(!mine.contains(&key::encode(&("anna", 7_u64))?));
///
/// let some = KeyRange::of("b".to_owned().."d".to_owned())?;
/// assert!(some.contains(b"c") && !some.contains(b"d"));
/// assert!(KeyRange::of(7_u64..7)?.is_empty());
/// # Ok::<(), kv_trait::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyRange {
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            from: Bound::Unbounded,
            to: Bound::Unbounded,
        }
    }

    /// The keys between two keys. Where the start lies behind the end it is empty.
    ///
    /// # Errors
    /// `Codec`, `TooLarge`: a bound cannot be encoded.
    pub fn of<K: Key>(range: impl RangeBounds<K>) -> Result<Self> {
        Ok(Self {
            from: encoded(range.start_bound())?,
            to: encoded(range.end_bound())?,
        })
    }

    /// The keys that begin with `prefix`: the first fields of a tuple or struct, as a tuple (`("ann",)` for `(String,
    /// u64)`); the first letters of a string or bytes that are the whole key.
    ///
    /// # Errors
    /// `Codec`, `TooLarge`: the prefix cannot be encoded.
    pub fn prefix<P: Serialize + ?Sized>(prefix: &P) -> Result<Self> {
        Ok(Self::encoded_prefix(key::encode(prefix)?))
    }

    /// The keys whose encodings begin with these bytes.
    #[must_use]
    pub fn encoded_prefix(prefix: Vec<u8>) -> Self {
        Self {
            to: key::prefix_end(&prefix).map_or(Bound::Unbounded, Bound::Excluded),
            from: if prefix.is_empty() {
                Bound::Unbounded
            } else {
                Bound::Included(prefix)
            },
        }
    }

    /// The keys whose encodings lie within these bounds.
    #[must_use]
    pub const fn encoded(from: Bound<Vec<u8>>, to: Bound<Vec<u8>>) -> Self {
        Self { from, to }
    }

    /// Where it begins.
    #[must_use]
    pub fn from(&self) -> Bound<&[u8]> {
        self.from.as_ref().map(Vec::as_slice)
    }

    /// Where it ends.
    #[must_use]
    pub fn to(&self) -> Bound<&[u8]> {
        self.to.as_ref().map(Vec::as_slice)
    }

    /// Whether the key with this encoding lies within.
    #[must_use]
    pub fn contains(&self, encoded: &[u8]) -> bool {
        let begun = match self.from() {
            Bound::Included(from) => encoded >= from,
            Bound::Excluded(from) => encoded > from,
            Bound::Unbounded => true,
        };
        begun
            && match self.to() {
                Bound::Included(to) => encoded <= to,
                Bound::Excluded(to) => encoded < to,
                Bound::Unbounded => true,
            }
    }

    /// Whether no key can lie within.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match (self.from(), self.to()) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (
                Bound::Included(from) | Bound::Excluded(from),
                Bound::Included(to) | Bound::Excluded(to),
            ) => from >= to,
            (_, Bound::Excluded(to)) => to.is_empty(),
            _ => false,
        }
    }
}

impl RangeBounds<[u8]> for KeyRange {
    fn start_bound(&self) -> Bound<&[u8]> {
        self.from()
    }

    fn end_bound(&self) -> Bound<&[u8]> {
        self.to()
    }
}

fn encoded<K: Key>(bound: Bound<&K>) -> Result<Bound<Vec<u8>>> {
    Ok(match bound {
        Bound::Included(key) => Bound::Included(key::encode(key)?),
        Bound::Excluded(key) => Bound::Excluded(key::encode(key)?),
        Bound::Unbounded => Bound::Unbounded,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_holds_what_begins_with_it_and_nothing_else() {
        let prefixes: [&[u8]; 7] = [b"", b"a", b"ab", b"a\xff", b"\xff", b"\xff\xff", b"\0"];
        let keys: [&[u8]; 13] = [
            b"",
            b"\0",
            b"\0\0",
            b"a",
            b"aa",
            b"ab",
            b"abc",
            b"a\xff",
            b"a\xff\xff",
            b"b",
            b"\xfe",
            b"\xff",
            b"\xff\xff\xff",
        ];
        for prefix in prefixes {
            let range = KeyRange::encoded_prefix(prefix.to_vec());
            for key in keys {
                assert_eq!(
                    range.contains(key),
                    key.starts_with(prefix),
                    "{prefix:?}, {key:?}"
                );
            }
            assert!(!range.is_empty());
        }
    }

    #[test]
    fn a_start_at_or_behind_the_end_is_empty_unless_both_belong_to_it() {
        let range = |from, to| KeyRange::encoded(from, to);
        let (a, b) = (|| b"a".to_vec(), || b"b".to_vec());
        assert!(range(Bound::Included(b()), Bound::Included(a())).is_empty());
        assert!(range(Bound::Included(a()), Bound::Excluded(a())).is_empty());
        assert!(range(Bound::Excluded(a()), Bound::Included(a())).is_empty());
        assert!(range(Bound::Unbounded, Bound::Excluded(Vec::new())).is_empty());
        assert!(!range(Bound::Included(a()), Bound::Included(a())).is_empty());
        assert!(!range(Bound::Excluded(a()), Bound::Unbounded).is_empty());
        assert!(!KeyRange::all().is_empty());
    }
}
