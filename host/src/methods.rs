//! The methods of a module by name and by id.

use std::sync::Arc;

use ambrosia_core::MethodId;
use ambrosia_engine::Method;

/// What a module's `describe` listed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Methods(Arc<[Method]>);

/// The module has no such method.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no method {name:?}; the module has {}", listed(.known))]
pub struct UnknownMethod {
    /// The name asked for.
    pub name: String,
    /// The names there are.
    pub known: Vec<String>,
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "none at all".to_owned() } else { known.join(", ") }
}

impl Methods {
    /// Wraps a list.
    pub fn new(methods: Vec<Method>) -> Self {
        Methods(methods.into())
    }

    /// The method `name`.
    pub fn find(&self, name: &str) -> Result<&Method, UnknownMethod> {
        self.0.iter().find(|method| method.name == name).ok_or_else(|| UnknownMethod {
            name: name.to_owned(),
            known: self.0.iter().map(|method| method.name.clone()).collect(),
        })
    }

    /// The method with that id, if it is one of these.
    pub fn by_id(&self, id: MethodId) -> Option<&Method> {
        self.0.iter().find(|method| method.id == id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        self.0.iter()
    }
}
