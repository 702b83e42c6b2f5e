//! A serializer around another one, which refuses what the one inside would write and nobody could read again.
//!
//! Postcard has positions only: a field that is left out moves all those behind it, and a sequence is as long as it was
//! announced, not as long as it is. JSON has no bytes, no infinity and one `null`. The serializers of both write such
//! values all the same, and say nothing.

use serde::ser::{self, Serialize};
use std::cell::Cell;

/// A field that is left out where fields have no names.
const SKIPS_FIELD: &str =
    "it skips a field (#[serde(skip_serializing_if)]), and postcard has positions only";
/// The number that was announced is the number that is read.
const MISCOUNTS: &str = "it writes another number of fields or elements than it announced";
const NOT_FINITE: &str =
    "it holds a float that is infinite or no number, and JSON has no such numbers";
const HUGE: &str = "it holds a number beyond 64 bits, which readers of JSON round";
const BYTES: &str = "it holds bytes as bytes, and JSON has none";
const TWO_NONES: &str =
    "it holds an option of something that JSON writes as null, so it would come back as none";
const TOO_LONG: &str = "it is too long";

/// What is written, and what was refused: serializers do not pass every error on unchanged.
#[derive(Debug, Default)]
pub(super) struct Watch {
    refused: Cell<Option<&'static str>>,
    written: Cell<usize>,
    /// The last piece that was written is `null`.
    null: Cell<bool>,
}

impl Watch {
    /// Counts a piece of JSON.
    pub(super) fn writes(&self, piece: &[u8]) {
        self.written.set(self.written.get() + piece.len());
        self.null.set(piece == b"null");
    }

    /// There was no room.
    pub(super) fn is_full(&self) {
        self.refused.set(Some(TOO_LONG));
    }

    /// Why nothing more was written.
    pub(super) fn refused(&self) -> Option<&'static str> {
        self.refused.get()
    }

    pub(super) fn is_too_long(&self) -> bool {
        self.refused.get() == Some(TOO_LONG)
    }

    fn refuse<T, E: ser::Error>(&self, why: &'static str) -> Result<T, E> {
        self.refused.set(Some(why));
        Err(E::custom(why))
    }
}

/// What the serializer inside is.
pub(super) const POSTCARD: bool = false;
pub(super) const JSON: bool = true;

/// Serializes into `inner`, unless it is refused.
pub(super) struct Strict<'w, S, const JSON: bool> {
    pub(super) inner: S,
    pub(super) watch: &'w Watch,
}

/// A part of a value, on its way through the serializer inside.
struct Part<'w, 'v, T: ?Sized, const JSON: bool> {
    value: &'v T,
    watch: &'w Watch,
}

impl<T: Serialize + ?Sized, const JSON: bool> Serialize for Part<'_, '_, T, JSON> {
    #[inline]
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Strict::<S, JSON> {
            inner: serializer,
            watch: self.watch,
        })
    }
}

/// The inside of something that has one.
pub(super) struct Inside<'w, I, const JSON: bool> {
    inner: I,
    watch: &'w Watch,
    /// How many parts are still to come, where that was announced.
    left: Option<usize>,
}

impl<'w, S, const JSON: bool> Strict<'w, S, JSON> {
    fn inside<I>(inner: I, watch: &'w Watch, left: Option<usize>) -> Inside<'w, I, JSON> {
        Inside { inner, watch, left }
    }

    fn part<'v, T: ?Sized>(&self, value: &'v T) -> Part<'w, 'v, T, JSON> {
        Part {
            value,
            watch: self.watch,
        }
    }
}

impl<'w, I, const JSON: bool> Inside<'w, I, JSON> {
    #[inline]
    fn part<'v, T: ?Sized, E: ser::Error>(
        &mut self,
        value: &'v T,
    ) -> Result<Part<'w, 'v, T, JSON>, E> {
        if !JSON && let Some(left) = &mut self.left {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => return self.watch.refuse(MISCOUNTS),
            }
        }
        Ok(Part {
            value,
            watch: self.watch,
        })
    }

    fn finish<E: ser::Error>(&self) -> Result<(), E> {
        match self.left {
            Some(1..) if !JSON => self.watch.refuse(MISCOUNTS),
            _ => Ok(()),
        }
    }
}

macro_rules! plain {
    ($($method:ident: $type:ty),+) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )+};
}

macro_rules! floats {
    ($($method:ident: $type:ty),+) => {$(
        #[inline]
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            if JSON && !value.is_finite() {
                return self.watch.refuse(NOT_FINITE);
            }
            self.inner.$method(value)
        }
    )+};
}

