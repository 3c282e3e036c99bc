//! Places in the source of a component, by the debug information that it carries.
//!
//! The DWARF of a core module counts from the beginning of its code section, and wasmtime counts from the beginning of the
//! component that it compiled, which is the one with accessors (`rewriter.rs`). So that one is made once more.
//!
//! **Architecture Invariant:** nothing is looked up before something has failed, and nothing of the component is believed:
//! what can't be read gives no place.

use std::{borrow::Cow, ops::Range};

use addr2line::{
    Context,
    gimli::{self, EndianSlice, LittleEndian},
};
use wasmparser::{Parser, Payload};

use crate::{nesting::Nesting, rewriter, verdict::Verdict};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// How the sections begin in which debug information is.
const DEBUG_SECTION: &str = ".debug_";
/// In what folder cargo keeps the crates of a registry; the next part of a path is the registry.
const REGISTRY: &str = "/registry/src/";
/// Where the standard library was compiled; the next part of a path is the commit.
const COMPILER: &str = "/rustc/";

/// The bytes of a component, for whoever looks for a place.
pub(crate) struct Source {
    component: Vec<u8>,
    /// If it was compiled with accessors to its state, as far as it needs them.
    has_accessors: bool,
}

/// A place in the source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// The function, as the debug information calls it.
    pub(crate) function: Option<String>,
    /// Its file, below the folder that it was compiled in.
    pub(crate) file: String,
    /// Line and column from 1 on, as far as they are known.
    pub(crate) line: Option<u32>,
    pub(crate) column: Option<u32>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().map_while(|number| number) {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

impl Source {
    pub(crate) fn new(component: &[u8], verdict: &Verdict) -> Source {
        Source { component: component.to_vec(), has_accessors: verdict.is_ok() }
    }

    /// The places of the code at each of those offsets of what was compiled: innermost first where functions were inlined,
    /// none where none is known.
    pub(crate) fn places(&self, offsets: &[Option<usize>]) -> Vec<Vec<Place>> {
        let compiled = self.compiled();
        let modules = modules(&compiled);
        let contexts: Vec<_> = modules.iter().map(Module::context).collect();
        let place = |offset: &Option<usize>| {
            let offset = (*offset)?;
            let (module, context) = modules.iter().zip(&contexts).find(|(module, _)| module.code.contains(&offset))?;
            places_in(context.as_ref()?, (offset - module.code.start) as u64)
        };
        offsets.iter().map(|offset| place(offset).unwrap_or_default()).collect()
    }

    /// Whether there is any debug information in it.
    pub(crate) fn has_debug_information(&self) -> bool {
        modules(&self.component).iter().any(|module| !module.debug.is_empty())
    }

    /// What wasmtime was given.
    fn compiled(&self) -> Cow<'_, [u8]> {
        let nesting = Nesting::of(&self.component).ok().filter(|_| self.has_accessors);
        let rewritten = nesting.and_then(|nesting| rewriter::rewrite(&self.component, &nesting).0);
        rewritten.map_or(Cow::Borrowed(&self.component), Cow::Owned)
    }
}

/// What of a core module is needed.
#[derive(Default)]
struct Module<'a> {
    /// Where its code section lies in the component.
    code: Range<usize>,
    debug: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Module<'a> {
    /// `None` if it has no debug information, or none that can be read.
    fn context(&self) -> Option<Context<Bytes<'a>>> {
        if self.debug.is_empty() {
            return None;
        }
        let section = |id: gimli::SectionId| {
            let found = self.debug.iter().find(|(name, _)| *name == id.name());
            Ok::<_, gimli::Error>(EndianSlice::new(found.map_or(&[][..], |(_, data)| data), LittleEndian))
        };
        Context::from_dwarf(gimli::Dwarf::load(section).ok()?).ok()
    }
}

/// The core modules of a component, and of the components in it, as far as it can be read.
fn modules(component: &[u8]) -> Vec<Module<'_>> {
    let (mut modules, mut open) = (Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(component).map_while(Result::ok) {
        match payload {
            Payload::Version { .. } => open.push(Module::default()),
            Payload::End(_) => modules.extend(open.pop()),
            Payload::CodeSectionStart { range, .. } => {
                if let Some(module) = open.last_mut() {
                    module.code = range;
                }
            }
            Payload::CustomSection(section) if section.name().starts_with(DEBUG_SECTION) => {
                if let Some(module) = open.last_mut() {
                    module.debug.push((section.name(), section.data()));
                }
            }
            _ => {}
        }
    }
    modules
}

/// The places of the code at `address`, which counts from the beginning of the code section.
fn places_in(context: &Context<Bytes<'_>>, address: u64) -> Option<Vec<Place>> {
    let unit = context.find_dwarf_and_unit(address).skip_all_loads();
    let folder = unit.and_then(|unit| unit.comp_dir).map(|folder| folder.to_string_lossy());
    let mut frames = context.find_frames(address).skip_all_loads().ok()?;
    let mut places = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        let function = frame.function.and_then(|function| Some(function.demangle().ok()?.into_owned()));
        let Some(location) = frame.location else { continue };
        let Some(file) = location.file else { continue };
        let known = |number: Option<u32>| number.filter(|number| *number > 0);
        places.push(Place {
            function,
            file: shortened(file, folder.as_deref()).to_owned(),
            line: known(location.line),
            column: known(location.column),
        });
    }
    Some(places)
}

/// The path of a file without what is of the machine that compiled it: below the folder of its crate's compilation, of
/// cargo's registry, or of the compiler.
fn shortened<'a>(file: &'a str, folder: Option<&str>) -> &'a str {
    let behind = |folder: &str| {
        let (_, rest) = file.split_once(folder)?;
        Some(rest.split_once('/')?.1)
    };
    let below = folder.and_then(|folder| file.strip_prefix(folder)?.strip_prefix('/'));
    behind(REGISTRY).or_else(|| behind(COMPILER)).or(below).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_those_below_the_folder_of_the_compilation() {
        for (file, folder, expected) in [
            ("/home/me/bank/src/lib.rs", Some("/home/me/bank"), "src/lib.rs"),
            ("/home/me/bank-2/src/lib.rs", Some("/home/me/bank"), "/home/me/bank-2/src/lib.rs"),
            ("/home/me/.cargo/registry/src/index.crates.io-1/a-1.0/src/lib.rs", Some("/home/me"), "a-1.0/src/lib.rs"),
            ("/rustc/0123abcd/library/core/src/option.rs", None, "library/core/src/option.rs"),
            ("src/lib.rs", Some("/home/me/bank"), "src/lib.rs"),
            ("lib.rs", None, "lib.rs"),
        ] {
            assert_eq!(shortened(file, folder), expected);
        }
    }

    proptest! {
        /// Debug information is bytes of whoever made the component: nothing in it may end the host.
        #[test]
        fn debug_information_that_is_nonsense_gives_no_place(
            sections in prop::collection::vec((0..4_usize, prop::collection::vec(any::<u8>(), 0..200)), 0..5),
            address in 0..100_u64,
        ) {
            let names = [".debug_info", ".debug_abbrev", ".debug_line", ".debug_str"];
            let debug: Vec<_> = sections.iter().map(|(name, data)| (names[*name], data.as_slice())).collect();
            let module = Module { code: 0..100, debug };
            if let Some(context) = module.context() {
                let _: Option<Vec<Place>> = places_in(&context, address);
            }
        }
    }
}
