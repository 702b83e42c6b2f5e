//! Values in JSON.

use super::sink::{self, Sink};
use super::strict::{JSON, Strict, Watch};
use super::{Codec, Probed, decodes_to_itself, undecodable, unencodable};
use crate::{Result, VALUE_BYTES_MAX};
use serde::de::DeserializeOwned;
use serde::ser::Serialize;
use std::io;

/// Any serde type as JSON, which says what it is: for the types that [`Postcard`](super::Postcard) refuses, and for those
/// that get fields and lose them. What readers of JSON disagree on is refused, not written: see [`codec`](super).
///
/// A value may be nested 127 levels deep. Each is decoded and encoded again before it is taken, because only then it is
/// known that it can be: that makes a write cost about three times the encoding.
///
/// ```
/// use kv_trait::codec::{Codec, Json, Postcard};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// #[serde(untagged)]
/// enum Setting { Number(i64), Text(String) }
///
/// assert!(<Postcard as Codec<Setting>>::probe().is_err()); // so no store with it opens
///
/// let mut out = Vec::new();
/// Json::encode(&Setting::Text("on".to_owned()), &mut out)?;
/// assert_eq!(out, br#""on""#);
/// assert_eq!(Setting::Text("on".to_owned()), Json::decode(&out)?);
///
/// let refused = Json::encode(&f64::NAN, &mut out).unwrap_err();
/// assert_eq!(refused.kind(), kv_trait::ErrorKind::Codec);
/// # Ok::<(), kv_trait::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_enums, reason = "a type that has no values")]
pub enum Json {}

impl<V: Serialize + DeserializeOwned> Codec<V> for Json {
    const ID: &'static str = "json";
    const VERSION: u16 = 1;

    fn encode(value: &V, out: &mut Vec<u8>) -> Result<()> {
        json_within(value, out, VALUE_BYTES_MAX)
    }

    fn decode(bytes: &[u8]) -> Result<V> {
        serde_json::from_slice(bytes)
            .map_err(|error| undecodable::<V>("the bytes are none").with_source(error))
    }

    /// Names may clash and values nest too deep whatever the type: only the value itself shows it.
    fn probe() -> Result<Probed> {
        Ok(Probed::InPart)
    }

    fn read_back(bytes: &[u8]) -> Result<()> {
        decodes_to_itself::<V, Self>(bytes)
    }
}

/// Appends the encoding of `value`, which may take `room` bytes.
fn json_within<V: Serialize>(value: &V, out: &mut Vec<u8>, room: usize) -> Result<()> {
    let write = |sink: Sink<'_>, watch: &Watch| {
        value.serialize(Strict::<_, JSON> {
            inner: &mut serde_json::Serializer::new(sink),
            watch,
        })
    };
    sink::within(out, room, write, |refused, error| match refused {
        Some(cause) => unencodable::<V>(cause),
        None => unencodable::<V>("JSON cannot hold it").with_source(error),
    })
}

impl io::Write for Sink<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if !self.take(piece) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.watch.writes(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_value_that_fits_exactly_is_taken_and_one_byte_more_is_too_large() {
        let mut out = b"before".to_vec();
        json_within(&"1234", &mut out, 6).unwrap();
        let error = json_within(&"12345", &mut out, 6).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(out, b"before\"1234\"");
    }
}