impl<'w, S: ser::Serializer, const JSON: bool> ser::Serializer for Strict<'w, S, JSON> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Inside<'w, S::SerializeSeq, JSON>;
    type SerializeTuple = Inside<'w, S::SerializeTuple, JSON>;
    type SerializeTupleStruct = Inside<'w, S::SerializeTupleStruct, JSON>;
    type SerializeTupleVariant = Inside<'w, S::SerializeTupleVariant, JSON>;
    type SerializeMap = Inside<'w, S::SerializeMap, JSON>;
    type SerializeStruct = Inside<'w, S::SerializeStruct, JSON>;
    type SerializeStructVariant = Inside<'w, S::SerializeStructVariant, JSON>;

    plain!(
        serialize_bool: bool,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_char: char, serialize_str: &str
    );
    floats!(serialize_f32: f32, serialize_f64: f64);

    fn serialize_i128(self, value: i128) -> Result<S::Ok, S::Error> {
        if JSON && i64::try_from(value).is_err() && u64::try_from(value).is_err() {
            return self.watch.refuse(HUGE);
        }
        self.inner.serialize_i128(value)
    }

    fn serialize_u128(self, value: u128) -> Result<S::Ok, S::Error> {
        if JSON && u64::try_from(value).is_err() {
            return self.watch.refuse(HUGE);
        }
        self.inner.serialize_u128(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<S::Ok, S::Error> {
        if JSON {
            return self.watch.refuse(BYTES);
        }
        self.inner.serialize_bytes(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let (watch, before) = (self.watch, self.watch.written.get());
        let part = self.part(value);
        let ok = self.inner.serialize_some(&part)?;
        if JSON && watch.null.get() && watch.written.get() == before + "null".len() {
            return watch.refuse(TWO_NONES);
        }
        Ok(ok)
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let part = self.part(value);
        self.inner.serialize_newtype_struct(name, &part)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let part = self.part(value);
        self.inner
            .serialize_newtype_variant(name, index, variant, &part)
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        Ok(Self::inside(
            self.inner.serialize_seq(len)?,
            self.watch,
            len,
        ))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        Ok(Self::inside(
            self.inner.serialize_tuple(len)?,
            self.watch,
            Some(len),
        ))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let inner = self.inner.serialize_tuple_struct(name, len)?;
        Ok(Self::inside(inner, self.watch, Some(len)))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let inner = self
            .inner
            .serialize_tuple_variant(name, index, variant, len)?;
        Ok(Self::inside(inner, self.watch, Some(len)))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        Ok(Self::inside(
            self.inner.serialize_map(len)?,
            self.watch,
            len,
        ))
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        let inner = self.inner.serialize_struct(name, len)?;
        Ok(Self::inside(inner, self.watch, Some(len)))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let inner = self
            .inner
            .serialize_struct_variant(name, index, variant, len)?;
        Ok(Self::inside(inner, self.watch, Some(len)))
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! positional {
    ($($trait:ident: $method:ident),+) => {$(
        impl<I: ser::$trait, const JSON: bool> ser::$trait for Inside<'_, I, JSON> {
            type Ok = I::Ok;
            type Error = I::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), I::Error> {
                let part = self.part(value)?;
                self.inner.$method(&part)
            }

            fn end(self) -> Result<I::Ok, I::Error> {
                self.finish()?;
                self.inner.end()
            }
        }
    )+};
}

positional!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

macro_rules! named {
    ($($trait:ident),+) => {$(
        impl<I: ser::$trait, const JSON: bool> ser::$trait for Inside<'_, I, JSON> {
            type Ok = I::Ok;
            type Error = I::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), I::Error> {
                let part = self.part(value)?;
                self.inner.serialize_field(name, &part)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), I::Error> {
                if !JSON {
                    return self.watch.refuse(SKIPS_FIELD);
                }
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<I::Ok, I::Error> {
                self.finish()?;
                self.inner.end()
            }
        }
    )+};
}

named!(SerializeStruct, SerializeStructVariant);

/// A key counts, the value belongs to it.
impl<I: ser::SerializeMap, const JSON: bool> ser::SerializeMap for Inside<'_, I, JSON> {
    type Ok = I::Ok;
    type Error = I::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), I::Error> {
        let part = self.part(key)?;
        self.inner.serialize_key(&part)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), I::Error> {
        self.inner.serialize_value(&Part::<T, JSON> {
            value,
            watch: self.watch,
        })
    }

    fn end(self) -> Result<I::Ok, I::Error> {
        self.finish()?;
        self.inner.end()
    }
}
