//! The value codec seam: how a value becomes bytes, and back.
//!
//! A codec is a type, not a value: it has no state, its functions are static, and its name and version are recorded in
//! the store, which refuses to be opened with another one. [`Postcard`] is the default, [`Raw`] stores bytes as they
//! are. Keys do not come this way; they have an encoding of their own, see [`key`](crate::key).

use crate::{Error, ErrorKind, Result, Shape, VALUE_BYTES_MAX};
use postcard::ser_flavors::Flavor;
use serde::de::DeserializeOwned;
use serde::ser::Serialize;
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
}

/// The default codec: any serde type, as [postcard](https://postcard.jamesmunns.com) writes it. Compact, versioned,
/// not self-describing: the type decides how bytes are read, so changing a type's fields changes its format.
///
/// Decoding allocates in proportion to the input; a length that is not backed by bytes costs at most 1 MiB. Two things
/// are not bounded: the count of elements that encode to no bytes at all (`Vec<()>`), and the depth of a recursive type,
/// where hostile bytes can overflow the stack and end the process. Do not read stores from strangers with such types.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a type that has no values")]
pub enum Postcard {}

impl<V: Serialize + DeserializeOwned> Codec<V> for Postcard {
    const ID: &'static str = "postcard";
    const VERSION: u16 = 1;

    fn encode(value: &V, out: &mut Vec<u8>) -> Result<()> {
        postcard_within(value, out, VALUE_BYTES_MAX)
    }

    fn decode(bytes: &[u8]) -> Result<V> {
        let (value, rest) = postcard::take_from_bytes(bytes)
            .map_err(|error| undecodable::<V>("the bytes are none").with_source(error))?;
        if !rest.is_empty() {
            return Err(undecodable::<V>("bytes are left over behind it"));
        }
        Ok(value)
    }

    /// Postcard's bytes do not say what they are: a stored `u64` 300 reads as the `i64` 150.
    fn shape() -> Option<Shape> {
        Some(Shape::of::<V>())
    }
}

/// Appends the encoding of `value`, which may take `room` bytes.
fn postcard_within<V: Serialize>(value: &V, out: &mut Vec<u8>, room: usize) -> Result<()> {
    let start = out.len();
    let mut is_full = false;
    let sink = Sink {
        out: &mut *out,
        room,
        is_full: &mut is_full,
    };
    postcard::serialize_with_flavor(value, sink).map_err(|error| {
        out.truncate(start);
        if is_full {
            return too_large();
        }
        let name = type_name::<V>();
        Error::new(ErrorKind::Codec, format!("cannot encode a `{name}`")).with_source(error)
    })
}

/// Where postcard writes to: refuses the byte that would pass the limit, before it is stored.
struct Sink<'a> {
    out: &'a mut Vec<u8>,
    room: usize,
    /// Postcard does not pass every error of its sink on unchanged, so the reason is noted here.
    is_full: &'a mut bool,
}

impl Flavor for Sink<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let Some(room) = self.room.checked_sub(bytes.len()) else {
            *self.is_full = true;
            return Err(postcard::Error::SerializeBufferFull);
        };
        self.room = room;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Bytes as they are, for every type that is bytes: `Vec<u8>`, `String`, `Box<[u8]>`, `[u8; N]`,
/// [`ByteKey`](crate::key::ByteKey), and types of your own that are `AsRef<[u8]>` and `TryFrom<Vec<u8>>` (or
/// `From<Vec<u8>>`). What is not one (bytes that are no UTF-8, for a `String`) is refused when it is decoded.
///
/// ```
/// use kv_trait::codec::{Codec, Raw};
///
/// struct Json(Vec<u8>);
/// impl AsRef<[u8]> for Json {
///     fn as_ref(&self) -> &[u8] { &self.0 }
/// }
/// impl From<Vec<u8>> for Json {
///     fn from(text: Vec<u8>) -> Self { Self(text) }
/// }
///
/// let mut out = Vec::new();
/// Raw::encode(&Json(b"{}".to_vec()), &mut out)?;
/// assert_eq!(out, b"{}");
/// let text: String = Raw::decode(&out)?;
/// assert_eq!(text, "{}");
/// # Ok::<(), kv_trait::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a type that has no values")]
pub enum Raw {}

impl<V: AsRef<[u8]> + TryFrom<Vec<u8>>> Codec<V> for Raw {
    const ID: &'static str = "raw";
    const VERSION: u16 = 1;

    fn encode(value: &V, out: &mut Vec<u8>) -> Result<()> {
        let bytes = value.as_ref();
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(too_large());
        }
        out.extend_from_slice(bytes);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<V> {
        // The error type is not asked for more than being one: that of an array is just the bytes again.
        V::try_from(bytes.to_vec())
            .map_err(|_refused| undecodable::<V>("the type refuses the bytes"))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_fits_exactly_is_taken_and_one_byte_more_is_too_large() {
        let mut out = b"before".to_vec();
        postcard_within(&"1234", &mut out, 5).unwrap();
        let error = postcard_within(&"12345", &mut out, 5).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(out, b"before\x041234");
    }

    #[test]
    fn too_large_is_told_apart_where_postcard_does_not() {
        // `collect_str` has an error of its own, which does not say why.
        struct Text;
        impl Serialize for Text {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&format_args!("{}", 12345))
            }
        }
        let error = postcard_within(&Text, &mut Vec::new(), 3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
}
