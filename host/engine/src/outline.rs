//! What a component imports and exports, by name, read from its bytes.
//!
//! **Architecture Invariant:** nothing is compiled and no function is looked into, so that a component that can't run here
//! is refused in milliseconds, whatever its size.

use wasmparser::{
    BinaryReaderError, CanonicalFunction, CanonicalOption, Parser, Payload, ValidPayload, Validator, WasmFeatures,
    component_types::{ComponentAnyTypeId, ComponentEntityType, ComponentInstanceTypeId, ComponentItem},
    types::TypesRef,
};

/// The names at the border of a component, in its order.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Outline {
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<String>,
    /// If it, or a component in it, uses the async part of the component model.
    pub(crate) is_async: bool,
}

/// One import of a component.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Import {
    pub(crate) name: String,
    pub(crate) what: Imported,
}

/// What an import is.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Imported {
    /// An interface with these items.
    Interface(Vec<Item>),
    /// A type, which is defined by what it is equal to.
    Type,
    /// A function, module, component or value.
    Other,
}

/// One item of an interface.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) kind: ItemKind,
}

/// What an item of an interface is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ItemKind {
    /// A type that is defined by what it is equal to: nobody has to offer it.
    Type,
    /// A resource, of this interface or of one that it uses.
    Resource,
    Function,
}

impl Outline {
    /// `None` of what is no valid component: compiling it says why.
    pub(crate) fn of(component: &[u8]) -> Option<Outline> {
        read(component).ok()
    }
}

fn read(component: &[u8]) -> Result<Outline, BinaryReaderError> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut outline = Outline::default();
    let (mut imports, mut depth) = (Vec::new(), 0_usize);
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload?;
        match &payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section.clone() {
                    imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section.clone() {
                    outline.is_async |= is_async(&function?);
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section.clone() {
                    outline.exports.push(export?.name.name.to_owned());
                }
            }
            _ => {}
        }
        if let ValidPayload::End(types) = validator.payload(&payload)?
            && depth == 0
        {
            let types = types.as_ref();
            outline.imports = imports.drain(..).map(|name| import(name, types)).collect();
        }
    }
    Ok(outline)
}

/// What is neither lifted nor lowered, nor has to do with resources, has to do with tasks.
fn is_async(function: &CanonicalFunction) -> bool {
    match function {
        CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. } => {
            options.iter().any(|option| matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_)))
        }
        CanonicalFunction::ResourceNew { .. }
        | CanonicalFunction::ResourceDrop { .. }
        | CanonicalFunction::ResourceRep { .. } => false,
        _ => true,
    }
}

fn import(name: String, types: TypesRef<'_>) -> Import {
    let what = match types.component_item_for_import(&name).map(|item| item.ty) {
        Some(ComponentEntityType::Instance(interface)) => Imported::Interface(items(interface, types)),
        Some(ComponentEntityType::Type { .. }) => Imported::Type,
        _ => Imported::Other,
    };
    Import { name, what }
}

fn items(interface: ComponentInstanceTypeId, types: TypesRef<'_>) -> Vec<Item> {
    let exports = types[interface].exports.iter();
    let item = |(name, item): (&String, &ComponentItem)| Item {
        name: name.clone(),
        kind: match item.ty {
            ComponentEntityType::Type { created: ComponentAnyTypeId::Resource(_), .. } => ItemKind::Resource,
            ComponentEntityType::Type { .. } => ItemKind::Type,
            _ => ItemKind::Function,
        },
    };
    exports.map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_exports_are_those_of_the_component_itself() {
        let text = r#"(component
            (import "a:b/c@1.0.0" (instance (export "t" (type (sub resource))) (type $e (enum "x"))
              (export "e" (type (eq $e))) (export "f" (func))))
            (import "t" (type (sub resource)))
            (component (import "inner" (func)) (export "also-inner" (func 0)))
            (import "g" (func $g))
            (core module (func (export "x")))
            (export "h" (func $g)))"#;
        let item = |name: &str, kind| Item { name: name.to_owned(), kind };
        let items = vec![item("t", ItemKind::Resource), item("e", ItemKind::Type), item("f", ItemKind::Function)];
        let import = |name: &str, what| Import { name: name.to_owned(), what };
        let expected = Outline {
            imports: vec![
                import("a:b/c@1.0.0", Imported::Interface(items)),
                import("t", Imported::Type),
                import("g", Imported::Other),
            ],
            exports: vec!["h".to_owned()],
            is_async: false,
        };
        assert_eq!(Outline::of(&wat::parse_str(text).expect("valid")), Some(expected));
    }

    #[test]
    fn what_is_damaged_has_no_outline() {
        let bytes = wat::parse_str("(component (import \"g\" (func)))").expect("valid");
        assert!(Outline::of(&bytes).is_some());
        assert_eq!(Outline::of(&bytes[..bytes.len() - 1]), None);
    }
}
