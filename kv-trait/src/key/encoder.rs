//! The serializer behind [`encode`](super::encode). The table in the module above says what it writes.
#![expect(
    clippy::big_endian_bytes,
    reason = "big-endian bytes compare as the numbers do"
)]

use super::failure::{Failure, HOLDS_MAP, MISCOUNTS, SKIPS_FIELD, deeper};
use super::within_limit;
use serde::ser::{self, Serialize};

/// Appends the encoding of `key`. On failure `out` may hold a part of it.
pub(super) fn append<K: Serialize + ?Sized>(key: &K, out: &mut Vec<u8>) -> Result<(), Failure> {
    let start = out.len();
    let mut sink = Sink { out, start };
    key.serialize(Encoder {
        sink: &mut sink,
        depth: 0,
        bare: true,
    })
}

/// Where the bytes go: refuses the one that would pass the limit, before it is stored.
struct Sink<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl Sink<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        within_limit((self.out.len() - self.start).saturating_add(bytes.len()))?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }
}

/// Writes one value.
struct Encoder<'s, 'a> {
    sink: &'s mut Sink<'a>,
    depth: usize,
    /// Nothing but newtypes stands around this value: it is the whole key.
    bare: bool,
}

impl<'s, 'a> Encoder<'s, 'a> {
    /// A sequence or a map of `announced` elements, or of any number.
    fn fields(self, announced: Option<usize>) -> Result<Fields<'s, 'a>, Failure> {
        Ok(Fields {
            depth: deeper(self.depth)?,
            sink: self.sink,
            left: announced,
        })
    }

    fn variant_index(&mut self, index: u32) -> Result<(), Failure> {
        match u8::try_from(index) {
            Ok(byte) if byte < u8::MAX => self.sink.push(&[byte]),
            _ => {
                self.sink.push(&[u8::MAX])?;
                self.sink.push(&index.to_be_bytes())
            }
        }
    }

    fn text(self, bytes: &[u8]) -> Result<(), Failure> {
        if self.bare {
            return self.sink.push(bytes);
        }
        for (nuls_before, part) in bytes.split(|byte| *byte == 0).enumerate() {
            if nuls_before > 0 {
                self.sink.push(&[0x00, 0xFF])?;
            }
            self.sink.push(part)?;
        }
        self.sink.push(&[0x00, 0x01])
    }
}

macro_rules! unsigned {
    ($($method:ident: $type:ty),+) => {$(
        fn $method(self, value: $type) -> Result<(), Failure> {
            self.sink.push(&value.to_be_bytes())
        }
    )+};
}

macro_rules! signed {
    ($($method:ident: $type:ty),+) => {$(
        fn $method(self, value: $type) -> Result<(), Failure> {
            self.sink.push(&(value ^ <$type>::MIN).to_be_bytes())
        }
    )+};
}

impl<'s, 'a> ser::Serializer for Encoder<'s, 'a> {
    type Ok = ();
    type Error = Failure;
    type SerializeSeq = Elements<'s, 'a>;
    type SerializeTuple = Fields<'s, 'a>;
    type SerializeTupleStruct = Fields<'s, 'a>;
    type SerializeTupleVariant = Fields<'s, 'a>;
    type SerializeMap = ser::Impossible<(), Failure>;
    type SerializeStruct = Fields<'s, 'a>;
    type SerializeStructVariant = Fields<'s, 'a>;

