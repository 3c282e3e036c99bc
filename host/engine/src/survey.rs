//! Takes a component apart: what its modules and instances are, and where state could hide.
//!
//! What can change in a running component is its memories, its globals, its tables, which segments were dropped, and
//! the handles of its instances. Memories, globals of numbers and the handles of one instance can be captured, so all
//! that could change the rest is found here.
//!
//! **Architecture Invariant:** nothing is changed here, and nothing is believed that was not validated; what functions
//! do is read, and validated by wasmtime later.

use std::{collections::BTreeMap, ops::Range};

use wasmparser::{
    BinaryReaderError, CanonicalFunction, CanonicalOption, ComponentExternalKind, ComponentType, Encoding, Instance,
    KnownCustom, MemoryType, Name, Operator, Parser, Payload, TypeRef, ValType, Validator, WasmFeatures,
    component_types::{
        ComponentAnyTypeId, ComponentDefinedType, ComponentEntityType, ComponentInstanceTypeId, ComponentValType,
        ResourceId,
    },
    types::TypesRef,
};

use crate::{
    handles::Kind,
    layout::{GLOBALS_MAX, MEMORIES_MAX, Scalar},
    offers::compatible,
    verdict::{FINDINGS_MAX, Finding},
};

/// The functions that open handles, with their interfaces, in the order of the kinds.
const OPENERS: [(Kind, &str, &str); Kind::ALL.len()] = [
    (Kind::Stdin, "wasi:cli/stdin@0.2", "get-stdin"),
    (Kind::Stdout, "wasi:cli/stdout@0.2", "get-stdout"),
    (Kind::Stderr, "wasi:cli/stderr@0.2", "get-stderr"),
    (Kind::OutputPollable, "wasi:io/streams@0.2", "[method]output-stream.subscribe"),
    (Kind::InputPollable, "wasi:io/streams@0.2", "[method]input-stream.subscribe"),
];

/// Characters of a function's name that are worth showing.
const NAME_CHARS_MAX: usize = 100;

/// What is needed to give a component accessors to its state.
#[derive(Default)]
pub(crate) struct Survey {
    /// Sections of the component itself, in order: number and contents.
    pub(crate) sections: Vec<(u8, Range<usize>)>,
    pub(crate) modules: Vec<CoreModule>,
    /// Instances of modules in the order in which they are made: index of the instance, and of the module.
    pub(crate) instances: Vec<(u32, usize)>,
    pub(crate) openers: Vec<Opener>,
    pub(crate) counts: Counts,
}

/// One module of the component.
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

/// A function of the host that opens a handle, and the type of the handles that it gives.
pub(crate) struct Opener {
    pub(crate) kind: Kind,
    pub(crate) instance: u32,
    pub(crate) function: &'static str,
    /// Instance and name of the type.
    pub(crate) of_type: (u32, String),
}

/// How many of each there are in the component: the indices that come next.
#[derive(Default)]
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
pub(crate) fn survey(component: &[u8]) -> Result<Survey, Vec<Finding>> {
    let mut surveyor = Surveyor {
        validator: Validator::new_with_features(WasmFeatures::all()),
        nested: Vec::new(),
        survey: Survey::default(),
        imports: Vec::new(),
        findings: Vec::new(),
    };
    if let Err(error) = surveyor.walk(component) {
        surveyor.find(format!("the component can't be taken apart: {}", error.message()));
    }
    if surveyor.findings.is_empty() { Ok(surveyor.survey) } else { Err(surveyor.findings) }
}

struct Surveyor {
    validator: Validator,
    /// Components and modules that the payload at hand is in, from the outside.
    nested: Vec<Encoding>,
    survey: Survey,
    /// Instances that the component imports.
    imports: Vec<(String, u32)>,
    findings: Vec<Finding>,
}

