//! Bytes as they are.

use super::{Codec, too_large, undecodable, unencodable};
use crate::{Result, VALUE_BYTES_MAX};

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

    fn read_back(bytes: &[u8]) -> Result<()> {
        match <Self as Codec<V>>::decode(bytes)?.as_ref() == bytes {
            true => Ok(()),
            false => Err(unencodable::<V>("it would be read as another value")),
        }
    }
}
