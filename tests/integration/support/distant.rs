//! A database on a machine of its own.

use std::fs;

use ambrosia_test_database::{Authority, Certified, Server};
use ambrosia_tests::{
    Cluster, skip,
    torture::{Machine, Machines},
};

/// So many machines. `None` where there can be none, which is said.
pub(crate) fn machines(count: usize, what: &str) -> Option<Machines> {
    match Machines::begin(count) {
        Ok(machines) => Some(machines),
        Err(error) => {
            skip(what, &format!("{error:#}"));
            None
        }
    }
}

/// A server that listens on that machine, to which others are let in by TLS and with the password `hush`. It has no certificate yet.
/// `None` where there is no PostgreSQL.
pub(crate) fn distant_server(machines: &Machines, at: Machine) -> Option<Server> {
    let server = Server::begin(&["password_encryption = 'scram-sha-256'"])?;
    server.listen_at(&at.address(), 5432);
    server.crash();
    machines.on(at, || server.start());
    server.sql("alter role ambrosia password 'hush'");
    server.admit(&["hostssl all all all scram-sha-256"]);
    Some(server)
}

/// Has a CA, which is made if there is none of that name, sign a certificate of that machine. Returns what the files begin with.
pub(crate) fn issue(cluster: &Cluster, ca: &str, of: Machine) -> String {
    let dir = cluster.file(ca);
    let has_ca = dir.join("ca.key").exists();
    let (dir, address) = (dir.to_str().expect("a plain path"), of.address());
    if !has_ca {
        cluster.must(&["cert", "init", "--dir", dir]);
    }
    cluster.must(&["cert", "issue", "--dir", dir, "--host", &address]);
    format!("{dir}/{address}")
}

/// Has a CA sign the server's certificate.
pub(crate) fn certify(cluster: &Cluster, server: &Server, at: Machine, ca: &str) {
    let files = issue(cluster, ca, at);
    let read = |ending: &str| fs::read_to_string(format!("{files}.{ending}")).expect("it was made");
    server.encrypt(&Certified { certificate: read("crt"), key: read("key") }, &Authority::new());
}
