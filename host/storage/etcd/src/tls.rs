//! A connection with a member, by TLS if that is wanted.

use std::io;

use ambrosia_storage_tls::words_of;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    channel::Wire,
    place::{EtcdPlace, Member},
};

/// By which etcd knows that HTTP/2 is spoken.
const PROTOCOL: &[u8] = b"h2";

/// Connects. The bytes, and the scheme of what goes over them; or why not.
pub(crate) async fn connect(place: &EtcdPlace, member: &Member) -> Result<(Box<dyn Wire>, &'static str), String> {
    // A disk may be slow, and others go on meanwhile. They are read for each connection, so that what takes their place counts.
    let config = match place.tls.clone() {
        None => None,
        Some(files) => {
            let read = tokio::task::spawn_blocking(move || files.read(PROTOCOL)).await;
            Some(read.map_err(|error| error.to_string())?.map_err(|fault| fault.to_string())?)
        }
    };
    let socket = TcpStream::connect((member.host.as_str(), member.port)).await.map_err(|error| error.to_string())?;
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some(config) = config else { return Ok((Box::new(socket), "http")) };
    let name = ServerName::try_from(member.host.clone()).map_err(|error| error.to_string())?;
    let encrypted = TlsConnector::from(config).connect(name, socket).await.map_err(|error| said(&error))?;
    Ok((Box::new(encrypted), "https"))
}

fn said(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner.map(words_of) {
        Some(words) => words,
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server ended the connection during the handshake of TLS: does it have TLS there?".to_owned()
        }
        None => error.to_string(),
    }
}
