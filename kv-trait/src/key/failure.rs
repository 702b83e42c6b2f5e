//! Why a key could not be encoded or decoded, in the shape serde wants, and its translation into [`Error`].

use crate::{Error, ErrorKind, KEY_BYTES_MAX};
use std::fmt::{self, Display};

/// What went wrong inside a serializer or deserializer of this module.
#[derive(Debug)]
pub(crate) enum Failure {
    /// More than `KEY_BYTES_MAX` bytes.
    TooLarge,
    /// More than `KEY_DEPTH_MAX` levels.
    TooDeep,
    /// The type uses something that has no order-preserving encoding, or none that can be decoded back.
    Unsupported(&'static str),
    /// The bytes are not the encoding of such a value.
    Malformed(&'static str),
    /// The key type's own `Serialize` or `Deserialize` said no.
    Custom(String),
}

impl Failure {
    /// The public error; `doing` is `encode` or `decode`.
    pub(crate) fn into_error(self, doing: &str) -> Error {
        let kind = match self {
            Self::TooLarge => ErrorKind::TooLarge,
            _ => ErrorKind::Codec,
        };
        Error::new(kind, format!("cannot {doing} key: {self}"))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(f, "it is longer than {KEY_BYTES_MAX} bytes"),
            Self::TooDeep => write!(
                f,
                "it is nested deeper than {} levels",
                super::KEY_DEPTH_MAX
            ),
            Self::Unsupported(what) | Self::Malformed(what) => f.write_str(what),
            Self::Custom(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Failure {}

impl serde::ser::Error for Failure {
    fn custom<T: Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

impl serde::de::Error for Failure {
    fn custom<T: Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// One level further down, or the end of what is allowed. Counted alike in both directions, so that what encodes
/// also decodes.
pub(crate) fn deeper(depth: usize) -> Result<usize, Failure> {
    if depth >= super::KEY_DEPTH_MAX {
        return Err(Failure::TooDeep);
    }
    Ok(depth + 1)
}

/// Why `deserialize_any` has no answer.
pub(crate) const ASKS_ANY: &str = "it asks what the bytes are (#[serde(untagged)], an internally tagged enum, or a \
    type that holds any value), and the encoding does not say";
/// Why `deserialize_ignored_any` has no answer.
pub(crate) const ASKS_IGNORED: &str =
    "it wants to skip a value of unknown type, and the encoding does not say how long that is";
/// Why `deserialize_identifier` has no answer.
pub(crate) const ASKS_IDENTIFIER: &str =
    "it asks for a name (an adjacently tagged enum), and the encoding has positions only";
/// Why maps are refused, in both directions.
pub(crate) const HOLDS_MAP: &str =
    "it holds a map (or #[serde(flatten)]), which has no order-preserving encoding";
/// Positions are all that tells fields apart, so a field that is sometimes absent could not be decoded.
pub(crate) const SKIPS_FIELD: &str =
    "it skips a field (#[serde(skip_serializing_if)]), so it could not be decoded";
/// The announced number is all that an encoder sees of a type, and a decoder asks for as many.
pub(crate) const MISCOUNTS: &str =
    "it writes another number of fields than it announced, so it could not be decoded";
