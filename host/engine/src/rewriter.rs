//! Gives a component functions by which the host reaches what is not memory.
//!
//! ```text
//! the component as it was, but that its modules also export their mutable globals and their memories
//! + the host's functions that open handles, and those that drop them, lowered
//! + a module that imports all that and exports `get`, `set`, `grow`, `open` and `drop` (accessor_module.rs)
//! + an instance of it, whose functions are exported as `ambrosia-accessor-get` and so on
//! ```
//! The same handle table serves all of a component instance, so a handle that is opened by `open` gets the number that
//! the guest itself would have got.
//!
//! **Architecture Invariant:** no function, segment or import of the component is changed, and nothing of the guest's
//! ever calls what is added. Who changes what is added raises `GUEST_VISIBLE_VERSION` (config.rs).

use wasm_encoder::{
    Alias, CanonicalFunctionSection, CanonicalOption, Component, ComponentAliasSection, ComponentExportKind,
    ComponentExportSection, ComponentTypeSection, ComponentValType, ExportKind, ExportSection, InstanceSection, Module,
    ModuleArg, ModuleSection, PrimitiveValType, RawSection,
};
use wasmparser::{ExternalKind, Parser, Payload};

use crate::{
    accessor_module::{self, Imports},
    layout::Layout,
    survey::{CoreModule, Survey, survey},
    verdict::{Finding, Verdict},
};

/// Number of the section of a component that is a core module.
const MODULE_SECTION: u8 = 1;
/// Number of the exports of a module. What has a higher one comes later, but for tags.
const EXPORT_SECTION: u8 = 7;
const TAG_SECTION: u8 = 13;

/// The component with accessors, and what they reach; or what stands against it.
pub(crate) fn rewrite(component: &[u8]) -> (Option<Vec<u8>>, Verdict) {
    let survey = match survey(component) {
        Ok(survey) => survey,
        Err(findings) => return (None, Err(findings)),
    };
    let imports = Imports::of(&survey);
    let layout = Layout {
        globals: imports.globals.iter().map(|global| global.scalar).collect(),
        memories: imports.memories.len() as u32,
        handles: survey.openers.iter().map(|opener| opener.kind).collect(),
    };
    if layout == Layout::default() {
        return (None, Ok(layout));
    }
    match with_accessors(component, &survey, &imports) {
        Some(rewritten) => (Some(rewritten), Ok(layout)),
        None => (None, Err(vec![Finding::new("the component is damaged: a part of it is longer than what it is in")])),
    }
}

/// `None` if a section is longer than the component, which the parser leaves to who uses it.
fn with_accessors(component: &[u8], survey: &Survey, imports: &Imports) -> Option<Vec<u8>> {
    let mut output = Component::new();
    let mut modules = survey.modules.iter();
    for (id, contents) in &survey.sections {
        let data = component.get(contents.clone())?;
        let module = if *id == MODULE_SECTION { modules.next() } else { None };
        match module {
            Some(module) => output.section(&RawSection { id: *id, data: &with_exports(data, module)? }),
            None => output.section(&RawSection { id: *id, data }),
        };
    }
    add_accessor(&mut output, survey, imports);
    Some(output.finish())
}

/// The module with exports of its globals and memories.
fn with_exports(module: &[u8], facts: &CoreModule) -> Option<Vec<u8>> {
    if !facts.has_state() {
        return Some(module.to_vec());
    }
    let mut output = Module::new();
    let mut exported = false;
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.ok()?;
        let Some((id, contents)) = payload.as_section() else { continue };
        if let Payload::ExportSection(exports) = &payload {
            let mut section = ExportSection::new();
            for export in exports.clone() {
                let export = export.ok()?;
                section.export(export.name, export_kind(export.kind), export.index);
            }
            output.section(&with_ours(section, facts));
            exported = true;
            continue;
        }
        if !exported && id > EXPORT_SECTION && id != TAG_SECTION {
            output.section(&with_ours(ExportSection::new(), facts));
            exported = true;
        }
        output.section(&RawSection { id, data: module.get(contents)? });
    }
    if !exported {
        output.section(&with_ours(ExportSection::new(), facts));
    }
    Some(output.finish())
}

