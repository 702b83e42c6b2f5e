//! Shapes: which types are told apart, which are not, and types that do not cooperate.

use kv_trait::{SHAPE_BYTES_MAX, Shape};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::num::NonZeroU32;

#[track_caller]
fn is<T: DeserializeOwned>(text: &str) {
    assert_eq!(Shape::of::<T>().to_string(), format!("1:{text}"));
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only deserialised")]
enum Event {
    Nothing,
    Id(u64),
    Pair(u8, String),
    Named { at: Option<i32>, of: Box<Inner> },
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only deserialised")]
struct Inner {
    bytes: [u8; 16],
    list: Vec<Colour>,
}

#[derive(Deserialize)]
enum Colour {
    Red,
    Green,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only deserialised")]
struct Renamed {
    completely: Option<i32>,
    different: Inner,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "only deserialised")]
struct Tree {
    name: String,
    children: Vec<Self>,
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only deserialised")]
enum Untagged {
    Number(u64),
    Text(String),
}

#[test]
fn plain_types_are_what_they_ask_for() {
    is::<u64>("u64");
    is::<i8>("i8");
    is::<u128>("u128");
    is::<usize>("u64");
    is::<f32>("f32");
    is::<bool>("bool");
    is::<char>("char");
    is::<()>("()");
    is::<String>("str");
    is::<Option<Vec<u8>>>("?[u8]");
    is::<[u8; 32]>("(u8*32)");
    is::<BTreeMap<String, (u8, i64)>>("{str:(u8,i64)}");
    is::<NonZeroU32>("u32");
}

#[test]
fn every_variant_is_seen_once_at_each_place() {
    is::<Event>("<()|u64|(u8,str)|(?i32,((u8*16),[<()*2>]))>");
    is::<(Colour, Colour)>("(<()*2>*2)");
}

#[test]
fn names_wrappers_and_containers_do_not_matter() {
    assert_eq!(
        Shape::of::<Renamed>(),
        Shape::of::<(Option<i32>, ([u8; 16], VecDeque<Colour>))>()
    );
    assert_eq!(Shape::of::<Cow<'_, str>>(), Shape::of::<Box<str>>());
    assert_eq!(Shape::of::<HashSet<u8>>(), Shape::of::<Vec<u8>>());
    assert_eq!(
        Shape::of::<HashMap<u8, u8>>(),
        Shape::of::<BTreeMap<u8, u8>>()
    );
}

#[test]
fn recursion_ends_and_the_text_is_bounded() {
    let text = Shape::of::<Tree>().to_string();
    assert!(text.starts_with("1:(str,[(str,["), "{text}");
    type Wide = (
        (Tree, Event, Event),
        (u8, Tree, Event),
        [(Event, u8); 9],
        Tree,
    );
    type Many = Vec<(Wide, bool, Wide, String, Option<Wide>)>;
    type Wider = (Wide, Many, Wide, u8, (u8, Wide));
    let long = Shape::of::<Wider>().to_string();
    assert!(long.len() <= SHAPE_BYTES_MAX, "{}", long.len());
    assert_eq!(long.as_bytes()[long.len() - 17], b'~', "{long}");
    // The difference is far behind the cut.
    let other = Shape::of::<(Wide, Many, Wide, u8, (i8, Wide))>();
    assert_ne!(long, other.to_string());
}

struct Refuses;

impl<'de> Deserialize<'de> for Refuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer)?;
        Err(serde::de::Error::custom("no"))
    }
}

struct Panics;

impl<'de> Deserialize<'de> for Panics {
    #[expect(clippy::panic, reason = "what it is for")]
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("a value type that panics")
    }
}

#[test]
fn what_a_type_refuses_is_opaque_from_there_on() {
    is::<(u8, Refuses, String)>("(u8,u64,_)");
    is::<(u8, Untagged)>("(u8,_)");
    is::<(bool, Panics, u8)>("(bool,_*2)");
}

#[test]
fn a_shape_is_the_same_every_time() {
    assert_eq!(Shape::of::<Event>(), Shape::of::<Event>());
}
