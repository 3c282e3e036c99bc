//! Whether connections are in clear text or by TLS: a process has them all the one way or all the other.
//!
//! **Architecture Invariant:** nothing falls back to clear text: whoever has TLS speaks with nobody who has not.

use std::{io, sync::Arc, time::Duration};

use ambrosia_core::HostAddress;
use rustls::{
    AlertDescription, CertificateError,
    pki_types::{InvalidDnsNameError, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;

use crate::{
    connection::ConnectionError,
    control::Control,
    frame::{self, Frame},
    socket,
    tls::{Tls, is_operator},
};

/// Both sides have this long to agree.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The other side has this long to hear why it is hung up on.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// A client that begins with TLS begins with this byte: a record of its handshake.
const OF_TLS: u8 = 22;

/// How connections of this process are.
#[derive(Clone, Debug, Default)]
pub enum Security {
    /// In clear text: on one machine alone.
    #[default]
    Plain,
    /// By TLS 1.3: hosts with certificates, and clients with one or with a token.
    Tls(Arc<Tls>),
}

/// A socket behind the handshake.
pub enum Socket {
    /// In clear text.
    Plain(TcpStream),
    /// By TLS.
    Tls(TcpStream, Box<rustls::Connection>),
}

/// Who has connected, as far as certificates say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caller {
    /// Anybody on this machine, where there are no certificates: also a host.
    Neighbour,
    /// A host.
    Host,
    /// An operator: its certificate is one of a client, and says so.
    Operator,
    /// A client: its certificate is not for a host.
    Client,
    /// Somebody without a certificate, who may have a token.
    Stranger,
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Socket {
        Socket::Plain(socket)
    }
}

impl Socket {
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Socket::Plain(socket) | Socket::Tls(socket, _) => socket,
        }
    }
}

impl Security {
    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Security::Tls(_))
    }

    /// The token that a client of this process shows, which has no certificate.
    pub fn token(&self) -> Option<Arc<str>> {
        match self {
            Security::Plain => None,
            Security::Tls(tls) => tls.now().token.clone(),
        }
    }

    /// Connects to a host. By TLS its certificate has to be one of the CA, and for the name or IP address that is given.
    ///
    /// # Errors
    /// If it is not reached, or is somebody else.
    pub async fn connect(&self, address: &HostAddress) -> Result<Socket, ConnectionError> {
        let socket = socket::connect(address).await?;
        let Security::Tls(tls) = self else { return Ok(socket.into()) };
        let name = server_name(address)
            .map_err(|error| ConnectionError::Tls(format!("no certificate can be for {address}: {error}")))?;
        let connecting = tokio_rustls::TlsConnector::from(Arc::clone(&tls.now().client)).connect(name, socket);
        match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(Ok(stream)) => {
                let (socket, session) = stream.into_inner();
                Ok(Socket::Tls(socket, Box::new(session.into())))
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let reason = "the other side ended the connection during the handshake of TLS";
                Err(ConnectionError::Tls(reason.to_owned()))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ConnectionError::HandshakeTimeout),
        }
    }

    /// Takes a connection of a host or of a client. By TLS its certificate has to be one of the CA, if it shows one.
    ///
    /// # Errors
    /// If it speaks the other way, or shows a certificate that is not to be believed.
    pub async fn accept(&self, socket: TcpStream) -> Result<(Socket, Caller), ConnectionError> {
        let mut first = [0];
        let begun = timeout(HANDSHAKE_TIMEOUT, socket.peek(&mut first)).await;
        if begun.map_err(|_| ConnectionError::HandshakeTimeout)?? == 0 {
            return Err(ConnectionError::Closed);
        }
        match (self, first[0] == OF_TLS) {
            (Security::Plain, false) => Ok((socket.into(), Caller::Neighbour)),
            (Security::Plain, true) => {
                let reason = "this host has no TLS: it was started without --tls-cert, for this machine alone";
                refuse(socket, reason).await;
                Err(ConnectionError::Tls("somebody has TLS, and this host was started without --tls-cert".to_owned()))
            }
            (Security::Tls(_), false) => {
                let reason = "this host takes TLS only: give --tls-ca, --tls-cert and --tls-key";
                refuse(socket, reason).await;
                Err(ConnectionError::Tls("somebody without TLS was refused".to_owned()))
            }
            (Security::Tls(tls), true) => accept_tls(tls, socket).await,
        }
    }
}

/// A socket on which HTTP is spoken.
pub enum HttpSocket {
    /// In clear text.
    Plain(TcpStream),
    /// By TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Security {
    /// Takes a connection of a client of HTTP, which need not show a certificate.
    ///
    /// # Errors
    /// If it speaks in clear text where there is TLS, which it is told, or agrees on nothing.
    pub async fn accept_http(&self, socket: TcpStream) -> Result<HttpSocket, ConnectionError> {
        let Security::Tls(tls) = self else { return Ok(HttpSocket::Plain(socket)) };
        let mut first = [0];
        let begun = timeout(HANDSHAKE_TIMEOUT, socket.peek(&mut first)).await;
        if begun.map_err(|_| ConnectionError::HandshakeTimeout)?? == 0 {
            return Err(ConnectionError::Closed);
        }
        if first[0] != OF_TLS {
            say(socket, HTTPS_ONLY.as_bytes()).await;
            return Err(ConnectionError::Tls("a client of HTTP without TLS was refused".to_owned()));
        }
        let Some(http) = tls.now().http.clone() else {
            return Err(ConnectionError::Tls("this host has no certificate".to_owned()));
        };
        let accepting = tokio_rustls::TlsAcceptor::from(http).accept(socket);
        let accepted = timeout(HANDSHAKE_TIMEOUT, accepting).await.map_err(|_| ConnectionError::HandshakeTimeout)?;
        Ok(HttpSocket::Tls(Box::new(accepted?)))
    }
}

