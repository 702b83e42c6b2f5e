//! The law of key encodings over nested types: order kept, round trip, prefixes of tuples are prefixes.

use kv_trait::key::{
    ByteKey, Key, PrefixOf, TotalF32, TotalF64, check_order_preserved, encode, encode_prefix,
    prefix_end,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Named(String),
    Pair(i16, Vec<String>),
    Fields { left: Option<u8>, right: ByteKey },
    Deeper(Box<Self>),
    Last,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Id(u64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Name(Box<str>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Marker;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Record {
    tag: char,
    marker: Marker,
    shape: Shape,
    size: i128,
    flags: [bool; 2],
    weight: TotalF64,
}

/// Few letters, so that pairs share prefixes; those the escape and the terminator are made of among them.
fn text() -> impl Strategy<Value = String> {
    let letter = prop_oneof![
        3 => Just('\0'),
        2 => Just('\u{1}'),
        2 => Just('a'),
        1 => Just('\u{ff}'),
        1 => Just('\u{10ffff}'),
        1 => any::<char>(),
    ];
    vec(letter, 0..5).prop_map(String::from_iter)
}

fn bytes() -> impl Strategy<Value = ByteKey> {
    let byte = prop_oneof![Just(0), Just(1), Just(0xFF), any::<u8>()];
    vec(byte, 0..5).prop_map(ByteKey)
}

fn float() -> impl Strategy<Value = TotalF64> {
    prop_oneof![
        Just(f64::NAN),
        Just(-f64::NAN),
        Just(0.0),
        Just(-0.0),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::MIN_POSITIVE / 2.0),
        any::<u64>().prop_map(f64::from_bits),
    ]
    .prop_map(TotalF64)
}

fn shape() -> impl Strategy<Value = Shape> {
    let flat = prop_oneof![
        Just(Shape::Nothing),
        text().prop_map(Shape::Named),
        (any::<i16>(), vec(text(), 0..3)).prop_map(|(n, names)| Shape::Pair(n, names)),
        (option::of(any::<u8>()), bytes()).prop_map(|(left, right)| Shape::Fields { left, right }),
        Just(Shape::Last),
    ];
    flat.prop_recursive(4, 4, 1, |inner| {
        inner.prop_map(|shape| Shape::Deeper(Box::new(shape)))
    })
}

fn record() -> impl Strategy<Value = Record> {
    let number = prop_oneof![Just(0), Just(-1), Just(i128::MIN), any::<i128>()];
    (any::<char>(), shape(), number, any::<[bool; 2]>(), float()).prop_map(
        |(tag, shape, size, flags, weight)| Record {
            tag,
            marker: Marker,
            shape,
            size,
            flags,
            weight,
        },
    )
}

fn law<K: Key>(a: &K, b: &K) -> Result<(), TestCaseError> {
    check_order_preserved(a, b).map_err(|error| TestCaseError::fail(error.to_string()))
}

macro_rules! laws {
    ($($name:ident: $strategy:expr;)+) => {
        proptest! {
            #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]
            $(
                #[test]
                fn $name(a in $strategy, b in $strategy) {
                    law(&a, &b)?;
                    law(&a, &a)?;
                }
            )+
        }
    };
}

laws! {
    small_numbers_keep_their_order: any::<(u8, i8, u16, i16)>();
    large_numbers_keep_their_order: any::<(u32, i32, u64, i64)>();
    largest_numbers_keep_their_order: any::<(u128, i128)>();
    sizes_keep_their_order: any::<(usize, isize)>();
    signed_numbers_keep_their_order: any::<i64>();
    wide_signed_numbers_keep_their_order: any::<i128>();
    chars_and_bools_keep_their_order: any::<(bool, char)>();
    floats_keep_their_total_order: float();
    short_floats_keep_their_total_order: any::<u32>().prop_map(|bits| TotalF32(f32::from_bits(bits)));
    bare_strings_keep_their_order: text();
    bare_names_keep_their_order: text().prop_map(|text| Name(text.into()));
    bare_bytes_keep_their_order: bytes();
    newtypes_keep_their_order: any::<u64>().prop_map(Id);
    nested_strings_keep_their_order: (text(), text());
    nested_bytes_keep_their_order: (bytes(), bytes(), any::<bool>());
    options_keep_their_order: (option::of(option::of(text())), option::of(any::<i32>()));
    units_keep_their_order: option::of(Just(()));
    sequences_keep_their_order: vec(text(), 0..4);
    nested_sequences_keep_their_order: vec(vec(any::<u8>().prop_map(|n| n % 3), 0..3), 0..3);
    sequences_of_nothing_keep_their_order: vec(Just(()), 0..4);
    sets_keep_their_order: btree_set(0_u8..4, 0..4).prop_map(|set: BTreeSet<u8>| set);
    enums_keep_their_order: shape();
    results_keep_their_order: prop_oneof![text().prop_map(Ok), any::<i8>().prop_map(Err)];
    structs_keep_their_order: record();
    everything_keeps_its_order: (vec(record(), 0..3), option::of(shape()), float(), bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_prefix_of_a_tuple_encodes_as_a_prefix(a in text(), b in shape(), c in bytes(), d in float()) {
        let whole = encode(&(&a, &b, &c, &d)).unwrap();
        prop_assert!(whole.starts_with(&encode(&(&a,)).unwrap()));
        prop_assert!(whole.starts_with(&encode(&(&a, &b)).unwrap()));
        prop_assert!(whole.starts_with(&encode(&(&a, &b, &c)).unwrap()));
    }

    /// What a scan of a prefix shows: those that have it, none that has not, and between the prefix and its end.
    #[test]
    fn exactly_the_keys_that_begin_with_a_prefix_are_within_it(
        a in (text(), shape(), bytes()),
        b in (text(), shape(), bytes()),
        words in vec(text(), 0..3),
        other_words in vec(text(), 0..3),
    ) {
        begins::<(String, Shape, ByteKey), _>(&(&*a.0,), &b, a.0 == b.0)?;
        begins::<(String, Shape, ByteKey), _>(&(&a.0, &a.1), &b, (&a.0, &a.1) == (&b.0, &b.1))?;
        begins::<(String, Shape), _>(&(a.0.clone(),), &(b.0.clone(), b.1.clone()), a.0 == b.0)?;
        begins::<(ByteKey, bool), _>(&(a.2.clone(),), &(b.2.clone(), true), a.2 == b.2)?;
        begins::<String, _>(&a.0, &b.0, b.0.starts_with(&a.0))?;
        begins::<ByteKey, _>(&a.2, &b.2, b.2.starts_with(&a.2))?;
        begins::<Vec<String>, _>(&words, &other_words, other_words.starts_with(&words))?;
        begins::<(String, Shape, ByteKey), _>(&(&*a.0,), &a, true)?;
        begins::<(String, Shape, ByteKey), _>(&(&*a.0, &a.1), &a, true)?;
    }
}

fn begins<K: Key, P: PrefixOf<K> + ?Sized>(
    prefix: &P,
    key: &K,
    expected: bool,
) -> Result<(), TestCaseError> {
    let fail = |error: kv_trait::Error| TestCaseError::fail(error.to_string());
    let prefix = encode_prefix::<K, P>(prefix).map_err(fail)?;
    let key = encode(key).map_err(fail)?;
    let within = key >= prefix && prefix_end(&prefix).is_none_or(|end| key < end);
    prop_assert_eq!(key.starts_with(&prefix), expected);
    prop_assert_eq!(within, expected);
    Ok(())
}

#[test]
fn floats_are_ordered_from_negative_nan_to_nan() {
    let rising = [
        -f64::NAN,
        f64::NEG_INFINITY,
        f64::MIN,
        -1.0,
        -f64::MIN_POSITIVE,
        -0.0,
        0.0,
        f64::MIN_POSITIVE,
        1.0,
        f64::MAX,
        f64::INFINITY,
        f64::NAN,
    ]
    .map(TotalF64);
    for pair in rising.windows(2) {
        assert!(pair[0] < pair[1]);
        assert!(encode(&pair[0]).unwrap() < encode(&pair[1]).unwrap());
    }
}

#[test]
fn the_law_is_reported_where_an_order_is_not_kept() {
    #[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Misordered {
        First = 2,
        Second = 1,
    }
    let error = check_order_preserved(&Misordered::First, &Misordered::Second).unwrap_err();
    assert_eq!(error.kind(), kv_trait::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("Misordered"), "{error}");
}

/// Keys that the probe cannot find out, with the two that become one.
mod merged {
    use super::*;
    use std::net::SocketAddrV6;

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub(super) struct Skips {
        pub(super) a: u8,
        #[serde(skip)]
        pub(super) b: u8,
    }

    const fn is_seven(number: &u8) -> bool {
        *number == 7
    }

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub(super) struct SparseTuple(
        pub(super) u8,
        #[serde(skip_serializing_if = "is_seven")] pub(super) u8,
        pub(super) u8,
        #[serde(skip_serializing_if = "is_seven")] pub(super) u8,
    );

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(try_from = "String")]
    pub(super) struct Email(pub(super) String);

    impl TryFrom<String> for Email {
        type Error = &'static str;

        fn try_from(text: String) -> Result<Self, Self::Error> {
            if text.contains('@') {
                Ok(Self(text))
            } else {
                Err("no @")
            }
        }
    }

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Untagged {
        Number(u32),
        Text(String),
    }

    #[track_caller]
    fn merges<K: Key>(a: &K, b: &K) {
        kv_trait::key::probe::<K>().expect("it looks like a good key type");
        assert!(a != b);
        let bytes = |key| encode(key).expect("a short key");
        assert_eq!(bytes(a), bytes(b));
        check_order_preserved(a, b).expect_err("one of them decodes as the other, or not at all");
    }

    pub(super) fn email(text: Untagged) -> (Email, Untagged) {
        (Email("a@b".to_owned()), text)
    }

    #[test]
    fn keys_that_become_one_are_found_by_the_check_of_the_law() {
        let scoped = |scope| SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, scope);
        merges(&scoped(2), &scoped(3));
        merges(&Skips { a: 1, b: 2 }, &Skips { a: 1, b: 3 });
        merges(&SparseTuple(1, 7, 2, 3), &SparseTuple(1, 2, 3, 7));
        let number = 0x6162_0001; // as bytes: a, b and the end of a string
        merges(
            &email(Untagged::Number(number)),
            &email(Untagged::Text("ab".to_owned())),
        );
    }
}

#[cfg(debug_assertions)]
mod in_debug_builds {
    use super::*;
    use kv_trait::key::{KeyOf, encode_borrowed};
    use merged::{Email, SparseTuple, Untagged, email};

    #[test]
    #[should_panic(expected = "the encoding of no `")]
    fn a_store_notices_a_tuple_struct_that_leaves_a_field_out() {
        drop(encode_borrowed::<SparseTuple, _>(&SparseTuple(1, 7, 2, 3)));
    }

    #[test]
    #[should_panic(expected = "the encoding of no `")]
    fn a_store_notices_an_untagged_enum_behind_an_opaque_field() {
        drop(encode_borrowed::<(Email, Untagged), _>(&email(
            Untagged::Number(1),
        )));
    }

    #[test]
    #[should_panic(expected = "the encoding of no `")]
    fn a_store_notices_a_borrowed_key_that_encodes_as_no_key() {
        struct Array;
        impl KeyOf<Vec<u8>> for Array {
            fn encode_key(&self, out: &mut Vec<u8>) -> kv_trait::Result<()> {
                kv_trait::key::encode_into(&[1_u8, 2, 3], out)
            }
        }
        drop(encode_borrowed::<Vec<u8>, _>(&Array));
    }
}
