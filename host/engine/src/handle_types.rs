//! Which functions of a component open handles of the host's, and which have to do with handles at all.
//!
//! **Architecture Invariant:** it goes by the types that the validator has found, and by no name of the component's own.

use std::collections::HashMap;

use wasmparser::{
    component_types::{
        ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentEntityType, ComponentFuncTypeId,
        ComponentInstanceTypeId, ComponentValType, ResourceId,
    },
    types::TypesRef,
};

use crate::{handles::HandleKind, offers::compatible};

/// The functions that open handles, with their interfaces, in the order of the kinds.
pub(crate) const OPENERS: [(HandleKind, &str, &str); HandleKind::ALL.len()] = [
    (HandleKind::Stdin, "wasi:cli/stdin@0.2", "get-stdin"),
    (HandleKind::Stdout, "wasi:cli/stdout@0.2", "get-stdout"),
    (HandleKind::Stderr, "wasi:cli/stderr@0.2", "get-stderr"),
    (HandleKind::Network, "wasi:sockets/instance-network@0.2", "instance-network"),
    (HandleKind::OutputPollable, "wasi:io/streams@0.2", "[method]output-stream.subscribe"),
    (HandleKind::InputPollable, "wasi:io/streams@0.2", "[method]input-stream.subscribe"),
];

/// A function of the host that opens a handle, and the type of the handles that it gives.
pub(crate) struct Opener {
    pub(crate) kind: HandleKind,
    /// The instance that has it, and the name under which that instance is imported.
    pub(crate) instance: u32,
    pub(crate) import: String,
    pub(crate) interface: &'static str,
    pub(crate) function: &'static str,
    /// Instance and name of the type.
    pub(crate) of_type: (u32, String),
}

/// Whether functions have to do with handles. Types that were looked at are known, for they share parts.
#[derive(Default)]
pub(crate) struct HandleTypes {
    known: HashMap<ComponentDefinedTypeId, bool>,
}

impl HandleTypes {
    /// If a function takes or gives a handle.
    pub(crate) fn in_function(&mut self, function: ComponentFuncTypeId, types: TypesRef<'_>) -> bool {
        let function = &types[function];
        let mut all = function.params.iter().map(|(_, ty)| *ty).chain(function.result);
        all.any(|ty| self.in_value(ty, types))
    }

    fn in_value(&mut self, ty: ComponentValType, types: TypesRef<'_>) -> bool {
        let ComponentValType::Type(id) = ty else { return false };
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        let found = match &types[id] {
            ComponentDefinedType::Primitive(_) | ComponentDefinedType::Flags(_) | ComponentDefinedType::Enum(_) => {
                false
            }
            ComponentDefinedType::Own(_) | ComponentDefinedType::Borrow(_) => true,
            // Ends of them are handles as well.
            ComponentDefinedType::Future { .. } | ComponentDefinedType::Stream { .. } => true,
            ComponentDefinedType::Record(record) => record.fields.values().any(|ty| self.in_value(*ty, types)),
            ComponentDefinedType::Variant(variant) => {
                variant.cases.values().filter_map(|case| case.ty).any(|ty| self.in_value(ty, types))
            }
            ComponentDefinedType::Tuple(tuple) => tuple.types.iter().any(|ty| self.in_value(*ty, types)),
            ComponentDefinedType::List { element, .. } | ComponentDefinedType::FixedLengthList { element, .. } => {
                self.in_value(*element, types)
            }
            ComponentDefinedType::Map { key, value, .. } => self.in_value(*key, types) || self.in_value(*value, types),
            ComponentDefinedType::Option { ty, .. } => self.in_value(*ty, types),
            ComponentDefinedType::Result { ok, err, .. } => {
                [ok, err].into_iter().flatten().any(|ty| self.in_value(*ty, types))
            }
        };
        self.known.insert(id, found);
        found
    }
}

/// The function of that name, if the component imports it.
pub(crate) fn find_opener(
    (kind, interface, function): (HandleKind, &'static str, &'static str),
    imports: &[(String, u32)],
    types: TypesRef<'_>,
) -> Result<Option<Opener>, String> {
    let mut found = imports.iter().filter(|(name, _)| compatible(name) == interface);
    let Some((import, instance)) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err(format!("the component imports `{interface}` twice, so its handles can't be told apart"));
    }
    let Some(ty) = types[types.component_instance_at(*instance)].exports.get(function) else { return Ok(None) };
    let of_type = resource_given(&ty.ty, types).and_then(|resource| type_of(resource, imports, types));
    match of_type {
        Some(of_type) => {
            Ok(Some(Opener { kind, instance: *instance, import: import.clone(), interface, function, of_type }))
        }
        None => Err(format!("the type of the handles of `{interface}` is not to be found")),
    }
}

/// The resource of which a function gives a handle.
fn resource_given(function: &ComponentEntityType, types: TypesRef<'_>) -> Option<ResourceId> {
    let ComponentEntityType::Func(function) = function else { return None };
    let Some(ComponentValType::Type(result)) = types[*function].result else { return None };
    match &types[result] {
        ComponentDefinedType::Own(resource) => Some(resource.resource()),
        _ => None,
    }
}

/// An imported instance that exports the type, and its name there.
fn type_of(resource: ResourceId, imports: &[(String, u32)], types: TypesRef<'_>) -> Option<(u32, String)> {
    let exported = |instance: ComponentInstanceTypeId| {
        let named = types[instance].exports.iter().find(|(_, item)| match item.ty {
            ComponentEntityType::Type { created: ComponentAnyTypeId::Resource(id), .. } => id.resource() == resource,
            _ => false,
        });
        named.map(|(name, _)| name.clone())
    };
    imports
        .iter()
        .find_map(|(_, instance)| exported(types.component_instance_at(*instance)).map(|name| (*instance, name)))
}
