//! Tests of values: each kind by hand, and what JSON comes back of JSON.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Serialize;
use serde_json::json;

use super::*;

fn shown(value: &impl Serialize) -> Value {
    decode_value(&rmp_serde::to_vec_named(value).expect("it can be encoded"))
}

#[test]
fn json_arguments_come_back_from_message_pack() {
    let text = r#"["a", 7, -1, 1.5, null, [true], {"k": "v"}]"#;
    let bytes = encode_arguments(text, true).expect("a plain array");
    assert_eq!(decode_value(&bytes), serde_json::from_str::<Value>(text).expect("the same text"));
}

#[test]
fn wrong_arguments_are_explained() {
    let message = |text: &str, message_pack| encode_arguments(text, message_pack).expect_err(text).to_string();
    assert!(message("[1,", true).contains("not JSON"));
    assert!(message("{\"a\":1}", true).contains("must be a JSON array"));
    assert!(message("[1]", false).contains("raw bytes"));
    assert!(message("[\"a\",\"b\"]", false).contains("raw bytes"));
}

#[test]
fn raw_bytes_are_text_or_digits_and_never_taken_for_message_pack() {
    for (bytes, expected) in [
        (&b"A"[..], json!("A")), // 65 in MessagePack
        (b"5", json!("5")),
        (b"hello", json!("hello")),
        (&[0xff, 0xfe, 0x00], json!("0xfffe00")),
        (b"0x41", json!("0x30783431")), // not to be taken for the byte 0x41
        (b"0x", json!("0x3078")),
        (b"0x4", json!("0x4")),
        (b"0xgg", json!("0xgg")),
        (b"", Value::Null),
    ] {
        assert_eq!(show_raw(bytes), expected);
        let back = if expected.is_null() { json!([]) } else { json!([expected]) };
        assert_eq!(encode_arguments(&back.to_string(), false).expect("one string"), bytes, "as they are shown");
    }
    assert_eq!(encode_arguments(r#"["0xAbCd"]"#, false).expect("one string"), [0xab, 0xcd]);
    assert_eq!(decode_value(b"A"), json!(65));
}

#[test]
fn what_json_can_not_say_is_said_in_strings() {
    assert_eq!(shown(&((1_u64 << 53) - 1)), json!(9_007_199_254_740_991_u64));
    assert_eq!(shown(&(1_u64 << 53)), json!("9007199254740992"));
    assert_eq!(
        shown(&(u64::MAX, i64::MIN, -9_007_199_254_740_991_i64)),
        json!(["18446744073709551615", "-9223372036854775808", -9_007_199_254_740_991_i64])
    );
    assert_eq!(shown(&(f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.1_f32)), json!(["NaN", "inf", "-inf", 1.1]));
    assert_eq!(shown(&(7, 42_u128)), json!([7, "0x0000000000000000000000000000002a"]));
    assert_eq!(decode_value(&[0xc4, 2, 0, 255]), json!("0x00ff"), "binary");
    assert_eq!(decode_value(&[0xa1, 0xff]), json!("0xff"), "text that is not UTF-8");
    assert_eq!(decode_value(&[0xd4, 5, 0xab]), json!("ext 5 0xab"), "an extension");
}

#[test]
fn keys_of_maps_are_shown_as_strings_and_none_is_lost() {
    assert_eq!(shown(&BTreeMap::from([(1, "a"), (-2, "b")])), json!({"1": "a", "-2": "b"}));
    assert_eq!(shown(&BTreeMap::from([(true, 1)])), json!({"true": 1}));
    assert_eq!(shown(&BTreeMap::from([((1, 2), 3)])), json!({"[1,2]": 3}));
    assert_eq!(shown(&BTreeMap::from([(u64::MAX, ())])), json!({"18446744073709551615": null}));
    let alike = [0x82, 0x01, 0xa1, b'a', 0xa1, b'1', 0xa1, b'b']; // {1: "a", "1": "b"}
    assert_eq!(decode_value(&alike), json!([[1, "a"], ["1", "b"]]));
}

#[test]
fn what_is_no_message_pack_or_too_deep_is_said_to_be_so() {
    assert_eq!(decode_value(&[]), Value::Null);
    assert_eq!(decode_value(&[0xff, 0xfe, 0x00]), json!("0xfffe00"), "bytes follow the value");
    assert_eq!(decode_value(&[0x92, 1]), json!("0x9201"), "cut short");
    let deep = [vec![0x91; 5000], vec![0xc0]].concat();
    assert_eq!(decode_value(&deep), json!("a value of 5001 bytes that is too deep to be shown"));
    let less_deep = [vec![0x91; 1000], vec![0xc0]].concat();
    assert_eq!(decode_value(&less_deep).to_string().len(), 2 * 1000 + 4);
}

#[test]
fn nothing_shown_controls_a_terminal() {
    assert_eq!(without_controls("a\nb\u{1b}[2J\u{9b}c\u{7f}ä"), "a\\u000ab\\u001b[2J\\u009bc\\u007fä");
}

/// JSON as `send` takes it; numbers that JSON readers agree on.
fn json_value() -> impl Strategy<Value = Value> {
    let exact = -(1_i64 << 53) + 1..1_i64 << 53;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        exact.prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |value| value.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_that_is_sent_is_shown_as_it_was_given(arguments in prop::collection::vec(json_value(), 0..4)) {
        let json = Value::from(arguments);
        let bytes = encode_arguments(&json.to_string(), true).expect("an array");
        prop_assert_eq!(decode_value(&bytes), json);
    }

    #[test]
    fn raw_bytes_can_be_sent_as_they_are_shown(bytes in prop::collection::vec(any::<u8>(), 1..64)) {
        let json = Value::from(vec![show_raw(&bytes)]);
        prop_assert_eq!(encode_arguments(&json.to_string(), false).expect("one string"), bytes);
    }

    #[test]
    fn any_bytes_can_be_shown(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let text = decode_value(&bytes).to_string();
        prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
    }
}
