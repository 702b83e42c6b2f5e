//! Floats that can be keys: ordered by IEEE 754's total order, in which every value equals exactly itself.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

macro_rules! total {
    ($(#[$doc:meta])* $name:ident, $float:ty) => {
        $(#[$doc])*
        ///
        /// `Ord` is `total_cmp`: negative NaN, negative infinity, ..., -0.0, 0.0, ..., infinity, NaN. Two values are
        /// equal if their bits are, so -0.0 and 0.0 are different keys.
        #[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        #[expect(clippy::exhaustive_structs, reason = "a wrapper with nothing to hide")]
        pub struct $name(pub $float);

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.to_bits() == other.0.to_bits()
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.total_cmp(&other.0)
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.to_bits().hash(state);
            }
        }

        impl From<$float> for $name {
            fn from(float: $float) -> Self {
                Self(float)
            }
        }

        impl From<$name> for $float {
            fn from(total: $name) -> Self {
                total.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

total!(
    /// An `f64` that can be a key.
    TotalF64,
    f64
);
total!(
    /// An `f32` that can be a key.
    TotalF32,
    f32
);
