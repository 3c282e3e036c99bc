//! Values that are too large for etcd: they lie beside it, in the depot of the store.
//!
//! A file has the name of the put that brought it, which there is once among all, and is whole before etcd is told of it.
//!
//! **Architecture Invariant:** what counts stands in etcd: a file whose name is not there, with its length and hash, is nothing.

use std::sync::Arc;

use ambrosia_shared_log::{Claim, Depot, DepotError, Seal};
use bytes::Bytes;

use crate::layout::hexadecimal;

/// The files of a store.
#[derive(Clone)]
pub(crate) struct Files(pub(crate) Arc<dyn Depot>);

impl Files {
    /// Puts a file, which is durable when this returns. Once more, it is the same.
    pub(crate) fn put(&self, claim: Claim, contents: &Bytes) -> Result<Seal, DepotError> {
        self.0.put_sealed(&name(claim), &mut &contents[..])
    }

    /// The contents of a file; or that there is none.
    pub(crate) fn get(&self, claim: Claim, seal: Seal) -> Result<Result<Bytes, Missing>, DepotError> {
        let mut contents = Vec::new();
        match self.0.get_sealed(&name(claim), seal, &mut contents) {
            Ok(()) => Ok(Ok(contents.into())),
            Err(error @ DepotError::Missing { .. }) => Ok(Err(Missing(error.to_string()))),
            Err(error) => Err(error),
        }
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), DepotError> {
        self.0.remove(name)
    }

    /// The names of all files.
    pub(crate) fn list(&self) -> Result<Vec<String>, DepotError> {
        Ok(self.0.list("")?.files)
    }
}

/// There is no such file, in words.
pub(crate) struct Missing(pub(crate) String);

/// The name of the file of a put.
pub(crate) fn name(claim: Claim) -> String {
    format!("{}-{:016x}", hexadecimal(&claim.host.0), claim.attempt)
}
