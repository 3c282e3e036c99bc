//! TLS with a server: whom it is believed to be, and what it is shown.
//!
//! **Architecture Invariant:** whoever is spoken with by TLS has shown a certificate of a CA that is believed, for the name under which it was
//! asked. There is no way to have it otherwise, and nothing here falls back to clear text.

use std::{
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, pem, pem::PemObject},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Socket,
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::{TlsConnector, client};

use crate::binding::server_end_point;

/// As servers of version 17 and newer know what a connection is for.
const PROTOCOL: &[u8] = b"postgresql";

/// No file of PEM that is read here is longer.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Files of PEM. They are read for each connection, so that what takes their place counts from the next one on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TlsFiles {
    /// Certificates of CAs that are believed; those of the system if there are none.
    pub(crate) roots: Option<PathBuf>,
    /// What is shown to the server.
    pub(crate) own: Option<OwnFiles>,
}

/// A certificate with those between it and a CA's, and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OwnFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What is wrong with files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFault {
    #[error("{what} can't be read from {path}: {reason}")]
    File { what: &'static str, path: String, reason: String },
    #[error("others than its owner can read the key in {0}: use `chmod 600 {0}`, or 640 if it belongs to root")]
    Open(String),
    #[error("the certificate of sslcert in {certificate} can't be used with the key of sslkey in {key}: {reason}")]
    Pair { certificate: String, key: String, reason: String },
    #[error(
        "this system has no certificates of CAs that could be read{0}: name that of the CA of the database by sslrootcert=PATH in the URL"
    )]
    NoRoots(String),
}

impl TlsFiles {
    /// Reads them. It takes as long as the disk does.
    pub(crate) fn read(&self) -> Result<Connector, TlsFault> {
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
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Connector(Arc::new(config)))
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

/// Makes connections with whichever host has its turn.
#[derive(Clone)]
pub(crate) struct Connector(Arc<ClientConfig>);

/// Makes one with a host of that name.
pub(crate) struct ToHost {
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Encrypted;
    type TlsConnect = ToHost;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<ToHost, InvalidDnsNameError> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']))?.to_owned();
        Ok(ToHost { name, config: Arc::clone(&self.0) })
    }
}

impl TlsConnect<Socket> for ToHost {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        let connecting = TlsConnector::from(self.config).connect(self.name, socket);
        Box::pin(async { Ok(Encrypted(connecting.await?)) })
    }
}

/// A connection behind the handshake.
pub(crate) struct Encrypted(client::TlsStream<Socket>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        let (_, session) = self.0.get_ref();
        let own = session.peer_certificates().and_then(|chain| chain.first());
        own.and_then(server_end_point).map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
