//! Encodes values only as deep as they may be nested.
//!
//! What a value encodes itself by is wrapped, so that each level is counted, and an error ends the recursion in time.
//!
//! **Architecture Invariant:** the bytes are those of the serializer within; nothing is known of the format here.

use serde::{
    Serialize, Serializer,
    ser::{
        Error, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use crate::shape::{NESTING_MAX, TooDeep};

/// Structs of one field in one another, that are written as what is in them: they call themselves, too.
const THIN_MAX: usize = 4 * NESTING_MAX;

/// How many levels are left.
#[derive(Clone, Copy)]
struct Left {
    /// Arrays and maps.
    thick: usize,
    /// What can't be seen of a value when it is written.
    thin: usize,
}

impl Left {
    #[inline]
    fn after<E: Error>(self, thick: usize, thin: usize) -> Result<Left, E> {
        match (self.thick.checked_sub(thick), self.thin.checked_sub(thin)) {
            (Some(thick), Some(thin)) => Ok(Left { thick, thin }),
            _ => Err(E::custom(TooDeep)),
        }
    }
}

/// A serializer, or a part of one, that has so many levels left.
pub(crate) struct Bounded<S> {
    within: S,
    left: Left,
}

impl<S> Bounded<S> {
    /// For a value that is within no other.
    pub(crate) fn new(within: S) -> Self {
        Bounded { within, left: Left { thick: NESTING_MAX, thin: THIN_MAX } }
    }
}

/// A value within others.
struct Level<'a, T: ?Sized> {
    value: &'a T,
    left: Left,
}

impl<T: Serialize + ?Sized> Serialize for Level<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Bounded { within: serializer, left: self.left })
    }
}

macro_rules! scalars {
    ($($method:ident $value:ty,)*) => {$(
        #[inline]
        fn $method(self, value: $value) -> Result<S::Ok, S::Error> {
            self.within.$method(value)
        }
    )*};
}

/// Arrays, maps and so on; a variant with fields is a map of its name to them.
macro_rules! levels {
    ($($levels:literal $method:ident($($name:ident: $value:ty),*) -> $part:ident,)*) => {$(
        #[inline]
        fn $method(self, $($name: $value),*) -> Result<Self::$part, S::Error> {
            let left = self.left.after($levels, 0)?;
            Ok(Bounded { within: self.within.$method($($name),*)?, left })
        }
    )*};
}

impl<S: Serializer> Serializer for Bounded<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Bounded<S::SerializeSeq>;
    type SerializeTuple = Bounded<S::SerializeTuple>;
    type SerializeTupleStruct = Bounded<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Bounded<S::SerializeTupleVariant>;
    type SerializeMap = Bounded<S::SerializeMap>;
    type SerializeStruct = Bounded<S::SerializeStruct>;
    type SerializeStructVariant = Bounded<S::SerializeStructVariant>;

    scalars! {
        serialize_bool bool,
        serialize_i8 i8,
        serialize_i16 i16,
        serialize_i32 i32,
        serialize_i64 i64,
        serialize_i128 i128,
        serialize_u8 u8,
        serialize_u16 u16,
        serialize_u32 u32,
        serialize_u64 u64,
        serialize_u128 u128,
        serialize_f32 f32,
        serialize_f64 f64,
        serialize_char char,
        serialize_str &str,
        serialize_bytes &[u8],
    }

    levels! {
        1 serialize_seq(length: Option<usize>) -> SerializeSeq,
        1 serialize_tuple(length: usize) -> SerializeTuple,
        1 serialize_tuple_struct(name: &'static str, length: usize) -> SerializeTupleStruct,
        2 serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, length: usize)
            -> SerializeTupleVariant,
        1 serialize_map(length: Option<usize>) -> SerializeMap,
        1 serialize_struct(name: &'static str, length: usize) -> SerializeStruct,
        2 serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, length: usize)
            -> SerializeStructVariant,
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.within.serialize_none()
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.within.serialize_some(&Level { value, left: self.left })
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.within.serialize_unit()
    }

    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.within.serialize_unit_struct(name)
    }

    #[inline]
    fn serialize_unit_variant(self, name: &'static str, index: u32, variant: &'static str) -> Result<S::Ok, S::Error> {
        self.within.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<S::Ok, S::Error> {
        self.within.serialize_newtype_struct(name, &Level { value, left: self.left.after(0, 1)? })
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = Level { value, left: self.left.after(1, 0)? };
        self.within.serialize_newtype_variant(name, index, variant, &value)
    }

    #[inline]
    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.within.collect_str(value)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.within.is_human_readable()
    }
}

