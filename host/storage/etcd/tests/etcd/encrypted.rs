//! TLS with a member.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use ambrosia_etcd::{EtcdEngine, EtcdPlace};
use ambrosia_test_database::{Authority, Etcd, Lasting};
use tempfile::TempDir;

use crate::support::{append, create, genesis, group, log, position};

/// Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Files of a test.
struct Papers(TempDir);

impl Papers {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        fs::write(self.path(name), text).expect("there is room");
        fs::set_permissions(self.path(name), PermissionsExt::from_mode(0o600)).expect("it is the test's own");
        self.path(name).display().to_string()
    }
}

#[test]
fn a_member_is_believed_by_its_certificate_and_believes_who_asks_by_theirs() {
    let papers = Papers(tempfile::tempdir().expect("there is room"));
    let (authority, of_clients) = (Authority::new(), Authority::new());
    let own = authority.certify_server("127.0.0.1", Lasting::Now);
    let (certificate, key) = (papers.write("server.crt", &own.certificate), papers.write("server.key", &own.key));
    let clients = papers.write("clients.crt", of_clients.certificate());
    let settings =
        ["--cert-file", &certificate, "--key-file", &key, "--client-cert-auth", "--trusted-ca-file", &clients];
    let Some(etcd) = Etcd::begin_encrypted(&settings) else { return };
    let me = of_clients.certify_client("ambrosia");
    let stranger = authority.certify_client("ambrosia");
    let root = papers.write("ca.crt", authority.certificate());
    let other = papers.write("other.crt", Authority::new().certificate());
    let mine =
        format!("&sslcert={}&sslkey={}", papers.write("me.crt", &me.certificate), papers.write("me.key", &me.key));
    let theirs = format!(
        "&sslcert={}&sslkey={}",
        papers.write("stranger.crt", &stranger.certificate),
        papers.write("stranger.key", &stranger.key)
    );
    let place =
        |parameters: String| EtcdPlace::read(&format!("{}{parameters}", etcd.url("shop"))).expect("it is a URL");
    let good = place(format!("&sslrootcert={root}{mine}"));
    let until = Instant::now() + PATIENCE;
    // It listens before it has a leader.
    while let Err(error) = EtcdEngine::create(&good) {
        assert!(Instant::now() < until, "{error}");
    }
    let engine = EtcdEngine::open(good).expect("it is there");
    assert!(create(&engine, log(1), &genesis(log(1))));
    append(&engine, vec![group(log(1), 0, position(&genesis(log(1))), b"")]).expect("it is there");
    let refused =
        |parameters: String| EtcdEngine::create(&place(parameters)).expect_err("it is not to be used").to_string();
    let unknown = refused(format!("&sslrootcert={other}{mine}"));
    assert!(unknown.contains("is not signed by a CA of sslrootcert"), "{unknown}");
    // By TLS 1.3 a server says only behind the handshake what it does not believe.
    for parameters in [format!("&sslrootcert={root}"), format!("&sslrootcert={root}{theirs}")] {
        let said = refused(parameters);
        assert!(said.contains("no etcd answers at"), "{said}");
    }
    let clear = refused(String::new());
    assert!(clear.contains("no etcd answers at"), "{clear}");
}
