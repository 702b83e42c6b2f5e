//! Ranges of keys, as a scan is asked for them.

use super::{Key, KeyOf, encode_borrowed};
use crate::Result;
use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};

/// A lower and an upper bound, as encodings.
pub type EncodedBounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A range of keys of type `K`: `..`, `a..b`, `a..`, `..b`, `a..=b`, `..=b`, or two [`Bound`]s, of whatever [encodes as a
/// `K`](KeyOf).
///
/// It is not [`RangeBounds`], which leaves open what a `..` is a range of.
///
/// ```
/// use kv_trait::key::{Key, KeyBounds};
/// use std::ops::Bound;
///
/// fn lower<K: Key>(range: impl KeyBounds<K>) -> Bound<Vec<u8>> {
///     range.encode_bounds().expect("short keys").0
/// }
/// assert_eq!(lower::<String>("b".."d"), Bound::Included(b"b".to_vec()));
/// assert_eq!(lower::<u16>(1..), Bound::Included(vec![0, 1]));
/// assert_eq!(lower::<u16>(..), Bound::Unbounded);
/// assert_eq!(lower::<u16>((Bound::Excluded(7), Bound::Unbounded)), Bound::Excluded(vec![0, 7]));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no range of keys of type `{K}`",
    note = "`..`, `a..b`, `a..`, `..b`, `a..=b`, `..=b` and `(Bound, Bound)` are, of `{K}` or of what encodes as it"
)]
pub trait KeyBounds<K> {
    /// The encodings of both ends.
    ///
    /// # Errors
    /// As [`encode`](super::encode).
    fn encode_bounds(&self) -> Result<EncodedBounds>;
}

impl<K> KeyBounds<K> for RangeFull {
    fn encode_bounds(&self) -> Result<EncodedBounds> {
        Ok((Bound::Unbounded, Bound::Unbounded))
    }
}

fn encoded<K: Key, Q: KeyOf<K>>(range: &impl RangeBounds<Q>) -> Result<EncodedBounds> {
    let encoded = |bound: Bound<&Q>| {
        Ok(match bound {
            Bound::Included(key) => Bound::Included(encode_borrowed::<K, Q>(key)?),
            Bound::Excluded(key) => Bound::Excluded(encode_borrowed::<K, Q>(key)?),
            Bound::Unbounded => Bound::Unbounded,
        })
    };
    Ok((encoded(range.start_bound())?, encoded(range.end_bound())?))
}

macro_rules! ranges {
    ($($range:ty),+) => {$(
        impl<K: Key, Q: KeyOf<K>> KeyBounds<K> for $range {
            fn encode_bounds(&self) -> Result<EncodedBounds> {
                encoded::<K, Q>(self)
            }
        }
    )+};
}

ranges!(
    Range<Q>,
    RangeFrom<Q>,
    RangeTo<Q>,
    RangeInclusive<Q>,
    RangeToInclusive<Q>,
    (Bound<Q>, Bound<Q>)
);
