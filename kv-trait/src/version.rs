//! Which write a value comes from.

use std::fmt;

/// The place of a write in its store's order of writes: what a value was read as, and what a conditional write expects.
///
/// Opaque to callers: of two versions of one store the later is the greater, and nothing else about the number means
/// anything. A key that is written twice with the same value has two versions, so a version that is still there proves
/// that nobody wrote in between. It stays what it is when the store is opened again.
///
/// ```
/// use kv_trait::Version;
///
/// let (first, second) = (Version::from_u64(7), Version::from_u64(9));
/// assert!(first < second);
/// assert_eq!(second.to_string(), "9");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// For authors of stores, who know what the number is.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// The number, to be kept or sent and given to [`Version::from_u64`] later.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A value and the write that it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "authors of stores make it")]
pub struct Versioned<V> {
    /// What the key holds.
    pub value: V,
    /// The write that put it there.
    pub version: Version,
}
