//! The bytes of version 1, and what does not decode.
#![expect(
    clippy::unwrap_used,
    reason = "test helpers outside a #[test] function"
)]

use kv_trait::key::{
    ByteKey, KEY_DEPTH_MAX, Key, KeyOf, TotalF32, TotalF64, decode, encode, encode_borrowed,
    encode_into,
};
use kv_trait::{Effect, ErrorKind, KEY_BYTES_MAX};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Shape {
    Nothing,
    Named(String),
    Pair(u8, u8),
    Fields { left: u8, right: bool },
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Name(Box<str>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Point {
    x: i8,
    name: Name,
}

#[track_caller]
fn golden<K: Key + Debug>(key: K, bytes: impl AsRef<[u8]>) {
    assert_eq!(encode(&key).unwrap(), bytes.as_ref());
    assert_eq!(decode::<K>(bytes.as_ref()).unwrap(), key);
}

#[track_caller]
fn malformed<K: Key + Debug>(bytes: impl AsRef<[u8]>) {
    let error = decode::<K>(bytes.as_ref()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(error.effect(), Effect::Nothing);
}

#[test]
fn numbers_are_big_endian_and_signs_are_flipped() {
    golden(false, [0]);
    golden(true, [1]);
    golden(0xAB_u8, [0xAB]);
    golden(0x0102_u16, [1, 2]);
    golden(0x0102_0304_u32, [1, 2, 3, 4]);
    golden(0x0102_0304_0506_0708_u64, [1, 2, 3, 4, 5, 6, 7, 8]);
    golden(5_usize, [0, 0, 0, 0, 0, 0, 0, 5]);
    golden(1_u128, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    golden(-1_i8, [0x7F]);
    golden(1_i16, [0x80, 1]);
    golden(i32::MIN, [0, 0, 0, 0]);
    golden(-2_i64, [0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE]);
    golden(0_isize, [0x80, 0, 0, 0, 0, 0, 0, 0]);
    golden(i128::MAX, [0xFF; 16]);
    golden('a', [0, 0, 0, 0x61]);
    golden(char::MAX, [0, 0x10, 0xFF, 0xFF]);
}

#[test]
fn floats_are_their_bits_in_total_order() {
    golden(TotalF64(1.0), [0xBF, 0xF0, 0, 0, 0, 0, 0, 0]);
    golden(TotalF64(0.0), [0x80, 0, 0, 0, 0, 0, 0, 0]);
    golden(
        TotalF64(-0.0),
        [0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    );
    golden(
        TotalF64(-2.0),
        [0x3F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
    );
    golden(TotalF64(f64::NAN), [0xFF, 0xF8, 0, 0, 0, 0, 0, 0]);
    golden(TotalF32(1.0), [0xBF, 0x80, 0, 0]);
    golden(TotalF32(-1.0), [0x40, 0x7F, 0xFF, 0xFF]);
}

#[test]
fn a_bare_string_is_stored_as_itself() {
    golden(String::new(), b"");
    golden("visits\0\u{1}é".to_owned(), "visits\0\u{1}é");
    golden(Name("visits".into()), b"visits");
    golden(Box::new(Cow::Borrowed("visits")), b"visits");
    golden(ByteKey(vec![0, 0xFF, 7]), [0, 0xFF, 7]);
}

#[test]
fn a_nested_string_is_escaped_and_terminated() {
    golden((String::new(),), [0, 1]);
    golden(("a\0b".to_owned(), 7_u8), b"a\x00\xFFb\x00\x01\x07");
    golden(
        ("\0\0".to_owned(), ByteKey(vec![0])),
        b"\x00\xFF\x00\xFF\x00\x01\x00\xFF\x00\x01",
    );
    golden(Some("a".to_owned()), b"\x01a\x00\x01");
    golden(
        Point {
            x: 1,
            name: Name("p".into()),
        },
        b"\x81p\x00\x01",
    );
}

#[test]
fn compounds_are_their_parts() {
    golden((), []);
    golden((1_u8, (2_u8, [3_u8, 4])), [1, 2, 3, 4]);
    golden(None::<u8>, [0]);
    golden(Some(None::<u8>), [1, 0]);
    golden(Vec::<u8>::new(), [0]);
    golden(vec![7_u8, 0], [1, 7, 1, 0, 0]);
    golden(
        BTreeSet::from(["b".to_owned(), "a".to_owned()]),
        b"\x01a\x00\x01\x01b\x00\x01\x00",
    );
    golden("10.0.0.1".parse::<IpAddr>().unwrap(), [0, 10, 0, 0, 1]);
}

#[test]
fn a_variant_is_its_index_and_its_fields() {
    golden(Shape::Nothing, [0]);
    golden(Shape::Named("n".to_owned()), b"\x01n\x00\x01");
    golden(Shape::Pair(8, 9), [2, 8, 9]);
    golden(
        Shape::Fields {
            left: 5,
            right: true,
        },
        [3, 5, 1],
    );
}

#[test]
fn a_variant_index_from_255_on_takes_the_long_form() {
    struct Variant(u32);
    impl Serialize for Variant {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit_variant("Variant", self.0, "")
        }
    }
    assert_eq!(encode(&Variant(254)).unwrap(), [254]);
    assert_eq!(encode(&Variant(255)).unwrap(), [255, 0, 0, 0, 255]);
    assert_eq!(encode(&Variant(u32::MAX)).unwrap(), [255; 5]);
    malformed::<Shape>([0xFF, 0, 0, 0, 0]); // the long form of Nothing
    malformed::<Shape>([4]);
    malformed::<Shape>([0xFF, 0, 0, 1, 0]);
}

#[test]
fn bytes_left_over_or_missing_are_an_error() {
    malformed::<u8>([]);
    malformed::<u8>([1, 2]);
    malformed::<()>([0]);
    malformed::<u64>([0; 7]);
    malformed::<(String,)>(b"a");
    malformed::<(String,)>(b"a\0");
    malformed::<(String,)>(b"a\0\x01\0");
    malformed::<Vec<u8>>([1, 7]);
    malformed::<Option<u8>>([1]);
    malformed::<Shape>([]);
}

#[test]
fn what_encode_never_writes_does_not_decode() {
    malformed::<bool>([2]);
    malformed::<Option<u8>>([2, 0]);
    malformed::<Vec<u8>>([2, 0]);
    malformed::<char>([0, 0, 0xD8, 0]);
    malformed::<char>([0, 0x11, 0, 0]);
    malformed::<String>([0xFF]);
    malformed::<(String,)>(b"\xFF\0\x01");
    malformed::<(String,)>(b"a\0\x02");
}

/// The encoding has no say in it: the type takes what it never gives.
#[test]
fn a_type_that_normalises_also_decodes_what_encode_never_writes() {
    let disordered = [1, 2, 1, 1, 1, 2, 0];
    let set: BTreeSet<u8> = decode(&disordered).unwrap();
    assert_eq!(set, BTreeSet::from([1, 2]));
    assert_ne!(encode(&set).unwrap(), disordered);
    let carried = encode(&(5_u64, 2_000_000_000_u32)).unwrap();
    let duration: Duration = decode(&carried).unwrap();
    assert_eq!(duration, Duration::from_secs(7));
    assert_ne!(encode(&duration).unwrap(), carried);
}

#[test]
fn strings_are_borrowed_where_they_can_be() {
    assert_eq!(decode::<&str>(b"a\0b").unwrap(), "a\0b");
    assert_eq!(decode::<(&str, u8)>(b"ab\0\x01\x05").unwrap(), ("ab", 5));
    assert_eq!(decode::<(&[u8],)>(b"ab\0\x01").unwrap(), (&b"ab"[..],));
    assert_eq!(
        decode::<(&str,)>(b"a\0\xFFb\0\x01").unwrap_err().kind(),
        ErrorKind::Codec
    );
}

#[test]
fn maps_and_skipped_fields_are_refused() {
    #[derive(Serialize)]
    struct Sparse {
        #[serde(skip_serializing_if = "Option::is_none")]
        maybe: Option<u8>,
    }
    #[derive(Serialize)]
    struct Flat {
        #[serde(flatten)]
        inner: Shape,
    }
    let map = BTreeMap::from([(1, 2)]);
    assert_eq!(encode(&map).unwrap_err().kind(), ErrorKind::Codec);
    assert_eq!(
        encode(&Sparse { maybe: None }).unwrap_err().kind(),
        ErrorKind::Codec
    );
    let flat = Flat {
        inner: Shape::Fields {
            left: 1,
            right: true,
        },
    };
    assert_eq!(encode(&flat).unwrap_err().kind(), ErrorKind::Codec);
    malformed::<BTreeMap<u8, u8>>([0]);
}

/// Announces one number of fields and writes another, as each kind of compound.
struct Miscounting {
    compound: &'static str,
    announced: usize,
    written: usize,
}

macro_rules! written {
    ($self:ident, $trait:ident, $method:ident, $compound:expr $(, $name:literal)?) => {{
        let mut compound = $compound?;
        for _ in 0..$self.written {
            serde::ser::$trait::$method(&mut compound, $($name,)? &7_u8)?;
        }
        serde::ser::$trait::end(compound)
    }};
}

impl Serialize for Miscounting {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let len = self.announced;
        match self.compound {
            "sequence" => {
                written!(
                    self,
                    SerializeSeq,
                    serialize_element,
                    to.serialize_seq(Some(len))
                )
            }
            "tuple" => written!(
                self,
                SerializeTuple,
                serialize_element,
                to.serialize_tuple(len)
            ),
            "tuple struct" => {
                let compound = to.serialize_tuple_struct("T", len);
                written!(self, SerializeTupleStruct, serialize_field, compound)
            }
            "tuple variant" => {
                let compound = to.serialize_tuple_variant("T", 0, "V", len);
                written!(self, SerializeTupleVariant, serialize_field, compound)
            }
            "struct" => {
                let compound = to.serialize_struct("T", len);
                written!(self, SerializeStruct, serialize_field, compound, "f")
            }
            "struct variant" => {
                let compound = to.serialize_struct_variant("T", 0, "V", len);
                written!(self, SerializeStructVariant, serialize_field, compound, "f")
            }
            other => Err(serde::ser::Error::custom(other)),
        }
    }
}

/// Neighbours would move into the place of what was left out, and two keys become one.
#[test]
fn a_type_that_writes_another_number_of_fields_than_it_announced_is_refused() {
    let compounds = [
        "sequence",
        "tuple",
        "tuple struct",
        "tuple variant",
        "struct",
        "struct variant",
    ];
    for compound in compounds {
        for (announced, written) in [(2, 2), (2, 1), (2, 3), (0, 1), (1, 0)] {
            let encoded = encode(&Miscounting {
                compound,
                announced,
                written,
            });
            let Err(error) = encoded else {
                assert_eq!(announced, written, "{compound}");
                continue;
            };
            assert_ne!(announced, written, "{compound}: {error}");
            assert_eq!(error.kind(), ErrorKind::Codec);
            assert!(error.to_string().contains("announced"), "{error}");
        }
    }
}

#[test]
fn keys_up_to_the_limit_encode_and_longer_ones_are_too_large() {
    let longest = "x".repeat(KEY_BYTES_MAX);
    let bytes = encode(&longest).unwrap();
    assert_eq!(decode::<String>(&bytes).unwrap(), longest);

    let mut out = b"before".to_vec();
    let error = encode_into(&(1_u8, &longest), &mut out).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::TooLarge, Effect::Nothing)
    );
    assert_eq!(out, b"before");
    encode_into(&longest, &mut out).unwrap(); // what stood there before does not count
    assert_eq!(
        decode::<String>(&out[5..]).unwrap_err().kind(),
        ErrorKind::TooLarge
    );
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Chain(Option<Box<Self>>);

fn chain(options: usize) -> Chain {
    (0..options).fold(Chain(None), |inner, _| Chain(Some(Box::new(inner))))
}

#[test]
fn the_same_depth_is_allowed_in_both_directions() {
    // Each link is a newtype and an option; the last one only a newtype.
    let deepest = chain(KEY_DEPTH_MAX / 2 - 1);
    let bytes = encode(&deepest).unwrap();
    assert_eq!(decode::<Chain>(&bytes).unwrap(), deepest);

    let error = encode(&chain(KEY_DEPTH_MAX / 2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    let mut one_more = vec![1];
    one_more.extend(&bytes);
    malformed::<Chain>(one_more);
}

#[test]
fn a_depth_bomb_is_an_error_in_both_directions() {
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    struct Nest(Vec<Self>);
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    enum Tower {
        Top,
        Floor(Box<Self>),
    }
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
    struct Endless(Box<Self>);

    malformed::<Nest>([1; KEY_BYTES_MAX]);
    malformed::<Chain>([1; KEY_BYTES_MAX]);
    malformed::<Tower>([1; KEY_BYTES_MAX]);
    malformed::<Endless>([]);
    let tower = (0..10_000).fold(Tower::Top, |inner, _| Tower::Floor(Box::new(inner)));
    assert_eq!(encode(&tower).unwrap_err().kind(), ErrorKind::Codec);
}

#[test]
fn borrowed_keys_encode_as_the_owned_ones() {
    fn same<K: Key, Q: KeyOf<K> + ?Sized>(key: K, borrowed: &Q) {
        assert_eq!(
            encode_borrowed::<K, Q>(borrowed).unwrap(),
            encode(&key).unwrap()
        );
    }
    same("visits".to_owned(), "visits");
    same("visits".to_owned(), &"visits");
    same("visits".to_owned(), &"visits".to_owned());
    same::<Box<str>, _>("visits".into(), "visits");
    same::<Cow<'static, str>, _>("visits".into(), "visits");
    same(vec![1_u8, 2], &[1_u8, 2][..]);
    same::<Box<[u16]>, _>(vec![1, 2].into(), &[1, 2][..]);
    same(ByteKey(vec![1, 2]), &[1, 2][..]);
    same(ByteKey(vec![1, 2]), &[1, 2]);
    same(ByteKey(vec![1, 2]), &vec![1, 2]);
    same(7_u64, &7);
    same((1_u8, "a".to_owned()), &(1, "a".to_owned()));
    same(Box::new(7_u32), &7_u32);
}

#[test]
fn a_key_implementation_that_writes_too_much_is_caught() {
    struct Endless;
    impl KeyOf<String> for Endless {
        fn encode_key(&self, out: &mut Vec<u8>) -> kv_trait::Result<()> {
            out.resize(KEY_BYTES_MAX + 1, 0);
            Ok(())
        }
    }
    let error = encode_borrowed::<String, _>(&Endless).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

/// Decoding `bytes` is an error, or a key that encodes to `bytes` again.
fn canonical_or_refused<K: Key>(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(key) = decode::<K>(bytes) {
        let again = encode(&key).unwrap();
        prop_assert_eq!(again, bytes);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]
    #[test]
    fn arbitrary_bytes_never_panic_and_decode_only_if_canonical(
        bytes in proptest::collection::vec(prop_oneof![3 => 0_u8..4, 1 => Just(0xFF), 1 => any::<u8>()], 0..40)
    ) {
        canonical_or_refused::<bool>(&bytes)?;
        canonical_or_refused::<char>(&bytes)?;
        canonical_or_refused::<String>(&bytes)?;
        canonical_or_refused::<(String, Option<u16>)>(&bytes)?;
        canonical_or_refused::<Vec<String>>(&bytes)?;
        canonical_or_refused::<Vec<Vec<()>>>(&bytes)?;
        canonical_or_refused::<Vec<Shape>>(&bytes)?;
        canonical_or_refused::<(ByteKey, TotalF64)>(&bytes)?;
        canonical_or_refused::<Option<(Point, i128)>>(&bytes)?;
        canonical_or_refused::<Vec<Option<Chain>>>(&bytes)?;
    }
}
