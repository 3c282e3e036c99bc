//! Takes a component apart: what its modules and instances are, and where state could hide.
//!
//! What can change in a running component is its memories, its globals, its tables, which segments were dropped, and
//! the handles of its instances. Memories, globals of numbers and the handles of one instance can be captured, so all
//! that could change the rest is found here. Components inside of the component are taken apart like it.
//!
//! **Architecture Invariant:** nothing is changed here, and nothing is believed that was not validated; what functions
//! do is read, and validated by wasmtime later.

use std::{collections::BTreeMap, ops::Range};

use wasmparser::{
    BinaryReaderError, CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentOuterAliasKind, ComponentType, Encoding, Instance, KnownCustom, MemoryType, Name, Operator, Parser,
    Payload, TypeRef, ValType, Validator, WasmFeatures, component_types::ComponentAnyTypeId, types::TypesRef,
};

use crate::{
    handle_types::{HandleTypes, OPENERS, Opener, find_opener},
    layout::Scalar,
    nesting::Nesting,
    verdict::{FINDINGS_MAX, Finding},
};

/// Characters of a function's name that are worth showing.
const NAME_CHARS_MAX: usize = 100;

/// What is needed to give a component accessors to its state.
pub(crate) struct Survey {
    /// The components in the order in which they begin: the first one is the component itself.
    pub(crate) components: Vec<Facts>,
}

/// What a component consists of, without what is inside of the components in it.
#[derive(Default)]
pub(crate) struct Facts {
    /// Its sections in order: number and contents.
    pub(crate) sections: Vec<(u8, Range<usize>)>,
    /// Its own modules, in the order of their sections.
    pub(crate) modules: Vec<CoreModule>,
    /// The components in it, in the order of their sections, by number.
    pub(crate) components: Vec<usize>,
    /// The instances that it makes, in order.
    pub(crate) made: Vec<Made>,
    /// The functions that it imports to open handles. None if it has nothing to do with handles.
    pub(crate) openers: Vec<Opener>,
    pub(crate) has_handles: bool,
    pub(crate) counts: Counts,
    /// Instances that it imports.
    imports: Vec<(String, u32)>,
    /// Its index space of core modules: which of its own each is, if any.
    core_modules: Vec<Option<usize>>,
}

/// An instance that a component makes.
pub(crate) enum Made {
    /// Index of the instance, and which of the component's own modules it is of.
    OfModule { instance: u32, module: usize },
    /// Index of the instance, number of the component that it is of, and the names under which it is given instances that
    /// were imported, with the names of their imports.
    OfComponent { instance: u32, component: usize, given: Vec<(String, String)> },
}

/// One module of a component.
#[derive(Default)]
pub(crate) struct CoreModule {
    /// Mutable globals that it defines, by index.
    pub(crate) globals: Vec<(u32, Scalar)>,
    /// Memories that it defines, by index.
    pub(crate) memories: Vec<(u32, MemoryType)>,
    imported_functions: u32,
    imported_globals: u32,
    imported_memories: u32,
    functions: u32,
    /// What was found in functions, until their names are known.
    found: Vec<(u32, &'static str)>,
    names: BTreeMap<u32, String>,
}

/// How many of each there are in a component: the indices that come next.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub(crate) modules: u32,
    pub(crate) core_instances: u32,
    pub(crate) core_functions: u32,
    pub(crate) types: u32,
    pub(crate) functions: u32,
}

/// Takes `component` apart.
///
/// # Errors
/// All that was found, if its state can't be captured.
pub(crate) fn survey(component: &[u8], nesting: &Nesting) -> Result<Survey, Vec<Finding>> {
    let mut surveyor = Surveyor {
        validator: Validator::new_with_features(WasmFeatures::all()),
        nesting,
        inside: Vec::new(),
        components: Vec::new(),
        handle_types: HandleTypes::default(),
        findings: Vec::new(),
    };
    if let Err(error) = surveyor.walk(component) {
        surveyor.find(format!("the component can't be taken apart: {}", error.message()));
    }
    if surveyor.findings.is_empty() { Ok(Survey { components: surveyor.components }) } else { Err(surveyor.findings) }
}

