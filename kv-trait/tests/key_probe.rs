//! Key types that could be written and never read again are refused before the first write.

use kv_trait::ErrorKind;
use kv_trait::key::{ByteKey, Key, TotalF64, probe};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

/// Gives each type what a key needs.
macro_rules! keys {
    ($($item:item)+) => {$(
        #[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        $item
    )+};
}

keys! {
    #[serde(untagged)]
    enum Untagged { Number(u64), Text(String) }
    #[serde(tag = "kind")]
    enum Internal { A { x: u8 }, B }
    #[serde(tag = "kind", content = "of")]
    enum Adjacent { A(u8), B }
    struct Inner { x: u8 }
    struct Flat { id: u8, #[serde(flatten)] rest: Inner }
    struct Sparse {
        id: u8,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        maybe: Option<u8>,
    }
    struct SparseTuple(u8, #[serde(skip_serializing_if = "Option::is_none")] Option<u8>, u8);
    struct OneWay { id: u8, #[serde(skip_deserializing, default)] lost: u8 }
    enum Deep { Fine, AlsoFine(Vec<Option<(u8, Holder)>>) }
    enum Holder { Good(String), Bad { map: BTreeMap<u8, u8> } }
    enum Either<A, B> { Left(A), Right(B) }
    enum Tree { Node(Box<Self>, Box<Self>), List(Vec<Self>), Leaf(u8) }
    struct Name(Box<str>);
    struct Wrapped(Name);
    struct Pair { first: String, second: u8 }
    struct Endless(Box<Self>);
}

#[track_caller]
fn refused<K: Key>(cause: &str) {
    let error = probe::<K>().expect_err("this type cannot be decoded");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains(cause), "{error}");
}

#[track_caller]
fn accepted<K: Key>(bare: bool) {
    let shape = probe::<K>().expect("a good key type");
    assert_eq!(shape.is_bare(), bare, "{}", std::any::type_name::<K>());
}

#[test]
fn types_that_ask_what_the_bytes_are_cannot_be_keys() {
    refused::<Untagged>("untagged");
    refused::<Internal>("internally tagged");
    refused::<Adjacent>("adjacently tagged");
    refused::<Flat>("flatten");
}

#[test]
fn maps_cannot_be_keys() {
    refused::<BTreeMap<String, u64>>("map");
    refused::<(u8, Vec<BTreeMap<u8, u8>>)>("map");
}

#[test]
fn fields_that_are_not_written_cannot_be_in_a_key() {
    refused::<Sparse>("skips a field");
    refused::<SparseTuple>("ends too early");
    refused::<OneWay>("left over");
}

#[test]
fn the_cause_is_found_deep_inside_the_variants() {
    refused::<Deep>("map");
    refused::<Option<Deep>>("map");
    refused::<(NonZeroU64, Deep)>("map");
    refused::<Either<Either<Untagged, u8>, u8>>("untagged");
    refused::<Either<u8, Either<u8, Either<u8, Untagged>>>>("untagged");
    refused::<(Either<u8, u8>, Either<u8, Untagged>)>("untagged");
}

#[test]
fn a_value_that_decodes_as_another_one_cannot_be_a_key() {
    #[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
    struct Forgetful(u8);
    impl Serialize for Forgetful {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_newtype_struct("Forgetful", &0_u8)
        }
    }
    refused::<Forgetful>("another one");
}

#[test]
fn strings_and_bytes_are_bare_through_newtypes() {
    accepted::<String>(true);
    accepted::<Box<str>>(true);
    accepted::<std::borrow::Cow<'static, str>>(true);
    accepted::<Wrapped>(true);
    accepted::<ByteKey>(true);
}

#[test]
fn everything_else_is_not_bare() {
    accepted::<u64>(false);
    accepted::<()>(false);
    accepted::<(String,)>(false);
    accepted::<Option<String>>(false);
    accepted::<Vec<u8>>(false);
    accepted::<Pair>(false);
    accepted::<Either<String, TotalF64>>(false);
    accepted::<BTreeSet<(char, bool, i128, u128, [i16; 3])>>(false);
    accepted::<SystemTime>(false);
    accepted::<Duration>(false);
}

#[test]
fn recursive_types_come_to_an_end() {
    accepted::<Tree>(false);
    accepted::<Either<Tree, Vec<Option<Tree>>>>(false);
    accepted::<Endless>(false);
}

#[test]
fn a_type_that_does_not_like_made_up_values_is_not_refused() {
    #[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
    struct Picky(String);
    impl<'de> Deserialize<'de> for Picky {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            if text != "the one" {
                return Err(serde::de::Error::custom("not the one"));
            }
            Ok(Self(text))
        }
    }
    accepted::<Picky>(true);
    accepted::<(Picky, u8)>(false);
    accepted::<NonZeroU64>(false);
    accepted::<IpAddr>(false);
    accepted::<SocketAddr>(false);
}

#[test]
fn a_panic_in_the_types_own_code_is_caught() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    #[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
    struct Panics;
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            CALLS.fetch_add(1, Ordering::Relaxed);
            panic!("planted: a key type may do this")
        }
    }
    accepted::<Panics>(false);
    assert!(CALLS.load(Ordering::Relaxed) > 0);
}

#[test]
fn every_variant_of_a_wide_enum_has_its_turn() {
    struct Seen;
    static SEEN: [AtomicU32; 600] = [const { AtomicU32::new(0) }; 600];
    const NAMES: [&str; 600] = [""; 600];

    struct SeenVisitor;
    impl<'de> serde::de::Visitor<'de> for SeenVisitor {
        type Value = Seen;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a variant")
        }
        fn visit_enum<A: serde::de::EnumAccess<'de>>(self, data: A) -> Result<Seen, A::Error> {
            let (index, _) = data.variant::<u32>()?;
            SEEN[usize::try_from(index).unwrap()].fetch_add(1, Ordering::Relaxed);
            Ok(Seen)
        }
    }
    impl<'de> Deserialize<'de> for Seen {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_enum("Seen", &NAMES, SeenVisitor)
        }
    }
    impl Serialize for Seen {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit_variant("Seen", 0, "")
        }
    }
    impl PartialEq for Seen {
        fn eq(&self, _: &Self) -> bool {
            true
        }
    }
    impl Eq for Seen {}
    impl PartialOrd for Seen {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Seen {
        fn cmp(&self, _: &Self) -> std::cmp::Ordering {
            std::cmp::Ordering::Equal
        }
    }
    accepted::<Seen>(false);
    assert!(SEEN.iter().all(|times| times.load(Ordering::Relaxed) > 0));
}
