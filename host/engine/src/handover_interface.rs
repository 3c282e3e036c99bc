//! `ambrosia:runtime/upgrade`, which a component exports or not (`wit/immortal.wit`).
//!
//! **Architecture Invariant:** nothing here runs a component; it says what there is to call.

use wasmtime::{
    AsContextMut,
    component::{
        Component, ComponentNamedList, ComponentType, Instance, Lift, Lower, TypedFunc,
        types::{ComponentInstance, ComponentItem},
    },
};

use crate::{capture::SAVE, error::ModuleError, module::Module, restore::LOAD, state_type::UPGRADE};

pub(crate) type SaveResults = (Saved,);
pub(crate) type LoadParameters = (Saved, bool);
pub(crate) type LoadResults = (Result<Vec<u8>, Refusal>,);

/// Record `waiting`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct Waiting {
    pub(crate) handler: String,
    pub(crate) awaits: String,
    pub(crate) since: u64,
}

/// Record `saved`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct Saved {
    pub(crate) version: u32,
    pub(crate) state: Vec<u8>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) runtime: Vec<u8>,
}

/// Variant `refusal`.
#[derive(ComponentType, Lift)]
#[allow(dead_code, reason = "made by what is lifted")]
#[component(variant)]
pub(crate) enum Refusal {
    #[component(name = "waits")]
    Waits(String),
    #[component(name = "unreadable")]
    Unreadable(String),
}

/// How the code of a guest gives its state away, or takes another one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Means {
    /// By the interface.
    Interface,
    /// By the functions that it has for checkpoints.
    Checkpoints,
}

impl Module {
    /// Whether it exports the interface.
    pub(crate) fn has_interface(&self) -> bool {
        self.component().get_export_index(None, UPGRADE).is_some()
    }

    /// By what the state of a guest of this module can go over to one of `to`.
    ///
    /// # Errors
    /// Which of the two lacks what, for a person.
    pub(crate) fn means_to(&self, to: &Module) -> Result<Means, String> {
        if self.has_interface() && to.has_interface() {
            return Ok(Means::Interface);
        }
        let gives = self.exports_function(SAVE) && self.exports_function(LOAD);
        match (gives, to.exports_function(SAVE) && to.exports_function(LOAD)) {
            (true, true) => Ok(Means::Checkpoints),
            _ if !self.has_interface() && !gives => Err(format!(
                "the module that runs can't give its state away, for it exports neither {UPGRADE} nor `save` and `load`: \
                 its code stays as it is. Build modules with `#[ambrosia::state]`, before they are registered"
            )),
            (false, _) => Err(format!(
                "the new module can't take the state of the one that runs, for it does not export {UPGRADE}: build it with \
                 `#[ambrosia::state]`, and without `no_upgrade`"
            )),
            (true, false) => Err(format!(
                "the new module can't take the state of the one that runs, which gives it away by `save` alone, for it does not \
                 export `save` and `load`{}",
                if to.has_interface() { format!(" but {UPGRADE}") } else { String::new() }
            )),
        }
    }

    /// Whether the state of a guest of this module can go over to one of `to` at all; whether that takes it is known once it
    /// has.
    ///
    /// # Errors
    /// Which of the two lacks what, for a person.
    pub fn check_upgrade_to(&self, to: &Module) -> Result<(), String> {
        self.means_to(to).map(|_| ())
    }

    /// Whether the code of its guests can be upgraded at all: they give their state to another module.
    ///
    /// # Errors
    /// What the component lacks, and what to do.
    pub fn upgrades(&self) -> Result<(), String> {
        self.means_to(self).map(|_| ())
    }
}

/// Checks the types of the functions of the interface, if there is one.
pub(crate) fn check_interface(component: &Component) -> Result<(), ModuleError> {
    let ty = component.component_type();
    let Some(interface) = ty.get_export(component.engine(), UPGRADE) else { return Ok(()) };
    let ComponentItem::ComponentInstance(interface) = interface.ty else {
        return Err(ModuleError::WrongExport { name: UPGRADE, why: "it is not an interface".to_owned() });
    };
    check::<(), SaveResults>(component, &interface, SAVE)?;
    check::<LoadParameters, LoadResults>(component, &interface, LOAD)
}

fn check<Parameters, Results>(
    component: &Component,
    interface: &ComponentInstance,
    name: &str,
) -> Result<(), ModuleError>
where
    Parameters: ComponentNamedList + Lower,
    Results: ComponentNamedList + Lift,
{
    let why = match interface.get_export(component.engine(), name).map(|export| export.ty) {
        Some(ComponentItem::ComponentFunc(function)) => {
            match function.typecheck::<Parameters, Results>(&component.component_type().instance_type()) {
                Ok(()) => return Ok(()),
                Err(error) => format!("its function `{name}`: {error:#}"),
            }
        }
        _ => format!("it has no function `{name}`"),
    };
    Err(ModuleError::WrongExport { name: UPGRADE, why })
}

/// A function of the interface.
pub(crate) fn function<Parameters, Results>(
    store: &mut impl AsContextMut,
    instance: &Instance,
    name: &str,
) -> Result<TypedFunc<Parameters, Results>, wasmtime::Error>
where
    Parameters: ComponentNamedList + Lower,
    Results: ComponentNamedList + Lift,
{
    let missing = || wasmtime::Error::msg(format!("the component has no {UPGRADE} with `{name}`"));
    let interface = instance.get_export_index(&mut *store, None, UPGRADE).ok_or_else(missing)?;
    let function = instance.get_export_index(&mut *store, Some(&interface), name).ok_or_else(missing)?;
    instance.get_typed_func(&mut *store, function)
}
