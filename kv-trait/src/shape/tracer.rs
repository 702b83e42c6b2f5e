//! The deserializer that makes values up.
//!
//! A place is where in the type a request comes from (fields, elements and variants taken on the way, as a hash).
//! Each enum at each place hands out its variants in turn. An enum deep inside itself hands out the next of its
//! variants without counting, so that a recursive type comes to its end.

use super::{Kind, MadeUp, Notes, inner_place};
use crate::key::failure::{ASKS_ANY, ASKS_IDENTIFIER, ASKS_IGNORED, Failure, HOLDS_MAP, deeper};
use serde::de::value::U32Deserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor};
use std::collections::{HashMap, HashSet};

/// Requests in one run after which options are none and sequences empty.
const STEPS_SOFT: u32 = 2_000;
/// Requests after which a run is given up.
const STEPS_HARD: u32 = 20_000;
/// Options and sequences around a value that are filled; the ones inside are left empty.
const FILLED_MAX: usize = 4;

/// An enum this many levels inside itself is taken for a recursive one, not for two uses of one generic enum.
const SELF_NESTED_MAX: usize = 2;

const GIVEN_UP: Failure = Failure::Malformed("the probe gave up");

/// What the runs found so far.
#[derive(Default)]
pub(crate) struct Trace {
    /// The type asked for what the encoding cannot answer.
    pub(crate) refused: Option<&'static str>,
    /// The whole key was asked for as a string or as bytes.
    pub(crate) bare: bool,
    run: u32,
    steps: u32,
    steps_before: u32,
    enums: HashMap<(u64, &'static str), Turn>,
    pub(super) notes: Notes,
    /// Values may hold maps, keys may not.
    maps: bool,
    /// The enums around the present request, with the variant each is in.
    inside: Vec<EnumInside>,
    /// In every run, whichever it is.
    pub(super) made_up: Option<MadeUp>,
    /// The variants taken in this run, and in runs that came to a good end.
    taken: Vec<(u64, &'static str, usize)>,
    good: HashSet<(u64, &'static str, usize)>,
    any_good: bool,
    /// Something was left out for its depth or for the number of requests.
    left_out: bool,
}

struct EnumInside {
    name: &'static str,
    variants: &'static [&'static str],
    chosen: usize,
}

/// Which variant of an enum comes next, out of how many.
struct Turn {
    next: usize,
    count: usize,
}

impl Trace {
    /// A tracer for types that are values.
    pub(super) fn of_values() -> Self {
        Self {
            maps: true,
            ..Self::default()
        }
    }

    pub(super) fn start_run(&mut self, run: u32) {
        self.run = run;
        self.steps_before = self.steps_total();
        self.steps = 0;
        self.inside.clear();
        self.taken.clear();
    }

    /// This run came to a good end.
    pub(super) fn note_good(&mut self) {
        self.any_good = true;
        self.good.extend(self.taken.iter().copied());
    }

    /// Whether runs with a good end have seen every variant, and nothing was left out.
    pub(super) fn saw_all(&self) -> bool {
        let seen = |(key, turn): (&(u64, &'static str), &Turn)| {
            (0..turn.count).all(|variant| self.good.contains(&(key.0, key.1, variant)))
        };
        self.any_good && !self.left_out && self.enums.iter().all(seen)
    }

    /// Whether every variant of every enum that was met had its turn.
    pub(super) fn is_complete(&self) -> bool {
        self.enums.values().all(|turn| turn.next >= turn.count)
    }

    pub(super) fn steps_total(&self) -> u32 {
        self.steps_before.saturating_add(self.steps)
    }

    /// The first run makes up the least: zeros, empty strings, no options.
    fn is_frugal(&self) -> bool {
        let by_plan = match self.made_up {
            None => self.run == 0,
            Some(made_up) => made_up == MadeUp::Least,
        };
        by_plan || self.steps > STEPS_SOFT
    }

    fn variant(
        &mut self,
        place: u64,
        name: &'static str,
        variants: &'static [&'static str],
    ) -> Result<usize, Failure> {
        let count = variants.len();
        if count == 0 {
            return Err(GIVEN_UP);
        }
        let same = |around: &&EnumInside| around.name == name && around.variants == variants;
        let mut around = self.inside.iter().rev().filter(same);
        if let (Some(inner), Some(_)) = (around.next(), around.nth(SELF_NESTED_MAX - 1)) {
            self.left_out = true;
            return Ok((inner.chosen + 1) % count);
        }
        let turn = self
            .enums
            .entry((place, name))
            .or_insert(Turn { next: 0, count });
        let taken = turn.next;
        let taken = if taken < count {
            turn.next += 1;
            taken
        } else {
            usize::try_from(self.run).unwrap_or(0) % count
        };
        self.taken.push((place, name, taken));
        Ok(taken)
    }
}

/// Answers one request.
pub(crate) struct Tracer<'t> {
    trace: &'t mut Trace,
    place: u64,
    depth: usize,
    filled: usize,
    bare: bool,
}

impl<'t> Tracer<'t> {
    pub(crate) fn new(trace: &'t mut Trace) -> Self {
        Self {
            trace,
            place: 0,
            depth: 0,
            filled: 0,
            bare: true,
        }
    }

