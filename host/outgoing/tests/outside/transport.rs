//! TLS.

use std::sync::Arc;

use ambrosia_outgoing::{FailureKind, Roots, Secrets};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::{
    Asked, failure, perform, sender_with, status,
    stub::{Deed, Stub},
};

const CERTIFICATE: &[u8] = include_bytes!("../fixtures/localhost.der");
const KEY: &[u8] = include_bytes!("../fixtures/localhost.key.der");
const ANOTHER: &[u8] = include_bytes!("../fixtures/another.der");

async fn stub() -> Stub {
    let key = PrivateKeyDer::try_from(KEY).expect("it is a key");
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("the provider has the ciphers");
    let config = builder.with_no_client_auth().with_single_cert(vec![CERTIFICATE.into()], key);
    Stub::start_with_tls([Deed::status(200)], TlsAcceptor::from(Arc::new(config.expect("they fit")))).await
}

#[tokio::test]
async fn a_server_is_believed_by_its_certificate_and_its_name() {
    let mut stub = stub().await;
    let grants = ["https://localhost:*/*".to_owned(), "https://127.0.0.1:*/*".to_owned()];
    let ask = async |host: &str, root: &[u8]| {
        let asked = Asked { tries: Some(2), ..Asked::new("POST", format!("https://{host}:{}/", stub.port)) };
        perform(&sender_with(&grants, Secrets::default(), Roots::Given(vec![root.to_vec()])), asked).await
    };
    assert_eq!(status(&ask("localhost", CERTIFICATE).await), 200);
    for outcome in [ask("localhost", ANOTHER).await, ask("127.0.0.1", CERTIFICATE).await, ask("localhost", b"").await] {
        assert_eq!(
            (failure(&outcome).0, outcome.tries),
            (FailureKind::Failed, 2),
            "nothing was sent, so it is tried again"
        );
    }
    let (_, error) = failure(&ask("localhost", b"").await);
    assert!(error.contains("ca-certificates"), "{error}");
    assert_eq!(stub.seen().len(), 1);
}