struct Surveyor<'a> {
    validator: Validator,
    nesting: &'a Nesting,
    /// What the payload at hand is in, from the outside.
    inside: Vec<Inside>,
    components: Vec<Facts>,
    handle_types: HandleTypes,
    findings: Vec<Finding>,
}

/// A component, or a module of the component before it.
#[derive(Clone, Copy)]
enum Inside {
    Component(usize),
    Module,
}

impl Surveyor<'_> {
    fn find(&mut self, sentence: impl Into<String>) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding::new(sentence));
        }
    }

    fn walk(&mut self, component: &[u8]) -> Result<(), BinaryReaderError> {
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload?;
            self.before_validation(&payload)?;
            self.validator.payload(&payload)?;
            match &payload {
                Payload::Version { encoding, .. } => self.begin(*encoding),
                Payload::End(_) => self.end(),
                payload => self.section(payload)?,
            }
        }
        Ok(())
    }

    fn begin(&mut self, encoding: Encoding) {
        let number = self.components.len();
        let around = self.inside.last().copied();
        match (encoding, around) {
            (Encoding::Component, around) => {
                if let Some(Inside::Component(around)) = around {
                    self.components[around].components.push(number);
                }
                self.inside.push(Inside::Component(number));
                self.components.push(Facts::default());
            }
            (Encoding::Module, _) => self.inside.push(Inside::Module),
        }
    }

    /// What has to be asked of the validator before it goes on.
    fn before_validation(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        let Some(Inside::Component(number)) = self.inside.last().copied() else { return Ok(()) };
        let Some(types) = self.validator.types(0) else { return Ok(()) };
        let facts = &mut self.components[number];
        match payload {
            Payload::ComponentImportSection(imports) => {
                let mut next = types.component_instance_count();
                for import in imports.clone() {
                    let import = import?;
                    match import.ty.kind() {
                        ComponentExternalKind::Instance => {
                            facts.imports.push((import.name.name.to_owned(), next));
                            next += 1;
                        }
                        ComponentExternalKind::Module => facts.core_modules.push(None),
                        _ => {}
                    }
                }
            }
            Payload::End(_) => {
                facts.counts = counts(types);
                if facts.has_handles {
                    let openers = OPENERS.map(|opener| find_opener(opener, &facts.imports, types));
                    for opener in openers {
                        match opener {
                            Ok(opener) => self.components[number].openers.extend(opener),
                            Err(sentence) => self.find(sentence),
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn section(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match self.inside.as_slice() {
            [.., Inside::Component(number)] => {
                let number = *number;
                if let Some((id, contents)) = payload.as_section() {
                    self.components[number].sections.push((id, contents));
                }
                self.component_section(number, payload)
            }
            [.., Inside::Component(number), Inside::Module] => self.module_section(*number, payload),
            _ => Ok(()),
        }
    }

    fn component_section(&mut self, number: usize, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ModuleSection { .. } => {
                let facts = &mut self.components[number];
                facts.core_modules.push(Some(facts.modules.len()));
                facts.modules.push(CoreModule::default());
            }
            Payload::InstanceSection(instances) => {
                let count = self.validator.types(0).map_or(0, |types| types.core_instance_count());
                for (index, instance) in (count - instances.count()..).zip(instances.clone()) {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        self.instantiate(number, index, module_index as usize);
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                let count = self.validator.types(0).map_or(0, |types| types.component_instance_count());
                for (index, instance) in (count - instances.count()..).zip(instances.clone()) {
                    if let ComponentInstance::Instantiate { args, .. } = instance? {
                        self.instantiate_component(number, index, &args);
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases.clone() {
                    if is_of_core_module(&alias?) {
                        self.components[number].core_modules.push(None);
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Module {
                        let modules = &mut self.components[number].core_modules;
                        modules.push(modules.get(export.index as usize).copied().flatten());
                    }
                }
            }
            Payload::ComponentTypeSection(types) => {
                for ty in types.clone() {
                    if matches!(ty?, ComponentType::Resource { .. }) {
                        self.find(format!("{} defines a resource type, whose handles can't be seen", place(number)));
                    }
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions.clone() {
                    self.canonical(number, &function?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn instantiate(&mut self, number: usize, instance: u32, module: usize) {
        let facts = &mut self.components[number];
        match facts.core_modules.get(module).copied().flatten() {
            Some(module) => facts.made.push(Made::OfModule { instance, module }),
            None => self.find(format!("{} instantiates a core module that it does not contain itself", place(number))),
        }
    }

    fn instantiate_component(
        &mut self,
        number: usize,
        instance: u32,
        arguments: &[wasmparser::ComponentInstantiationArg<'_>],
    ) {
        let facts = &mut self.components[number];
        let before = facts.made.iter().filter(|made| matches!(made, Made::OfComponent { .. })).count();
        let component = self.nesting.instantiated(number).nth(before).expect("both read the same bytes");
        let given = arguments.iter().filter(|argument| argument.kind == ComponentExternalKind::Instance);
        let given = given.filter_map(|argument| {
            let import = facts.imports.iter().find(|(_, index)| *index == argument.index);
            import.map(|(name, _)| (argument.name.to_owned(), name.clone()))
        });
        let given = given.collect();
        facts.made.push(Made::OfComponent { instance, component, given });
    }

    fn canonical(&mut self, number: usize, function: &CanonicalFunction) {
        let is_async = |options: &[CanonicalOption]| {
            options.iter().any(|option| matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_)))
        };
        let Some(types) = self.validator.types(0) else { return };
        let has_handles = match function {
            CanonicalFunction::Lift { options, type_index, .. } if !is_async(options) => {
                match types.component_any_type_at(*type_index) {
                    ComponentAnyTypeId::Func(function) => self.handle_types.in_function(function, types),
                    _ => false,
                }
            }
            CanonicalFunction::Lower { options, func_index, .. } if !is_async(options) => {
                self.handle_types.in_function(types.component_function_at(*func_index), types)
            }
            CanonicalFunction::ResourceDrop { .. } => true,
            CanonicalFunction::ResourceNew { .. } | CanonicalFunction::ResourceRep { .. } => {
                let place = place(number);
                return self.find(format!("{place} makes handles of a resource of its own, which can't be seen"));
            }
            _ => {
                let place = place(number);
                return self
                    .find(format!("{place} uses the async part of the component model, whose tasks can't be seen"));
            }
        };
        self.components[number].has_handles |= has_handles;
    }

    fn module_section(&mut self, component: usize, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        let modules = &mut self.components[component].modules;
        let place = place_of_module(component, modules.len().saturating_sub(1));
        let mut findings = Vec::new();
        let Some(module) = modules.last_mut() else { return Ok(()) };
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports() {
                    match import?.ty {
                        TypeRef::Func(_) => module.imported_functions += 1,
                        TypeRef::Global(_) => module.imported_globals += 1,
                        TypeRef::Memory(_) => module.imported_memories += 1,
                        _ => {}
                    }
                }
            }
            Payload::MemorySection(memories) => {
                for (index, memory) in (module.imported_memories..).zip(memories.clone()) {
                    let memory = memory?;
                    if memory.shared {
                        findings.push(format!("{place} has a shared memory"));
                    }
                    module.memories.push((index, memory));
                }
            }
            Payload::GlobalSection(globals) => {
                for (index, global) in (module.imported_globals..).zip(globals.clone()) {
                    let global = global?.ty;
                    match scalar(global.content_type) {
                        _ if !global.mutable => {}
                        Some(scalar) => module.globals.push((index, scalar)),
                        None => findings.push(format!(
                            "{place} has the mutable global {index} of type {}, which can't be read",
                            global.content_type
                        )),
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                let function = module.imported_functions + module.functions;
                module.functions += 1;
                for operator in body.get_operators_reader()? {
                    let found = hides(&operator?).map(|what| (function, what));
                    if module.found.last() != found.as_ref() && module.found.len() < FINDINGS_MAX {
                        module.found.extend(found);
                    }
                }
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(names) = section.as_known() {
                    module.name_functions(names);
                }
            }
            _ => {}
        }
        findings.into_iter().for_each(|finding| self.find(finding));
        Ok(())
    }

    fn end(&mut self) {
        if let [.., Inside::Component(number), Inside::Module] = self.inside.as_slice() {
            self.end_of_module(*number);
        }
        self.inside.pop();
    }

    fn end_of_module(&mut self, component: usize) {
        let Some(module) = self.components[component].modules.last_mut() else { return };
        let (found, names) = (std::mem::take(&mut module.found), std::mem::take(&mut module.names));
        let place = place_of_module(component, self.components[component].modules.len() - 1);
        for (function, what) in found {
            let name = names.get(&function).map(|name| format!(" (`{name}`)")).unwrap_or_default();
            self.find(format!("{place}, function {function}{name}: {what}"));
        }
    }
}

impl CoreModule {
    /// Takes the names of functions in which something was found. Names that can't be read are left out.
    fn name_functions(&mut self, names: wasmparser::NameSectionReader<'_>) {
        for names in names.into_iter().flatten() {
            let Name::Function(names) = names else { continue };
            for naming in names.into_iter().flatten() {
                if self.found.iter().any(|(function, _)| *function == naming.index) {
                    self.names.insert(naming.index, naming.name.chars().take(NAME_CHARS_MAX).collect());
                }
            }
        }
    }
}

/// A component, for people.
fn place(component: usize) -> String {
    match component {
        0 => "the component".to_owned(),
        number => format!("component {number} inside of the component"),
    }
}

/// A module, for people.
fn place_of_module(component: usize, module: usize) -> String {
    match component {
        0 => format!("core module {module}"),
        number => format!("core module {module} of component {number} inside of the component"),
    }
}

fn is_of_core_module(alias: &ComponentAlias<'_>) -> bool {
    matches!(
        alias,
        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. }
            | ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, .. }
    )
}

/// What an operator changes that can't be captured.
fn hides(operator: &Operator<'_>) -> Option<&'static str> {
    match operator {
        Operator::TableSet { .. } => Some("`table.set` changes a table, which can't be read"),
        Operator::TableGrow { .. } => Some("`table.grow` changes a table, which can't be read"),
        Operator::TableFill { .. } => Some("`table.fill` changes a table, which can't be read"),
        Operator::TableCopy { .. } => Some("`table.copy` changes a table, which can't be read"),
        Operator::TableInit { .. } => Some("`table.init` changes a table, which can't be read"),
        Operator::DataDrop { .. } => Some("`data.drop` drops a segment, which can't be seen"),
        Operator::ElemDrop { .. } => Some("`elem.drop` drops a segment, which can't be seen"),
        _ => None,
    }
}

fn scalar(ty: ValType) -> Option<Scalar> {
    match ty {
        ValType::I32 => Some(Scalar::I32),
        ValType::I64 => Some(Scalar::I64),
        ValType::F32 => Some(Scalar::F32),
        ValType::F64 => Some(Scalar::F64),
        ValType::V128 | ValType::Ref(_) => None,
    }
}

fn counts(types: TypesRef<'_>) -> Counts {
    Counts {
        modules: types.module_count(),
        core_instances: types.core_instance_count(),
        core_functions: types.function_count(),
        types: types.component_type_count(),
        functions: types.component_function_count(),
    }
}
