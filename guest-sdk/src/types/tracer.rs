//! The deserializer from which nothing is decoded: it notes what it is asked for.

use std::{any::type_name, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
        value::StrDeserializer,
    },
};

use super::node::{Case, Node, What};

/// Types in one another.
const DEPTH_MAX: usize = 48;

/// Samples in one another.
const SAMPLE_DEPTH_MAX: usize = 8;

/// Follows one path to a part of `T` that is not known, and notes what that is.
pub(crate) fn trace<T: for<'de> Deserialize<'de>>(root: &Node) {
    let before = signature(root);
    // Every try ends with an error, but for types without parts.
    let _ended = T::deserialize(Tracer(Mode::Trace { node: root, around: None, depth: 0 }));
    if signature(root) == before {
        // It did not get to where it should: a value before that can't be made, most likely.
        root.give_up_first_unknown();
    }
}

/// Changes whenever something has been found out.
fn signature(node: &Node) -> usize {
    match node.what() {
        What::Unknown => 0,
        What::Plain(_) | What::Reference(_) => 1,
        What::Thin(of) | What::Option(of) | What::List(of) => 1 + signature(&of),
        What::Tuple(of) => 1 + of.iter().map(signature).sum::<usize>(),
        What::Map(key, value) => 1 + signature(&key) + signature(&value),
        What::Record { fields, .. } => 1 + fields.iter().map(|(_, field)| signature(field)).sum::<usize>(),
        What::Variant { cases, .. } => {
            let of_case = |(_, case): &(_, Case)| match case {
                Case::Unknown => 0,
                Case::Nothing => 1,
                Case::Holds(of) => 1 + signature(of),
            };
            1 + cases.iter().map(of_case).sum::<usize>()
        }
    }
}

/// The end of a try. Why it ended is in the nodes.
#[derive(Debug)]
pub(crate) struct Ended;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing is decoded: this only finds out a type")
    }
}

impl std::error::Error for Ended {}

impl serde::de::Error for Ended {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Ended
    }
}

/// A record, a variant or a thin struct around the part at hand.
struct Around<'a> {
    /// The type of Rust, told by its whole name.
    of: &'static str,
    node: &'a Node,
    /// Thin ones can't be referred to.
    is_thin: bool,
    next: Option<&'a Around<'a>>,
}

/// One deserializer for both, so that the decoder of each type is there once.
#[derive(Clone, Copy)]
enum Mode<'a> {
    /// Notes what is asked for.
    Trace { node: &'a Node, around: Option<&'a Around<'a>>, depth: usize },
    /// Gives something, since what comes after it is asked for.
    Sample { depth: usize },
}

struct Tracer<'a>(Mode<'a>);

impl<'a> Tracer<'a> {
    fn sample(depth: usize) -> Result<Tracer<'a>, Ended> {
        if depth < SAMPLE_DEPTH_MAX { Ok(Tracer(Mode::Sample { depth })) } else { Err(Ended) }
    }
}

impl Tracer<'_> {
    /// A struct with those fields, around which nothing more is known than was before.
    fn fields<'de, V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Ended> {
        let (node, around, depth) = match self.0 {
            Mode::Sample { .. } => return visitor.visit_map(Fields { names: fields, mode: self.0 }),
            Mode::Trace { node, around, depth } => (node, around, depth),
        };
        let parts = || fields.iter().copied().zip(Node::many(fields.len())).collect();
        let What::Record { fields, .. } = node.become_if_unknown(|| What::Record { name, fields: parts() }) else {
            return Err(Ended);
        };
        let Some((field, part)) = fields.iter().find(|(_, part)| !part.is_done()) else { return Err(Ended) };
        visitor.visit_map(Fields { names: &[*field], mode: Mode::within(part, around, depth)? })
    }
}

/// What has no parts: noted, or given as a sample.
macro_rules! plain {
    ($($method:ident $word:literal $visit:ident($($sample:expr)?),)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Ended> {
            match self.0 {
                Mode::Trace { node, .. } => note(node, $word),
                Mode::Sample { .. } => visitor.$visit($($sample)?),
            }
        }
    )*};
}

