//! Types and values against `wit/golden/values.tsv`.

use ambrosia_methods::Type;
use serde_json::Value;

use super::Typed;
use crate::decode_value;

#[test]
fn golden_values_are_encoded_as_their_types_say_and_shown_as_json() {
    let golden = include_str!("../../../../wit/golden/values.tsv");
    for line in golden.lines() {
        let [ty, json, hex] = line.split('\t').collect::<Vec<_>>().try_into().expect("three columns");
        let parsed: Type = ty.parse().unwrap_or_else(|error| panic!("{ty}: {error}"));
        assert_eq!(parsed.to_string(), ty);
        let value: Value = serde_json::from_str(json).expect("JSON");
        let bytes = rmp_serde::to_vec_named(&Typed::new(&value, &parsed)).expect("it is of the type");
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digits, hex, "{ty} {json}");
        assert_eq!(decode_value(&bytes), value, "{ty}");
    }
    assert_eq!(golden.lines().count(), 31);
}
