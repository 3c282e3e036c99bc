//! `wasi:filesystem`: no directory and no file.
//!
//! wasi-libc links its file functions into every program that prints, so they have to be there. No descriptor is ever
//! made, so none of them can be called. What a program needs to open a file is left out on purpose: one that means to
//! is refused when it is loaded, and not surprised later.
//!
//! **Architecture Invariant:** no file of the host can be reached, seen or named.

use wasmtime::component::Resource;

use super::io::{InputStream, IoError, OutputStream};
use crate::{offers::Offers, refusal::Refusal};

/// Resource `descriptor`: none is ever made.
struct Descriptor;

/// What wasi-libc and the adapter for WASI 0.1 link in for reading and writing streams.
const OF_A_DESCRIPTOR: &[&str] = &[
    "[method]descriptor.append-via-stream",
    "[method]descriptor.get-flags",
    "[method]descriptor.get-type",
    "[method]descriptor.metadata-hash",
    "[method]descriptor.read-via-stream",
    "[method]descriptor.stat",
    "[method]descriptor.write-via-stream",
    "filesystem-error-code",
];

pub(super) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let mut types = offers.interface("wasi:filesystem/types@0.2.0")?;
    types.resource::<Descriptor>("descriptor")?;
    types.resource::<InputStream>("input-stream")?;
    types.resource::<OutputStream>("output-stream")?;
    types.resource::<IoError>("error")?;
    for name in OF_A_DESCRIPTOR {
        types.refused_function(name, Refusal::File)?;
    }

    let mut preopens = offers.interface("wasi:filesystem/preopens@0.2.0")?;
    preopens.resource::<Descriptor>("descriptor")?;
    preopens.function("get-directories", |_, (): ()| Ok((Vec::<(Resource<Descriptor>, String)>::new(),)))
}
