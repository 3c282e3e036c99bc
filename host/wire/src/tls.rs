//! TLS 1.3 by files of a public key infrastructure: who this process is, whom it believes, and how that is seen anew when a file
//! changes.
//!
//! **Architecture Invariant:** a file that is missing, half written or wrong never takes the place of one that was good, and nothing
//! of a key is ever in an error.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ambrosia_core::HostAddress;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    client::{
        Resumption, WebPkiServerVerifier, danger::ServerCertVerifier, verify_server_cert_signed_by_trust_anchor,
        verify_server_name,
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier},
    version::TLS13,
};

use crate::security::{reason_of, server_name};

const VERSIONS: [&SupportedProtocolVersion; 1] = [&TLS13];

/// What a connection between hosts, or of a client with one, is for: so that it is never taken for one of HTTP, which has the same
/// certificate.
const PROTOCOL: &[u8] = b"ambrosia";

/// What the certificate of an operator is for, beside its own name. No machine is called so, for nobody has names that end like this
/// (RFC 6761).
pub const OPERATOR_NAME: &str = "operator.ambrosia.invalid";

/// No token is longer.
const TOKEN_BYTES_MAX: usize = 1024;

/// Files of PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Certificates of whoever signs those of hosts and clients.
    pub ca: PathBuf,
    /// What this process shows of itself; a host has to.
    pub own: Option<OwnFiles>,
    /// What a client shows that has no certificate: a line with a token of the store.
    pub token: Option<PathBuf>,
}

/// What a process shows of itself.
#[derive(Clone, Debug)]
pub struct OwnFiles {
    /// Its certificate, then those between that and the CA's.
    pub certificate: PathBuf,
    /// The key of the first of them.
    pub key: PathBuf,
}

/// TLS as files say.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the files were when they were looked at last.
    seen: Vec<Option<Stamp>>,
    good: Arc<Configurations>,
    /// By what others reach this host, if it is one.
    name: Option<ServerName<'static>>,
}

/// By which it is seen that a file has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What a set of files says.
#[derive(Debug)]
pub(crate) struct Configurations {
    roots: Arc<RootCertStore>,
    /// What this process shows.
    chain: Vec<CertificateDer<'static>>,
    pub(crate) token: Option<Arc<str>>,
    pub(crate) client: Arc<ClientConfig>,
    /// Of hosts and their clients, who show a certificate, or a token once they are heard. `None` if this process has none itself.
    pub(crate) host: Option<Arc<ServerConfig>>,
    /// Of HTTP, whose clients show none.
    pub(crate) http: Option<Arc<ServerConfig>>,
}

/// Files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file can't be read, or has nothing of that kind.
    #[error("{what} can't be read from {path}: {reason}")]
    File {
        /// What was looked for.
        what: &'static str,
        /// The file.
        path: String,
        /// Why not. It holds nothing of the file.
        reason: String,
    },
    /// They don't go together.
    #[error("the certificate in {certificate} can't be used with the key in {key}: {reason}")]
    Pair {
        /// The file of the certificate.
        certificate: String,
        /// The file of the key.
        key: String,
        /// Why not.
        reason: String,
    },
    /// Nobody would believe this host.
    #[error("the certificate in {certificate} {reason}")]
    Disbelieved {
        /// The file.
        certificate: String,
        /// Why not.
        reason: String,
    },
    /// The certificates of a CA can't be used.
    #[error("the certificate of the CA in {path} can't be used: {reason}")]
    Ca {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one of them can't be used.
    pub fn of(files: TlsFiles) -> Result<Tls, TlsError> {
        let seen = files.stamps();
        let good = Arc::new(files.read()?);
        Ok(Tls { files, state: Mutex::new(State { seen, good, name: None }) })
    }

    /// This process is a host that others reach by this address. Sees that those who believe the same CA believe its certificate, and from
    /// now on sees that of every one that comes in its place.
    ///
    /// # Errors
    /// [`TlsError::Disbelieved`].
    pub fn serve_as(&self, address: &HostAddress) -> Result<(), TlsError> {
        let wrong = |reason: String| self.files.disbelieved(&reason);
        let name = server_name(address).map_err(|error| wrong(format!("can't be for {address}: {error}")))?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.files.check(&state.good, &name, UnixTime::now())?;
        state.name = Some(name);
        Ok(())
    }

    /// Why others would not believe this host when so much time has gone by, if so. `None` if this is no host.
    pub fn disbelieved_in(&self, time: Duration) -> Option<TlsError> {
        let good = self.now();
        let name = self.state.lock().unwrap_or_else(PoisonError::into_inner).name.clone()?;
        let then = UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs()).saturating_add(time));
        self.files.check(&good, &name, then).err()
    }

    /// Whether this process has a certificate of its own.
    pub fn has_own(&self) -> bool {
        self.files.own.is_some()
    }

    /// What holds for a connection that begins now. Files that have changed are read again; if they can't be used, what held
    /// before does so still, which is said once for each change.
    pub(crate) fn now(&self) -> Arc<Configurations> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: what changes meanwhile is seen the next time.
        let seen = self.files.stamps();
        if seen != state.seen {
            state.seen = seen;
            let read = self.files.read().and_then(|good| {
                state.name.as_ref().map_or(Ok(()), |name| self.files.check(&good, name, UnixTime::now()))?;
                Ok(good)
            });
            match read {
                Ok(good) => {
                    state.good = Arc::new(good);
                    tracing::info!(ca = %self.files.ca.display(), "the files of TLS have changed; new connections use them");
                }
                Err(error) => {
                    tracing::warn!("the files of TLS have changed and can't be used, those from before are: {error}")
                }
            }
        }
        Arc::clone(&state.good)
    }
}

