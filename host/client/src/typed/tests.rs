//! What JSON becomes, and what is said of JSON of another type.

use ambrosia_core::MethodId;
use ambrosia_methods::{Argument, Method, MethodKind, Type};
use serde_json::json;

use crate::{decode_value, encode_arguments_of};

/// A method `take` whose only argument is of that type.
fn taking(ty: &str) -> Method {
    let ty = ty.parse().unwrap_or_else(|error| panic!("{ty}: {error}"));
    Method {
        id: MethodId::of("take"),
        name: "take".to_owned(),
        kind: MethodKind::Update,
        arguments: vec![Argument { name: "it".to_owned(), ty }],
        result: Type::Nothing,
        docs: String::new(),
        formerly: Vec::new(),
        schedule: None,
        routes: Vec::new(),
    }
}

/// The bytes of the only argument.
fn encoded(ty: &str, json: serde_json::Value) -> Vec<u8> {
    let bytes = encode_arguments_of(&json!([json]).to_string(), &taking(ty));
    let bytes = bytes.unwrap_or_else(|error| panic!("{json} as {ty}: {error}"));
    assert_eq!(bytes[0], 0x91, "an array of one argument");
    bytes[1..].to_vec()
}

fn refused(ty: &str, json: &serde_json::Value) -> String {
    encode_arguments_of(&json!([json]).to_string(), &taking(ty)).expect_err("another type").to_string()
}

