//! Reads types from text. The text is a component's, so nothing is believed of it.
//!
//! **Architecture Invariant:** what is read is bounded in length and depth before it is believed.

use std::str::FromStr;

use crate::types::{Case, Field, Type, is_of_name, is_plain};

/// Longest text of a type.
pub(crate) const TYPE_BYTES_MAX: usize = 64 << 10;

/// Types in one another.
const DEPTH_MAX: usize = 128;

/// Why a text is no type.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct TypeError {
    /// What was wrong.
    pub what: String,
    /// Where.
    pub at: usize,
}

impl FromStr for Type {
    type Err = TypeError;

    fn from_str(text: &str) -> Result<Type, TypeError> {
        if text.len() > TYPE_BYTES_MAX {
            let what = format!("the type has {} bytes, and {TYPE_BYTES_MAX} are the limit", text.len());
            return Err(TypeError { what, at: TYPE_BYTES_MAX });
        }
        let mut parser = Parser { text, at: 0, around: Vec::new(), depth: 0 };
        let ty = parser.ty()?;
        parser.skip_spaces();
        if parser.at < text.len() { Err(parser.error("something follows the type")) } else { Ok(ty) }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Names of the records and variants that are open.
    around: Vec<String>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, what: impl Into<String>) -> TypeError {
        TypeError { what: what.into(), at: self.at }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes `token`, if it comes next.
    fn takes(&mut self, token: char) -> bool {
        self.skip_spaces();
        let takes = self.rest().starts_with(token);
        self.at += if takes { token.len_utf8() } else { 0 };
        takes
    }

    fn expect(&mut self, token: char) -> Result<(), TypeError> {
        if self.takes(token) { Ok(()) } else { Err(self.error(format!("expected {token:?}"))) }
    }

    fn word(&mut self) -> Result<&'a str, TypeError> {
        self.skip_spaces();
        let rest = self.rest();
        let word = &rest[..rest.find(|character| !is_of_name(character)).unwrap_or(rest.len())];
        if !is_plain(word) {
            return Err(self.error("expected a name"));
        }
        self.at += word.len();
        Ok(word)
    }

    /// The name of a field or case, plain or as JSON writes a text.
    fn label(&mut self) -> Result<String, TypeError> {
        self.skip_spaces();
        if !self.rest().starts_with('"') {
            return self.word().map(str::to_owned);
        }
        let mut texts = serde_json::Deserializer::from_str(self.rest()).into_iter::<String>();
        match texts.next() {
            Some(Ok(label)) => {
                self.at += texts.byte_offset();
                Ok(label)
            }
            _ => Err(self.error("expected a text in quotes")),
        }
    }

    fn ty(&mut self) -> Result<Type, TypeError> {
        if self.depth == DEPTH_MAX {
            return Err(self.error("types are nested too deep"));
        }
        self.depth += 1;
        let ty = if self.takes('%') { self.named()? } else { self.plain_type()? };
        self.depth -= 1;
        Ok(ty)
    }

    fn named(&mut self) -> Result<Type, TypeError> {
        let name = self.word()?;
        if !self.around.iter().any(|around| around == name) {
            return Err(self.error(format!("no record or variant called {name} is around this")));
        }
        Ok(Type::Named(name.to_owned()))
    }

    fn plain_type(&mut self) -> Result<Type, TypeError> {
        let word = self.word()?;
        Ok(match word {
            "any" => Type::Any,
            "_" => Type::Nothing,
            "bool" => Type::Bool,
            "char" => Type::Char,
            "string" => Type::String,
            "f32" => Type::Float(32),
            "f64" => Type::Float(64),
            "list" => self.list()?,
            "option" => Type::Option(Box::new(self.only_parameter()?)),
            "result" => self.result()?,
            "tuple" => Type::Tuple(self.parameters()?),
            "map" => {
                let [key, value] = self.two_parameters()?;
                Type::Map(Box::new(key), Box::new(value))
            }
            "record" => self.record()?,
            "variant" => self.variant()?,
            "enum" => Type::Enum(self.block(Parser::label)?),
            _ => integer(word).ok_or_else(|| self.error(format!("there is no type called {word}")))?,
        })
    }

    fn list(&mut self) -> Result<Type, TypeError> {
        self.expect('<')?;
        let of = Box::new(self.ty()?);
        if !self.takes(',') {
            self.expect('>')?;
            return Ok(Type::List(of));
        }
        self.skip_spaces();
        let digits = self.rest().find(|character: char| !character.is_ascii_digit()).unwrap_or(0);
        let count = self.rest()[..digits].parse().map_err(|_| self.error("expected a number"))?;
        self.at += digits;
        self.expect('>')?;
        Ok(Type::FixedList(of, count))
    }

    /// `result`, `result<t>`, `result<t, e>`; what is left out is nothing.
    fn result(&mut self) -> Result<Type, TypeError> {
        let mut parameters = if self.takes('<') { self.rest_of_parameters()? } else { Vec::new() }.into_iter();
        let mut next = || Box::new(parameters.next().unwrap_or(Type::Nothing));
        let ty = Type::Result(next(), next());
        if parameters.next().is_some() { Err(self.error("a result has two types")) } else { Ok(ty) }
    }

    fn only_parameter(&mut self) -> Result<Type, TypeError> {
        let parameters: [Type; 1] = self.parameters()?.try_into().map_err(|_| self.error("expected one type"))?;
        let [only] = parameters;
        Ok(only)
    }