impl Configurations {
    /// Whether whoever has shown these certificates may be a host, and not a client only: it may show its own to those who connect.
    pub(crate) fn may_be_host(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        may_be_host(&self.roots, chain.unwrap_or_default())
    }
}

impl TlsFiles {
    fn stamps(&self) -> Vec<Option<Stamp>> {
        let own = self.own.iter().flat_map(|own| [&own.certificate, &own.key]);
        own.chain([&self.ca]).chain(&self.token).map(|path| stamp(path)).collect()
    }

    fn read(&self) -> Result<Configurations, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(self.roots()?);
        let unsupported = "ring has what TLS 1.3 needs";
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let client =
            client.with_protocol_versions(&VERSIONS).expect(unsupported).with_root_certificates(Arc::clone(&roots));
        let Some(own) = &self.own else {
            let client = Arc::new(as_client(client.with_no_client_auth()));
            let token = self.token.as_deref().map(read_token).transpose()?;
            return Ok(Configurations { roots, chain: Vec::new(), token, client, host: None, http: None });
        };
        let wrong = |error: rustls::Error| TlsError::Pair {
            certificate: own.certificate.display().to_string(),
            key: own.key.display().to_string(),
            reason: error.to_string(),
        };
        let (chain, key) = own.read()?;
        let client = client.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(wrong)?;
        let server = |provider: &Arc<CryptoProvider>| {
            let building = ServerConfig::builder_with_provider(Arc::clone(provider));
            building.with_protocol_versions(&VERSIONS).expect(unsupported)
        };
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let clients = clients.allow_unauthenticated().build();
        let clients = clients.map_err(|error| self.wrong_ca(&error))?;
        let host = server(&provider).with_client_cert_verifier(clients);
        let host = host.with_single_cert(chain.clone(), key.clone_key()).map_err(wrong)?;
        let http = server(&provider).with_no_client_auth().with_single_cert(chain.clone(), key).map_err(wrong)?;
        Ok(Configurations {
            roots,
            chain,
            token: None,
            client: Arc::new(as_client(client)),
            host: Some(Arc::new(as_server(host, &[PROTOCOL]))),
            http: Some(Arc::new(as_server(http, &[b"h2", b"http/1.1"]))),
        })
    }

    /// Sees that others would believe a host of this name with these certificates, whether they connect with it or it with them.
    fn check(&self, good: &Configurations, name: &ServerName<'_>, at: UnixTime) -> Result<(), TlsError> {
        let wrong = |error: rustls::Error| self.disbelieved(&reason_of(&error));
        let Some((own, between)) = good.chain.split_first() else { return Err(self.disbelieved("is not there")) };
        let (provider, roots) = (Arc::new(ring::default_provider()), Arc::clone(&good.roots));
        let by_hosts = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
        let by_hosts = by_hosts.map_err(|error| self.wrong_ca(&error))?;
        by_hosts.verify_server_cert(own, between, name, &[], at).map_err(wrong)?;
        let of_hosts = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        let of_hosts = of_hosts.map_err(|error| self.wrong_ca(&error))?;
        of_hosts.verify_client_cert(own, between, at).map_err(wrong)?;
        Ok(())
    }

    fn disbelieved(&self, reason: &str) -> TlsError {
        let certificate = self.own.as_ref().map(|own| own.certificate.display().to_string());
        TlsError::Disbelieved { certificate: certificate.unwrap_or_default(), reason: reason.to_owned() }
    }

    fn wrong_ca(&self, error: &dyn std::fmt::Display) -> TlsError {
        TlsError::Ca { path: self.ca.display().to_string(), reason: error.to_string() }
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("the certificate of the CA", &self.ca)? {
            roots.add(certificate).map_err(|error| self.wrong_ca(&error))?;
        }
        Ok(roots)
    }
}

