//! Shapes: what a type asks of a deserializer, written down as text.
//!
//! serde has no schema, and names are not stable across compilers, so a type is known by its requests alone: a recording
//! deserializer answers each with a made-up value, takes every variant of every enum in turn over repeated runs, and
//! notes the kind of each place. Two types with one shape are read from the same bytes in the same way, whatever they and
//! their fields are called.
//!
//! | text | asked for |
//! |---|---|
//! | `u64`, `bool`, `f32`, `char`, `str`, `bytes`, `()` | that |
//! | `?x` | an option of x |
//! | `[x]` | a sequence of any length |
//! | `{k:v}` | a map |
//! | `(a,b)`, `(u8*32)` | fields in this order: tuples, arrays, structs |
//! | `<a\|b>` | an enum, its variants in order |
//! | `_` | opaque: the type refused the made-up value, or this place was too deep to be reached |
//!
//! A newtype is what it wraps. Depth, steps and runs are bounded, so a recursive type ends in `_`. A panic in the type's
//! own code is caught: what it had not asked for yet is opaque.

pub(crate) mod tracer;

use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tracer::{Trace, Tracer};

/// The longest text of a shape, in bytes. A longer one is cut and ends in a hash of the whole.
pub const SHAPE_BYTES_MAX: usize = 1500;
/// The runs of a tracer: what was not visited by then stays opaque.
const RUNS_MAX: u32 = 1024;
/// Requests over all runs: some milliseconds.
const STEPS_MAX: u32 = 200_000;

/// The version of the notation and of the made-up values: shapes of different versions are not compared.
const VERSION: &str = "1:";

/// What a type asks of a deserializer, as text behind a version.
///
/// ```
/// use kv_trait::Shape;
/// assert_eq!(Shape::of::<(u64, Option<Vec<String>>)>().to_string(), "1:(u64,?[str])");
/// assert_ne!(Shape::of::<u64>(), Shape::of::<i64>());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(String);

impl Shape {
    /// Runs `T`'s `Deserialize` on made-up values, up to some thousand times. A panic in it is caught (the panic hook
    /// still reports it).
    #[must_use]
    pub fn of<T: DeserializeOwned>() -> Self {
        let mut trace = Trace::of_values();
        trace.run_all(|trace| {
            // A refusal says that this place stays opaque, nothing else.
            drop(T::deserialize(Tracer::new(trace)));
            true
        });
        trace.shape()
    }

