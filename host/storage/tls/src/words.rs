//! What rustls says, with what to do about it.

use rustls::{AlertDescription, CertificateError};

/// What is wrong with TLS with a server, and what to do about it.
pub fn words_of(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(fault) => format!("the certificate of the server {}", words_of_theirs(fault)),
        rustls::Error::InvalidMessage(_) => "what answers there speaks no TLS, and may be no database".to_owned(),
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "the server wants a certificate: give sslcert and sslkey in the URL".to_owned()
            }
            AlertDescription::CertificateExpired => {
                "the server says that the certificate of sslcert has expired: put a new one in its place, which is read without a restart".to_owned()
            }
            AlertDescription::UnknownCA | AlertDescription::DecryptError | AlertDescription::BadCertificate => {
                "the server does not believe the certificate of sslcert: let its ssl_ca_file have the CA that has signed it".to_owned()
            }
            AlertDescription::ProtocolVersion => "the server has no TLS 1.2 or newer".to_owned(),
            alert => format!("the server refuses by the alert {alert:?} of TLS: see its log"),
        },
        error => format!("TLS has failed: {error}"),
    }
}

fn words_of_theirs(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired: give the server a new one".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: see that the clocks of both machines are right".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by a CA of sslrootcert (without that, by one that this system believes): name its CA by sslrootcert=PATH in the URL"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // They come as `DnsName("a.example")`.
            let names: Vec<&str> = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect();
            let names = if names.is_empty() { "no name in its subjectAltName".to_owned() } else { names.join(", ") };
            format!(
                "is not for {}, but for {names}: use that name in the URL (with hostaddr=IP if it can't be resolved), or give the server one for this",
                expected.to_str()
            )
        }
        fault => format!("can't be believed: {fault}"),
    }
}
