//! What a component must be to become an immortal, checked before it runs.
//!
//! **Architecture Invariant:** nothing is instantiated here; all that is missing is found at once and by name.

use wasmtime::component::{Component, ComponentNamedList, Lift, Lower, types::ComponentItem};

use crate::{
    error::ModuleError,
    guest::{DELIVER, DeliverParameters, DeliverResults},
    host_interface::{HOST, PACKAGE},
    method::{DESCRIBE, DescribeResults},
    offers::{Offers, compatible},
    outline::{Import, Imported, ItemKind, Outline},
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

/// Checks the names of imports and exports, before anything is compiled. The version comes first: a component for another
/// version lacks the rest as well. What is no valid component is left to whoever compiles it.
pub(crate) fn check_names(component: &[u8], offers: &Offers) -> Result<(), ModuleError> {
    let Some(outline) = Outline::of(component) else { return Ok(()) };
    check_version(&outline)?;
    check_exported_names(&outline)?;
    check_imports(&outline, offers)
}

fn check_version(outline: &Outline) -> Result<(), ModuleError> {
    let (_, offered) = HOST.split_once('@').expect("the name has a version");
    for Import { name, .. } in &outline.imports {
        let Some((interface, imported)) = name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) else {
            continue;
        };
        let of_ours = format!("{PACKAGE}{interface}@{offered}");
        if compatible(&of_ours) != compatible(&format!("{PACKAGE}{interface}@{imported}")) {
            return Err(ModuleError::WrongVersion { imported: name.clone(), offered: HOST });
        }
    }
    Ok(())
}

fn check_exported_names(outline: &Outline) -> Result<(), ModuleError> {
    let wanted = [DELIVER, DESCRIBE].into_iter();
    let missing: Vec<_> =
        wanted.filter(|name| !outline.exports.iter().any(|export| export == name)).map(str::to_owned).collect();
    if missing.is_empty() { Ok(()) } else { Err(ModuleError::NoExport(missing)) }
}

fn check_imports(outline: &Outline, offers: &Offers) -> Result<(), ModuleError> {
    let missing: Vec<_> = outline.imports.iter().flat_map(|import| missing_of(import, offers)).collect();
    if missing.is_empty() { Ok(()) } else { Err(ModuleError::MissingImports(missing)) }
}

/// The whole interface if the host has nothing of it, else the functions that are not there.
fn missing_of(Import { name, what }: &Import, offers: &Offers) -> Vec<String> {
    let items = match what {
        Imported::Interface(items) => items,
        Imported::Type => return Vec::new(),
        Imported::Other => return vec![name.clone()],
    };
    if !offers.has_interface(name) {
        let needs_more_than_types = items.iter().any(|item| item.kind != ItemKind::Type);
        return if needs_more_than_types { vec![name.clone()] } else { Vec::new() };
    }
    let functions = items.iter().filter(|item| item.kind == ItemKind::Function);
    functions.filter(|item| !offers.has_item(name, &item.name)).map(|item| format!("{name}#{}", item.name)).collect()
}

/// Checks the types of the exports.
pub(crate) fn check_exports(component: &Component) -> Result<(), ModuleError> {
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
