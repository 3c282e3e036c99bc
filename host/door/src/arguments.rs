//! The body of a request as arguments of a method: a JSON array, or an object by their names; and of one at a path of its own, what that
//! has not given.
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
        Given::ByName(entries) => in_order(entries, &FromPath::default(), method)?,
        Given::Neither(found) => {
            let detail = format!("the arguments are an array or an object by their names, and the body is {found}");
            return Err(Problem::new(ProblemKind::BadArguments, detail).with("expected", method.to_string()));
        }
    };
    encode(&values, method)
}

/// Values that stand in the path of a URL, with the places of their arguments.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct FromPath(pub(crate) Vec<(usize, Value)>);

impl FromPath {
    fn has(&self, place: usize) -> bool {
        self.0.iter().any(|(given, _)| *given == place)
    }
}

/// Encodes what a body says of the arguments that a path has not given: it is the value of the argument if there is one, and else all of
/// them.
///
/// # Errors
/// As [`encode_body`].
pub(crate) fn encode_rest(body: &[u8], from_path: &FromPath, method: &Method) -> Result<Vec<u8>, Problem> {
    let rest: Vec<_> = (0..method.arguments.len()).filter(|place| !from_path.has(*place)).collect();
    let is_empty = body.iter().all(u8::is_ascii_whitespace);
    let entries = match rest.as_slice() {
        [_] if is_empty => Vec::new(),
        [only] => {
            let value = serde_json::from_slice(body).map_err(not_json)?;
            vec![(method.arguments[*only].name.clone(), value)]
        }
        _ => match if is_empty { Given::ByName(Vec::new()) } else { serde_json::from_slice(body).map_err(not_json)? } {
            Given::ByName(entries) => entries,
            Given::InOrder(values) if values.len() == rest.len() => {
                rest.iter().map(|place| method.arguments[*place].name.clone()).zip(values).collect()
            }
            Given::InOrder(values) => {
                let detail = format!("the body is an array of {}, and is to be one of {}", values.len(), rest.len());
                return Err(bad_body(detail, &rest, method));
            }
            Given::Neither(found) => {
                let detail = format!("the body is {found}, and is to be an object, or an array of {}", rest.len());
                return Err(bad_body(detail, &rest, method));
            }
        },
    };
    encode(&in_order(entries, from_path, method)?, method)
}

fn bad_body(detail: String, rest: &[usize], method: &Method) -> Problem {
    let wanted: Vec<_> = rest.iter().map(|place| method.arguments[*place].to_string()).collect();
    let detail = match wanted.as_slice() {
        [] => format!("{detail}: nothing is left to be given"),
        wanted => format!("{detail}: {}", wanted.join(", ")),
    };
    Problem::new(ProblemKind::BadArguments, detail).with("expected", wanted.join(", "))
}

/// Encodes arguments by their names, beside those that a path has given.
///
/// # Errors
/// As [`encode_body`].
pub(crate) fn encode_named(
    arguments: Map<String, Value>,
    from_path: &FromPath,
    method: &Method,
) -> Result<Vec<u8>, Problem> {
    encode(&in_order(arguments.into_iter().collect(), from_path, method)?, method)
}

/// [`encode_body`] for whoever tries it with any bytes.
#[doc(hidden)]
pub fn read_body(body: &[u8], method: &Method) -> Result<Vec<u8>, String> {
    encode_body(body, method).map_err(|problem| problem.detail().to_owned())
}

