//! Types as JSON Schema (2020-12), as values of them are written in JSON.
//!
//! **Architecture Invariant:** what a schema allows of an argument is taken here and by the guest; which fields may be left out is the guest's
//! own business, so none is required of an argument.

use std::collections::BTreeMap;

use ambrosia_methods::{Case, Field, Type};
use serde_json::{Map, Value, json};

/// The largest number that every reader of JSON has exactly. Larger ones are shown as strings.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// Which way a value goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// To a method.
    In,
    /// Back from it: all fields are there.
    Out,
}

/// Makes schemas, and keeps those that refer to themselves under names.
pub(crate) struct Schemas {
    /// Where those with names lie.
    within: &'static str,
    named: BTreeMap<String, Value>,
}

/// A record or variant around a type, by its name, and what its schema is called.
struct Around<'a> {
    name: &'a str,
    called: &'a str,
    next: Option<&'a Around<'a>>,
}

/// Where a type is: whose it is, and what is around it.
#[derive(Clone, Copy)]
struct Place<'a> {
    owner: &'a str,
    way: Way,
    around: Option<&'a Around<'a>>,
}

impl Schemas {
    /// None yet; those with names will lie at that pointer, such as `#/$defs/`.
    pub(crate) fn within(pointer: &'static str) -> Schemas {
        Schemas { within: pointer, named: BTreeMap::new() }
    }

    /// The schema of a type that `owner` has.
    pub(crate) fn schema(&mut self, ty: &Type, owner: &str, way: Way) -> Value {
        self.of(ty, Place { owner, way, around: None })
    }

    /// Those that others refer to.
    pub(crate) fn into_named(self) -> Map<String, Value> {
        self.named.into_iter().collect()
    }

    fn of(&mut self, ty: &Type, place: Place) -> Value {
        match ty {
            Type::Any => json!({}),
            Type::Nothing => json!({ "type": "null" }),
            Type::Bool => json!({ "type": "boolean" }),
            Type::Unsigned(bits) => integer(*bits, false),
            Type::Signed(bits) => integer(*bits, true),
            Type::Float(_) => json!({ "anyOf": [{ "type": "number" }, { "enum": ["NaN", "inf", "-inf"] }] }),
            Type::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
            Type::String => json!({ "type": "string" }),
            Type::List(of) => self.list(ty, of, None, place),
            Type::FixedList(of, count) => self.list(ty, of, Some(*count), place),
            Type::Option(of) => json!({ "anyOf": [self.of(of, place), { "type": "null" }] }),
            Type::Result(ok, error) => {
                json!({ "oneOf": [only("Ok", self.of(ok, place)), only("Err", self.of(error, place))] })
            }
            Type::Tuple(of) => {
                let items: Vec<_> = of.iter().map(|ty| self.of(ty, place)).collect();
                json!({ "type": "array", "minItems": items.len(), "maxItems": items.len(), "prefixItems": items })
            }
            Type::Map(_, of) => json!({ "type": "object", "additionalProperties": self.of(of, place) }),
            Type::Record(None, fields) => self.record(fields, place),
            Type::Variant(None, cases) => self.variant(cases, place),
            Type::Record(Some(name), fields) => self.kept(name, place, |own, place| own.record(fields, place)),
            Type::Variant(Some(name), cases) => self.kept(name, place, |own, place| own.variant(cases, place)),
            Type::Enum(cases) => json!({ "type": "string", "enum": cases }),
            Type::Named(wanted) => {
                let mut around = place.around;
                while let Some(Around { name, called, next }) = around {
                    if name == wanted {
                        return self.reference(called);
                    }
                    around = *next;
                }
                json!({})
            }
        }
    }

    /// Keeps the schema of what has a name of its own, and refers to it.
    fn kept(&mut self, name: &str, place: Place, make: impl FnOnce(&mut Schemas, Place) -> Value) -> Value {
        let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let mut called = format!("{}.{plain}", place.owner);
        while self.named.contains_key(&called) {
            called.push('_');
        }
        self.named.insert(called.clone(), Value::Null);
        let around = Around { name, called: &called, next: place.around };
        let schema = make(self, Place { around: Some(&around), ..place });
        let reference = self.reference(&called);
        self.named.insert(called, schema);
        reference
    }

    fn reference(&self, called: &str) -> Value {
        json!({ "$ref": format!("{}{called}", self.within) })
    }

    fn list(&mut self, list: &Type, of: &Type, count: Option<u32>, place: Place) -> Value {
        let mut array = Map::new();
        array.insert("type".to_owned(), "array".into());
        array.insert("items".to_owned(), self.of(of, place));
        if let Some(count) = count {
            array.insert("minItems".to_owned(), count.into());
            array.insert("maxItems".to_owned(), count.into());
        }
        if !list.is_bytes() {
            return array.into();
        }
        let digits = match count {
            None => "^0x([0-9a-fA-F]{2})*$".to_owned(),
            Some(count) => format!("^0x([0-9a-fA-F]{{2}}){{{count}}}$"),
        };
        json!({ "anyOf": [{ "type": "string", "pattern": digits }, array] })
    }

