//! TLS: by which files this process shows who it is, and whom it believes.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use ambrosia_host::{OwnFiles, Security, Tls, TlsFiles};
use anyhow::bail;
use clap::Args;

// Of all verbs. A doc comment would take the place of what the program says of itself.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsArguments {
    /// Certificate of this host or client, and those between it and the CA's, in PEM; read again when it changes
    #[arg(long, global = true, env = "AMBROSIA_TLS_CERT", hide_env_values = true, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its key, in PEM
    #[arg(long, global = true, env = "AMBROSIA_TLS_KEY", hide_env_values = true, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// Certificate of the CA that signs those of all hosts and clients, in PEM: with it connections are by TLS 1.3 alone
    #[arg(long, global = true, env = "AMBROSIA_TLS_CA", hide_env_values = true, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// File with a token of the store, which a client shows that has no certificate (`ambrosia-host token new`)
    #[arg(long, global = true, env = "AMBROSIA_TOKEN_FILE", hide_env_values = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl TlsArguments {
    /// What a line says that is not whole yet, by flags and by the variables for them.
    pub(crate) fn of(find: impl Fn(&str, &str) -> Option<OsString>) -> TlsArguments {
        let path = |flag, variable| find(flag, variable).filter(|path| !path.is_empty()).map(PathBuf::from);
        TlsArguments {
            tls_cert: path("--tls-cert", "AMBROSIA_TLS_CERT"),
            tls_key: path("--tls-key", "AMBROSIA_TLS_KEY"),
            tls_ca: path("--tls-ca", "AMBROSIA_TLS_CA"),
            token_file: path("--token-file", "AMBROSIA_TOKEN_FILE"),
        }
    }

    /// How connections are.
    pub(crate) fn security(&self) -> anyhow::Result<Security> {
        let own = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Some(OwnFiles { certificate: certificate.clone(), key: key.clone() }),
            (None, None) => None,
            (Some(_), None) => bail!("--tls-cert needs the key of the certificate: give --tls-key"),
            (None, Some(_)) => bail!("--tls-key needs the certificate of the key: give --tls-cert"),
        };
        if own.is_some() && self.token_file.is_some() {
            bail!("--token-file is for clients without a certificate: give that, or --tls-cert");
        }
        let token = self.token_file.clone();
        match &self.tls_ca {
            Some(ca) => Ok(Security::Tls(Arc::new(Tls::of(TlsFiles { ca: ca.clone(), own, token })?))),
            None if token.is_some() => bail!("a token is shown by TLS alone: give --tls-ca"),
            None if own.is_some() => bail!("--tls-cert needs the CA whose certificates are believed: give --tls-ca"),
            None => Ok(Security::Plain),
        }
    }
}