    /// A shape as it was recorded, of this version or another.
    pub(crate) fn recorded(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether bytes of the one may be read as the other, as far as shapes can tell.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let known = |shape: &Self| shape.0.starts_with(VERSION);
        self == other || !known(self) || !known(other)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What made-up values say of a type that is to be written and read again.
pub(crate) struct Trial {
    /// It asks for what the encoding cannot answer.
    pub(crate) refused: Option<&'static str>,
    /// Every variant was made up whole, nothing was left empty for its depth, and all of it went there and back.
    pub(crate) is_whole: bool,
}

impl Trial {
    /// Makes values of `T` up, the least and fuller ones, and sends each `there_and_back`. A panic in `T`'s code is caught.
    pub(crate) fn of<T: DeserializeOwned>(there_and_back: impl Fn(&T) -> bool) -> Self {
        let mut trial = Self {
            refused: None,
            is_whole: true,
        };
        for made_up in [MadeUp::Least, MadeUp::Full] {
            let mut trace = Trace::of_values();
            trace.made_up = Some(made_up);
            let mut lost = false;
            trace.run_all(|trace| {
                if let Ok(value) = T::deserialize(Tracer::new(trace)) {
                    let back = there_and_back(&value);
                    lost |= !back;
                    if back {
                        trace.note_good();
                    }
                }
                trace.refused.is_none()
            });
            trial.refused = trial.refused.or(trace.refused);
            trial.is_whole &= !lost && (made_up == MadeUp::Least || trace.saw_all());
        }
        trial
    }
}

/// How much is made up in each run, where that does not follow from the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MadeUp {
    /// Zeros, empty strings and sequences, no options.
    Least,
    /// Ones, and something in everything.
    Full,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Plain(&'static str),
    Optional,
    Sequence,
    Map,
    /// Fields or, inside an enum, the fields of a variant.
    Fields(usize),
    Variants(usize),
    /// The content of a variant that wraps one value.
    Wrapped,
}

/// The kinds by place; [`inner_place`] leads from one to those inside.
#[derive(Debug, Default)]
pub(crate) struct Notes(HashMap<u64, Kind>);

impl Notes {
    /// The first request at a place counts.
    fn note(&mut self, place: u64, kind: Kind) {
        self.0.entry(place).or_insert(kind);
    }

    fn write(&self, place: u64, out: &mut String) {
        let inner = |step: usize| inner_place(place, step);
        match self.0.get(&place) {
            None => out.push('_'),
            Some(Kind::Plain(name)) => out.push_str(name),
            Some(Kind::Optional) => {
                out.push('?');
                self.write(inner(0), out);
            }
            Some(Kind::Sequence) => self.write_all("[", &[inner(0)], "", "]", out),
            Some(Kind::Map) => self.write_all("{", &[inner(0), inner(1)], ":", "}", out),
            Some(Kind::Wrapped) => self.write(inner(0), out),
            Some(Kind::Fields(count)) => {
                let places: Vec<_> = (0..*count).map(inner).collect();
                self.write_all("(", &places, ",", ")", out);
            }
            Some(Kind::Variants(count)) => {
                let places: Vec<_> = (0..*count).map(inner).collect();
                self.write_all("<", &places, "|", ">", out);
            }
        }
    }

    /// Equal neighbours are written once, with their number.
    fn write_all(&self, open: &str, places: &[u64], between: &str, close: &str, out: &mut String) {
        out.push_str(open);
        let texts: Vec<String> = places
            .iter()
            .map(|place| {
                let mut text = String::new();
                self.write(*place, &mut text);
                text
            })
            .collect();
        for (at, run) in texts.chunk_by(PartialEq::eq).enumerate() {
            if at > 0 {
                out.push_str(between);
            }
            out.push_str(&run[0]);
            if run.len() > 1 {
                out.push_str(&format!("*{}", run.len()));
            }
        }
        out.push_str(close);
    }

    fn shape(&self) -> Shape {
        let mut text = VERSION.to_owned();
        self.write(0, &mut text);
        if text.len() > SHAPE_BYTES_MAX {
            let hash = fnv1a(text.as_bytes());
            text.truncate(SHAPE_BYTES_MAX - 17); // the notation is ASCII
            text.push_str(&format!("~{hash:016x}"));
        }
        Shape(text)
    }
}

/// FNV-1a, 64 bits. Tells long shapes apart by more than their beginnings; nobody gains by a collision.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

impl Trace {
    /// Repeats `run` until every variant had its turn, `run` says no, or a bound is reached. Panics are caught.
    pub(crate) fn run_all(&mut self, mut run: impl FnMut(&mut Self) -> bool) {
        for number in 0..RUNS_MAX {
            self.start_run(number);
            let outcome = catch_unwind(AssertUnwindSafe(|| run(self)));
            if matches!(outcome, Ok(false)) {
                return;
            }
            // The first run is the frugal one: the second sees more, even of a type without enums.
            if number > 0 && (self.is_complete() || self.steps_total() > STEPS_MAX) {
                return;
            }
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.notes.shape()
    }
}

/// The place one step inside another. A collision costs a variant its turn, or a note its place, nothing else.
fn inner_place(place: u64, step: usize) -> u64 {
    let step = u64::try_from(step).unwrap_or(u64::MAX);
    (place ^ step.wrapping_add(1))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(29)
}
