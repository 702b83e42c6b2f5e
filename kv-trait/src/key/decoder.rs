//! The deserializer behind [`decode`](super::decode). It trusts nothing: the bytes may come from a damaged disk.
#![expect(
    clippy::big_endian_bytes,
    reason = "big-endian bytes compare as the numbers do"
)]

use super::failure::{ASKS_ANY, ASKS_IDENTIFIER, ASKS_IGNORED, Failure, HOLDS_MAP, deeper};
use super::within_limit;
use serde::de::value::U32Deserializer;
use serde::de::{self, Deserialize, DeserializeSeed, IntoDeserializer, Visitor};
use std::borrow::Cow;

/// Decodes all of `bytes`.
pub(super) fn whole<'de, K: Deserialize<'de>>(bytes: &'de [u8]) -> Result<K, Failure> {
    within_limit(bytes.len())?;
    let mut input = Input { rest: bytes };
    let key = K::deserialize(Decoder {
        input: &mut input,
        depth: 0,
        bare: true,
    })?;
    if !input.rest.is_empty() {
        return Err(Failure::Malformed("bytes are left over behind it"));
    }
    Ok(key)
}

/// What is left to read.
struct Input<'de> {
    rest: &'de [u8],
}

impl<'de> Input<'de> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Failure> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(ENDS_EARLY)?;
        self.rest = rest;
        Ok(*head)
    }

    /// A byte that is 0 or 1.
    fn flag(&mut self) -> Result<bool, Failure> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Failure::Malformed("a byte that must be 0 or 1 is neither")),
        }
    }

    fn variant_index(&mut self) -> Result<u32, Failure> {
        let [short] = self.take()?;
        if short < u8::MAX {
            return Ok(u32::from(short));
        }
        let index = u32::from_be_bytes(self.take()?);
        if index < u32::from(u8::MAX) {
            return Err(Failure::Malformed("a short variant index in the long form"));
        }
        Ok(index)
    }

    /// A nested string up to its terminator, borrowed if it holds no NUL.
    fn terminated(&mut self) -> Result<Cow<'de, [u8]>, Failure> {
        let mut text: Cow<'de, [u8]> = Cow::Borrowed(&[]);
        loop {
            let end = self.rest.iter().position(|byte| *byte == 0);
            let (part, after) = self.rest.split_at(end.ok_or(ENDS_EARLY)?);
            self.rest = after;
            match &mut text {
                Cow::Borrowed([]) => text = Cow::Borrowed(part),
                _ => text.to_mut().extend_from_slice(part),
            }
            match self.take()? {
                [0x00, 0x01] => return Ok(text),
                [0x00, 0xFF] => text.to_mut().push(0),
                _ => return Err(Failure::Malformed("a NUL inside a string is not escaped")),
            }
        }
    }
}

const ENDS_EARLY: Failure = Failure::Malformed("it ends too early");

/// Reads one value.
struct Decoder<'i, 'de> {
    input: &'i mut Input<'de>,
    depth: usize,
    /// Nothing but newtypes stands around this value: it is the whole key.
    bare: bool,
}

impl<'i, 'de> Decoder<'i, 'de> {
    fn fields(self, count: usize) -> Result<Fields<'i, 'de>, Failure> {
        Ok(Fields {
            depth: deeper(self.depth)?,
            input: self.input,
            left: count,
        })
    }

    fn bytes(self) -> Result<Cow<'de, [u8]>, Failure> {
        if self.bare {
            return Ok(Cow::Borrowed(std::mem::take(&mut self.input.rest)));
        }
        self.input.terminated()
    }

    fn text(self) -> Result<Cow<'de, str>, Failure> {
        match self.bytes()? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).ok(),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).ok(),
        }
        .ok_or(Failure::Malformed("a string is not UTF-8"))
    }
}

macro_rules! unsigned {
    ($($method:ident, $visit:ident: $type:ty);+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            visitor.$visit(<$type>::from_be_bytes(self.input.take()?))
        }
    )+};
}

macro_rules! signed {
    ($($method:ident, $visit:ident: $type:ty);+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            visitor.$visit(<$type>::from_be_bytes(self.input.take()?) ^ <$type>::MIN)
        }
    )+};
}

macro_rules! refused {
    ($($method:ident: $why:expr),+) => {$(
        fn $method<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Failure> {
            Err(Failure::Unsupported($why))
        }
    )+};
}

