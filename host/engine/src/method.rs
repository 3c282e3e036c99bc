//! The methods that a component lists.
//!
//! **Architecture Invariant:** methods are for tools; a delivery is never checked against them.

use std::collections::BTreeMap;

use ambrosia_core::MethodId;
use ambrosia_methods::{Argument, Method, MethodKind, Type};
use wasmtime::component::{ComponentType, Lift};

use crate::error::ModuleError;

/// Name of the export that lists the methods.
pub(crate) const DESCRIBE: &str = "describe";
/// What it returns in version 0.1.0 of the interface.
pub(crate) type DescribeResults1 = (Vec<MethodRecord1>,);
/// What it returns in version 0.2.0.
pub(crate) type DescribeResults2 = (Vec<MethodRecord2>,);

/// Record `method` of `ambrosia:runtime/description@0.1.0`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct MethodRecord1 {
    id: u32,
    name: String,
    arguments: Vec<String>,
    #[component(name = "message-pack")]
    message_pack: bool,
}

/// Record `method` of `ambrosia:runtime/description@0.2.0`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct MethodRecord2 {
    id: u32,
    name: String,
    kind: KindRecord,
    arguments: Vec<ArgumentRecord>,
    result: String,
    docs: String,
    formerly: Vec<String>,
}

#[derive(Clone, Copy, ComponentType, Lift)]
#[allow(dead_code, reason = "made by what is lifted")]
#[component(enum)]
#[repr(u8)]
pub(crate) enum KindRecord {
    #[component(name = "update")]
    Update,
    #[component(name = "query")]
    Query,
    #[component(name = "raw")]
    Raw,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct ArgumentRecord {
    name: String,
    #[component(name = "type")]
    ty: String,
}

/// What a component says of one method.
pub(crate) trait MethodRecord {
    /// The method, and the id that the component gives it.
    fn read(self) -> Result<(u32, Method), ModuleError>;
}

impl MethodRecord for MethodRecord1 {
    fn read(self) -> Result<(u32, Method), ModuleError> {
        let MethodRecord1 { id, name, arguments, message_pack } = self;
        Ok((id, Method::without_types(name, arguments, message_pack)))
    }
}

impl MethodRecord for MethodRecord2 {
    fn read(self) -> Result<(u32, Method), ModuleError> {
        let MethodRecord2 { id, name, kind, arguments, result, docs, formerly } = self;
        let argument = |ArgumentRecord { name: argument, ty }| {
            let ty = type_of(&ty, || format!("the argument `{argument}` of the method `{name}`"))?;
            Ok(Argument { name: argument, ty })
        };
        let method = Method {
            id: MethodId::of(&name),
            kind: match kind {
                KindRecord::Update => MethodKind::Update,
                KindRecord::Query => MethodKind::Query,
                KindRecord::Raw => MethodKind::Raw,
            },
            arguments: arguments.into_iter().map(argument).collect::<Result<_, ModuleError>>()?,
            result: type_of(&result, || format!("the result of the method `{name}`"))?,
            docs,
            formerly,
            schedule: None,
            routes: Vec::new(),
            name,
        };
        Ok((id, method))
    }
}

fn type_of(text: &str, whose: impl FnOnce() -> String) -> Result<Type, ModuleError> {
    text.parse().map_err(|error| ModuleError::WrongType { whose: whose(), error })
}

/// Takes the methods in the order of the component, if each id is the hash of its name and none comes twice, former names
/// included.
pub(crate) fn checked(records: Vec<impl MethodRecord>) -> Result<Vec<Method>, ModuleError> {
    let mut methods = Vec::new();
    let mut names: BTreeMap<MethodId, String> = BTreeMap::new();
    for record in records {
        let (found, method) = record.read()?;
        if found != method.id.0 {
            let (name, found, expected) = (method.name, MethodId(found), method.id);
            return Err(ModuleError::WrongMethodId { name, found, expected });
        }
        for name in [&method.name].into_iter().chain(&method.formerly) {
            let id = MethodId::of(name);
            if let Some(first) = names.insert(id, name.clone()) {
                return Err(ModuleError::DuplicateMethod { id, first, second: name.clone() });
            }
        }
        methods.push(method);
    }
    Ok(methods)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: MethodId, name: &str) -> MethodRecord1 {
        MethodRecord1 { id: id.0, name: name.to_owned(), arguments: Vec::new(), message_pack: true }
    }

    /// A method with a former name, which takes `ty`.
    fn typed(name: &str, ty: &str, former: &str) -> MethodRecord2 {
        MethodRecord2 {
            id: MethodId::of(name).0,
            name: name.to_owned(),
            kind: KindRecord::Query,
            arguments: vec![ArgumentRecord { name: "what".to_owned(), ty: ty.to_owned() }],
            result: "_".to_owned(),
            docs: "Docs.".to_owned(),
            formerly: vec![former.to_owned()],
        }
    }

    #[test]
    fn an_id_is_the_hash_of_the_name() {
        let good = record(MethodId::of("add"), "add");
        assert_eq!(checked(vec![good]).expect("the hash fits")[0].name, "add");
        let error = checked(vec![record(MethodId(7), "add")]).expect_err("7 is no hash of it");
        assert!(matches!(error, ModuleError::WrongMethodId { found: MethodId(7), .. }), "{error}");
    }

    #[test]
    fn an_id_comes_once_and_former_names_count() {
        let twice = vec![record(MethodId::of("add"), "add"), record(MethodId::of("add"), "add")];
        assert!(matches!(checked(twice), Err(ModuleError::DuplicateMethod { .. })));
        let error = checked(vec![typed("add", "u8", "plus"), typed("plus", "u8", "more")]).expect_err("which one?");
        assert!(matches!(&error, ModuleError::DuplicateMethod { first, .. } if first == "plus"), "{error}");
    }

    #[test]
    fn types_are_read_and_what_is_none_is_told() {
        let methods = checked(vec![typed("add", "record { n: u32 }", "plus")]).expect("all is well");
        let [method] = &methods[..] else { panic!("{methods:?}") };
        assert_eq!((method.to_string(), method.kind), ("add(what: record { n: u32 })".to_owned(), MethodKind::Query));
        let error = checked(vec![typed("add", "record { n }", "plus")]).expect_err("no type").to_string();
        assert!(error.contains("the argument `what` of the method `add`") && error.contains("expected ':'"), "{error}");
    }
}
