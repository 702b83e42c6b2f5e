//! Values in postcard.

use super::sink::{self, Sink};
use super::strict::{POSTCARD, Strict, Watch};
use super::{Codec, Probed, decodes_to_itself, undecodable, unencodable};
use crate::shape::Trial;
use crate::{Error, ErrorKind, Result, Shape, VALUE_BYTES_MAX};
use postcard::Serializer;
use postcard::ser_flavors::Flavor;
use serde::de::DeserializeOwned;
use serde::ser::Serialize;
use std::any::type_name;

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

    fn probe() -> Result<Probed> {
        let trial = Trial::of::<V>(|made_up| {
            let mut bytes = Vec::new();
            // What is refused when it comes need not be read back.
            postcard_within(made_up, &mut bytes, VALUE_BYTES_MAX).is_err()
                || decodes_to_itself::<V, Self>(&bytes).is_ok()
        });
        match trial.refused {
            Some(cause) => Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "`{}` cannot be a value in postcard, because it could not be decoded again: {cause}; the codec \
                     `Json` can hold it",
                    type_name::<V>()
                ),
            )),
            None if trial.is_whole => Ok(Probed::Whole),
            None => Ok(Probed::InPart),
        }
    }

    fn read_back(bytes: &[u8]) -> Result<()> {
        decodes_to_itself::<V, Self>(bytes)
    }
}

/// Appends the encoding of `value`, which may take `room` bytes.
fn postcard_within<V: Serialize>(value: &V, out: &mut Vec<u8>, room: usize) -> Result<()> {
    let write = |sink: Sink<'_>, watch: &Watch| {
        value.serialize(Strict::<_, POSTCARD> {
            inner: &mut Serializer { output: sink },
            watch,
        })
    };
    sink::within(out, room, write, |refused, error| match refused {
        Some(cause) => unencodable::<V>(&format!("{cause}; the codec `Json` may hold it")),
        None => unencodable::<V>("its own code refuses, or the format does").with_source(error),
    })
}

impl Flavor for Sink<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.take(bytes) {
            Ok(())
        } else {
            Err(postcard::Error::SerializeBufferFull)
        }
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
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
