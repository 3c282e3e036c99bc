//! What a component must be to become an immortal, checked before it runs.
//!
//! **Architecture Invariant:** nothing is instantiated here; all that is missing is found at once and by name.

use wasmtime::component::{
    Component, ComponentNamedList, Lift, Lower,
    types::{ComponentInstance, ComponentItem},
};

use crate::{
    error::ModuleError,
    guest::{DELIVER, DeliverParameters, DeliverResults},
    host_interface::{HOST, PACKAGE},
    method::{DESCRIBE, DescribeResults},
    offers::{Offers, compatible},
};

const MAGIC: &[u8; 4] = b"\0asm";
/// Version of the format, then the layer: modules are 0 and components 1.
const MODULE: [u8; 4] = [1, 0, 0, 0];

/// Tells by its first bytes if `bytes` can be a component.
pub(crate) fn check_kind(bytes: &[u8]) -> Result<(), ModuleError> {
    match bytes.strip_prefix(MAGIC) {
        None => Err(ModuleError::NotAComponent),
        Some(rest) if rest.starts_with(&MODULE) => Err(ModuleError::CoreModule),
        Some(_) => Ok(()),
    }
}

/// Checks imports and exports. The version comes first: a component for another version lacks the rest as well.
pub(crate) fn check(component: &Component, offers: &Offers) -> Result<(), ModuleError> {
    check_version(component)?;
    check_exports(component)?;
    check_imports(component, offers)
}

fn check_version(component: &Component) -> Result<(), ModuleError> {
    let engine = component.engine();
    let (_, offered) = HOST.split_once('@').expect("the name has a version");
    for (name, _) in component.component_type().imports(engine) {
        let Some((interface, imported)) = name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) else {
            continue;
        };
        let of_ours = format!("{PACKAGE}{interface}@{offered}");
        if compatible(&of_ours) != compatible(&format!("{PACKAGE}{interface}@{imported}")) {
            return Err(ModuleError::WrongVersion { imported: name.to_owned(), offered: HOST });
        }
    }
    Ok(())
}

fn check_exports(component: &Component) -> Result<(), ModuleError> {
    let missing: Vec<String> = [DELIVER, DESCRIBE]
        .into_iter()
        .filter(|name| component.component_type().get_export(component.engine(), name).is_none())
        .map(str::to_owned)
        .collect();
    if !missing.is_empty() {
        return Err(ModuleError::NoExport(missing));
    }
    check_export::<DeliverParameters<'_>, DeliverResults>(component, DELIVER)?;
    check_export::<(), DescribeResults>(component, DESCRIBE)
}

fn check_export<Parameters, Results>(component: &Component, name: &'static str) -> Result<(), ModuleError>
where
    Parameters: ComponentNamedList + Lower,
    Results: ComponentNamedList + Lift,
{
    let ty = component.component_type();
    let why = match ty.get_export(component.engine(), name).map(|export| export.ty) {
        Some(ComponentItem::ComponentFunc(function)) => {
            match function.typecheck::<Parameters, Results>(&ty.instance_type()) {
                Ok(()) => return Ok(()),
                Err(error) => format!("{error:#}"),
            }
        }
        _ => "it is not a function".to_owned(),
    };
    Err(ModuleError::WrongExport { name, why })
}

fn check_imports(component: &Component, offers: &Offers) -> Result<(), ModuleError> {
    let mut missing = Vec::new();
    for (name, import) in component.component_type().imports(component.engine()) {
        match import.ty {
            ComponentItem::ComponentInstance(interface) => {
                missing.extend(missing_of(component, name, &interface, offers));
            }
            ComponentItem::Type(_) => {}
            _ => missing.push(name.to_owned()),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(ModuleError::MissingImports(missing)) }
}

/// The whole interface if the host has nothing of it, else the functions that are not there.
fn missing_of(component: &Component, name: &str, interface: &ComponentInstance, offers: &Offers) -> Vec<String> {
    let needs_more_than_types =
        interface.exports(component.engine()).any(|(_, export)| !matches!(export.ty, ComponentItem::Type(_)));
    if !offers.has_interface(name) {
        return if needs_more_than_types { vec![name.to_owned()] } else { Vec::new() };
    }
    interface
        .exports(component.engine())
        .filter(|(_, export)| !matches!(export.ty, ComponentItem::Type(_) | ComponentItem::Resource(_)))
        .filter(|(item, _)| !offers.has_item(name, item))
        .map(|(item, _)| format!("{name}#{item}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart() {
        assert!(matches!(check_kind(b"#!/bin/sh"), Err(ModuleError::NotAComponent)));
        assert!(matches!(check_kind(b""), Err(ModuleError::NotAComponent)));
        assert!(matches!(check_kind(b"\0asm\x01\0\0\0"), Err(ModuleError::CoreModule)));
        assert!(check_kind(b"\0asm\x0d\0\x01\0").is_ok());
    }
}
