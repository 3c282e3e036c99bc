//! `wasi:filesystem`: no directory and no file.
//!
//! wasi-libc links its file functions into every program that prints, and the libraries of some languages all that there
//! are, so they have to be there. No descriptor is ever made, so none of them can be called: to open a file takes that of a
//! directory. A program that could open files is told of that when it is registered.
//!
//! The bindings of `wasmtime-wasi` offer an interface whole or not at all, so `types`, of which this is a part, is
//! linked by hand; `preopens` is theirs.
//!
//! **Architecture Invariant:** no file of the host can be reached, seen or named.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sync::{
    filesystem::{
        preopens,
        types::{Descriptor, DirectoryEntryStream},
    },
    io::{
        error::Error as IoError,
        streams::{InputStream, OutputStream},
    },
};

use super::Whole;
use crate::{offers::Offers, refusal::Refusal, state::GuestState};

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

/// What else there is: a program that imports any of it could use files.
const OF_FILES: &[&str] = &[
    "[method]descriptor.advise",
    "[method]descriptor.create-directory-at",
    "[method]descriptor.is-same-object",
    "[method]descriptor.link-at",
    "[method]descriptor.metadata-hash-at",
    "[method]descriptor.open-at",
    "[method]descriptor.read",
    "[method]descriptor.read-directory",
    "[method]descriptor.readlink-at",
    "[method]descriptor.remove-directory-at",
    "[method]descriptor.rename-at",
    "[method]descriptor.set-size",
    "[method]descriptor.set-times",
    "[method]descriptor.set-times-at",
    "[method]descriptor.stat-at",
    "[method]descriptor.symlink-at",
    "[method]descriptor.sync",
    "[method]descriptor.sync-data",
    "[method]descriptor.unlink-file-at",
    "[method]descriptor.write",
    "[method]directory-entry-stream.read-directory-entry",
];

pub(super) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let mut types = offers.interface("wasi:filesystem/types@0.2.0")?;
    types.resource::<Descriptor>("descriptor", |_, _| {})?;
    types.resource::<DirectoryEntryStream>("directory-entry-stream", |_, _| {})?;
    types.resource::<InputStream>("input-stream", |state, rep| state.handles.close(rep))?;
    types.resource::<OutputStream>("output-stream", |state, rep| state.handles.close(rep))?;
    types.resource::<IoError>("error", |_, _| {})?;
    for name in OF_A_DESCRIPTOR {
        types.refused_function(name, Refusal::File)?;
    }
    types.refused_functions(OF_FILES, &Refusal::File)?;
    offers.wasi("filesystem/preopens", &["get-directories"], preopens::add_to_linker::<_, Whole>)
}

impl preopens::Host for GuestState {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>, wasmtime::Error> {
        Ok(Vec::new())
    }
}