fn note<T>(node: &Node, word: &'static str) -> Result<T, Ended> {
    node.set(What::Plain(word));
    Err(Ended)
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Ended;

    plain! {
        deserialize_any "any" visit_unit(),
        deserialize_ignored_any "any" visit_unit(),
        deserialize_bool "bool" visit_bool(false),
        deserialize_i8 "s8" visit_i8(1),
        deserialize_i16 "s16" visit_i16(1),
        deserialize_i32 "s32" visit_i32(1),
        deserialize_i64 "s64" visit_i64(1),
        deserialize_i128 "s128" visit_i128(1),
        deserialize_u8 "u8" visit_u8(1),
        deserialize_u16 "u16" visit_u16(1),
        deserialize_u32 "u32" visit_u32(1),
        deserialize_u64 "u64" visit_u64(1),
        deserialize_u128 "u128" visit_u128(1),
        deserialize_f32 "f32" visit_f32(1.0),
        deserialize_f64 "f64" visit_f64(1.0),
        deserialize_char "char" visit_char('a'),
        deserialize_str "string" visit_str("a"),
        deserialize_string "string" visit_str("a"),
        deserialize_bytes "list<u8>" visit_bytes(b"a"),
        deserialize_byte_buf "list<u8>" visit_bytes(b"a"),
        deserialize_unit "_" visit_unit(),
    }

    /// Serde asks for a name in the place of a value where what follows depends on it.
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Ended> {
        match self.0 {
            Mode::Trace { node, around, .. } => {
                node.set(What::Plain("any"));
                if let Some(Around { node, is_thin: false, .. }) = around {
                    node.set(What::Plain("any"));
                }
                Err(Ended)
            }
            Mode::Sample { .. } => visitor.visit_str("a"),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Ended> {
        match self.0 {
            Mode::Trace { node, around, depth } => match node.become_if_unknown(|| What::Option(Node::unknown())) {
                What::Option(of) => visitor.visit_some(Tracer(Mode::within(&of, around, depth)?)),
                _ => Err(Ended),
            },
            Mode::Sample { .. } => visitor.visit_none(),
        }
    }

    /// It travels as an empty array.
    fn deserialize_unit_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Ended> {
        match self.0 {
            Mode::Trace { node, .. } => note(node, "tuple<>"),
            Mode::Sample { .. } => visitor.visit_unit(),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Ended> {
        match self.0 {
            Mode::Trace { node, around, depth } => {
                let of = type_name::<V::Value>();
                if is_endless(around, of) {
                    return note(node, "any");
                }
                let What::Thin(within) = node.become_if_unknown(|| What::Thin(Node::unknown())) else {
                    return Err(Ended);
                };
                let around = Around { of, node, is_thin: true, next: around };
                visitor.visit_newtype_struct(Tracer(Mode::within(&within, Some(&around), depth)?))
            }
            Mode::Sample { depth } => visitor.visit_newtype_struct(Tracer::sample(depth + 1)?),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Ended> {
        match self.0 {
            Mode::Trace { node, around, depth } => match node.become_if_unknown(|| What::List(Node::unknown())) {
                What::List(of) => {
                    visitor.visit_seq(Elements { parts: &[of], at: 0, mode: self.0.deeper(around, depth)? })
                }
                _ => Err(Ended),
            },
            Mode::Sample { depth } => visitor.visit_seq(Elements { parts: &[], at: 0, mode: Mode::Sample { depth } }),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Ended> {
        match self.0 {
            Mode::Trace { node, around, depth } => match node.become_if_unknown(|| What::Tuple(Node::many(count))) {
                What::Tuple(of) if of.len() == count => {
                    visitor.visit_seq(Elements { parts: &of, at: 0, mode: self.0.deeper(around, depth)? })
                }
                _ => Err(Ended),
            },
            Mode::Sample { depth } => {
                visitor.visit_seq(Elements { parts: &Node::many(count), at: 0, mode: Mode::Sample { depth } })
            }
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Ended> {
        self.deserialize_tuple(count, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Ended> {
        match self.0 {
            Mode::Trace { node, around, depth } => {
                let What::Map(key, value) = node.become_if_unknown(|| What::Map(Node::unknown(), Node::unknown()))
                else {
                    return Err(Ended);
                };
                // A struct with flattened fields asks for a name in the place of a key.
                let around = Around { of: "", node, is_thin: false, next: around };
                visitor.visit_map(Entry { key, value, around: &around, depth })
            }
            Mode::Sample { .. } => visitor.visit_map(Fields::none()),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Ended> {
        match self.0 {
            Mode::Trace { node, around, depth } => {
                let of = enter::<V::Value>(node, around)?;
                let around = Around { of, node, is_thin: false, next: around };
                Tracer(Mode::Trace { node, around: Some(&around), depth }).fields(name, fields, visitor)
            }
            Mode::Sample { .. } => self.fields(name, fields, visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Ended> {
        match self.0 {
            Mode::Trace { node, around, depth } => {
                let of = enter::<V::Value>(node, around)?;
                let unknown = || What::Variant {
                    name,
                    cases: variants.iter().map(|variant| (*variant, Case::Unknown)).collect(),
                };
                let What::Variant { cases, .. } = node.become_if_unknown(unknown) else { return Err(Ended) };
                let Some(at) = cases.iter().position(|(_, case)| !case.is_done()) else { return Err(Ended) };
                let around = Around { of, node, is_thin: false, next: around };
                visitor.visit_enum(Chosen { name: cases[at].0, holds: Holds::Trace { at, around: &around, depth } })
            }
            Mode::Sample { depth } => {
                // The first one may hold the enum itself, so others are tried further within.
                let name = *variants.get(depth.min(variants.len().saturating_sub(1))).ok_or(Ended)?;
                visitor.visit_enum(Chosen { name, holds: Holds::Sample { depth } })
            }
        }
    }

    fn is_human_readable(&self) -> bool {
        false // as MessagePack
    }
}

impl<'a> Mode<'a> {
    /// Looks at a part of the part at hand.
    fn within(node: &'a Node, around: Option<&'a Around<'a>>, depth: usize) -> Result<Mode<'a>, Ended> {
        if depth == DEPTH_MAX {
            return note(node, "any");
        }
        Ok(Mode::Trace { node, around, depth: depth + 1 })
    }

    fn deeper(self, around: Option<&'a Around<'a>>, depth: usize) -> Result<Mode<'a>, Ended> {
        match self {
            Mode::Trace { node, .. } => Mode::within(node, around, depth),
            sample => Ok(sample),
        }
    }
}

/// Begins a type with a name, which is told; ends if it is one of those around it, which it then refers to.
fn enter<T>(node: &Node, around: Option<&Around<'_>>) -> Result<&'static str, Ended> {
    let of = type_name::<T>();
    if refers_to(node, around, of) { Err(Ended) } else { Ok(of) }
}

/// Notes that the part is one that it lies in, if it is.
fn refers_to(node: &Node, mut around: Option<&Around<'_>>, of: &'static str) -> bool {
    while let Some(Around { of: other, node: found, is_thin, next }) = around {
        if *other == of && !is_thin && !found.is(node) {
            found.set_named();
            node.set(What::Reference((*found).clone()));
            return true;
        }
        around = *next;
    }
    false
}

/// Whether a thin struct lies in itself without a record or variant between, to which there could be a reference.
fn is_endless(mut around: Option<&Around<'_>>, of: &'static str) -> bool {
    while let Some(Around { of: other, is_thin, next, .. }) = around {
        if !is_thin && !other.is_empty() {
            return false;
        }
        if *other == of {
            return true;
        }
        around = *next;
    }
    false
}

/// The elements of a list or tuple: samples up to the first one that is not known.
struct Elements<'a> {
    parts: &'a [Node],
    at: usize,
    mode: Mode<'a>,
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Ended;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Ended> {
        let Some(part) = self.parts.get(self.at) else { return Ok(None) };
        self.at += 1;
        let mode = match self.mode {
            Mode::Trace { around, depth, .. } if !part.is_done() => Mode::Trace { node: part, around, depth },
            Mode::Trace { .. } => Mode::Sample { depth: 0 },
            Mode::Sample { depth } => Tracer::sample(depth + 1)?.0,
        };
        seed.deserialize(Tracer(mode)).map(Some)
    }
}

/// The one entry of a map that is looked at.
struct Entry<'a> {
    key: Node,
    value: Node,
    around: &'a Around<'a>,
    depth: usize,
}

impl<'de> MapAccess<'de> for Entry<'_> {
    type Error = Ended;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Ended> {
        let mode = if self.key.is_done() {
            Mode::Sample { depth: 0 }
        } else {
            Mode::within(&self.key, Some(self.around), self.depth)?
        };
        seed.deserialize(Tracer(mode)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Ended> {
        seed.deserialize(Tracer(Mode::within(&self.value, Some(self.around), self.depth)?))
    }
}

/// The fields of a struct: the one that is looked at, or all with samples.
struct Fields<'a> {
    names: &'a [&'static str],
    mode: Mode<'a>,
}

impl Fields<'_> {
    fn none() -> Self {
        Fields { names: &[], mode: Mode::Sample { depth: 0 } }
    }
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Ended;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Ended> {
        let Some((name, rest)) = self.names.split_first() else { return Ok(None) };
        self.names = rest;
        seed.deserialize(named(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Ended> {
        let mode = match self.mode {
            Mode::Sample { depth } => Tracer::sample(depth + 1)?.0,
            trace => trace,
        };
        seed.deserialize(Tracer(mode))
    }
}

fn named(name: &'static str) -> StrDeserializer<'static, Ended> {
    name.into_deserializer()
}

/// A case of a variant.
struct Chosen<'a> {
    name: &'static str,
    holds: Holds<'a>,
}

/// What is in it.
enum Holds<'a> {
    /// Number of the case in the node, which is the innermost around.
    Trace {
        at: usize,
        around: &'a Around<'a>,
        depth: usize,
    },
    Sample {
        depth: usize,
    },
}

impl<'de, 'a> EnumAccess<'de> for Chosen<'a> {
    type Error = Ended;
    type Variant = Holds<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Holds<'a>), Ended> {
        Ok((seed.deserialize(named(self.name))?, self.holds))
    }
}

impl Holds<'_> {
    /// Has a tracer of what the case holds do something.
    fn with<T>(self, then: impl FnOnce(Tracer<'_>) -> Result<T, Ended>) -> Result<T, Ended> {
        let (at, around, depth) = match self {
            Holds::Sample { depth } => return then(Tracer::sample(depth + 1)?),
            Holds::Trace { at, around, depth } => (at, around, depth),
        };
        if let What::Variant { cases, .. } = around.node.what()
            && matches!(cases[at].1, Case::Unknown)
        {
            around.node.set_case(at, Case::Holds(Node::unknown()));
        }
        let What::Variant { cases, .. } = around.node.what() else { return Err(Ended) };
        let Case::Holds(of) = &cases[at].1 else { return Err(Ended) };
        then(Tracer(Mode::within(of, Some(around), depth)?))
    }
}

impl<'de> VariantAccess<'de> for Holds<'_> {
    type Error = Ended;

    fn unit_variant(self) -> Result<(), Ended> {
        match self {
            Holds::Trace { at, around, .. } => {
                around.node.set_case(at, Case::Nothing);
                Err(Ended)
            }
            Holds::Sample { .. } => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Ended> {
        self.with(|tracer| seed.deserialize(tracer))
    }

    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Ended> {
        self.with(|tracer| tracer.deserialize_tuple(count, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Ended> {
        self.with(|tracer| tracer.fields("", fields, visitor))
    }
}