#[test]
fn values_are_encoded_as_their_types_say() {
    for (ty, value, expected) in [
        ("u8", json!(255), &b"\xcc\xff"[..]),
        ("u64", json!("18446744073709551615"), b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("s64", json!("-9223372036854775808"), b"\xd3\x80\0\0\0\0\0\0\0"),
        ("u128", json!("42"), b"\xc4\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x2a"),
        ("s128", json!("0xffffffffffffffffffffffffffffffff"), &[&b"\xc4\x10"[..], &[0xff; 16]].concat()),
        ("f64", json!(1), b"\xcb\x3f\xf0\0\0\0\0\0\0"),
        ("f32", json!("-inf"), b"\xcb\xff\xf0\0\0\0\0\0\0"),
        ("list<u8>", json!("0x00ff"), b"\xc4\x02\0\xff"),
        ("list<u8>", json!([0, 255]), b"\xc4\x02\0\xff"),
        ("list<u8, 2>", json!("0x00ff"), b"\xc4\x02\0\xff"),
        ("list<u16>", json!(["1", 2]), b"\x92\x01\x02"),
        ("option<option<u8>>", json!(null), b"\xc0"),
        ("option<option<u8>>", json!("7"), b"\x07"),
        ("result<_, string>", json!({"ok": null}), b"\x81\xa2Ok\xc0"),
        ("result<u8, string>", json!({"Err": "no"}), b"\x81\xa3Err\xa2no"),
        ("tuple<bool, char>", json!([true, "x"]), b"\x92\xc3\xa1x"),
        ("map<s8, bool>", json!({"-1": true}), b"\x81\xff\xc3"),
        ("map<tuple<u8, u8>, u8>", json!([[[1, 2], 3]]), b"\x81\x92\x01\x02\x03"),
        ("map<bool, _>", json!({"true": null}), b"\x81\xc3\xc0"),
        ("record { n: u64, name: string }", json!({"n": "5", "more": [1]}), b"\x82\xa4more\x91\x01\xa1n\x05"),
        ("record { n: u64, name: string }", json!(["5", "x"]), b"\x92\x05\xa1x"),
        ("enum { red, green }", json!("green"), b"\xa5green"),
        ("variant { Sold, Unknown(u64) }", json!("Sold"), b"\xa4Sold"),
        ("variant { Sold, Unknown(u64) }", json!({"Unknown": "5"}), b"\x81\xa7Unknown\x05"),
        (
            "variant %T { Leaf(u64), Node(list<%T>) }",
            json!({"Node": [{"Leaf": "1"}, {"Node": []}]}),
            b"\x81\xa4Node\x92\x81\xa4Leaf\x01\x81\xa4Node\x90",
        ),
        ("record %R { of: option<%R>, n: u64 }", json!({"of": {"n": "1"}}), b"\x81\xa2of\x81\xa1n\x01"),
        ("any", json!({"a": [1, "2"]}), b"\x81\xa1a\x92\x01\xa12"),
    ] {
        assert_eq!(encoded(ty, value.clone()), expected, "{value} as {ty}");
    }
}

#[test]
fn what_is_of_another_type_is_refused_with_the_one_expected() {
    for (ty, value) in [
        ("u8", json!(256)),
        ("u8", json!(-1)),
        ("u64", json!(1.5)),
        ("u64", json!("+1")),
        ("s8", json!(128)),
        ("s8", json!("-129")),
        ("u64", json!("0x0000000000000000000000000000002a")),
        ("f64", json!("one")),
        ("bool", json!(1)),
        ("string", json!(7)),
        ("char", json!("ab")),
        ("list<u8>", json!("abc")),
        ("list<u8>", json!([256])),
        ("list<u8, 2>", json!("0x00")),
        ("list<string>", json!({})),
        ("option<u8>", json!("x")),
        ("tuple<u8, u8>", json!([1])),
        ("map<u8, u8>", json!([[1, 2, 3]])),
        ("record { n: u64 }", json!(7)),
        ("record { n: u64 }", json!([1, 2])),
        ("enum { red }", json!("blue")),
        ("variant { Sold, Unknown(u64) }", json!("Unknown")),
        ("variant { Sold, Unknown(u64) }", json!({"Sold": 1})),
        ("variant { Sold, Unknown(u64) }", json!({"Sold": null, "Unknown": 1})),
        ("result<u8, u8>", json!(1)),
        ("_", json!(0)),
    ] {
        let error = refused(ty, &value);
        assert!(error.contains(&format!("`it: {ty}`")) && error.contains(&format!("not {value}")), "{error}");
    }
}

#[test]
fn the_place_in_a_value_is_told() {
    let error = refused("list<record { price: option<f64> }>", &json!([{"price": 1}, {"price": "dear"}]));
    assert!(error.ends_with(r#"at [1].price expected option<f64>, not "dear""#), "{error}");
    let error = refused("map<u8, u8>", &json!({"x": 1}));
    assert!(error.ends_with(r#"at .(key) expected u8, not "x""#), "{error}");
    let error = refused("variant %T { Leaf, Node(%T) }", &json!({"Node": {"Node": 5}}));
    assert!(error.ends_with("at .Node.Node expected %T, not 5"), "{error}");
    let long = refused("u8", &json!("ä".repeat(1000)));
    assert!(long.chars().count() < 200 && long.ends_with('…'), "{long}");
}

#[test]
fn the_count_of_arguments_is_told_with_their_types() {
    let error = encode_arguments_of("[1, 2]", &taking("u64")).expect_err("one too many").to_string();
    assert_eq!(error, "the method is take(it: u64), and 2 arguments are given");
    let error = encode_arguments_of("[]", &taking("u64")).expect_err("one too few").to_string();
    assert_eq!(error, "the method is take(it: u64), and no argument is given");
}

#[test]
fn a_method_without_types_takes_what_it_took_before() {
    let method = Method::without_types("add".to_owned(), vec!["n".to_owned()], true);
    let bytes = encode_arguments_of(r#"[{"a": "1"}]"#, &method).expect("anything");
    assert_eq!(decode_value(&bytes), json!([{"a": "1"}]));
    let raw = Method::without_types("raw".to_owned(), Vec::new(), false);
    assert_eq!(encode_arguments_of(r#"["0x41"]"#, &raw).expect("bytes"), b"A");
}
