//! The query of a URL as arguments by their names.
//!
//! Each value is JSON; one that is none is a text, so that `?name=tea` needs no quotes. An argument that is a string by its type is
//! a text whatever it looks like, unless it is in quotes.

use ambrosia_methods::{Method, Type};
use serde_json::{Map, Value};

use crate::problem::{Problem, ProblemKind};

/// The arguments in a query, without the `?`.
///
/// # Errors
/// If it is no UTF-8 when it is decoded, or one argument is given twice.
pub(crate) fn query_arguments(query: &str, method: &Method) -> Result<Map<String, Value>, Problem> {
    let mut arguments = Map::new();
    for (name, text) in pairs(query)? {
        let value =
            value_of(&text, method.arguments.iter().find(|argument| argument.name == name).map(|found| &found.ty));
        if arguments.insert(name.clone(), value).is_some() {
            let detail = format!("the argument {name:?} is given twice");
            return Err(Problem::new(ProblemKind::BadArguments, detail).with("argument", name));
        }
    }
    Ok(arguments)
}

/// What a text in a URL stands for where a value of that type is expected.
pub(crate) fn value_of(text: &str, ty: Option<&Type>) -> Value {
    let mut ty = ty;
    while let Some(Type::Option(of)) = ty {
        if text == "null" {
            return Value::Null;
        }
        ty = Some(of);
    }
    let is_text = matches!(ty, Some(Type::String | Type::Char));
    match serde_json::from_str(text) {
        Ok(value @ Value::String(_)) => value,
        Ok(value) if !is_text => value,
        _ => Value::String(text.to_owned()),
    }
}

/// What a text that stands in a path means where a value of that type is expected: a text is what it is, without quotes.
pub(crate) fn text_in_path(text: &str, ty: &Type) -> Value {
    let mut within = ty;
    while let Type::Option(of) = within {
        within = of;
    }
    match within {
        Type::String | Type::Char | Type::Enum(_) => Value::String(text.to_owned()),
        // Numbers that JSON would not hold exactly are given as texts.
        Type::Unsigned(65..) | Type::Signed(65..) => Value::String(text.to_owned()),
        _ => value_of(text, Some(ty)),
    }
}

/// Names and values, decoded.
pub(crate) fn pairs(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// Percent-encoded text, with `+` for a space.
fn decoded(text: &str) -> Result<String, Problem> {
    let bad = || Problem::new(ProblemKind::BadArguments, format!("{text:?} is no text when it is decoded"));
    let bytes = percent_decoded(&text.replace('+', " ")).ok_or_else(bad)?;
    String::from_utf8(bytes).map_err(|_| bad())
}

/// The bytes of percent-encoded text; `None` if there is a `%` without two digits.
pub(crate) fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                (high << 4 | low) as u8
            }
            byte => byte,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use ambrosia_methods::Argument;
    use serde_json::json;

    use super::*;

    fn read(query: &str) -> Result<Value, ProblemKind> {
        let mut method = Method::without_types("find".to_owned(), Vec::new(), true);
        let argument = |name: &str, ty: &str| Argument { name: name.to_owned(), ty: ty.parse().expect("a type") };
        method.arguments = vec![argument("name", "string"), argument("n", "u64"), argument("note", "option<string>")];
        query_arguments(query, &method).map(Value::Object).map_err(|problem| problem.kind)
    }

    #[test]
    fn a_text_in_a_path_is_what_it_is_where_a_text_is_expected() {
        let value = |text: &str, ty: &str| text_in_path(text, &ty.parse().expect("a type")).to_string();
        assert_eq!(value("\"a\"", "string"), "\"\\\"a\\\"\"");
        assert_eq!(
            (value("7", "string"), value("null", "option<string>")),
            ("\"7\"".to_owned(), "\"null\"".to_owned())
        );
        assert_eq!((value("true", "enum { true }"), value("x", "char")), ("\"true\"".to_owned(), "\"x\"".to_owned()));
        assert_eq!((value("7", "u64"), value("-1.5", "option<f64>")), ("7".to_owned(), "-1.5".to_owned()));
        assert_eq!((value("null", "option<u64>"), value("seven", "u64")), ("null".to_owned(), "\"seven\"".to_owned()));
        let wide = u128::MAX.to_string();
        assert_eq!(value(&wide, "u128"), format!("\"{wide}\""));
        assert_eq!((value("[1,2]", "list<u8>"), value("true", "bool")), ("[1,2]".to_owned(), "true".to_owned()));
    }

    #[test]
    fn values_are_json_or_text() {
        assert_eq!(read(""), Ok(json!({})));
        assert_eq!(read("name=tea&n=2"), Ok(json!({ "name": "tea", "n": 2 })));
        assert_eq!(read("name=7&note=null"), Ok(json!({ "name": "7", "note": null })));
        assert_eq!(read("name=%22null%22&note=true"), Ok(json!({ "name": "null", "note": "true" })));
        assert_eq!(read("n=18446744073709551615&other=[1,{}]"), Ok(json!({ "n": u64::MAX, "other": [1, {}] })));
        assert_eq!(read("name=a+b%20%c3%a4%26&&n"), Ok(json!({ "name": "a b ä&", "n": "" })));
        for bad in ["name=a&name=b", "name=%f", "name=%fg", "name=%ff"] {
            assert_eq!(read(bad), Err(ProblemKind::BadArguments), "{bad}");
        }
    }
}