/// For whoever asks by `http://`.
const HTTPS_ONLY: &str = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
                          this address takes HTTPS only: write https:// in the place of http://\n";

async fn accept_tls(tls: &Tls, socket: TcpStream) -> Result<(Socket, Caller), ConnectionError> {
    let now = tls.now();
    let Some(host) = now.host.clone() else {
        return Err(ConnectionError::Tls("this host has no certificate".to_owned()));
    };
    let accepting = tokio_rustls::TlsAcceptor::from(host).accept(socket).into_fallible();
    match timeout(HANDSHAKE_TIMEOUT, accepting).await {
        Ok(Ok(stream)) => {
            let (socket, session) = stream.into_inner();
            let caller = match session.peer_certificates() {
                None | Some([]) => Caller::Stranger,
                chain if now.may_be_host(chain) => Caller::Host,
                chain if is_operator(chain) => Caller::Operator,
                Some(_) => Caller::Client,
            };
            Ok((Socket::Tls(socket, Box::new(session.into())), caller))
        }
        Ok(Err((error, socket))) => {
            // Why, it was told by TLS.
            drain(socket).await;
            Err(error.into())
        }
        Err(_) => Err(ConnectionError::HandshakeTimeout),
    }
}

/// Says no in clear text, so that somebody of the other way knows why.
async fn refuse(socket: TcpStream, reason: &str) {
    let mut bytes = Vec::new();
    frame::encode(&Frame::Control(Control::Refused { elsewhere: false, reason: reason.to_owned() }), &mut bytes);
    say(socket, &bytes).await;
}

async fn say(mut socket: TcpStream, bytes: &[u8]) {
    let written = timeout(LAST_WORD_TIMEOUT, socket.write_all(bytes)).await;
    if matches!(written, Ok(Ok(()))) {
        drain(socket).await;
    }
}

/// A socket that is closed while something came takes its last word along, so it is read on until that was heard.
async fn drain(mut socket: TcpStream) {
    let reading = async {
        socket.shutdown().await?;
        while socket.read(&mut [0; 1024]).await? > 0 {}
        io::Result::Ok(())
    };
    // Whoever does not take it in time does not hear it.
    let _heard_or_not = timeout(LAST_WORD_TIMEOUT, reading).await;
}

/// What is wrong, and what to do about it, if an error is one of TLS.
pub(crate) fn in_words(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match error {
        rustls::Error::InvalidCertificate(fault) => format!("the certificate of the other side {}", of_theirs(fault)),
        rustls::Error::NoCertificatesPresented => "the other side shows no certificate".to_owned(),
        rustls::Error::InvalidMessage(_) => {
            "the other side has no TLS: it was started without --tls-cert, or another program listens there".to_owned()
        }
        rustls::Error::AlertReceived(alert) => of_ours(*alert),
        error => format!("TLS has failed: {error}"),
    })
}

/// What a certificate is to be for, of whoever is reached there.
pub(crate) fn server_name(address: &HostAddress) -> Result<ServerName<'static>, InvalidDnsNameError> {
    match (address.name(), address.socket()) {
        (None, Some(ip)) => Ok(ServerName::from(ip.ip())),
        (name, _) => ServerName::try_from(name.unwrap_or_default().to_owned()),
    }
}

/// Why a certificate is not believed, as what is said of it.
pub(crate) fn reason_of(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(fault) => of_theirs(fault),
        error => format!("can't be believed: {error}"),
    }
}

fn of_theirs(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired: give it a new one; it is read again when its file changes".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: see that the clocks of both machines are right".to_owned()
        }
        // All CAs of `cert init` have one name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by the CA of --tls-ca".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // They come as `DnsName("a.example")` and `IpAddress(10.0.0.1)`.
            let plain =
                |name: &'_ String| name.split(['"', '(', ')']).rfind(|part| !part.is_empty()).map(str::to_owned);
            let names: Vec<String> = presented.iter().filter_map(plain).collect();
            let names = names.join(", ");
            format!("is not for {}, but for {names}: use that, or issue one with this name", expected.to_str())
        }
        fault => format!("can't be believed: {fault}"),
    }
}

fn of_ours(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the other side wants a certificate: give --tls-cert and --tls-key".to_owned()
        }
        AlertDescription::CertificateExpired => {
            "the other side says that the certificate of this one has expired".to_owned()
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "the other side does not know the CA that signed the certificate of this one".to_owned()
        }
        AlertDescription::NoApplicationProtocol => {
            "the other side speaks another protocol: is it the address for HTTP?".to_owned()
        }
        alert => format!("the other side refuses by the alert {alert:?} of TLS"),
    }
}
