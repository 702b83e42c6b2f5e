//! The value codec seam: how a value becomes bytes, and back.
//!
//! A codec is a type, not a value: it has no state, its functions are static, and its name and version are recorded in
//! the store, which refuses to be opened with another one. Keys do not come this way; they have an encoding of their own,
//! see [`key`](crate::key).
//!
//! # Which one to take
//!
//! | codec | for | costs |
//! |---|---|---|
//! | [`Postcard`], the default | types whose fields are always there: plain structs, enums, collections | compact and fast; a byte of a `Vec<u8>` is a step of its own |
//! | [`Json`] | types that say what they are: `serde_json::Value`, `untagged` and tagged enums, `flatten`, `skip_serializing_if`; types that get fields and lose them | larger, and each value is read back before it is taken |
//! | [`Raw`] | bytes that the program encodes itself, large ones above all | nothing: they are stored as they are |
//!
//! # What cannot be stored is refused
//! A value that is taken can be read again. What a codec cannot hold is refused, never changed:
//!
//! - When the store is opened, as `InvalidInput` by the type's name: with [`Postcard`] a type that asks the bytes what they
//!   are (`untagged`, internally and adjacently tagged enums, `flatten`, `serde_json::Value`).
//! - When the value comes, as `Codec` with effect *nothing*: with [`Postcard`] fields that are skipped and sequences longer or
//!   shorter than announced; with [`Json`] infinite floats and NaN, numbers beyond 64 bits, bytes as bytes, keys of maps that
//!   are no text, an option of something that is `null`.
//!
//! A type that could not be seen whole when the store was opened ([`Codec::probe`]) has each value read back before it is
//! taken; where debug assertions are on, each value of every type is.
//!
//! What the type itself does not tell serde is in no encoding, and nothing reports it: fields with `#[serde(skip)]`, which
//! variant of an `untagged` enum it was where an earlier one reads the same, floats that a `serialize_with` rounds.

mod json;
mod postcard;
mod raw;
mod sink;
mod strict;

pub use json::Json;
pub use postcard::Postcard;
pub use raw::Raw;

use crate::{Error, ErrorKind, Result, Shape, VALUE_BYTES_MAX};
use std::any::type_name;

/// Turns values into bytes and back.
///
/// # Duties of an implementor
/// - `decode(encode(v))` equals `v`, in this and every later release with the same [`Codec::ID`] and
///   [`Codec::VERSION`]: bytes outlive the program.
/// - Encodings have at most [`VALUE_BYTES_MAX`] bytes.
/// - `decode` is given what was on a disk. It returns an error for bytes that it did not write, refuses bytes left
///   over, and believes no length before allocating.
///
/// A panic, of the codec or of the value's own `Serialize` or `Deserialize`, unwinds to the caller who brought the value
/// or asked for it. It must not matter to anybody else: stores run codecs outside their locks.
pub trait Codec<V>: Send + Sync + 'static {
    /// Names the codec in the store: 1 to 64 of the characters `a-z`, `0-9`, `.`, `_` and `-`.
    const ID: &'static str;

    /// The version of its format. Bytes of another version are not decoded.
    const VERSION: u16;

    /// Appends the encoding of `value` to `out`. After an error `out` is as long as it was.
    ///
    /// # Errors
    /// `TooLarge`: longer than [`VALUE_BYTES_MAX`]. `Codec`: the value cannot be encoded.
    fn encode(value: &V, out: &mut Vec<u8>) -> Result<()>;

    /// The value whose encoding is `bytes`, all of them.
    ///
    /// # Errors
    /// `Codec`: `bytes` is not the encoding of a `V`.
    fn decode(bytes: &[u8]) -> Result<V>;

    /// What `V` asks of the codec, for codecs whose bytes do not say it themselves: a store that recorded one shape
    /// refuses to be opened with another. `None`: any `V` that decodes the bytes is right.
    #[must_use]
    fn shape() -> Option<Shape> {
        None
    }

    /// Finds out, before a value is written, whether values of type `V` can be read again. A store asks when it is opened.
    ///
    /// # Errors
    /// `InvalidInput`: they cannot; the message names the type, the cause and another codec.
    fn probe() -> Result<Probed> {
        Ok(Probed::Whole)
    }

    /// Whether `bytes`, which [`Codec::encode`] has just written, can be read again.
    ///
    /// # Errors
    /// `Codec`: they cannot.
    fn read_back(bytes: &[u8]) -> Result<()> {
        let _ = bytes;
        Ok(())
    }
}

/// What [`Codec::probe`] saw of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third answer")]
pub enum Probed {
    /// All of it: what is written can be read.
    Whole,
    /// Not all: a made-up value was not to its liking, or it does not end. Each value must be [read
    /// back](Codec::read_back) before it is taken.
    InPart,
}

/// Appends the encoding of a value, and reads it back where `probed` asks for that or debug assertions are on. What a
/// store calls. After an error `out` is as long as it was.
///
/// # Errors
/// As [`Codec::encode`] and [`Codec::read_back`].
pub fn encode_checked<V, C: Codec<V>>(value: &V, probed: Probed, out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    C::encode(value, out)?;
    if probed == Probed::InPart || cfg!(debug_assertions) {
        let written = out.get(start..).unwrap_or_default();
        if let Err(error) = C::read_back(written) {
            out.truncate(start);
            return Err(error);
        }
    }
    Ok(())
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("cannot encode value: it is longer than {VALUE_BYTES_MAX} bytes"),
    )
}

fn undecodable<V>(why: &str) -> Error {
    let name = type_name::<V>();
    Error::new(
        ErrorKind::Codec,
        format!("cannot decode value as `{name}`: {why}"),
    )
}

/// Decodes what was just encoded and encodes that again. A hash map comes back in another order, so the bytes are
/// compared as they are and, failing that, sorted: a value that lost something has others.
fn decodes_to_itself<V, C: Codec<V>>(bytes: &[u8]) -> Result<()> {
    let unreadable = |error: Error| {
        let message = format!(
            "cannot encode a `{}`: it could not be read again",
            type_name::<V>()
        );
        Error::new(ErrorKind::Codec, message).with_source(error)
    };
    let back = C::decode(bytes).map_err(unreadable)?;
    let mut again = Vec::with_capacity(bytes.len());
    C::encode(&back, &mut again).map_err(unreadable)?;
    let count = |bytes: &[u8]| {
        let mut counts = [0_usize; 256];
        bytes
            .iter()
            .for_each(|byte| counts[usize::from(*byte)] += 1);
        counts
    };
    if again == bytes || count(&again) == count(bytes) {
        return Ok(());
    }
    Err(unencodable::<V>("it would be read as another value"))
}

fn unencodable<V>(why: &str) -> Error {
    let name = type_name::<V>();
    Error::new(ErrorKind::Codec, format!("cannot encode a `{name}`: {why}"))
}
