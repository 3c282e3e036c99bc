//! Values that are too large for etcd: files in a directory that all hosts share, such as one of NFS.
//!
//! A file has the name of the put that brought it, which there is once among all, and is whole before etcd is told of it. So nothing is
//! ever changed in one, and it is of no matter in which order other machines see the directory change.
//!
//! **Architecture Invariant:** what counts stands in etcd: a file whose name is not there, with its length and hash, is nothing.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::PathBuf,
};

use ambrosia_shared_log::Claim;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    error::EtcdError,
    layout::{FileSeal, hexadecimal},
};

/// Says whose directory it is.
const MARK: &str = "store";

/// The directory of a store.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    directory: PathBuf,
}

impl Files {
    /// Those of a store, in a directory for several.
    pub(crate) fn of(directory: PathBuf, store: Uuid) -> Files {
        Files { directory: directory.join(store.to_string()) }
    }

    /// Makes the directory of the store.
    pub(crate) fn make(&self) -> Result<(), EtcdError> {
        let made = || -> io::Result<()> {
            fs::create_dir_all(&self.directory)?;
            let mark = self.directory.join(MARK);
            if !mark.exists() {
                self.write(MARK, b"a store of Ambrosia in etcd; its hosts remove what is to go\n")?;
            }
            Ok(())
        };
        made().map_err(|error| self.unusable(error.to_string()))
    }

    /// Sees that this is the directory of the store, and no empty place where it should be mounted.
    pub(crate) fn check(&self) -> Result<(), EtcdError> {
        match fs::metadata(self.directory.join(MARK)) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let reason = "it is not the one that `ambrosia-host store init` has made for this store: see that the same directory is mounted on \
                     all machines, and that blobs= in the URL names it";
                Err(self.unusable(reason.to_owned()))
            }
            Err(error) => Err(self.unusable(error.to_string())),
        }
    }

    fn unusable(&self, reason: String) -> EtcdError {
        EtcdError::Blobs { directory: self.directory.display().to_string(), reason }
    }

    /// Puts a file, which is durable when this returns. Once more, it is the same.
    pub(crate) fn put(&self, claim: Claim, contents: &Bytes) -> io::Result<FileSeal> {
        self.write(&name(claim), contents)?;
        Ok(FileSeal { bytes: contents.len() as u64, sha256: Sha256::digest(contents).into() })
    }

    fn write(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let (fresh, path) = (self.directory.join(format!("{name}.new")), self.directory.join(name));
        let mut file = File::create(&fresh)?;
        file.write_all(contents)?;
        file.sync_all()?;
        drop(file);
        fs::rename(&fresh, &path)?;
        File::open(&self.directory)?.sync_all()
    }

    /// The contents of a file; `None` if there is none.
    pub(crate) fn get(&self, claim: Claim, seal: FileSeal) -> io::Result<Option<Bytes>> {
        let path = self.directory.join(name(claim));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut contents = Vec::new();
        file.take(seal.bytes + 1).read_to_end(&mut contents)?;
        let sha256: [u8; 32] = Sha256::digest(&contents).into();
        if contents.len() as u64 == seal.bytes && sha256 == seal.sha256 {
            return Ok(Some(contents.into()));
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is damaged: restore it from a copy", path.display()),
        ))
    }

    /// Removes a file, if it is there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The names of all files.
    pub(crate) fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        Ok(names.into_iter().filter(|name| name != MARK).collect())
    }

    pub(crate) fn missing(&self, claim: Claim) -> String {
        format!(
            "the file {} for a value in etcd is missing: see that the same directory is mounted on all machines, or restore it from a copy",
            self.directory.join(name(claim)).display()
        )
    }
}

/// The name of the file of a put.
pub(crate) fn name(claim: Claim) -> String {
    format!("{}-{:016x}", hexadecimal(&claim.host.0), claim.attempt)
}
