//! What serde's attributes and types become in each codec: exactly themselves, or refused. Never something else.

use kv_trait::codec::{Codec, Json, Postcard, Probed, encode_checked};
use kv_trait::{Error, ErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It comes back as it was.
    Exact,
    /// A store of its type is not opened.
    NoStore,
    /// It is refused when it comes.
    Refused,
}
use Fate::{Exact, NoStore, Refused};

/// As a store does it: probe, then encode. `careful`: as with debug assertions.
fn fate<V, C>(value: &V, careful: bool) -> Fate
where
    V: PartialEq + Debug,
    C: Codec<V>,
{
    let probed = match C::probe() {
        Ok(probed) => probed,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            let name = std::any::type_name::<V>();
            assert!(error.to_string().contains(name), "{error}");
            assert!(error.to_string().contains("the codec `Json`"), "{error}");
            return NoStore;
        }
    };
    let mut bytes = b"before".to_vec();
    let written = if careful {
        encode_checked::<V, C>(value, probed, &mut bytes)
    } else {
        // What is done without debug assertions.
        C::encode(value, &mut bytes).and_then(|()| match probed {
            Probed::Whole => Ok(()),
            Probed::InPart => C::read_back(&bytes[6..]).inspect_err(|_| bytes.truncate(6)),
        })
    };
    if let Err(error) = written {
        assert_eq!(error.kind(), ErrorKind::Codec, "{error}");
        assert_eq!(bytes, b"before");
        return Refused;
    }
    let back: Result<V, Error> = C::decode(&bytes[6..]);
    assert_eq!(back.as_ref().ok(), Some(value), "{back:?}");
    Exact
}

/// The fate of each value in postcard and in JSON.
#[track_caller]
fn becomes<V>(values: &[V], postcard: Fate, json: Fate)
where
    V: Serialize + DeserializeOwned + PartialEq + Debug,
{
    for value in values {
        for careful in [false, true] {
            assert_eq!(
                fate::<V, Postcard>(value, careful),
                postcard,
                "{value:?}, careful: {careful}"
            );
            assert_eq!(
                fate::<V, Json>(value, careful),
                json,
                "{value:?}, careful: {careful}"
            );
        }
    }
}

macro_rules! values {
    ($($item:item)+) => {$(
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        $item
    )+};
}