    fn two_parameters(&mut self) -> Result<[Type; 2], TypeError> {
        self.parameters()?.try_into().map_err(|_| self.error("expected two types"))
    }

    fn parameters(&mut self) -> Result<Vec<Type>, TypeError> {
        self.expect('<')?;
        self.rest_of_parameters()
    }

    fn rest_of_parameters(&mut self) -> Result<Vec<Type>, TypeError> {
        let mut parameters = Vec::new();
        while !self.takes('>') {
            if !parameters.is_empty() {
                self.expect(',')?;
            }
            parameters.push(self.ty()?);
        }
        Ok(parameters)
    }

    /// What stands in braces, with commas between, and perhaps one behind the last.
    fn block<T>(&mut self, item: fn(&mut Self) -> Result<T, TypeError>) -> Result<Vec<T>, TypeError> {
        self.expect('{')?;
        let mut items = Vec::new();
        while !self.takes('}') {
            items.push(item(self)?);
            if !self.takes(',') {
                self.expect('}')?;
                break;
            }
        }
        Ok(items)
    }

    /// The name that a record or variant may have, and what is in it.
    fn with_name<T>(
        &mut self,
        item: fn(&mut Self) -> Result<T, TypeError>,
    ) -> Result<(Option<String>, Vec<T>), TypeError> {
        let named = self.takes('%');
        self.skip_spaces();
        let name = if named || !self.rest().starts_with('{') { Some(self.word()?.to_owned()) } else { None };
        self.around.extend(name.clone());
        let items = self.block(item)?;
        if name.is_some() {
            self.around.pop();
        }
        Ok((name, items))
    }

    fn record(&mut self) -> Result<Type, TypeError> {
        let (name, fields) = self.with_name(|parser| {
            let name = parser.label()?;
            parser.expect(':')?;
            Ok(Field { name, ty: parser.ty()? })
        })?;
        Ok(Type::Record(name, fields))
    }

    fn variant(&mut self) -> Result<Type, TypeError> {
        let (name, cases) = self.with_name(|parser| {
            let name = parser.label()?;
            if !parser.takes('(') {
                return Ok(Case { name, payload: None });
            }
            let payload = Some(parser.ty()?);
            parser.expect(')')?;
            Ok(Case { name, payload })
        })?;
        Ok(Type::Variant(name, cases))
    }
}

fn integer(word: &str) -> Option<Type> {
    let bits = word.get(1..)?;
    let bits = [8, 16, 32, 64, 128].into_iter().find(|known| known.to_string() == bits)?;
    match word.as_bytes()[0] {
        b'u' => Some(Type::Unsigned(bits)),
        b's' => Some(Type::Signed(bits)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_back_as_it_was_written() {
        for text in [
            "any",
            "_",
            "bool",
            "u8",
            "s64",
            "u128",
            "f32",
            "char",
            "string",
            "list<u8>",
            "list<string, 8>",
            "option<list<u8>>",
            "result<_, string>",
            "tuple<>",
            "tuple<u32, f64>",
            "map<u64, map<s8, bool>>",
            "record {}",
            "record { name: string, n: u32 }",
            "variant { Unknown(string), Sold }",
            "enum { red, \"dark red\", Blue }",
            "variant %Tree { Leaf, Node(%Tree), Pair(tuple<%Tree, u8>), Named(record { of: %Tree }) }",
            "record %list { \"next of it\": option<%list> }",
        ] {
            let ty: Type = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(ty.to_string(), text);
        }
    }

    #[test]
    fn spaces_and_what_wit_leaves_out_make_no_difference() {
        let same = |one: &str, other: &str| assert_eq!(one.parse::<Type>(), other.parse::<Type>(), "{one}");
        same(" record{a:u8,b : list < string >,} ", "record { a: u8, b: list<string> }");
        same("result", "result<_, _>");
        same("result<u8>", "result<u8, _>");
        same("record tree { a: option<%tree> }", "record %tree { a: option<%tree> }");
    }

    #[test]
    fn what_is_no_type_is_told_with_its_place() {
        for (text, what, at) in [
            ("", "expected a name", 0),
            ("u7", "there is no type called u7", 2),
            ("list<u8", "expected '>'", 7),
            ("list<u8, x>", "expected a number", 9),
            ("option<u8, u8>", "expected one type", 14),
            ("record { a u8 }", "expected ':'", 11),
            ("record { a: u8 b: u8 }", "expected '}'", 15),
            ("variant { a(u8 }", "expected ')'", 15),
            ("enum { \"a }", "expected a text in quotes", 7),
            ("%tree", "no record or variant called tree is around this", 5),
            ("u8 u8", "something follows the type", 3),
            ("ä", "expected a name", 0),
        ] {
            let error = text.parse::<Type>().expect_err(text);
            assert_eq!((error.what.as_str(), error.at), (what, at), "{text}");
        }
        let deep = format!("{}u8{}", "list<".repeat(1000), ">".repeat(1000));
        assert!(deep.parse::<Type>().expect_err("too deep").what.contains("nested too deep"));
        assert!("u".repeat(TYPE_BYTES_MAX + 1).parse::<Type>().is_err());
    }

    #[test]
    fn cut_short_anywhere_it_is_no_type() {
        let text = "record %r { a: variant { b(list<u8, 3>), c }, \"d e\": result<map<u8, %r>, _> }";
        text.parse::<Type>().expect("whole");
        for end in 0..text.len() {
            assert!(text[..end].parse::<Type>().is_err(), "{}", &text[..end]);
        }
    }
}