    unsigned!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128);
    signed!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128);

    fn serialize_bool(self, value: bool) -> Result<(), Failure> {
        self.sink.push(&[u8::from(value)])
    }

    fn serialize_f32(self, value: f32) -> Result<(), Failure> {
        let bits = value.to_bits();
        let flip = if bits >> 31 == 1 { u32::MAX } else { 1 << 31 };
        self.sink.push(&(bits ^ flip).to_be_bytes())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Failure> {
        let bits = value.to_bits();
        let flip = if bits >> 63 == 1 { u64::MAX } else { 1 << 63 };
        self.sink.push(&(bits ^ flip).to_be_bytes())
    }

    fn serialize_char(self, value: char) -> Result<(), Failure> {
        self.sink.push(&u32::from(value).to_be_bytes())
    }

    fn serialize_str(self, value: &str) -> Result<(), Failure> {
        self.text(value.as_bytes())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Failure> {
        self.text(value)
    }

    fn serialize_none(self) -> Result<(), Failure> {
        self.sink.push(&[0x00])
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        self.sink.push(&[0x01])?;
        self.fields(Some(1))?.field(value)
    }

    fn serialize_unit(self) -> Result<(), Failure> {
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Failure> {
        Ok(())
    }

    fn serialize_unit_variant(
        mut self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
    ) -> Result<(), Failure> {
        self.variant_index(index)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        value.serialize(Encoder {
            depth: deeper(self.depth)?,
            ..self
        })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<(), Failure> {
        self.variant_index(index)?;
        self.fields(Some(1))?.field(value)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Elements<'s, 'a>, Failure> {
        Ok(Elements(self.fields(len)?))
    }

    fn serialize_tuple(self, len: usize) -> Result<Fields<'s, 'a>, Failure> {
        self.fields(Some(len))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<Fields<'s, 'a>, Failure> {
        self.fields(Some(len))
    }

    fn serialize_tuple_variant(
        mut self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        len: usize,
    ) -> Result<Fields<'s, 'a>, Failure> {
        self.variant_index(index)?;
        self.fields(Some(len))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Self::SerializeMap, Failure> {
        Err(Failure::Unsupported(HOLDS_MAP))
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Fields<'s, 'a>, Failure> {
        self.fields(Some(len))
    }

    fn serialize_struct_variant(
        mut self,
        _name: &'static str,
        index: u32,
        _variant: &'static str,
        len: usize,
    ) -> Result<Fields<'s, 'a>, Failure> {
        self.variant_index(index)?;
        self.fields(Some(len))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Writes the fields of a tuple, struct or variant, one after the other.
struct Fields<'s, 'a> {
    sink: &'s mut Sink<'a>,
    depth: usize,
    /// How many are still to come, where that was announced. Fields have no marks, so one that is left out or added
    /// moves all those behind it, and two keys may become one.
    left: Option<usize>,
}

impl Fields<'_, '_> {
    fn field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1).ok_or(Failure::Unsupported(MISCOUNTS))?;
        }
        value.serialize(Encoder {
            sink: &mut *self.sink,
            depth: self.depth,
            bare: false,
        })
    }

    fn finish(&self) -> Result<(), Failure> {
        match self.left {
            None | Some(0) => Ok(()),
            Some(_) => Err(Failure::Unsupported(MISCOUNTS)),
        }
    }
}

/// Writes the elements of a sequence, each behind a mark, and the mark of the end.
struct Elements<'s, 'a>(Fields<'s, 'a>);

impl ser::SerializeSeq for Elements<'_, '_> {
    type Ok = ();
    type Error = Failure;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
        self.0.sink.push(&[0x01])?;
        self.0.field(value)
    }

    fn end(self) -> Result<(), Failure> {
        self.0.finish()?;
        self.0.sink.push(&[0x00])
    }
}

macro_rules! positional {
    ($($trait:ident: $method:ident),+) => {$(
        impl ser::$trait for Fields<'_, '_> {
            type Ok = ();
            type Error = Failure;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Failure> {
                self.field(value)
            }

            fn end(self) -> Result<(), Failure> {
                self.finish()
            }
        }
    )+};
}

positional!(
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

macro_rules! named {
    ($($trait:ident),+) => {$(
        impl ser::$trait for Fields<'_, '_> {
            type Ok = ();
            type Error = Failure;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _name: &'static str,
                value: &T,
            ) -> Result<(), Failure> {
                self.field(value)
            }

            fn skip_field(&mut self, _name: &'static str) -> Result<(), Failure> {
                Err(Failure::Unsupported(SKIPS_FIELD))
            }

            fn end(self) -> Result<(), Failure> {
                self.finish()
            }
        }
    )+};
}

named!(SerializeStruct, SerializeStructVariant);
