//! Arguments as anybody may send them over HTTP: a body of JSON, or the query of a URL.
//!
//! Zero bytes part the types of a method's arguments, in the notation of `wit/TYPES.md`, a line each, from a body and from a query.

use ambrosia_door::{read_body, read_query};
use ambrosia_fuzz::corpus::Seed;
use ambrosia_methods::{Argument, Method};
use ambrosia_test_allocations::within;
use serde_json::{Map, Value};

/// Arguments that a method has at most here. MessagePack has one byte for the length of such a list.
const ARGUMENTS_MAX: usize = 12;

/// JSON as values takes many times its bytes: an empty list in a list is three bytes of text, and each level has a list of its own.
const MEMORY_PER_BYTE: usize = 400;
/// For the text of an error, which names the method with its types, and what a parser needs at once.
const MEMORY_SLACK: usize = 16 << 10;

/// Reads the body and the query as arguments of the method.
pub fn target(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let Ok(types) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let (body, query) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut method = Method::without_types("run".to_owned(), Vec::new(), true);
    for (at, ty) in types.lines().take(ARGUMENTS_MAX).enumerate() {
        let Ok(ty) = ty.parse() else { return };
        method.arguments.push(Argument { name: format!("a{at}"), ty });
    }
    let memory = MEMORY_PER_BYTE * bytes.len() + MEMORY_SLACK;
    let read = within(memory, || read_body(body, &method));
    if let Ok(encoded) = &read {
        check_encoded(encoded, &method);
    }
    check_in_order(body, &method, &read);
    if let Ok(query) = std::str::from_utf8(query)
        && let Ok(encoded) = within(memory, || read_query(query, &method))
    {
        check_encoded(&encoded, &method);
    }
}

/// A list with an element for each argument.
fn check_encoded(encoded: &[u8], method: &Method) {
    assert_eq!(
        encoded.first(),
        Some(&(0x90 | method.arguments.len() as u8)),
        "an array of {} elements",
        method.arguments.len()
    );
}

/// Arguments by their names are the same as in their order, with nothing for those that are missing.
fn check_in_order(body: &[u8], method: &Method, read: &Result<Vec<u8>, String>) {
    let (Ok(encoded), Ok(given)) = (read, serde_json::from_slice::<Map<String, Value>>(body)) else { return };
    let values: Vec<_> =
        method.arguments.iter().map(|argument| given.get(&argument.name).cloned().unwrap_or_default()).collect();
    let known = given.keys().filter(|name| method.arguments.iter().any(|argument| argument.name == **name));
    assert_eq!(known.count(), given.len(), "no name was taken that the method does not have");
    let in_order = serde_json::to_vec(&values).expect("values are JSON");
    assert_eq!(read_body(&in_order, method).as_ref(), Ok(encoded), "{values:?}");
}

/// A body and a query for each kind of type, and what is not right.
pub fn seeds() -> Vec<Seed> {
    let seed = |name: &str, types: &[&str], body: &str, query: &str| {
        (format!("seed-{name}"), [types.join("\n").as_str(), body, query].join("\0").into_bytes())
    };
    vec![
        seed("none", &[], "[]", ""),
        seed("empty", &["u64"], "", ""),
        seed("numbers", &["u64", "s64", "f64", "u8"], "[18446744073709551615, -3, 0.5, 255]", "a0=1&a1=-2&a2=1e3&a3=7"),
        seed("names", &["string", "u64"], r#"{"a1": 2, "a0": "tea"}"#, "a1=2&a0=green+tea%20%c3%a4"),
        seed("optional", &["option<string>", "option<u64>"], r#"{"a1": null}"#, "a0=null"),
        seed(
            "record",
            &["record { name: string, n: option<u32> }"],
            r#"[{"name": "a", "n": 3}]"#,
            r#"a0={"name":"b"}"#,
        ),
        seed("lists", &["list<u8>", "list<list<string>>"], r#"["0x00ff", [["a"], []]]"#, "a0=[1,2]&a1=[]"),
        seed("variant", &["variant { none, some(u64) }", "result<u64, string>"], r#"["none", {"Ok": 3}]"#, ""),
        seed("map", &["list<tuple<string, u64>>", "any"], r#"[[["a", 1]], {"any": [true, null]}]"#, "a1=%22"),
        seed("doubled", &["u64"], r#"{"a0": 1, "a0": 2}"#, "a0=1&a0=2"),
        seed("stranger", &["u64"], r#"{"a0": 1, "b": 2}"#, "b=2"),
        seed("no-json", &["u64"], "[1", "a0=%"),
        seed("deep", &["any"], &format!("[{}{}]", "[".repeat(100), "]".repeat(100)), ""),
        seed("too-deep", &["any"], &"[".repeat(2000), ""),
    ]
}
