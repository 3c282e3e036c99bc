//! The methods that a component lists.
//!
//! **Architecture Invariant:** methods are for tools; a delivery is never checked against them.

use std::collections::BTreeMap;

use ambrosia_core::MethodId;
use wasmtime::component::{ComponentType, Lift};

use crate::error::ModuleError;

/// Name of the export that lists the methods.
pub(crate) const DESCRIBE: &str = "describe";
/// What it returns.
pub(crate) type DescribeResults = (Vec<MethodRecord>,);

/// Record `method` of `ambrosia:runtime/description`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct MethodRecord {
    id: u32,
    name: String,
    arguments: Vec<String>,
    #[component(name = "message-pack")]
    message_pack: bool,
}

/// One method, so that tools can show names and decode arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Method {
    /// Hash of the name, as in messages.
    pub id: MethodId,
    /// As in the source of the guest.
    pub name: String,
    /// Names of the arguments, in order.
    pub arguments: Vec<String>,
    /// False when the arguments are raw bytes and not a MessagePack array.
    pub message_pack: bool,
}

impl From<MethodRecord> for Method {
    fn from(record: MethodRecord) -> Method {
        let MethodRecord { id, name, arguments, message_pack } = record;
        Method { id: MethodId(id), name, arguments, message_pack }
    }
}

/// Takes the methods in the order of the component, if each id is the hash of its name and none comes twice.
pub(crate) fn checked(records: Vec<MethodRecord>) -> Result<Vec<Method>, ModuleError> {
    let methods: Vec<Method> = records.into_iter().map(Method::from).collect();
    let mut names = BTreeMap::new();
    for Method { id, name, .. } in &methods {
        let expected = MethodId::of(name);
        if *id != expected {
            return Err(ModuleError::WrongMethodId { name: name.clone(), found: *id, expected });
        }
        if let Some(first) = names.insert(*id, name) {
            return Err(ModuleError::DuplicateMethod { id: *id, first: first.clone(), second: name.clone() });
        }
    }
    Ok(methods)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: MethodId, name: &str) -> MethodRecord {
        MethodRecord { id: id.0, name: name.to_owned(), arguments: Vec::new(), message_pack: true }
    }

    #[test]
    fn an_id_is_the_hash_of_the_name() {
        let good = record(MethodId::of("add"), "add");
        assert_eq!(checked(vec![good]).expect("the hash fits")[0].name, "add");
        let error = checked(vec![record(MethodId(7), "add")]).expect_err("7 is no hash of it");
        assert!(matches!(error, ModuleError::WrongMethodId { found: MethodId(7), .. }), "{error}");
    }

    #[test]
    fn an_id_comes_once() {
        let twice = vec![record(MethodId::of("add"), "add"), record(MethodId::of("add"), "add")];
        assert!(matches!(checked(twice), Err(ModuleError::DuplicateMethod { .. })));
    }
}
