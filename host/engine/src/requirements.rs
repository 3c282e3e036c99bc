//! What a component must be to become an immortal, checked before it runs.
//!
//! **Architecture Invariant:** nothing is instantiated here; all that is missing is found at once and by name.

use wasmparser::{Parser, Payload};
use wasmtime::component::{Component, ComponentNamedList, Lift, Lower, types::ComponentItem};

use crate::{
    error::ModuleError,
    guest::{DELIVER, DeliverParameters, DeliverResults},
    handover_interface::check_interface,
    host_interface::{PACKAGE, VERSIONS},
    method::{DESCRIBE, DescribeResults1, DescribeResults2},
    offers::{Offers, compatible},
    outline::{Import, Imported, ItemKind, Outline},
};

const MAGIC: &[u8; 4] = b"\0asm";
/// Version of the format, then the layer: modules are 0 and components 1.
const MODULE: [u8; 4] = [1, 0, 0, 0];

/// Name of the module from which core modules import WASI 0.1.
const WASI_1: &str = "wasi_snapshot_preview1";

/// Tells by its first bytes if `bytes` can be a component.
pub(crate) fn check_kind(bytes: &[u8]) -> Result<(), ModuleError> {
    match bytes.strip_prefix(MAGIC) {
        None => Err(ModuleError::NotAComponent),
        Some(rest) if rest.starts_with(&MODULE) => {
            Err(if is_for_wasi_1(bytes) { ModuleError::CoreModuleOfWasi1 } else { ModuleError::CoreModule })
        }
        Some(_) => Ok(()),
    }
}

/// If a core module, as far as it can be read, imports a function of WASI 0.1.
fn is_for_wasi_1(module: &[u8]) -> bool {
    let imports = Parser::new(0).parse_all(module).find_map(|payload| match payload {
        Ok(Payload::ImportSection(imports)) => Some(imports),
        _ => None,
    });
    let mut imports = imports.into_iter().flat_map(|imports| imports.into_imports()).flatten();
    imports.any(|import| import.module == WASI_1)
}

/// Checks the names of imports and exports, before anything is compiled. The version comes first: a component for another
/// version lacks the rest as well. What is no valid component is left to whoever compiles it.
pub(crate) fn check_names(component: &[u8], offers: &Offers) -> Result<(), ModuleError> {
    let Some(outline) = Outline::of(component) else { return Ok(()) };
    check_wasi(&outline)?;
    check_version(&outline)?;
    check_exported_names(&outline)?;
    check_imports(&outline, offers)
}

/// What is built for a later WASI lacks most of what it imports, so that is not what it is told.
fn check_wasi(outline: &Outline) -> Result<(), ModuleError> {
    let is_later = |name: &str| name.starts_with("wasi:") && compatible(name).contains("@0.3");
    match outline.imports.iter().find(|import| is_later(&import.name)) {
        Some(import) => Err(ModuleError::Wasi3 { sign: format!("it imports {}", import.name) }),
        None if outline.is_async => Err(ModuleError::Wasi3 { sign: "it has async functions".to_owned() }),
        None => Ok(()),
    }
}

/// The functions that a component imports and that are of no use to it, with their interfaces.
pub(crate) fn denied(component: &[u8], offers: &Offers) -> Vec<(String, Vec<String>)> {
    let Some(outline) = Outline::of(component) else { return Vec::new() };
    let denied = |Import { name, what }: Import| {
        let Imported::Interface(items) = what else { return None };
        let items = items.into_iter().map(|item| item.name).filter(|item| offers.denies(&name, item));
        let items: Vec<String> = items.collect();
        (!items.is_empty()).then_some((name, items))
    };
    outline.imports.into_iter().filter_map(denied).collect()
}

fn check_version(outline: &Outline) -> Result<(), ModuleError> {
    for Import { name, .. } in &outline.imports {
        let Some((interface, _)) = name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@')) else { continue };
        let of_ours = |version: &&str| compatible(&format!("{PACKAGE}{interface}@{version}")) == compatible(name);
        if !VERSIONS.iter().any(of_ours) {
            return Err(ModuleError::WrongVersion { imported: name.clone(), offered: &VERSIONS });
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
    // The type of the list is of one version or the other. If it is of none, the latest is what a person should look at.
    check_export::<(), DescribeResults1>(component, DESCRIBE)
        .or_else(|_| check_export::<(), DescribeResults2>(component, DESCRIBE))?;
    check_interface(component)
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

    #[test]
    fn a_core_module_for_wasi_1_is_told_how_to_become_a_component() {
        let of_module = |module: &str| {
            let text = format!("(module (import \"{module}\" \"fd_write\" (func)))");
            check_kind(&wat::parse_str(text).expect("valid")).expect_err("it is no component")
        };
        assert!(matches!(of_module("env"), ModuleError::CoreModule));
        let error = of_module("wasi_snapshot_preview1");
        assert!(matches!(error, ModuleError::CoreModuleOfWasi1) && error.to_string().contains("--adapt"), "{error}");
    }
}