    fn step(&mut self, kind: Kind) -> Result<(), Failure> {
        self.trace.notes.note(self.place, kind);
        self.advance()
    }

    fn advance(&mut self) -> Result<(), Failure> {
        self.trace.steps += 1;
        if self.trace.steps > STEPS_HARD {
            return Err(GIVEN_UP);
        }
        Ok(())
    }

    fn number(&mut self, name: &'static str) -> Result<u8, Failure> {
        self.step(Kind::Plain(name))?;
        // One is what most types like that do not like every number: NonZero, months, sizes.
        Ok(u8::from(!self.trace.is_frugal()))
    }

    fn text(&mut self, name: &'static str) -> Result<&'static str, Failure> {
        self.step(Kind::Plain(name))?;
        self.trace.bare |= self.bare;
        Ok(if self.trace.is_frugal() { "" } else { "a" })
    }

    fn refuse<T>(self, cause: &'static str) -> Result<T, Failure> {
        self.trace.refused.get_or_insert(cause);
        Err(Failure::Unsupported(cause))
    }

    fn fills(&mut self) -> bool {
        let fills = self.filled < FILLED_MAX && !self.trace.is_frugal();
        self.trace.left_out |= !fills;
        fills
    }

    fn fields(mut self, kind: Kind, count: usize) -> Result<Fields<'t>, Failure> {
        self.step(kind)?;
        Ok(Fields {
            depth: deeper(self.depth)?,
            trace: self.trace,
            place: self.place,
            filled: self.filled,
            next: 0,
            count,
        })
    }
}

macro_rules! numbers {
    ($($method:ident, $visit:ident, $name:literal);+) => {$(
        fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
            visitor.$visit(self.number($name)?.into())
        }
    )+};
}

macro_rules! refused {
    ($($method:ident: $why:expr),+) => {$(
        fn $method<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Failure> {
            self.refuse($why)
        }
    )+};
}

