//! The body of a request as arguments of a method: a JSON array, or an object by their names.
//!
//! **Architecture Invariant:** whoever names arguments gets each where it belongs or an error: none is dropped, doubled or made up,
//! save that an optional one that is missing is null.

use std::fmt;

use ambrosia_client::{ValueError, encode_values_of};
use ambrosia_core::limits::ARGUMENTS_BYTES_MAX;
use ambrosia_methods::{Method, Type};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::{
    problem::{Problem, ProblemKind},
    query_string::query_arguments,
};

/// Encodes what a body says.
///
/// # Errors
/// If it is not JSON, or not the arguments of `method`; the problem names the argument.
pub(crate) fn encode_body(body: &[u8], method: &Method) -> Result<Vec<u8>, Problem> {
    let is_empty = body.iter().all(u8::is_ascii_whitespace);
    let given = if is_empty { Given::InOrder(Vec::new()) } else { serde_json::from_slice(body).map_err(not_json)? };
    let values = match given {
        Given::InOrder(values) => values,
        Given::ByName(entries) => in_order(entries, method)?,
        Given::Neither(found) => {
            let detail = format!("the arguments are an array or an object by their names, and the body is {found}");
            return Err(Problem::new(ProblemKind::BadArguments, detail).with("expected", method.to_string()));
        }
    };
    encode(&values, method)
}

/// Encodes arguments by their names.
///
/// # Errors
/// As [`encode_body`].
pub(crate) fn encode_named(arguments: Map<String, Value>, method: &Method) -> Result<Vec<u8>, Problem> {
    encode(&in_order(arguments.into_iter().collect(), method)?, method)
}

/// [`encode_body`] for whoever tries it with any bytes.
#[doc(hidden)]
pub fn read_body(body: &[u8], method: &Method) -> Result<Vec<u8>, String> {
    encode_body(body, method).map_err(|problem| problem.detail().to_owned())
}

/// The same of the query of a URL.
#[doc(hidden)]
pub fn read_query(query: &str, method: &Method) -> Result<Vec<u8>, String> {
    let arguments = query_arguments(query, method).and_then(|arguments| encode_named(arguments, method));
    arguments.map_err(|problem| problem.detail().to_owned())
}

fn encode(values: &[Value], method: &Method) -> Result<Vec<u8>, Problem> {
    let bytes = encode_values_of(values, method).map_err(|error| bad_value(&error, method))?;
    if bytes.len() > ARGUMENTS_BYTES_MAX {
        let bytes = bytes.len();
        let detail = format!("arguments of {bytes} bytes exceed the limit of {ARGUMENTS_BYTES_MAX} bytes");
        return Err(Problem::new(ProblemKind::BodyTooLarge, detail));
    }
    Ok(bytes)
}