fn with_ours(mut section: ExportSection, facts: &CoreModule) -> ExportSection {
    for (index, _) in &facts.globals {
        section.export(&accessor_module::global_name(*index), ExportKind::Global, *index);
    }
    for (index, _) in &facts.memories {
        section.export(&accessor_module::memory_name(*index), ExportKind::Memory, *index);
    }
    section
}

fn export_kind(kind: ExternalKind) -> ExportKind {
    match kind {
        ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
        ExternalKind::Table => ExportKind::Table,
        ExternalKind::Memory => ExportKind::Memory,
        ExternalKind::Global => ExportKind::Global,
        ExternalKind::Tag => ExportKind::Tag,
    }
}

/// Adds the module, its instance and its export at the end of the component.
fn add_accessor(output: &mut Component, survey: &Survey, imports: &Imports) {
    let counts = &survey.counts;
    let handles = survey.openers.len() as u32;
    lower_openers(output, survey);
    output.section(&ModuleSection(&accessor_module::module(imports)));

    let (host, accessor) = (counts.core_instances, counts.core_instances + 1);
    let lowered = counts.core_functions;
    let mut instances = InstanceSection::new();
    let functions: Vec<(String, ExportKind, u32)> = (0..handles)
        .flat_map(|kind| {
            let names = [accessor_module::open_name(kind), accessor_module::drop_name(kind)];
            names.into_iter().zip(lowered + 2 * kind..).map(|(name, index)| (name, ExportKind::Func, index))
        })
        .collect();
    instances.export_items(functions);
    let mut arguments = vec![(accessor_module::HOST.to_owned(), ModuleArg::Instance(host))];
    let used = survey.instances.iter().filter(|(_, module)| survey.modules[*module].has_state());
    arguments
        .extend(used.map(|(instance, _)| (accessor_module::instance_name(*instance), ModuleArg::Instance(*instance))));
    instances.instantiate(counts.modules, arguments.iter().map(|(name, argument)| (name.as_str(), *argument)));
    output.section(&instances);

    export(output, survey, accessor, lowered + 2 * handles);
}

/// Lowers, of each kind of handle, the function that opens one and the one that drops it.
fn lower_openers(output: &mut Component, survey: &Survey) {
    let mut aliases = ComponentAliasSection::new();
    let mut lowered = CanonicalFunctionSection::new();
    for (opener, number) in survey.openers.iter().zip(0..) {
        let (kind, name) = (ComponentExportKind::Func, opener.function);
        aliases.alias(Alias::InstanceExport { instance: opener.instance, kind, name });
        let (instance, name) = &opener.of_type;
        aliases.alias(Alias::InstanceExport { instance: *instance, kind: ComponentExportKind::Type, name });
        lowered.lower(survey.counts.functions + number, [] as [CanonicalOption; 0]);
        lowered.resource_drop(survey.counts.types + number);
    }
    output.section(&aliases).section(&lowered);
}

/// Lifts the functions of the instance `accessor`, which follow the first `core_functions` functions, and exports them.
fn export(output: &mut Component, survey: &Survey, accessor: u32, core_functions: u32) {
    let counts = &survey.counts;
    let openers = survey.openers.len() as u32;
    let (first_type, first_function) = (counts.types + openers, counts.functions + openers);
    let mut aliases = ComponentAliasSection::new();
    let mut types = ComponentTypeSection::new();
    let mut lifted = CanonicalFunctionSection::new();
    let mut exports = ComponentExportSection::new();
    for (function, number) in accessor_module::FUNCTIONS.iter().zip(0..) {
        let name = function.name;
        aliases.alias(Alias::CoreInstanceExport { instance: accessor, kind: ExportKind::Func, name });
        let parameters = ["a", "b"].into_iter().zip(function.parameters.iter().copied().map(component_type));
        let parameters: Vec<_> = parameters.collect();
        types.function().params(parameters).result(function.result.map(component_type));
        lifted.lift(core_functions + number, first_type + number, [] as [CanonicalOption; 0]);
        // Each by itself: in which order wasmtime stores what an exported instance exports is left to chance.
        exports.export(name, ComponentExportKind::Func, first_function + number, None);
    }
    output.section(&aliases).section(&types).section(&lifted).section(&exports);
}

fn component_type(ty: wasm_encoder::ValType) -> ComponentValType {
    ComponentValType::Primitive(match ty {
        wasm_encoder::ValType::I64 => PrimitiveValType::U64,
        _ => PrimitiveValType::U32,
    })
}