values! {
    #[serde(untagged)]
    enum Untagged { Number(u64), Text(String), Both { a: u8, b: String } }
    #[serde(tag = "kind")]
    enum Internal { A { x: u8 }, B, C(Inner) }
    #[serde(tag = "kind", content = "of")]
    enum Adjacent { A(u8), B, C { x: u8 } }
    enum External { Unit, One(u8), Two(u8, String), Named { x: u8, y: Option<u8> } }
    struct Inner { x: u8 }
    struct Flat { id: u8, #[serde(flatten)] rest: Inner }
    struct FlatMap { id: u8, #[serde(flatten)] rest: BTreeMap<String, u128> }
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        first: Option<u64>,
        second: u64,
        third: Vec<u8>,
    }
    struct SparseTuple(u8, #[serde(skip_serializing_if = "Option::is_none")] Option<u8>, u8);
    enum SparseVariant { A(#[serde(skip_serializing_if = "Option::is_none")] Option<u8>, u8), B }
    struct OtherDefault {
        #[serde(skip_serializing_if = "is_zero", default = "seven")]
        number: u8,
    }
    struct Skips { a: u8, #[serde(skip)] scratch: u8, b: u8 }
    struct OneWay { a: u8, #[serde(skip_serializing, default)] b: u8, c: u8 }
    struct OtherWay { a: u8, #[serde(skip_deserializing, default)] b: u8, c: u8 }
    struct Renamed { #[serde(rename = "type", alias = "kind")] of: u8, #[serde(default)] other: u8 }
    struct With { #[serde(with = "as_text")] number: u32 }
    struct Unit;
    struct New(u64);
    struct Pair(u64, String);
    struct Nothing { unit: (), marker: PhantomData<u8>, none: [u8; 0] }
    struct Tree { name: String, children: Vec<Self> }
    struct DateLike { at: Day, then: u8 }
    struct HidesUntagged { at: Day, value: Untagged }
    #[serde(from = "u8", into = "u8")]
    struct Through(u8);
    #[serde(deny_unknown_fields)]
    struct Denies { a: u8 }
    #[serde(transparent)]
    struct Transparent { a: Option<u8> }
    enum Other { A, #[serde(rename = "b-b")] B, #[serde(skip)] Hidden }
}

impl From<u8> for Through {
    fn from(byte: u8) -> Self {
        Self(byte)
    }
}

impl From<Through> for u8 {
    fn from(through: Through) -> Self {
        through.0
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u8) -> bool {
    *number == 0
}

fn seven() -> u8 {
    7
}

mod as_text {
    use super::*;
    pub(super) fn serialize<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Text in every format, and not any text: as dates are.
#[derive(Clone, Debug, PartialEq)]
struct Day(u8);

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("2026-11-{:02}", self.0))
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let day = text
            .strip_prefix("2026-11-")
            .and_then(|day| day.parse().ok());
        day.map(Self)
            .ok_or_else(|| serde::de::Error::custom("no day of this month"))
    }
}

/// Text for people, bytes for machines: as UUIDs are.
#[derive(Clone, Debug, PartialEq)]
struct IdLike([u8; 2]);

impl Serialize for IdLike {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(&format_args!("{:02x}{:02x}", self.0[0], self.0[1]))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for IdLike {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            let number = u16::from_str_radix(&text, 16).map_err(serde::de::Error::custom)?;
            let [low, high] = number.to_le_bytes();
            Ok(Self([high, low]))
        } else {
            let bytes = kv_trait::ByteKey::deserialize(deserializer)?.0;
            bytes
                .try_into()
                .map(Self)
                .map_err(|_bytes| serde::de::Error::custom("no id"))
        }
    }
}

#[test]
fn types_that_ask_what_the_bytes_are_need_a_codec_that_says_it() {
    let text = || "a".to_owned();
    becomes(
        &[
            Untagged::Number(7),
            Untagged::Text(text()),
            Untagged::Both { a: 1, b: text() },
        ],
        NoStore,
        Exact,
    );
    becomes(
        &[
            Internal::A { x: 1 },
            Internal::B,
            Internal::C(Inner { x: 2 }),
        ],
        NoStore,
        Exact,
    );
    becomes(
        &[Adjacent::A(1), Adjacent::B, Adjacent::C { x: 2 }],
        NoStore,
        Exact,
    );
    becomes(
        &[Flat {
            id: 1,
            rest: Inner { x: 2 },
        }],
        NoStore,
        Exact,
    );
    let document = serde_json::json!({"a": [1, -1, 0.1, 1e300, null, true, "x"], "b": {}});
    becomes(&[document.clone(), serde_json::Value::Null], NoStore, Exact);
    becomes(&[vec![document.clone()]], NoStore, Exact);
    becomes(&[Some(document)], NoStore, Exact);
    becomes(
        &[vec![vec![vec![vec![vec![vec![Untagged::Number(1)]]]]]]],
        Refused,
        Exact,
    );
}

#[test]
fn fields_that_are_left_out_are_refused_where_fields_have_no_names() {
    // Read back without an error as `Some(3)`, 65 and `[90]`.
    let lost = Sparse {
        first: None,
        second: 1,
        third: vec![65, 1, 90],
    };
    becomes(&[lost], Refused, Exact);
    becomes(
        &[Sparse {
            first: Some(1),
            second: 1,
            third: vec![],
        }],
        Exact,
        Exact,
    );
    becomes(&[SparseTuple(1, None, 1)], Refused, Refused);
    becomes(&[SparseTuple(1, Some(1), 1)], Exact, Exact);
    becomes(&[SparseVariant::A(None, 1)], Refused, Refused);
    becomes(
        &[SparseVariant::A(Some(1), 1), SparseVariant::B],
        Exact,
        Exact,
    );
    becomes(&[OtherDefault { number: 0 }], Refused, Refused);
    becomes(&[OtherDefault { number: 1 }], Exact, Exact);
    becomes(&[OneWay { a: 1, b: 0, c: 3 }], Refused, Exact);
    becomes(&[OtherWay { a: 1, b: 0, c: 3 }], Refused, Exact);
    becomes(
        &[Skips {
            a: 1,
            scratch: 0,
            b: 3,
        }],
        Exact,
        Exact,
    ); // what is skipped both ways is no part of the value
}

#[test]
fn what_a_type_refuses_to_be_made_of_is_read_back_each_time() {
    // The probe's text is no day, so it never comes to the enum.
    let hidden = HidesUntagged {
        at: Day(1),
        value: Untagged::Number(1),
    };
    becomes(&[hidden], Refused, Exact);
    becomes(
        &[DateLike {
            at: Day(24),
            then: 1,
        }],
        Exact,
        Exact,
    );
}

#[test]
fn plain_types_come_back_exactly() {
    let text = || "\0\u{e9}\"\\".to_owned();
    becomes(
        &[
            External::Unit,
            External::One(1),
            External::Two(1, text()),
            External::Named { x: 1, y: None },
        ],
        Exact,
        Exact,
    );
    becomes(&[Renamed { of: 1, other: 2 }], Exact, Exact);
    becomes(&[With { number: 12 }], Exact, Exact);
    becomes(&[Unit], Exact, Exact);
    becomes(&[()], Exact, Exact);
    becomes(&[New(u64::MAX)], Exact, Exact);
    becomes(&[Pair(0, text())], Exact, Exact);
    becomes(
        &[Nothing {
            unit: (),
            marker: PhantomData,
            none: [],
        }],
        Exact,
        Exact,
    );
    becomes(&[vec![(); 3]], Exact, Exact);
    becomes(&[Through(3)], Exact, Exact);
    becomes(&[Denies { a: 3 }], Exact, Exact);
    becomes(
        &[Transparent { a: None }, Transparent { a: Some(1) }],
        Exact,
        Exact,
    );
    becomes(&[Other::A, Other::B], Exact, Exact);
    becomes(&[Other::Hidden], Refused, Refused);
    becomes(
        &[Tree {
            name: text(),
            children: vec![Tree {
                name: text(),
                children: vec![],
            }],
        }],
        Exact,
        Exact,
    );
    becomes(&[(1_u8, -1_i16, 'c', true, [1_u32; 3])], Exact, Exact);
    becomes(&[Cow::<str>::Owned(text())], Exact, Exact);
    becomes(&[Box::new(1_u8)], Exact, Exact);
    becomes(&[std::sync::Arc::new(text())], Exact, Exact);
    becomes(
        &[
            IpAddr::from([1, 2, 3, 4]),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ],
        Exact,
        Exact,
    );
    becomes(&[SocketAddr::from(([1, 2, 3, 4], 80))], Exact, Exact);
    becomes(&[IdLike([0, 255])], Exact, Exact);
    becomes(&[NonZeroU32::MIN], Exact, Exact);
    becomes(&[PathBuf::from("/a/b")], Exact, Exact);
    becomes(&[Duration::from_nanos(u64::MAX)], Exact, Exact);
    becomes(&[SystemTime::UNIX_EPOCH], Exact, Exact);
    becomes(&[BTreeSet::from([1, 2])], Exact, Exact);
    becomes(&[Ok::<u8, String>(1), Err(text())], Exact, Exact);
    becomes(&[(0..100).collect::<HashSet<u16>>()], Exact, Exact); // comes back in another order
    becomes(
        &[(0..100)
            .map(|n| (n.to_string(), n))
            .collect::<HashMap<_, u16>>()],
        Exact,
        Exact,
    );
}

#[test]
fn numbers_come_back_to_the_last_bit_or_are_refused() {
    becomes(
        &[0.1_f64 + 0.2, -0.0, f64::MIN_POSITIVE, f64::MAX, 5e-324],
        Exact,
        Exact,
    );
    becomes(&[0.1_f32, f32::MAX, f32::MIN_POSITIVE], Exact, Exact);
    becomes(&[f64::INFINITY, f64::NEG_INFINITY], Exact, Refused);
    becomes(&[f32::INFINITY], Exact, Refused);
    becomes(&[Some(f64::INFINITY)], Exact, Refused);
    becomes(&[u128::from(u64::MAX), 0], Exact, Exact);
    becomes(&[i128::from(i64::MIN), 0], Exact, Exact);
    becomes(&[u128::MAX, 1 << 64], Exact, Refused);
    becomes(&[i128::MIN, i128::MAX], Exact, Refused);
    // Below a flattened map numbers pass through something that has 64 bits.
    let rest = |number| BTreeMap::from([("x".to_owned(), number)]);
    becomes(
        &[FlatMap {
            id: 1,
            rest: rest(1 << 64),
        }],
        NoStore,
        Refused,
    );
    assert_eq!(fate::<_, Json>(&f64::NAN.to_bits(), false), Exact);
    let error = Json::encode(&f64::NAN, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
}

#[test]
fn two_nones_are_not_one() {
    becomes(&[None, Some(Some(1_u8))], Exact, Exact);
    becomes(&[Some(None::<u8>)], Exact, Refused);
    becomes(&[Some(())], Exact, Refused);
    becomes(&[Some(Unit)], Exact, Refused);
    becomes(&[vec![Some(None::<u8>)]], Exact, Refused);
    becomes(&[Some(serde_json::Value::Null)], NoStore, Refused);
}

#[test]
fn keys_of_maps_and_bytes_are_themselves_or_refused() {
    becomes(&[BTreeMap::from([(1_u64, 2_u8), (10, 3)])], Exact, Exact);
    becomes(&[BTreeMap::from([(true, 2_u8)])], Exact, Exact);
    becomes(&[BTreeMap::from([('c', 2_u8)])], Exact, Exact);
    becomes(&[BTreeMap::from([((1_u8, 2_u8), 3_u8)])], Exact, Refused);
    becomes(&[BTreeMap::from([(vec![1_u8], 3_u8)])], Exact, Refused);
    becomes(&[BTreeMap::from([(None::<u8>, 3_u8)])], Exact, Refused);
    becomes(&[kv_trait::ByteKey(vec![1, 2])], Exact, Refused);
    becomes(&[vec![1_u8, 2]], Exact, Exact); // a sequence of numbers
}

#[test]
fn names_that_clash_and_values_too_deep_are_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Clash {
        x: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }
    let clash = Clash {
        x: 1,
        rest: BTreeMap::from([("x".to_owned(), 2)]),
    };
    becomes(&[clash], NoStore, Refused);

    let mut deep = Tree {
        name: String::new(),
        children: vec![],
    };
    for _ in 0..100 {
        deep = Tree {
            name: String::new(),
            children: vec![deep],
        };
    }
    becomes(&[deep], Exact, Refused); // 200 levels
}

#[test]
fn raw_json_stays_as_it_is() {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let back = |value: Box<RawValue>| {
        let mut bytes = Vec::new();
        encode_checked::<_, Json>(&value, Probed::InPart, &mut bytes)?;
        <Json as Codec<Box<RawValue>>>::decode(&bytes)
    };
    assert_eq!(back(raw("{\"b\": 1.10}")).unwrap().get(), "{\"b\": 1.10}");
    let mut bytes = Vec::new();
    let none = encode_checked::<_, Json>(&Some(raw("null")), Probed::InPart, &mut bytes);
    assert_eq!(none.unwrap_err().kind(), ErrorKind::Codec);
}

#[test]
fn a_length_that_was_announced_must_be_kept() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Liar(Vec<u8>);
    impl Serialize for Liar {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut seq = serializer.serialize_seq(Some(2))?;
            self.0
                .iter()
                .try_for_each(|byte| seq.serialize_element(byte))?;
            seq.end()
        }
    }
    becomes(&[Liar(vec![1]), Liar(vec![1, 2, 3])], Refused, Exact);
    becomes(&[Liar(vec![1, 2])], Exact, Exact);
}

#[test]
fn only_what_was_seen_whole_is_written_without_reading_it_back() {
    fn probed<V: Serialize + DeserializeOwned>() -> Probed {
        <Postcard as Codec<V>>::probe().unwrap()
    }
    assert_eq!(probed::<u64>(), Probed::Whole);
    assert_eq!(probed::<Vec<u8>>(), Probed::Whole);
    assert_eq!(
        probed::<(String, External, Vec<Option<New>>)>(),
        Probed::Whole
    );
    assert_eq!(probed::<BTreeMap<String, IpAddr>>(), Probed::Whole);
    assert_eq!(probed::<NonZeroU32>(), Probed::Whole);
    assert_eq!(probed::<Tree>(), Probed::InPart);
    assert_eq!(probed::<DateLike>(), Probed::InPart);
    assert_eq!(probed::<Option<DateLike>>(), Probed::InPart);
    assert_eq!(probed::<SparseTuple>(), Probed::InPart);
    assert_eq!(probed::<Sparse>(), Probed::Whole); // told when it comes
}
