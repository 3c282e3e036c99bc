//! Files with certificates and keys, and what is wrong with them.
//!
//! **Architecture Invariant:** whoever is spoken with by TLS has shown a certificate of a CA that is believed, for the name under which it was
//! asked. There is no way to have it otherwise, and nothing here falls back to clear text.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

/// No file of PEM that is read here is longer.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Files of PEM. They are read for each connection, so that what takes their place counts from the next one on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Certificates of CAs that are believed; those of the system if there are none.
    pub roots: Option<PathBuf>,
    /// What is shown to the server.
    pub own: Option<OwnFiles>,
}

/// A certificate with those between it and a CA's, and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnFiles {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What is wrong with files.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// One can't be read.
    #[error("{what} can't be read from {path}: {reason}")]
    File {
        /// What it should be.
        what: &'static str,
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// A key is no secret.
    #[error("others than its owner can read the key in {0}: use `chmod 600 {0}`, or 640 if it belongs to root")]
    Open(String),
    /// A key is not that of its certificate.
    #[error("the certificate of sslcert in {certificate} can't be used with the key of sslkey in {key}: {reason}")]
    Pair {
        /// Where the certificate is.
        certificate: String,
        /// Where the key is.
        key: String,
        /// Why.
        reason: String,
    },
    /// The system believes nobody.
    #[error(
        "this system has no certificates of CAs that could be read{0}: name that of the CA of the server by sslrootcert=PATH in the URL"
    )]
    NoRoots(String),
}

impl TlsFiles {
    /// Reads them, for servers that know by that name what a connection is for. It takes as long as the disk does.
    ///
    /// # Errors
    /// If one can't be read, or is not to be used.
    pub fn read(&self, protocol: &[u8]) -> Result<Arc<ClientConfig>, TlsFault> {
        let building = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let building = building.with_safe_default_protocol_versions().expect("ring has what both versions need");
        let building = building.with_root_certificates(self.roots()?);
        let mut config = match &self.own {
            None => building.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = own.read()?;
                building.with_client_auth_cert(chain, key).map_err(|error| own.unusable(&error))?
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsFault> {
        let mut roots = RootCertStore::empty();
        let Some(path) = &self.roots else {
            let read = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(read.certs);
            let reasons = || read.errors.iter().map(|error| format!(" ({error})")).collect();
            return if added == 0 { Err(TlsFault::NoRoots(reasons())) } else { Ok(roots) };
        };
        let what = "the certificate of the CA (sslrootcert)";
        for certificate in certificates(what, path)? {
            let wrong = |error: rustls::Error| TlsFault::File { what, path: shown(path), reason: error.to_string() };
            roots.add(certificate).map_err(wrong)?;
        }
        Ok(roots)
    }
}

impl OwnFiles {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsFault> {
        let chain = certificates("the certificate of this client (sslcert)", &self.certificate)?;
        let what = "the key of this client (sslkey)";
        let failed = |error: io::Error| unreadable(what, &self.key, pem::Error::Io(error));
        let file = File::open(&self.key).map_err(failed)?;
        // What was opened is looked at, and not what has the name by now.
        if is_open_to_others(&file.metadata().map_err(failed)?) {
            return Err(TlsFault::Open(shown(&self.key)));
        }
        let key = PrivateKeyDer::from_pem_reader(file.take(FILE_BYTES_MAX));
        Ok((chain, key.map_err(|error| unreadable(what, &self.key, error))?))
    }

    fn unusable(&self, error: &rustls::Error) -> TlsFault {
        TlsFault::Pair { certificate: shown(&self.certificate), key: shown(&self.key), reason: error.to_string() }
    }
}

/// Whether a file with a secret is open to others than its owner, as libpq has it: what belongs to root may be for a group.
pub fn is_open_to_others(file: &Metadata) -> bool {
    let forbidden = if file.uid() == 0 { 0o037 } else { 0o077 };
    file.mode() & forbidden != 0
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let failed = |error| unreadable(what, path, error);
    let file = File::open(path).map_err(|error| failed(pem::Error::Io(error)))?;
    let all = CertificateDer::pem_reader_iter(file.take(FILE_BYTES_MAX));
    let all = all.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if all.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(all) }
}

/// In words that hold nothing of the file, which may be a key that was given in the place of something else.
fn unreadable(what: &'static str, path: &Path, error: pem::Error) -> TlsFault {
    let reason = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "the file has none in PEM".to_owned(),
        _ => "the file is not whole, or not PEM".to_owned(),
    };
    TlsFault::File { what, path: shown(path), reason }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
