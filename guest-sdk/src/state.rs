//! The state of an application as a value that another build of its code can take.

use serde::{Serialize, de::DeserializeOwned};

use crate::codec;

/// A state that an upgrade of the code hands over. [`#[ambrosia::state]`](macro@crate::state) implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a state that an upgrade of the code could hand over",
    label = "not marked `#[ambrosia::state]`",
    note = "write `#[ambrosia::state]` in front of it, in the place of `#[derive(Default)]`",
    note = "or `#[ambrosia::immortal(no_upgrade)]` in front of its methods: then its code stays as it is"
)]
pub trait State: Default + Serialize + DeserializeOwned + 'static {
    /// The name of the type in the source.
    const NAME: &'static str;

    /// The version of the state, which rises when a field changes its meaning.
    const VERSION: u32;

    /// Appends the versions that can be read, the newest first.
    #[doc(hidden)]
    fn versions(into: &mut Vec<u32>);

    /// Reads a state of that version. `None` if it is none of [`State::versions`].
    #[doc(hidden)]
    fn read(version: u32, bytes: &[u8]) -> Option<Result<Self, String>>;
}

/// The bytes of a state: MessagePack, structs as maps with field names.
pub(crate) fn encode<S: State>(state: &S) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    codec::encode_value(&mut bytes, state)
        .map_err(|error| format!("the state `{}` can't be saved: {error}", S::NAME))?;
    Ok(bytes)
}

/// The state of which these are the bytes, from whatever version it has.
pub(crate) fn decode<S: State>(version: u32, bytes: &[u8]) -> Result<S, String> {
    let name = S::NAME;
    match S::read(version, bytes) {
        Some(state) => {
            state.map_err(|error| format!("the state of version {version} can't be read as `{name}`: {error}"))
        }
        None if version > S::VERSION => Err(format!(
            "the state has version {version}, and `{name}` of this module has version {}: deploy a module that reads the \
             newer one, or add a version {} after it",
            S::VERSION,
            u64::from(version) + 1
        )),
        None => {
            let mut versions = Vec::new();
            S::versions(&mut versions);
            let mut known = String::new();
            for version in versions {
                known += &format!(" {version}");
            }
            Err(format!(
                "the state has version {version}, and `{name}` of this module reads only{known}: write \
                 `#[ambrosia::state(version = .., from = ..)]` with the type that it had then"
            ))
        }
    }
}

/// Reads a state as exactly that type.
#[doc(hidden)]
pub fn read_as<S: DeserializeOwned>(bytes: &[u8]) -> Result<S, String> {
    codec::decode_value(bytes)
}
