//! What a component says of the state that it hands over in an upgrade.
//!
//! **Architecture Invariant:** it is for people who plan an upgrade; whether a state is taken is known once it was taken.

use ambrosia_methods::{StateType, Type};
use wasmtime::{
    Store,
    component::{ComponentType, Instance, Lift},
};

use crate::{error::ModuleError, state::GuestState};

/// The interface of components that hand over their state.
pub(crate) const UPGRADE: &str = "ambrosia:runtime/upgrade@0.2.0";
/// Its function that tells of the state.
const DESCRIBE: &str = "describe";

/// Record `description` of the interface.
#[derive(ComponentType, Lift)]
#[component(record)]
struct DescriptionRecord {
    name: String,
    version: u32,
    #[component(name = "type")]
    ty: String,
}

/// Asks an instance that has just been made. `None` if it exports no such interface.
///
/// # Errors
/// The first is a trap. [`ModuleError::WrongExport`] if the function has another type. A type that can't be read is not known.
pub(crate) fn ask(
    store: &mut Store<GuestState>,
    instance: &Instance,
) -> Result<Result<Option<StateType>, ModuleError>, wasmtime::Error> {
    let Some(interface) = instance.get_export_index(&mut *store, None, UPGRADE) else { return Ok(Ok(None)) };
    let describe = instance.get_export_index(&mut *store, Some(&interface), DESCRIBE);
    let wrong = |why: String| Ok(Err(ModuleError::WrongExport { name: UPGRADE, why }));
    let Some(describe) = describe else { return wrong(format!("it has no function `{DESCRIBE}`")) };
    let describe = match instance.get_typed_func::<(), (DescriptionRecord,)>(&mut *store, describe) {
        Ok(describe) => describe,
        Err(error) => return wrong(format!("`{DESCRIBE}`: {error}")),
    };
    let (DescriptionRecord { name, version, ty },) = describe.call(&mut *store, ())?;
    Ok(Ok(Some(StateType { name, version, ty: ty.parse().unwrap_or(Type::Any) })))
}