    fn record(&mut self, fields: &[Field], place: Place) -> Value {
        let properties: Map<_, _> =
            fields.iter().map(|field| (field.name.clone(), self.of(&field.ty, place))).collect();
        match place.way {
            Way::In => json!({ "type": "object", "properties": properties }),
            Way::Out => {
                let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
                json!({ "type": "object", "properties": properties, "required": names })
            }
        }
    }

    fn variant(&mut self, cases: &[Case], place: Place) -> Value {
        let cases: Vec<_> = cases
            .iter()
            .map(|Case { name, payload }| match payload {
                None => json!({ "const": name }),
                Some(payload) => only(name, self.of(payload, place)),
            })
            .collect();
        json!({ "oneOf": cases })
    }
}

/// An object of that one entry.
fn only(name: &str, schema: Value) -> Value {
    json!({ "type": "object", "properties": { name: schema }, "required": [name], "additionalProperties": false })
}

fn integer(bits: u32, is_signed: bool) -> Value {
    let (digits, lowest) = if is_signed { ("^-?[0-9]+$", Some(-1_i128)) } else { ("^[0-9]+$", None) };
    let magnitude = if is_signed { bits - 1 } else { bits };
    if magnitude <= 32 {
        let max = (1_u64 << magnitude) - 1;
        let min = lowest.map_or(0, |_| -(1_i64 << magnitude));
        return json!({ "type": "integer", "minimum": min, "maximum": max });
    }
    let exact = if is_signed { json!({ "type": "integer" }) } else { json!({ "type": "integer", "minimum": 0 }) };
    let said = format!("an integer of {bits} bits; beyond ±{EXACT_MAX} as a string of digits");
    json!({ "anyOf": [exact, { "type": "string", "pattern": digits }], "description": said })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(ty: &str, way: Way) -> (Value, Map<String, Value>) {
        let mut schemas = Schemas::within("#/components/schemas/");
        let schema = schemas.schema(&ty.parse().expect(ty), "a.b", way);
        (schema, schemas.into_named())
    }

    #[test]
    fn types_are_what_json_says_of_them() {
        for (ty, expected) in [
            ("any", json!({})),
            ("u8", json!({ "type": "integer", "minimum": 0, "maximum": 255 })),
            ("s16", json!({ "type": "integer", "minimum": -32768, "maximum": 32767 })),
            ("option<string>", json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] })),
            ("list<bool>", json!({ "type": "array", "items": { "type": "boolean" } })),
            (
                "map<u8, char>",
                json!({ "type": "object", "additionalProperties": { "type": "string", "minLength": 1, "maxLength": 1 } }),
            ),
            ("enum { a, b }", json!({ "type": "string", "enum": ["a", "b"] })),
            (
                "variant { none, some(bool) }",
                json!({ "oneOf": [{ "const": "none" }, { "type": "object", "properties": { "some": { "type": "boolean" } }, "required": ["some"], "additionalProperties": false }] }),
            ),
            ("record { a: bool }", json!({ "type": "object", "properties": { "a": { "type": "boolean" } } })),
        ] {
            assert_eq!(schema(ty, Way::In).0, expected, "{ty}");
        }
        assert_eq!(schema("record { a: bool }", Way::Out).0["required"], json!(["a"]));
        let (long, _) = schema("u64", Way::Out);
        assert_eq!((&long["anyOf"][0]["type"], &long["anyOf"][1]["type"]), (&json!("integer"), &json!("string")));
        let (bytes, _) = schema("list<u8, 2>", Way::In);
        assert_eq!(bytes["anyOf"][0]["pattern"], "^0x([0-9a-fA-F]{2}){2}$");
        assert_eq!(schema("tuple<u8, bool>", Way::In).0["prefixItems"].as_array().map(Vec::len), Some(2));
        assert_eq!(schema("result<u8, _>", Way::Out).0["oneOf"][1]["properties"]["Err"], json!({ "type": "null" }));
    }

    #[test]
    fn what_refers_to_itself_is_kept_under_a_name_of_its_own() {
        let tree = "record %tree { left: option<%tree>, right: option<%tree> }";
        let (reference, named) = schema(&format!("tuple<{tree}, {tree}>"), Way::In);
        assert_eq!(reference["prefixItems"][0], json!({ "$ref": "#/components/schemas/a.b.tree" }));
        assert_eq!(reference["prefixItems"][1], json!({ "$ref": "#/components/schemas/a.b.tree_" }));
        let inner = |called: &str| named[called]["properties"]["left"]["anyOf"][0]["$ref"].clone();
        assert_eq!(inner("a.b.tree"), "#/components/schemas/a.b.tree");
        assert_eq!(inner("a.b.tree_"), "#/components/schemas/a.b.tree_");
    }
}
