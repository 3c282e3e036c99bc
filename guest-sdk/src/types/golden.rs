//! Types and values against `wit/golden/values.tsv`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::TypeOf;
use crate::codec;

#[derive(Serialize, Deserialize)]
struct Named {
    n: u32,
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Colour {
    Red,
    Green,
}

#[derive(Serialize, Deserialize)]
struct At {
    x: i8,
}

#[derive(Serialize, Deserialize)]
enum Order {
    Sold,
    Unknown(String),
    At(At),
    Both(u8, u8),
}

#[derive(Serialize, Deserialize)]
enum Tree {
    Leaf,
    Node(Vec<Tree>),
}

#[derive(Serialize, Deserialize)]
struct Empty;

/// Checks one line: what is of the type `T` has that text, and those bytes.
fn check<T: Serialize + DeserializeOwned>(ty: &str, bytes: &[u8]) {
    assert_eq!(TypeOf::of::<T>().text(), ty);
    let value: T = codec::decode_value(bytes).unwrap_or_else(|error| panic!("{ty}: {error}"));
    let mut encoded = Vec::new();
    codec::encode_value(&mut encoded, &value).expect("it was decoded");
    assert_eq!(encoded, bytes, "{ty}");
}

/// Serde writes bytes as an array, and reads both.
fn check_bytes(ty: &str, bytes: &[u8]) {
    assert_eq!(TypeOf::of::<Vec<u8>>().text(), ty);
    assert_eq!(codec::decode_value(bytes), Ok(vec![0_u8, 255]));
    assert_eq!(codec::decode_value(b"\x92\0\xcc\xff"), Ok(vec![0_u8, 255]));
}

/// How each type is in Rust.
const TYPES: [fn(&str, &[u8]); 23] = [
    check::<()>,
    check::<bool>,
    check::<u8>,
    check::<u32>,
    check::<u64>,
    check::<i64>,
    check::<u128>,
    check::<i128>,
    check::<f64>,
    check::<char>,
    check::<String>,
    check_bytes,
    check::<Vec<u16>>,
    check::<Option<String>>,
    check::<Result<u32, String>>,
    check::<Result<(), String>>,
    check::<(u8, String)>,
    check::<Empty>,
    check::<BTreeMap<u64, bool>>,
    check::<Named>,
    check::<Colour>,
    check::<Order>,
    check::<Tree>,
];

#[test]
fn golden_values_are_of_their_types() {
    let golden = include_str!("../../../wit/golden/values.tsv");
    let mut types = TYPES.iter();
    let (mut check, mut before) = (None, "");
    for line in golden.lines() {
        let [ty, _json, hex] = line.split('\t').collect::<Vec<_>>().try_into().expect("three columns");
        let digits = hex.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("digits");
        let bytes: Vec<_> = digits.map(byte).collect();
        if ty != before {
            (check, before) = (types.next(), ty);
        }
        check.expect("as many types as there are")(ty, &bytes);
    }
    assert_eq!(types.len(), 0, "all types are in the file");
}