/// What a body gives.
enum Given {
    InOrder(Vec<Value>),
    /// In the order of the body; names may be doubled.
    ByName(Vec<(String, Value)>),
    /// What it is instead.
    Neither(&'static str),
}

fn not_json(error: serde_json::Error) -> Problem {
    let (line, column) = (error.line(), error.column());
    Problem::new(ProblemKind::NotJson, format!("the body is not JSON: {error}"))
        .with("line", line)
        .with("column", column)
}

/// The arguments in the order of the method.
fn in_order(entries: Vec<(String, Value)>, method: &Method) -> Result<Vec<Value>, Problem> {
    let wrong = |argument: &str, detail: String| {
        Problem::new(ProblemKind::BadArguments, detail).with("argument", argument).with("expected", method.to_string())
    };
    let mut values: Vec<Option<Value>> = method.arguments.iter().map(|_| None).collect();
    for (name, value) in entries {
        let Some(place) = method.arguments.iter().position(|argument| argument.name == name) else {
            return Err(wrong(&name, format!("there is no argument {name:?}: the method is {method}")));
        };
        if values[place].replace(value).is_some() {
            return Err(wrong(&name, format!("the argument {name:?} is given twice")));
        }
    }
    let filled = values.into_iter().zip(&method.arguments).map(|(value, argument)| match (value, &argument.ty) {
        (Some(value), _) => Ok(value),
        (None, Type::Option(_)) => Ok(Value::Null),
        (None, _) => {
            Err(wrong(&argument.name, format!("the argument `{argument}` is missing: the method is {method}")))
        }
    });
    filled.collect()
}

fn bad_value(error: &ValueError, method: &Method) -> Problem {
    let problem = Problem::new(ProblemKind::BadArguments, error.to_string());
    match error {
        ValueError::Argument { argument, wrong } => {
            // As it is written in the source: its type follows a colon.
            let name = argument.split(':').next().unwrap_or(argument).trim_end();
            problem
                .with("argument", name)
                .with("at", wrong.at.as_str())
                .with("expected", wrong.expected.as_str())
                .with("found", wrong.found.as_str())
        }
        _ => problem.with("expected", method.to_string()),
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Given, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = elements.next_element()? {
            values.push(value);
        }
        Ok(Given::InOrder(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Given, A::Error> {
        let mut values = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            values.push(entry);
        }
        Ok(Given::ByName(values))
    }

    fn visit_unit<E: Error>(self) -> Result<Given, E> {
        Ok(Given::Neither("null"))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Given, E> {
        Ok(Given::Neither("a bool"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Given, E> {
        Ok(Given::Neither("a number"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Given, E> {
        Ok(Given::Neither("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Given, E> {
        Ok(Given::Neither("a number"))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Given, E> {
        Ok(Given::Neither("a string"))
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_client::{decode_value, encode_arguments_of};
    use ambrosia_methods::Argument;
    use proptest::prelude::*;

    use super::*;

    fn order() -> Method {
        let mut method = Method::without_types("order".to_owned(), Vec::new(), true);
        let argument = |name: &str, ty: &str| Argument { name: name.to_owned(), ty: ty.parse().expect("a type") };
        method.arguments =
            vec![argument("item", "string"), argument("count", "u32"), argument("note", "option<string>")];
        method
    }

    fn encoded(body: &str) -> String {
        decode_value(&encode_body(body.as_bytes(), &order()).expect(body)).to_string()
    }

    #[test]
    fn arguments_are_given_in_order_or_by_name() {
        assert_eq!(encoded(r#"["tea", 2, "hot"]"#), r#"["tea",2,"hot"]"#);
        assert_eq!(encoded(r#"{"note": "hot", "count": 2, "item": "tea"}"#), r#"["tea",2,"hot"]"#);
        assert_eq!(encoded(r#" {"count": 2, "item": "tea"} "#), r#"["tea",2,null]"#);
        let none = Method::without_types("total".to_owned(), Vec::new(), true);
        for body in ["", " \n", "[]", "{}"] {
            assert_eq!(encode_body(body.as_bytes(), &none), Ok(vec![0x90]), "{body:?}");
        }
    }

    #[test]
    fn raw_bytes_are_one_string() {
        let raw = Method::without_types("swallow".to_owned(), vec!["bytes".to_owned()], false);
        assert_eq!(encode_body(br#"["0x00ff"]"#, &raw), Ok(vec![0, 255]));
        assert_eq!(encode_body(br#"{"bytes": "text"}"#, &raw), Ok(b"text".to_vec()));
        assert_eq!(encode_body(b"[7]", &raw).expect_err("no string").kind, ProblemKind::BadArguments);
    }

    #[test]
    fn a_wrong_argument_is_named_with_the_type_expected() {
        let problem = |body: &str| encode_body(body.as_bytes(), &order()).expect_err(body).json();
        let wrong = problem(r#"["tea", "two", null]"#);
        assert_eq!((&wrong["argument"], &wrong["expected"]), (&"count".into(), &"u32".into()), "{wrong}");
        assert_eq!(wrong["found"], "\"two\"");
        for (body, argument, said) in [
            (r#"{"item": "tea"}"#, "count", "the argument `count: u32` is missing"),
            (r#"{"item": "tea", "count": 1, "price": 2}"#, "price", "there is no argument \"price\""),
            (r#"{"item": "tea", "count": 1, "item": "gin"}"#, "item", "the argument \"item\" is given twice"),
        ] {
            let wrong = problem(body);
            assert_eq!((&wrong["argument"], &wrong["status"]), (&argument.into(), &400.into()), "{wrong}");
            assert!(wrong["detail"].as_str().is_some_and(|text| text.contains(said)), "{wrong}");
        }
        for (body, said) in [
            ("[1]", "1 argument is given"),
            ("7", "the body is a number"),
            ("\"x\"", "the body is a string"),
            ("null", "the body is null"),
        ] {
            let wrong = problem(body);
            assert!(wrong["detail"].as_str().is_some_and(|text| text.contains(said)), "{wrong}");
            assert!(wrong["expected"].as_str().is_some_and(|text| text.starts_with("order(item: string")), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_json_says_where_it_ends_to_be() {
        for (body, line, column) in [(&b"[1,"[..], 1, 3), (b"[\"\xff\"]", 1, 3), (b"[]\n{}", 2, 1), (b"item=tea", 1, 1)]
        {
            let problem = encode_body(body, &order()).expect_err("it is not").json();
            assert_eq!(problem["type"], "urn:ambrosia:problem:not-json", "{problem}");
            assert_eq!((&problem["line"], &problem["column"]), (&line.into(), &column.into()), "{problem}");
        }
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert_eq!(encode_body(&deep, &order()).expect_err("too deep").kind, ProblemKind::NotJson);
    }

    proptest! {
        #[test]
        fn any_bytes_are_arguments_or_a_problem(body in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Err(problem) = encode_body(&body, &order()) {
                prop_assert_eq!(&problem.json()["status"], &Value::from(400));
            }
        }

        #[test]
        fn by_name_they_are_what_they_are_in_order(item in ".*", count: u32, note in prop::option::of(".*")) {
            let array = serde_json::json!([item, count, note]);
            let object = serde_json::json!({ "note": note, "item": item, "count": count });
            let expected = encode_arguments_of(&array.to_string(), &order()).expect("they are right");
            prop_assert_eq!(encode_body(object.to_string().as_bytes(), &order()), Ok(expected.clone()));
            prop_assert_eq!(encode_body(array.to_string().as_bytes(), &order()), Ok(expected));
        }
    }
}
