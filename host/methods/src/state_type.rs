//! What a module says of the state that it hands over in an upgrade.

use crate::types::Type;

/// The state of a module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateType {
    /// As in the source of the guest.
    pub name: String,
    /// Which version of it; a module takes a state of its own version or of an earlier one.
    pub version: u32,
    /// Its type; [`Type::Any`] if the component does not say.
    pub ty: Type,
}
