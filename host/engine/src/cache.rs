//! Compiled components on disk, so that only the first start pays for compiling.
//!
//! ```text
//! offset size field
//! 0      8    "AMBCWSM3"
//! 8      32   SHA-256 of what follows
//! 40     …    the verdict (layout.rs)
//! …      …    what wasmtime serialised
//! ```
//! The name of a file holds the SHA-256 of the component and the hash of the engine.
//!
//! **Architecture Invariant:** a cache file never decides if a component can be loaded, only how fast.

use std::{
    fmt::Write as _,
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};

use crate::{deserialize::deserialize, layout, verdict::Verdict};

const MAGIC: &[u8; 8] = b"AMBCWSM3";
const DIGEST_BYTES: usize = 32;

/// The place of one compiled component.
pub(crate) struct CacheFile {
    path: PathBuf,
}

impl CacheFile {
    /// The file for that component and engine.
    pub(crate) fn of(directory: &Path, component: &[u8], engine_hash: &[u8; 32]) -> CacheFile {
        let name = format!("{}-{}.cwasm", hex(&Sha256::digest(component)), hex(engine_hash));
        CacheFile { path: directory.join(name) }
    }

    /// The compiled component and its verdict, if the file is there and whole.
    pub(crate) fn load(&self, engine: &Engine) -> Option<(Component, Verdict)> {
        let bytes = fs::read(&self.path).ok()?;
        let component = verified(&bytes)
            .and_then(layout::decode)
            .and_then(|(verdict, compiled)| Some((deserialize(engine, compiled).ok()?, verdict)));
        if component.is_none() {
            tracing::warn!(path = %self.path.display(), "a cached module is damaged; it is compiled again");
        }
        component
    }

    /// Whether there is a file, whatever is in it.
    pub(crate) fn is_there(&self) -> bool {
        self.path.exists()
    }

    /// Writes the compiled component and its verdict. Readers see all of it or nothing.
    pub(crate) fn store(&self, component: &Component, verdict: &Verdict) {
        if let Err(error) = self.try_store(component, verdict) {
            tracing::warn!(path = %self.path.display(), %error, "can't cache a compiled module");
        }
    }

    fn try_store(&self, component: &Component, verdict: &Verdict) -> Result<(), io::Error> {
        let mut contents = layout::encode(verdict);
        let compiled = component.serialize().map_err(|error| io::Error::other(format!("{error:#}")))?;
        contents.extend_from_slice(&compiled);
        let bytes = [&MAGIC[..], &Sha256::digest(&contents), &contents].concat();
        let temporary = self.temporary();
        let written = fs::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))
            .and_then(|()| self.write(&temporary, &bytes))
            .and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// The new file belongs to whom its directory belongs to, so that one run as root leaves nothing that the owner can't
    /// read.
    fn write(&self, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create_new(temporary)?;
        let (own, directory) = (file.metadata()?, fs::metadata(self.path.parent().unwrap_or(Path::new(".")))?);
        if (own.uid(), own.gid()) != (directory.uid(), directory.gid()) {
            match fchown(&file, Some(directory.uid()), Some(directory.gid())) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {} // only root may give it away
                changed => changed?,
            }
        }
        file.set_permissions(Permissions::from_mode(directory.mode() & 0o666))?;
        file.write_all(bytes)
    }

    /// A name beside the file that no other thread or process uses.
    fn temporary(&self) -> PathBuf {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        self.path.with_extension(format!("{}-{count}.tmp", std::process::id()))
    }
}

/// What the file holds, if it is as it was written.
fn verified(bytes: &[u8]) -> Option<&[u8]> {
    let (digest, contents) = bytes.strip_prefix(MAGIC)?.split_at_checked(DIGEST_BYTES)?;
    (Sha256::digest(contents).as_slice() == digest).then_some(contents)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes all");
    }
    text
}