impl OwnFiles {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates("the certificate", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key);
        Ok((chain, key.map_err(|error| unreadable("the key", &self.key, error))?))
    }
}

/// Sees that whoever believes one CA believes a certificate of a host or client, both in PEM.
///
/// # Errors
/// Why not.
pub fn check_signed(ca: &[u8], certificate: &[u8]) -> Result<(), rustls::Error> {
    let general = |error: rustls::pki_types::pem::Error| rustls::Error::General(error.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca).map_err(general)?)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| rustls::Error::General(error.to_string()))?;
    let certificate = CertificateDer::from_pem_slice(certificate).map_err(general)?;
    verifier.verify_client_cert(&certificate, &[], UnixTime::now()).map(|_| ())
}

/// Whether somebody with that certificate may be a host, and not a client only.
fn may_be_host(roots: &RootCertStore, chain: &[CertificateDer<'_>]) -> bool {
    let Some((own, between)) = chain.split_first() else { return false };
    let algorithms = ring::default_provider().signature_verification_algorithms;
    ParsedCertificate::try_from(own).is_ok_and(|own| {
        verify_server_cert_signed_by_trust_anchor(&own, roots, between, UnixTime::now(), algorithms.all).is_ok()
    })
}

/// Whether a certificate that was seen to be signed by the CA is one of an operator.
pub(crate) fn is_operator(chain: Option<&[CertificateDer<'_>]>) -> bool {
    let Some(own) = chain.and_then(|chain| chain.first()) else { return false };
    let name = ServerName::try_from(OPERATOR_NAME).expect("it is a name");
    ParsedCertificate::try_from(own).is_ok_and(|own| verify_server_name(&own, &name).is_ok())
}

/// Each connection shows and sees certificates: none is resumed, for whoever could do so when it began may not any more.
fn as_client(mut client: ClientConfig) -> ClientConfig {
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    client.resumption = Resumption::disabled();
    client
}

fn as_server(mut server: ServerConfig, protocols: &[&[u8]]) -> ServerConfig {
    server.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    server
}

/// The one line of a file.
fn read_token(path: &Path) -> Result<Arc<str>, TlsError> {
    let failed = |reason: String| TlsError::File { what: "the token", path: path.display().to_string(), reason };
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let line = text.trim_end();
    if line.is_empty() || line.len() > TOKEN_BYTES_MAX || line.contains(char::is_whitespace) {
        return Err(failed("the file is to have one line, which is the token".to_owned()));
    }
    Ok(line.into())
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |error| unreadable(what, path, error);
    let all = CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if all.is_empty() { Err(failed(rustls::pki_types::pem::Error::NoItemsFound)) } else { Ok(all) }
}

/// In words that hold nothing of the file, which may be a key that was given in the place of something else.
fn unreadable(what: &'static str, path: &Path, error: rustls::pki_types::pem::Error) -> TlsError {
    use rustls::pki_types::pem::Error;
    let reason = match error {
        Error::Io(error) => error.to_string(),
        Error::NoItemsFound => "the file has none in PEM".to_owned(),
        _ => "the file is not whole, or not PEM".to_owned(),
    };
    TlsError::File { what, path: path.display().to_string(), reason }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}
