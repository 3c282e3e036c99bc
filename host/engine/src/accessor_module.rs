//! The core module that is added to a component: it reaches the globals, memories and handles of the component's own
//! instances. Components inside of it have one of their own.
//!
//! | export | what it does |
//! |---|---|
//! | `get(global) -> u64` | the bits of a global |
//! | `set(global, u64)` | sets it |
//! | `grow(memory, pages) -> u32` | `memory.grow`, with what it returns |
//! | `open(kind, parent) -> u32` | a new handle, with the help of the handle `parent` if the kind has parents |
//! | `drop(kind, handle)` | drops it |
//!
//! Each takes the number of what it is about among those of its part, in the order of [`Layout`](crate::layout::Layout). A number that is too
//! high is the mistake of who calls, and means the last one.
//!
//! **Architecture Invariant:** the module has no state of its own.

use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, GlobalType,
    ImportSection, Instruction, MemoryType, Module, TypeSection, ValType,
};

use crate::{
    handles::HandleKind,
    layout::Scalar,
    survey::{CoreModule, Facts},
};

/// Name under which the module imports what opens and drops handles.
pub(crate) const HOST: &str = "host";

/// An exported function.
pub(crate) struct Export {
    pub(crate) name: &'static str,
    pub(crate) parameters: &'static [ValType],
    pub(crate) result: Option<ValType>,
}

/// Names under which the component exports them, too: as they are for its first part.
pub(crate) const GET: &str = "ambrosia-accessor-get";
pub(crate) const SET: &str = "ambrosia-accessor-set";
pub(crate) const GROW: &str = "ambrosia-accessor-grow";
pub(crate) const OPEN: &str = "ambrosia-accessor-open";
pub(crate) const DROP: &str = "ambrosia-accessor-drop";

/// All of them, in order.
pub(crate) const FUNCTIONS: [Export; 5] = [
    Export { name: GET, parameters: &[ValType::I32], result: Some(ValType::I64) },
    Export { name: SET, parameters: &[ValType::I32, ValType::I64], result: None },
    Export { name: GROW, parameters: &[ValType::I32, ValType::I32], result: Some(ValType::I32) },
    Export { name: OPEN, parameters: &[ValType::I32, ValType::I32], result: Some(ValType::I32) },
    Export { name: DROP, parameters: &[ValType::I32, ValType::I32], result: None },
];

/// Name under which a component exports the function of one of its parts.
pub(crate) fn export_name(function: &str, part: u32) -> String {
    match part {
        0 => function.to_owned(),
        part => format!("{function}-p{part}"),
    }
}

/// Types of the host's functions, behind those of the exports.
const OPENER_TYPE: u32 = FUNCTIONS.len() as u32;
const DROPPER_TYPE: u32 = OPENER_TYPE + 1;
const SUBSCRIBER_TYPE: u32 = OPENER_TYPE + 2;

/// What the module imports.
pub(crate) struct Imports {
    globals: Vec<ImportedGlobal>,
    memories: Vec<ImportedMemory>,
    /// The kinds of handles.
    handles: Vec<HandleKind>,
}

/// A global of an instance.
pub(crate) struct ImportedGlobal {
    instance: u32,
    index: u32,
    scalar: Scalar,
}

/// A memory of an instance.
pub(crate) struct ImportedMemory {
    instance: u32,
    index: u32,
    ty: wasmparser::MemoryType,
}

impl Imports {
    /// All globals and memories in the order in which they are made.
    pub(crate) fn of(facts: &Facts) -> Imports {
        let handles = facts.openers.iter().map(|opener| opener.kind).collect();
        let mut imports = Imports { globals: Vec::new(), memories: Vec::new(), handles };
        for (instance, module) in facts.modules_made() {
            let CoreModule { globals, memories, .. } = &facts.modules[module];
            let global = |(index, scalar): &(u32, Scalar)| ImportedGlobal { instance, index: *index, scalar: *scalar };
            imports.globals.extend(globals.iter().map(global));
            imports.memories.extend(memories.iter().map(|(index, ty)| ImportedMemory {
                instance,
                index: *index,
                ty: *ty,
            }));
        }
        imports
    }
}

impl CoreModule {
    /// If there is anything that the accessor imports of it.
    pub(crate) fn has_state(&self) -> bool {
        !self.globals.is_empty() || !self.memories.is_empty()
    }
}

/// Name under which the module imports of that instance.
pub(crate) fn instance_name(instance: u32) -> String {
    format!("instance-{instance}")
}

/// Name under which a module exports its global.
pub(crate) fn global_name(index: u32) -> String {
    format!("ambrosia:global-{index}")
}

/// Name under which a module exports its memory.
pub(crate) fn memory_name(index: u32) -> String {
    format!("ambrosia:memory-{index}")
}

/// Name under which the module imports what opens a handle of that kind.
pub(crate) fn open_name(kind: u32) -> String {
    format!("open-{kind}")
}

/// Name under which the module imports what drops a handle of that kind.
pub(crate) fn drop_name(kind: u32) -> String {
    format!("drop-{kind}")
}

/// The module.
pub(crate) fn module(imports: &Imports) -> Module {
    let mut module = Module::new();
    let mut functions = FunctionSection::new();
    let mut exports = ExportSection::new();
    for (export, index) in FUNCTIONS.iter().zip(0..) {
        functions.function(index);
        exports.export(export.name, ExportKind::Func, 2 * imports.handles.len() as u32 + index);
    }
    module.section(&types()).section(&import_section(imports)).section(&functions).section(&exports);
    module.section(&code(imports));
    module
}