impl Surveyor {
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
                Payload::Version { encoding, .. } => self.nested.push(*encoding),
                Payload::End(_) => self.end(),
                payload => self.section(payload)?,
            }
        }
        Ok(())
    }

    /// What has to be asked of the validator before it goes on.
    fn before_validation(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        if self.nested != [Encoding::Component] {
            return Ok(());
        }
        let Some(types) = self.validator.types(0) else { return Ok(()) };
        match payload {
            Payload::ComponentImportSection(imports) => {
                let mut next = types.component_instance_count();
                for import in imports.clone() {
                    let import = import?;
                    if import.ty.kind() == ComponentExternalKind::Instance {
                        self.imports.push((import.name.name.to_owned(), next));
                        next += 1;
                    }
                }
            }
            Payload::End(_) => {
                self.survey.counts = counts(types);
                let openers: Vec<_> = OPENERS.iter().map(|opener| find_opener(*opener, &self.imports, types)).collect();
                for opener in openers {
                    match opener {
                        Ok(opener) => self.survey.openers.extend(opener),
                        Err(sentence) => self.find(sentence),
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn section(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match self.nested.as_slice() {
            [Encoding::Component] => {
                if let Some((id, contents)) = payload.as_section() {
                    self.survey.sections.push((id, contents));
                }
                self.component_section(payload)
            }
            [Encoding::Component, Encoding::Module] => self.module_section(payload),
            // What is wrong with a module in there was found with the component that it is in.
            [.., Encoding::Module] => Ok(()),
            _ => {
                self.nested_section(payload);
                Ok(())
            }
        }
    }

    fn component_section(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ModuleSection { .. } => self.survey.modules.push(CoreModule::default()),
            Payload::InstanceSection(instances) => {
                let count = self.validator.types(0).map_or(0, |types| types.core_instance_count());
                for (index, instance) in (count - instances.count()..).zip(instances.clone()) {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        self.instantiate(index, module_index as usize);
                    }
                }
            }
            Payload::ComponentTypeSection(types) => {
                for ty in types.clone() {
                    if matches!(ty?, ComponentType::Resource { .. }) {
                        self.find("the component defines a resource type, whose handles can't be seen");
                    }
                }
            }
            Payload::ComponentCanonicalSection(functions) => {
                for function in functions.clone() {
                    self.canonical(&function?);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn instantiate(&mut self, index: u32, module: usize) {
        if module >= self.survey.modules.len() {
            self.find("the component instantiates a core module that it does not contain itself");
        } else if self.survey.instances.iter().any(|(_, other)| *other == module) {
            self.find(format!("core module {module} is instantiated twice"));
        } else {
            self.survey.instances.push((index, module));
        }
    }

    fn canonical(&mut self, function: &CanonicalFunction) {
        let is_async = |options: &[CanonicalOption]| {
            options.iter().any(|option| matches!(option, CanonicalOption::Async | CanonicalOption::Callback(_)))
        };
        match function {
            CanonicalFunction::Lift { options, .. } | CanonicalFunction::Lower { options, .. }
                if !is_async(options) => {}
            CanonicalFunction::ResourceDrop { .. } => {}
            CanonicalFunction::ResourceNew { .. } | CanonicalFunction::ResourceRep { .. } => {
                self.find("the component makes handles of a resource of its own, which can't be seen");
            }
            _ => self.find("the component uses the async part of the component model, whose tasks can't be seen"),
        }
    }

    /// A component inside of the component, as compilers make them around exported interfaces, must have no code.
    fn nested_section(&mut self, payload: &Payload<'_>) {
        let what = match payload {
            Payload::ModuleSection { .. } => "contains a core module",
            Payload::InstanceSection(_) => "instantiates a core module",
            Payload::ComponentCanonicalSection(_) => "has canonical functions",
            Payload::ComponentTypeSection(types)
                if types.clone().into_iter().flatten().any(|ty| matches!(ty, ComponentType::Resource { .. })) =>
            {
                "defines a resource type"
            }
            _ => return,
        };
        self.find(format!("a component inside of the component {what}, so there is more than one instance with state"));
    }

    fn module_section(&mut self, payload: &Payload<'_>) -> Result<(), BinaryReaderError> {
        let number = self.survey.modules.len().saturating_sub(1);
        let mut findings = Vec::new();
        let Some(module) = self.survey.modules.last_mut() else { return Ok(()) };
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
                        findings.push(format!("core module {number} has a shared memory"));
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
                            "core module {number} has the mutable global {index} of type {}, which can't be read",
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
        if self.nested == [Encoding::Component, Encoding::Module] {
            let number = self.survey.modules.len().saturating_sub(1);
            let module = self.survey.modules.last_mut().map(std::mem::take).unwrap_or_default();
            for (function, what) in &module.found {
                let name = module.names.get(function).map(|name| format!(" (`{name}`)")).unwrap_or_default();
                self.find(format!("core module {number}, function {function}{name}: {what}"));
            }
            self.survey.modules[number] = CoreModule { names: BTreeMap::new(), ..module };
        }
        self.nested.pop();
        if self.nested.is_empty() {
            self.count();
        }
    }

    fn count(&mut self) {
        let modules = self.survey.instances.iter().map(|(_, module)| &self.survey.modules[*module]);
        let (globals, memories) = modules.fold((0, 0), |(globals, memories), module| {
            (globals + module.globals.len(), memories + module.memories.len())
        });
        if globals > GLOBALS_MAX {
            self.find(format!("the component has {globals} mutable globals, and the limit is {GLOBALS_MAX}"));
        }
        if memories > MEMORIES_MAX {
            self.find(format!("the component has {memories} memories, and the limit is {MEMORIES_MAX}"));
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

/// The function of that name, if the component imports it.
fn find_opener(
    (kind, interface, function): (Kind, &str, &'static str),
    imports: &[(String, u32)],
    types: TypesRef<'_>,
) -> Result<Option<Opener>, String> {
    let mut found = imports.iter().filter(|(name, _)| compatible(name) == interface);
    let Some((_, instance)) = found.next() else { return Ok(None) };
    if found.next().is_some() {
        return Err(format!("the component imports `{interface}` twice, so its handles can't be told apart"));
    }
    let Some(ty) = types[types.component_instance_at(*instance)].exports.get(function) else { return Ok(None) };
    let of_type = resource_given(&ty.ty, types).and_then(|resource| type_of(resource, imports, types));
    match of_type {
        Some(of_type) => Ok(Some(Opener { kind, instance: *instance, function, of_type })),
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