macro_rules! elements {
    ($($part:ident $method:ident,)*) => {$(
        impl<P: $part> $part for Bounded<P> {
            type Ok = P::Ok;
            type Error = P::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), P::Error> {
                self.within.$method(&Level { value, left: self.left })
            }

            #[inline]
            fn end(self) -> Result<P::Ok, P::Error> {
                self.within.end()
            }
        }
    )*};
}

elements! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! fields {
    ($($part:ident,)*) => {$(
        impl<P: $part> $part for Bounded<P> {
            type Ok = P::Ok;
            type Error = P::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), P::Error> {
                self.within.serialize_field(key, &Level { value, left: self.left })
            }

            #[inline]
            fn skip_field(&mut self, key: &'static str) -> Result<(), P::Error> {
                self.within.skip_field(key)
            }

            #[inline]
            fn end(self) -> Result<P::Ok, P::Error> {
                self.within.end()
            }
        }
    )*};
}

fields! {
    SerializeStruct,
    SerializeStructVariant,
}

impl<P: SerializeMap> SerializeMap for Bounded<P> {
    type Ok = P::Ok;
    type Error = P::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), P::Error> {
        self.within.serialize_key(&Level { value, left: self.left })
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), P::Error> {
        self.within.serialize_value(&Level { value, left: self.left })
    }

    #[inline]
    fn end(self) -> Result<P::Ok, P::Error> {
        self.within.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{codec, shape};

    #[derive(Serialize)]
    enum Tree {
        Leaf,
        Node(Box<Tree>),
        Pair(Box<Tree>, u8),
        Named { of: Box<Tree> },
    }

    #[derive(Serialize)]
    struct Wrapped(Vec<Wrapped>);

    #[derive(Serialize)]
    struct Thin(Option<Box<Thin>>);

    #[derive(Serialize)]
    struct Everything {
        list: Vec<u8>,
        map: BTreeMap<u8, (i64, f32)>,
        maybe: (Option<u8>, Option<&'static str>),
        wide: (u128, i128),
        unit: (),
        trees: [Tree; 4],
        name: std::net::Ipv4Addr,
    }

    fn encoded(value: &impl Serialize) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        codec::encode_value(&mut out, value).map(|()| out)
    }

    #[test]
    fn the_bytes_are_the_same_as_without_a_bound() {
        let leaf = || Box::new(Tree::Leaf);
        let value = Everything {
            list: vec![1, 2],
            map: BTreeMap::from([(3, (-4, 0.5))]),
            maybe: (None, Some("x")),
            wide: (5, -6),
            unit: (),
            trees: [Tree::Leaf, Tree::Node(leaf()), Tree::Pair(leaf(), 7), Tree::Named { of: leaf() }],
            name: std::net::Ipv4Addr::LOCALHOST,
        };
        assert_eq!(encoded(&value), Ok(rmp_serde::to_vec_named(&value).expect("it can be encoded")));
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_and_what_is_not_can_be_read_again() {
        type Wrap = fn(Box<Tree>) -> Tree;
        let wraps: [(usize, Wrap); 3] = [(1, Tree::Node), (2, |of| Tree::Pair(of, 1)), (2, |of| Tree::Named { of })];
        for (levels, wrap) in wraps {
            let nested = |count: usize| (0..count).fold(Tree::Leaf, |tree, _| wrap(Box::new(tree)));
            let bytes = encoded(&nested(NESTING_MAX / levels)).expect("as deep as may be");
            shape::count_values(&bytes, 1).expect("what is sent is read");
            let error = encoded(&nested(NESTING_MAX / levels + 1)).expect_err("one level too many");
            assert_eq!(error, "it is nested deeper than 256 levels");
        }
        let wrapped = |levels: usize| (1..levels).fold(Wrapped(Vec::new()), |inner, _| Wrapped(vec![inner]));
        assert!(encoded(&wrapped(NESTING_MAX)).is_ok());
        assert!(encoded(&wrapped(NESTING_MAX + 1)).is_err());
        let thin = |levels: usize| (1..levels).fold(Thin(None), |inner, _| Thin(Some(Box::new(inner))));
        assert_eq!(encoded(&thin(THIN_MAX)), Ok(vec![0xc0]), "nothing is seen of it");
        assert!(encoded(&thin(THIN_MAX + 1)).is_err());
    }
}