fn types() -> TypeSection {
    let mut types = TypeSection::new();
    for export in &FUNCTIONS {
        types.ty().function(export.parameters.iter().copied(), export.result);
    }
    types.ty().function([], [ValType::I32]);
    types.ty().function([ValType::I32], []);
    types.ty().function([ValType::I32], [ValType::I32]);
    types
}

fn import_section(imports: &Imports) -> ImportSection {
    let mut section = ImportSection::new();
    for (kind, number) in imports.handles.iter().zip(0..) {
        let opener = if kind.parents().is_empty() { OPENER_TYPE } else { SUBSCRIBER_TYPE };
        section.import(HOST, &open_name(number), EntityType::Function(opener));
        section.import(HOST, &drop_name(number), EntityType::Function(DROPPER_TYPE));
    }
    for global in &imports.globals {
        let ty = GlobalType { val_type: value_type(global.scalar), mutable: true, shared: false };
        section.import(&instance_name(global.instance), &global_name(global.index), ty);
    }
    for memory in &imports.memories {
        let wasmparser::MemoryType { memory64, shared, initial, maximum, page_size_log2 } = memory.ty;
        let ty = MemoryType { minimum: initial, maximum, memory64, shared, page_size_log2 };
        section.import(&instance_name(memory.instance), &memory_name(memory.index), ty);
    }
    section
}

fn code(imports: &Imports) -> CodeSection {
    let globals = &imports.globals;
    let get = choose(globals.len() as u32, Some(ValType::I64), &|function, global| {
        function.instruction(&Instruction::GlobalGet(global));
        append(function, to_bits(globals[global as usize].scalar));
    });
    let set = choose(globals.len() as u32, None, &|function, global| {
        function.instruction(&Instruction::LocalGet(1));
        append(function, from_bits(globals[global as usize].scalar));
        function.instruction(&Instruction::GlobalSet(global));
    });
    let grow = choose(imports.memories.len() as u32, Some(ValType::I32), &|function, memory| {
        function.instruction(&Instruction::LocalGet(1)).instruction(&Instruction::MemoryGrow(memory));
    });
    let kinds = imports.handles.len() as u32;
    let open = choose(kinds, Some(ValType::I32), &|function, kind| {
        if !imports.handles[kind as usize].parents().is_empty() {
            function.instruction(&Instruction::LocalGet(1));
        }
        function.instruction(&Instruction::Call(2 * kind));
    });
    let drop = choose(kinds, None, &|function, kind| {
        function.instruction(&Instruction::LocalGet(1)).instruction(&Instruction::Call(2 * kind + 1));
    });
    let mut code = CodeSection::new();
    for function in [get, set, grow, open, drop] {
        code.function(&function);
    }
    code
}

/// A function that does one of `count` things, chosen by its first parameter.
fn choose(count: u32, result: Option<ValType>, leaf: &dyn Fn(&mut Function, u32)) -> Function {
    let mut function = Function::new([]);
    if count == 0 {
        function.instruction(&Instruction::Unreachable);
    } else {
        halve(&mut function, 0, count, result.map_or(BlockType::Empty, BlockType::Result), leaf);
    }
    function.instruction(&Instruction::End);
    function
}

/// Halves the range until one is left, so that nothing nests deep.
fn halve(function: &mut Function, first: u32, end: u32, block: BlockType, leaf: &dyn Fn(&mut Function, u32)) {
    if end - first == 1 {
        return leaf(function, first);
    }
    let middle = first.midpoint(end);
    function.instruction(&Instruction::LocalGet(0));
    function.instruction(&Instruction::I32Const(middle as i32));
    function.instruction(&Instruction::I32LtU);
    function.instruction(&Instruction::If(block));
    halve(function, first, middle, block, leaf);
    function.instruction(&Instruction::Else);
    halve(function, middle, end, block, leaf);
    function.instruction(&Instruction::End);
}

fn append(function: &mut Function, instructions: &[Instruction<'_>]) {
    for instruction in instructions {
        function.instruction(instruction);
    }
}

fn value_type(scalar: Scalar) -> ValType {
    match scalar {
        Scalar::I32 => ValType::I32,
        Scalar::I64 => ValType::I64,
        Scalar::F32 => ValType::F32,
        Scalar::F64 => ValType::F64,
    }
}

/// Floats go bit by bit, so that a NaN comes back as it was.
fn to_bits(scalar: Scalar) -> &'static [Instruction<'static>] {
    match scalar {
        Scalar::I32 => &[Instruction::I64ExtendI32U],
        Scalar::I64 => &[],
        Scalar::F32 => &[Instruction::I32ReinterpretF32, Instruction::I64ExtendI32U],
        Scalar::F64 => &[Instruction::I64ReinterpretF64],
    }
}

fn from_bits(scalar: Scalar) -> &'static [Instruction<'static>] {
    match scalar {
        Scalar::I32 => &[Instruction::I32WrapI64],
        Scalar::I64 => &[],
        Scalar::F32 => &[Instruction::I32WrapI64, Instruction::F32ReinterpretI32],
        Scalar::F64 => &[Instruction::F64ReinterpretI64],
    }
}