impl<'de> de::Deserializer<'de> for Tracer<'_> {
    type Error = Failure;

    numbers!(
        deserialize_u8, visit_u8, "u8"; deserialize_u16, visit_u16, "u16"; deserialize_u32, visit_u32, "u32";
        deserialize_u64, visit_u64, "u64"; deserialize_u128, visit_u128, "u128";
        deserialize_i16, visit_i16, "i16"; deserialize_i32, visit_i32, "i32"; deserialize_i64, visit_i64, "i64";
        deserialize_i128, visit_i128, "i128"; deserialize_f32, visit_f32, "f32"; deserialize_f64, visit_f64, "f64"
    );
    refused!(
        deserialize_any: ASKS_ANY,
        deserialize_ignored_any: ASKS_IGNORED,
        deserialize_identifier: ASKS_IDENTIFIER
    );

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        if !self.trace.maps {
            return self.refuse(HOLDS_MAP);
        }
        let count = usize::from(self.fills());
        self.filled += 1;
        visitor.visit_map(self.fields(Kind::Map, 2 * count)?)
    }

    fn deserialize_i8<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_i8(i8::from(self.number("i8")? == 1))
    }

    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_bool(self.number("bool")? == 1)
    }

    fn deserialize_char<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        self.step(Kind::Plain("char"))?;
        visitor.visit_char('a')
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_borrowed_str(self.text("str")?)
    }

    fn deserialize_string<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_string(self.text("str")?.to_owned())
    }

    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_borrowed_bytes(self.text("bytes")?.as_bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_byte_buf(self.text("bytes")?.as_bytes().to_vec())
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        self.step(Kind::Optional)?;
        if !self.fills() {
            return visitor.visit_none();
        }
        visitor.visit_some(Tracer {
            depth: deeper(self.depth)?,
            place: inner_place(self.place, 0),
            filled: self.filled + 1,
            bare: false,
            ..self
        })
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        self.step(Kind::Plain("()"))?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.advance()?;
        visitor.visit_newtype_struct(Tracer {
            depth: deeper(self.depth)?,
            ..self
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Failure> {
        let count = usize::from(self.fills());
        self.filled += 1;
        visitor.visit_seq(self.fields(Kind::Sequence, count)?)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_seq(self.fields(Kind::Fields(len), len)?)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_seq(self.fields(Kind::Fields(len), len)?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_seq(self.fields(Kind::Fields(fields.len()), fields.len())?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.step(Kind::Variants(variants.len()))?;
        let chosen = self.trace.variant(self.place, name, variants)?;
        let level = self.trace.inside.len();
        self.trace.inside.push(EnumInside {
            name,
            variants,
            chosen,
        });
        let outcome = visitor.visit_enum(Variant {
            chosen,
            content: Tracer {
                trace: &mut *self.trace,
                place: inner_place(self.place, chosen),
                bare: false,
                ..self
            },
        });
        self.trace.inside.truncate(level);
        outcome
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The fields of a tuple, struct or variant, or the elements of a sequence.
struct Fields<'t> {
    trace: &'t mut Trace,
    place: u64,
    depth: usize,
    filled: usize,
    next: usize,
    count: usize,
}

impl Fields<'_> {
    fn nested(&mut self) -> Tracer<'_> {
        Tracer {
            trace: &mut *self.trace,
            place: inner_place(self.place, self.next),
            depth: self.depth,
            filled: self.filled,
            bare: false,
        }
    }
}

impl<'de> de::SeqAccess<'de> for Fields<'_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        if self.next == self.count {
            return Ok(None);
        }
        let value = seed.deserialize(self.nested())?;
        self.next += 1;
        Ok(Some(value))
    }
}

/// One entry, or none: fields 0 and 1.
impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Failure;

    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        de::SeqAccess::next_element_seed(self, seed)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Failure> {
        let value = de::SeqAccess::next_element_seed(self, seed)?;
        value.ok_or(GIVEN_UP)
    }
}

/// The variant whose turn it is.
struct Variant<'t> {
    chosen: usize,
    content: Tracer<'t>,
}

impl<'de, 't> de::EnumAccess<'de> for Variant<'t> {
    type Error = Failure;
    type Variant = Tracer<'t>;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Tracer<'t>), Failure> {
        let index = u32::try_from(self.chosen).map_err(de::Error::custom)?;
        let index: U32Deserializer<Failure> = index.into_deserializer();
        Ok((seed.deserialize(index)?, self.content))
    }
}

impl<'de> de::VariantAccess<'de> for Tracer<'_> {
    type Error = Failure;

    fn unit_variant(mut self) -> Result<(), Failure> {
        self.step(Kind::Plain("()"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Failure> {
        seed.deserialize(self.fields(Kind::Wrapped, 1)?.nested())
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_seq(self.fields(Kind::Fields(len), len)?)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_seq(self.fields(Kind::Fields(fields.len()), fields.len())?)
    }
}
