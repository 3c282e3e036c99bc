//! How the guests of a module get into a checkpoint.
//!
//! **Architecture Invariant:** it is known before the component runs.

use wasmtime::component::types::ComponentItem;

use crate::{capture::SAVE, module::Module, restore::LOAD, verdict::Finding};

/// How the guests of a module get into a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Captures<'a> {
    /// By their memory, without their help.
    Memory,
    /// By their exports `save` and `load`, since their memory is not all there is of them.
    Save(&'a [Finding]),
    /// Not at all, for these reasons.
    Nothing(&'a [Finding]),
}

impl Module {
    /// How its guests are captured.
    pub fn capture_means(&self) -> Captures<'_> {
        match self.captures() {
            Ok(()) => Captures::Memory,
            Err(findings) if self.exports_function(SAVE) && self.exports_function(LOAD) => Captures::Save(findings),
            Err(findings) => Captures::Nothing(findings),
        }
    }

    pub(crate) fn exports_function(&self, name: &str) -> bool {
        let component = self.component();
        let ty = component.component_type();
        let export = ty.get_export(component.engine(), name);
        export.is_some_and(|export| matches!(export.ty, ComponentItem::ComponentFunc(_)))
    }
}
