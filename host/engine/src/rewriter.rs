//! Gives a component functions by which the host reaches what is not memory.
//!
//! ```text
//! the component as it was, but that its modules also export their mutable globals and their memories
//! + the host's functions that open handles, and those that drop them, lowered
//! + a module that imports all that and exports `get`, `set`, `grow`, `open` and `drop` (accessor_module.rs)
//! + an instance of it, whose functions are exported as `ambrosia-accessor-get` and so on
//! + what the components inside of it export of that kind, exported again under numbers (parts.rs)
//! ```
//! Components inside of the component are treated like it. The same handle table serves all of a component instance, so a
//! handle that is opened by `open` gets the number that the guest itself would have got.
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
    nesting::Nesting,
    survey::{CoreModule, Counts, Facts, Survey, survey},
    verdict::{Finding, Verdict},
};

/// Number of the section of a component that is a core module.
const MODULE_SECTION: u8 = 1;
/// Number of the section of a component that is a component.
const COMPONENT_SECTION: u8 = 4;
/// Number of the exports of a module. What has a higher one comes later, but for tags.
const EXPORT_SECTION: u8 = 7;
const TAG_SECTION: u8 = 13;

/// The component with accessors, and what they reach; or what stands against it.
pub(crate) fn rewrite(component: &[u8], nesting: &Nesting) -> (Option<Vec<u8>>, Verdict) {
    let surveyed = survey(component, nesting).and_then(|survey| Ok((survey.layout()?, survey)));
    let (layout, survey) = match surveyed {
        Ok(surveyed) => surveyed,
        Err(findings) => return (None, Err(findings)),
    };
    if layout.parts.is_empty() {
        return (None, Ok(layout));
    }
    let rewriter = Rewriter { component, parts: survey.parts(), survey };
    match rewriter.with_accessors(0) {
        Some(rewritten) => (Some(rewritten), Ok(layout)),
        None => (None, Err(vec![Finding::new("the component is damaged: a part of it is longer than what it is in")])),
    }
}

struct Rewriter<'a> {
    component: &'a [u8],
    survey: Survey,
    /// How many parts an instance of each component is.
    parts: Vec<u32>,
}

impl Rewriter<'_> {
    /// The component with that number. `None` if a section is longer than what it is in, which the parser leaves to who
    /// uses it.
    fn with_accessors(&self, number: usize) -> Option<Vec<u8>> {
        let facts = &self.survey.components[number];
        let mut output = Component::new();
        let (mut modules, mut components) = (facts.modules.iter(), facts.components.iter());
        for (id, contents) in &facts.sections {
            let data = self.component.get(contents.clone())?;
            let changed = match *id {
                MODULE_SECTION => Some(with_exports(data, modules.next()?)?),
                COMPONENT_SECTION => match *components.next()? {
                    component if self.parts[component] == 0 => None,
                    component => Some(self.with_accessors(component)?),
                },
                _ => None,
            };
            output.section(&RawSection { id: *id, data: changed.as_deref().unwrap_or(data) });
        }
        let mut appender = Appender { output, counts: facts.counts.clone(), parts: 0 };
        if facts.is_part() {
            appender.add_accessor(facts);
        }
        for (instance, component) in facts.components_made() {
            appender.export_again(instance, self.parts[component]);
        }
        Some(appender.output.finish())
    }
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

/// Adds to a component at its end.
struct Appender {
    output: Component,
    /// The indices that come next.
    counts: Counts,
    /// Parts that are exported already.
    parts: u32,
}

impl Appender {
    /// Adds the module, its instance and its export.
    fn add_accessor(&mut self, facts: &Facts) {
        let lowered = self.counts.core_functions;
        let handles = facts.openers.len() as u32;
        self.lower_openers(facts);
        self.output.section(&ModuleSection(&accessor_module::module(&Imports::of(facts))));

        let (host, accessor) = (self.counts.core_instances, self.counts.core_instances + 1);
        let mut instances = InstanceSection::new();
        let functions: Vec<(String, ExportKind, u32)> = (0..handles)
            .flat_map(|kind| {
                let names = [accessor_module::open_name(kind), accessor_module::drop_name(kind)];
                names.into_iter().zip(lowered + 2 * kind..).map(|(name, index)| (name, ExportKind::Func, index))
            })
            .collect();
        instances.export_items(functions);
        let mut arguments = vec![(accessor_module::HOST.to_owned(), ModuleArg::Instance(host))];
        let used = facts.modules_made().filter(|(_, module)| facts.modules[*module].has_state());
        let used = used.map(|(instance, _)| (accessor_module::instance_name(instance), ModuleArg::Instance(instance)));
        arguments.extend(used);
        let arguments = arguments.iter().map(|(name, argument)| (name.as_str(), *argument));
        instances.instantiate(self.counts.modules, arguments);
        self.output.section(&instances);

        self.export(accessor);
    }

    /// Lowers, of each kind of handle, the function that opens one and the one that drops it.
    fn lower_openers(&mut self, facts: &Facts) {
        let mut aliases = ComponentAliasSection::new();
        let mut lowered = CanonicalFunctionSection::new();
        for opener in &facts.openers {
            let (kind, name) = (ComponentExportKind::Func, opener.function);
            aliases.alias(Alias::InstanceExport { instance: opener.instance, kind, name });
            let (instance, name) = &opener.of_type;
            aliases.alias(Alias::InstanceExport { instance: *instance, kind: ComponentExportKind::Type, name });
            lowered.lower(self.counts.functions, [] as [CanonicalOption; 0]);
            lowered.resource_drop(self.counts.types);
            self.counts.functions += 1;
            self.counts.types += 1;
            self.counts.core_functions += 2;
        }
        self.output.section(&aliases).section(&lowered);
    }

    /// Lifts the functions of the core instance `accessor`, and exports them.
    fn export(&mut self, accessor: u32) {
        let (core_functions, first_function) = (self.counts.core_functions, self.counts.functions);
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
            lifted.lift(core_functions + number, self.counts.types + number, [] as [CanonicalOption; 0]);
            // Each by itself: in which order wasmtime stores what an exported instance exports is left to chance.
            let name = accessor_module::export_name(name, self.parts);
            exports.export(&name, ComponentExportKind::Func, first_function + number, None);
        }
        self.output.section(&aliases).section(&types).section(&lifted).section(&exports);
        self.counts.functions += 2 * accessor_module::FUNCTIONS.len() as u32;
        self.parts += 1;
    }

    /// Exports what an instance of a component exports for its parts.
    fn export_again(&mut self, instance: u32, parts: u32) {
        if parts == 0 {
            return;
        }
        let mut aliases = ComponentAliasSection::new();
        let mut exports = ComponentExportSection::new();
        let functions =
            (0..parts).flat_map(|part| accessor_module::FUNCTIONS.iter().map(move |function| (part, function)));
        for (number, (part, function)) in (0..).zip(functions) {
            let (kind, name) = (ComponentExportKind::Func, accessor_module::export_name(function.name, part));
            aliases.alias(Alias::InstanceExport { instance, kind, name: &name });
            let name = accessor_module::export_name(function.name, self.parts + part);
            exports.export(&name, kind, self.counts.functions + number, None);
        }
        self.output.section(&aliases).section(&exports);
        self.counts.functions += 2 * parts * accessor_module::FUNCTIONS.len() as u32;
        self.parts += parts;
    }
}

fn component_type(ty: wasm_encoder::ValType) -> ComponentValType {
    ComponentValType::Primitive(match ty {
        wasm_encoder::ValType::I64 => PrimitiveValType::U64,
        _ => PrimitiveValType::U32,
    })
}