/// The same of the query of a URL.
#[doc(hidden)]
pub fn read_query(query: &str, method: &Method) -> Result<Vec<u8>, String> {
    let arguments =
        query_arguments(query, method).and_then(|arguments| encode_named(arguments, &FromPath::default(), method));
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
fn in_order(entries: Vec<(String, Value)>, from_path: &FromPath, method: &Method) -> Result<Vec<Value>, Problem> {
    let wrong = |argument: &str, detail: String| {
        Problem::new(ProblemKind::BadArguments, detail).with("argument", argument).with("expected", method.to_string())
    };
    let mut values: Vec<Option<Value>> = method.arguments.iter().map(|_| None).collect();
    for (place, value) in &from_path.0 {
        values[*place] = Some(value.clone());
    }
    for (name, value) in entries {
        let Some(place) = method.arguments.iter().position(|argument| argument.name == name) else {
            return Err(wrong(&name, format!("there is no argument {name:?}: the method is {method}")));
        };
        if from_path.has(place) {
            return Err(wrong(&name, format!("the argument {name:?} is given by the path already")));
        }
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
    fn what_the_path_has_not_given_the_body_gives() {
        let given = |values: &[(usize, &str)]| {
            FromPath(values.iter().map(|(place, json)| (*place, serde_json::from_str(json).expect("JSON"))).collect())
        };
        let rest = |from_path: &FromPath, body: &str| {
            encode_rest(body.as_bytes(), from_path, &order()).map(|bytes| decode_value(&bytes).to_string())
        };
        // One is the body, whatever that is.
        let two = given(&[(0, "\"tea\""), (2, "\"hot\"")]);
        assert_eq!(rest(&two, " 2 "), Ok(r#"["tea",2,"hot"]"#.to_owned()));
        let two = given(&[(1, "2"), (0, "\"tea\"")]);
        assert_eq!(rest(&two, r#""hot""#), Ok(r#"["tea",2,"hot"]"#.to_owned()));
        assert_eq!(rest(&two, ""), Ok(r#"["tea",2,null]"#.to_owned()));
        assert_eq!(rest(&two, "null"), Ok(r#"["tea",2,null]"#.to_owned()));
        // Several are an object, or an array.
        let one = given(&[(1, "2")]);
        for body in [r#"{"note": "hot", "item": "tea"}"#, r#"["tea", "hot"]"#] {
            assert_eq!(rest(&one, body), Ok(r#"["tea",2,"hot"]"#.to_owned()), "{body}");
        }
        assert_eq!(rest(&one, r#"{"item": "tea"}"#), Ok(r#"["tea",2,null]"#.to_owned()));
        // None are nothing.
        let all = given(&[(0, "\"tea\""), (1, "2"), (2, "null")]);
        for body in ["", " ", "{}", "[]"] {
            assert_eq!(rest(&all, body), Ok(r#"["tea",2,null]"#.to_owned()), "{body:?}");
        }
        let problem = |from_path: &FromPath, body: &str| rest(from_path, body).expect_err(body).json();
        for (from_path, body, said) in [
            (&given(&[(0, "\"tea\""), (2, "null")]), "", "the argument `count: u32` is missing"),
            (&given(&[(0, "\"tea\""), (2, "null")]), "[2]", "count: u32"),
            (&given(&[(0, "\"tea\""), (2, "null")]), "2 3", "the body is not JSON"),
            (
                &one,
                r#"["tea"]"#,
                "the body is an array of 1, and is to be one of 2: item: string, note: option<string>",
            ),
            (&one, "7", "the body is a number, and is to be an object, or an array of 2"),
            (&one, r#"{"item": "tea", "count": 2}"#, "the argument \"count\" is given by the path already"),
            (&one, r#"{"item": "tea", "item": "gin"}"#, "the argument \"item\" is given twice"),
            (&one, r#"{"price": 2}"#, "there is no argument \"price\""),
            (&all, "1", "nothing is left to be given"),
            (&all, "[1]", "nothing is left to be given"),
            (&given(&[(1, "\"two\""), (0, "\"tea\"")]), "", "the argument `count: u32` can't be that"),
        ] {
            let wrong = problem(from_path, body);
            assert_eq!(wrong["status"], 400, "{wrong}");
            assert!(wrong["detail"].as_str().is_some_and(|text| text.contains(said)), "{said}: {wrong}");
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