impl<'de> de::Deserializer<'de> for Decoder<'_, 'de> {
    type Error = Failure;

    unsigned!(
        deserialize_u8, visit_u8: u8;
        deserialize_u16, visit_u16: u16;
        deserialize_u32, visit_u32: u32;
        deserialize_u64, visit_u64: u64;
        deserialize_u128, visit_u128: u128
    );
    signed!(
        deserialize_i8, visit_i8: i8;
        deserialize_i16, visit_i16: i16;
        deserialize_i32, visit_i32: i32;
        deserialize_i64, visit_i64: i64;
        deserialize_i128, visit_i128: i128
    );
    refused!(
        deserialize_any: ASKS_ANY,
        deserialize_ignored_any: ASKS_IGNORED,
        deserialize_identifier: ASKS_IDENTIFIER,
        deserialize_map: HOLDS_MAP
    );

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_bool(self.input.flag()?)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let bits = u32::from_be_bytes(self.input.take()?);
        let flip = if bits >> 31 == 0 { u32::MAX } else { 1 << 31 };
        visitor.visit_f32(f32::from_bits(bits ^ flip))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let bits = u64::from_be_bytes(self.input.take()?);
        let flip = if bits >> 63 == 0 { u64::MAX } else { 1 << 63 };
        visitor.visit_f64(f64::from_bits(bits ^ flip))
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let scalar = char::from_u32(u32::from_be_bytes(self.input.take()?));
        visitor.visit_char(scalar.ok_or(Failure::Malformed("a char is no Unicode scalar value"))?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.text()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_string(self.text()?.into_owned())
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.bytes()? {
            Cow::Borrowed(bytes) => visitor.visit_borrowed_bytes(bytes),
            Cow::Owned(bytes) => visitor.visit_byte_buf(bytes),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_byte_buf(self.bytes()?.into_owned())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if !self.input.flag()? {
            return visitor.visit_none();
        }
        visitor.visit_some(Decoder {
            depth: deeper(self.depth)?,
            bare: false,
            ..self
        })
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(Decoder {
            depth: deeper(self.depth)?,
            ..self
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let mut elements = Elements {
            depth: deeper(self.depth)?,
            input: self.input,
            ended: false,
        };
        let value = visitor.visit_seq(&mut elements)?;
        if !elements.ended && elements.input.flag()? {
            return Err(Failure::Malformed(
                "a sequence has more elements than its type takes",
            ));
        }
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.fields(len)?.visit(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.fields(len)?.visit(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.fields(fields.len())?.visit(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_enum(self)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Reads the fields of a tuple, struct or variant.
struct Fields<'i, 'de> {
    input: &'i mut Input<'de>,
    depth: usize,
    left: usize,
}

impl<'de> Fields<'_, 'de> {
    /// A visitor that leaves fields unread would make the next value start in the wrong place.
    fn visit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        let value = visitor.visit_seq(&mut self)?;
        if self.left > 0 {
            return Err(Failure::Malformed("the type leaves a field unread"));
        }
        Ok(value)
    }

    fn nested(&mut self) -> Decoder<'_, 'de> {
        Decoder {
            input: &mut *self.input,
            depth: self.depth,
            bare: false,
        }
    }
}

impl<'de> de::SeqAccess<'de> for Fields<'_, 'de> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        seed.deserialize(self.nested()).map(Some)
    }
}

/// Reads the elements of a sequence. It gives no size hint: a length is believed only as it is read.
struct Elements<'i, 'de> {
    input: &'i mut Input<'de>,
    depth: usize,
    ended: bool,
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        if self.ended || !self.input.flag()? {
            self.ended = true;
            return Ok(None);
        }
        let nested = Decoder {
            input: &mut *self.input,
            depth: self.depth,
            bare: false,
        };
        seed.deserialize(nested).map(Some)
    }
}

impl<'de> de::EnumAccess<'de> for Decoder<'_, 'de> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self), Failure> {
        let index: U32Deserializer<Failure> = self.input.variant_index()?.into_deserializer();
        Ok((seed.deserialize(index)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Decoder<'_, 'de> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(self.fields(1)?.nested())
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failure> {
        self.fields(len)?.visit(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.fields(fields.len())?.visit(visitor)
    }
}
