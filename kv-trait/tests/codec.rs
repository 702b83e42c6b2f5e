//! The value codecs: round trips, and bytes that are no value.
#![expect(
    clippy::unwrap_used,
    reason = "test helpers outside a #[test] function"
)]

use kv_trait::codec::{Codec, Postcard, Raw};
use kv_trait::key::ByteKey;
use kv_trait::{ErrorKind, VALUE_BYTES_MAX};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Document {
    Empty,
    Text { title: String, body: Option<String> },
    Numbers(Vec<f64>, i128),
    Tree(BTreeMap<String, Vec<u8>>),
}

fn document() -> impl Strategy<Value = Document> {
    prop_oneof![
        Just(Document::Empty),
        (any::<String>(), any::<Option<String>>())
            .prop_map(|(title, body)| Document::Text { title, body }),
        (proptest::collection::vec(-1e9..1e9, 0..4), any::<i128>())
            .prop_map(|(numbers, total)| Document::Numbers(numbers, total)),
        proptest::collection::btree_map(any::<String>(), any::<Vec<u8>>(), 0..3)
            .prop_map(Document::Tree),
    ]
}

fn encoded<V, C: Codec<V>>(value: &V) -> Vec<u8> {
    let mut out = b"before".to_vec();
    C::encode(value, &mut out).unwrap();
    assert!(out.starts_with(b"before"));
    out.split_off(6)
}

#[track_caller]
fn raw<V>(value: V, bytes: &[u8])
where
    V: PartialEq + Debug,
    Raw: Codec<V>,
{
    assert_eq!(encoded::<V, Raw>(&value), bytes);
    assert_eq!(<Raw as Codec<V>>::decode(bytes).unwrap(), value);
}

#[track_caller]
fn undecodable<V: Debug, C: Codec<V>>(bytes: &[u8]) {
    assert_eq!(C::decode(bytes).unwrap_err().kind(), ErrorKind::Codec);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn postcard_round_trips(value in document()) {
        let bytes = encoded::<_, Postcard>(&value);
        prop_assert_eq!(<Postcard as Codec<Document>>::decode(&bytes).unwrap(), value);
    }

    #[test]
    fn postcard_refuses_bytes_left_over_or_missing(value in document()) {
        let mut bytes = encoded::<_, Postcard>(&value);
        bytes.push(0);
        undecodable::<Document, Postcard>(&bytes);
        undecodable::<Document, Postcard>(&bytes[..bytes.len() - 2]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        drop(<Postcard as Codec<Document>>::decode(&bytes));
        drop(<Postcard as Codec<HashMap<String, Vec<Vec<u64>>>>>::decode(&bytes));
        drop(<Raw as Codec<String>>::decode(&bytes));
    }
}

#[test]
fn raw_stores_what_is_bytes_as_it_is() {
    raw(vec![1_u8, 2], &[1, 2]);
    raw("text".to_owned(), b"text");
    raw::<Box<[u8]>>(vec![0, 9].into(), &[0, 9]);
    raw::<Arc<[u8]>>(vec![0, 9].into(), &[0, 9]);
    raw([7_u8; 3], &[7; 3]);
    raw(ByteKey(vec![3]), &[3]);
    raw(String::new(), b"");
}

#[test]
fn raw_refuses_bytes_that_are_not_the_type() {
    undecodable::<String, Raw>(&[0xFF]);
    undecodable::<[u8; 3], Raw>(&[1, 2]);
}

#[test]
fn a_length_without_bytes_behind_it_allocates_nothing_to_speak_of() {
    // A length of 2^63, then nothing.
    let hostile = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    undecodable::<Vec<[u64; 16]>, Postcard>(&hostile);
    undecodable::<Vec<u8>, Postcard>(&hostile);
    undecodable::<String, Postcard>(&hostile);
    undecodable::<HashMap<u64, [u64; 16]>, Postcard>(&hostile);
}

#[test]
fn a_value_too_large_is_refused_and_leaves_the_buffer_alone() {
    let long = vec![0_u8; VALUE_BYTES_MAX + 1]; // zeroed pages that nobody touches
    let mut out = b"before".to_vec();
    let error = Raw::encode(&long, &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert_eq!(out, b"before");
}

#[test]
fn a_value_that_cannot_be_encoded_is_a_codec_error_with_its_cause() {
    #[derive(Deserialize)]
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("never"))
        }
    }
    let error = Postcard::encode(&Refuses, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn a_panic_in_the_values_own_code_unwinds_to_the_caller() {
    #[derive(Deserialize)]
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("planted: a value type may do this")
        }
    }
    let outcome = std::panic::catch_unwind(|| Postcard::encode(&Panics, &mut Vec::new()));
    assert!(outcome.is_err());
}
