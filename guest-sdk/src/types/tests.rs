//! The text of each kind of type, and of those that can't be told.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    marker::PhantomData,
    net::IpAddr,
    num::NonZeroU32,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::*;
use crate::Peer;

#[derive(Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    name: String,
    price_cents: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Thin(Vec<Item>);

#[derive(Serialize, Deserialize)]
struct Pair(u8, i64);

#[derive(Serialize, Deserialize)]
struct Empty {}

#[derive(Serialize, Deserialize)]
struct Unit;

#[derive(Serialize, Deserialize)]
enum Order {
    Nothing,
    Sell(u64),
    Both(u8, Item),
    Buy { of: i64, at: f32 },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Colour {
    Red,
    #[serde(rename = "dark blue")]
    DarkBlue,
}

#[derive(Serialize, Deserialize)]
enum Tree {
    Node(Box<Tree>),
    Leaf,
    Named { of: Vec<Tree>, and: Option<Box<Tree>> },
}

#[derive(Serialize, Deserialize)]
struct Links(Vec<Link>);

#[derive(Serialize, Deserialize)]
struct Link {
    to: Links,
}

#[derive(Serialize, Deserialize)]
struct Endless(Vec<Endless>);

#[derive(Serialize, Deserialize)]
struct Outer {
    inner: Option<Box<Outer>>,
    tree: Tree,
    pair: (NonZeroU32, Tree, String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Renamed {
    long_name: u8,
    #[serde(rename = "not a name")]
    odd: bool,
    #[serde(skip)]
    _skipped: u8,
    #[serde(default)]
    more: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Internal {
    A { n: u64 },
    B,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", content = "value")]
enum Adjacent {
    A { n: u64 },
    B(String),
}

#[derive(Serialize, Deserialize)]
struct Flattened {
    n: u64,
    #[serde(flatten)]
    more: Item,
}

#[derive(Deserialize)]
#[serde(try_from = "u64")]
struct Even;

impl TryFrom<u64> for Even {
    type Error = String;

    fn try_from(number: u64) -> Result<Even, String> {
        if number.is_multiple_of(2) { Ok(Even) } else { Err("odd".to_string()) }
    }
}

/// Its decoder takes a text apart, which no sample is like.
struct Version;

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.strip_prefix("version ").map(|_| Version).ok_or_else(|| serde::de::Error::custom("no version"))
    }
}

#[crate::interface]
trait Friend {
    fn greet(text: String);
}

fn text<T: serde::de::DeserializeOwned>() -> String {
    let text = TypeOf::of::<T>().text();
    assert!(!is_tracing());
    text
}

#[test]
fn types_of_the_standard_library() {
    assert_eq!(text::<(bool, u8, i8, u64)>(), "tuple<bool, u8, s8, u64>");
    assert_eq!(text::<(u128, i128, usize, f32, f64, char)>(), "tuple<u128, s128, u64, f32, f64, char>");
    assert_eq!(text::<Vec<u8>>(), "list<u8>");
    assert_eq!(text::<VecDeque<Option<Box<str>>>>(), "list<option<string>>");
    assert_eq!(text::<[u8; 32]>(), "list<u8, 32>");
    assert_eq!(text::<[f64; 3]>(), "tuple<f64, f64, f64>");
    assert_eq!(text::<BTreeMap<u64, HashMap<String, ()>>>(), "map<u64, map<string, _>>");
    assert_eq!(text::<Result<(), String>>(), "result<_, string>");
    assert_eq!(text::<Option<Option<NonZeroU32>>>(), "option<option<u32>>");
    assert_eq!(text::<((), PhantomData<u8>)>(), "tuple<_, tuple<>>");
    assert_eq!(text::<Duration>(), "record { secs: u64, nanos: u32 }");
    assert_eq!(text::<IpAddr>(), "variant { V4(tuple<u8, u8, u8, u8>), V6(list<u8, 16>) }");
}

#[test]
fn types_of_an_application() {
    assert_eq!(text::<Item>(), "record { name: string, price_cents: option<u32> }");
    assert_eq!(text::<Thin>(), "list<record { name: string, price_cents: option<u32> }>");
    assert_eq!(
        (text::<Pair>(), text::<Empty>(), text::<Unit>()),
        ("tuple<u8, s64>".into(), "record {}".into(), "tuple<>".into())
    );
    assert_eq!(
        text::<Order>(),
        "variant { Nothing, Sell(u64), Both(tuple<u8, record { name: string, price_cents: option<u32> }>), \
         Buy(record { of: s64, at: f32 }) }"
    );
    assert_eq!(text::<Colour>(), "enum { red, \"dark blue\" }");
    assert_eq!(text::<Renamed>(), "record { longName: u8, \"not a name\": bool, more: list<u8> }");
    assert_eq!(text::<BTreeMap<Item, Even>>(), "map<record { name: string, price_cents: option<u32> }, u64>");
    assert_eq!(text::<crate::Timestamp>(), "u64");
}

#[test]
fn types_that_hold_themselves_are_named() {
    let tree = "variant %Tree { Node(%Tree), Leaf, Named(record { of: list<%Tree>, and: option<%Tree> }) }";
    assert_eq!(text::<Tree>(), tree);
    assert_eq!(text::<Link>(), "record %Link { to: list<%Link> }");
    assert_eq!(text::<Links>(), "list<record %Link { to: list<%Link> }>");
    assert_eq!(text::<Endless>(), "list<any>");
    assert_eq!(
        text::<Outer>(),
        format!("record %Outer {{ inner: option<%Outer>, tree: {tree}, pair: tuple<u32, {tree}, string> }}")
    );
}

#[test]
fn what_depends_on_the_value_is_any() {
    assert_eq!(text::<Untagged>(), "any");
    assert_eq!(text::<Internal>(), "any");
    assert_eq!(text::<Adjacent>(), "record { kind: enum { A, B }, value: any }");
    assert_eq!(text::<Flattened>(), "any");
    assert_eq!(text::<(u8, Flattened)>(), "tuple<u8, any>");
    assert_eq!(text::<serde::de::IgnoredAny>(), "any");
}

#[test]
fn what_no_sample_can_be_made_of_hides_only_what_comes_after_it() {
    assert_eq!(text::<Version>(), "string");
    assert_eq!(text::<(u8, Version, u16, u32)>(), "tuple<u8, string, any, any>");
    assert_eq!(text::<(u8, Even, u16)>(), "tuple<u8, u64, any>");
    assert!(text::<Vec<(Tree, u16)>>().ends_with(", u16>>"));
}

#[test]
fn peers_are_texts_and_none_is_attached() {
    // There is no instance here that could attach one.
    assert_eq!(text::<(Peer, Friend, BTreeMap<Peer, u8>)>(), "tuple<string, string, map<string, u8>>");
}
