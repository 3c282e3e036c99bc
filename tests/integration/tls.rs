//! TLS between hosts, of their clients and over HTTP: who is believed, and what those are told who are not.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use ambrosia_host::{OwnFiles, Security, Tls, TlsFiles};
use ambrosia_tests::{Cluster, Host, PATIENCE};
use ambrosia_wire::{Connection, Control, Frame};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::{
    serving::{serve, wait_for_primaries},
    support::{cluster, fails},
};

const OF_HOST: [&str; 4] = ["--host", "localhost", "--host", "127.0.0.1"];

/// Makes a CA, and a certificate of this machine that all processes of the cluster have from then on.
pub(crate) fn certify(cluster: &mut Cluster) {
    issue(cluster, "ca", &OF_HOST);
    issue(cluster, "ca", &["--client", "laptop"]);
    for (name, file) in [("CERT", "localhost.crt"), ("KEY", "localhost.key"), ("CA", "ca.crt")] {
        let path = path(cluster, "ca", file);
        cluster.set_env(&format!("AMBROSIA_TLS_{name}"), path);
    }
}

fn path(cluster: &Cluster, ca: &str, file: &str) -> PathBuf {
    cluster.directory().join(ca).join(file)
}

fn issue(cluster: &Cluster, ca: &str, whose: &[&str]) {
    let dir = cluster.directory().join(ca);
    let dir = dir.to_str().expect("a plain path");
    if !cluster.directory().join(ca).join("ca.key").exists() {
        cluster.must(&["cert", "init", "--dir", dir]);
    }
    cluster.must(&[&["cert", "issue", "--dir", dir], whose].concat());
}

/// Flags of one side.
fn flags(cluster: &Cluster, ca: &str, own: Option<(&str, &str)>) -> Vec<String> {
    let flag = |name: &str, path: PathBuf| [name.to_owned(), path.to_str().expect("a plain path").to_owned()];
    let own = own.map(|(ca, name)| {
        let file = |kind: &str| path(cluster, ca, &format!("{name}.{kind}"));
        [flag("--tls-cert", file("crt")), flag("--tls-key", file("key"))].concat()
    });
    [flag("--tls-ca", path(cluster, ca, "ca.crt")).to_vec(), own.unwrap_or_default()].concat()
}

fn as_words(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

/// A host of the counter with these flags, and where it is.
fn start(cluster: &Cluster, advertise: &str, flags: &[String]) -> (Host, String) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port").port();
    let (listen, at) = (format!("127.0.0.1:{port}"), format!("{advertise}:{port}"));
    let with = [&["--listen", &listen, "--advertise", &at], &as_words(flags)[..]].concat();
    let host = cluster.start_with("counter", 0, &with, |_| {});
    host.wait_until_primary();
    (host, at)
}

/// Sends a request to the host at that address, and says how that failed.
fn refusal(cluster: &Cluster, at: &str, flags: &[String]) -> String {
    let add = ["send", "counter", "add", "[1]", "--at", at, "--timeout", "1"];
    let ran = cluster.run(&[&add[..], &as_words(flags)].concat());
    assert_eq!(ran.code, 1, "{flags:?} printed {}", ran.stdout);
    ran.stderr
}

fn add(cluster: &Cluster, at: &str, flags: &[String]) -> String {
    let add = ["send", "counter", "add", "[1]", "--at", at];
    cluster.must(&[&add[..], &as_words(flags)].concat()).trim_end().to_owned()
}

/// A certificate of the CA that ended long ago.
fn issue_expired(cluster: &Cluster, ca: &str) {
    let key = fs::read_to_string(path(cluster, ca, "ca.key")).expect("it was made");
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = rcgen::DistinguishedName::new();
    issuer.distinguished_name.push(DnType::CommonName, "Ambrosia CA");
    issuer.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let issuer = Issuer::new(issuer, KeyPair::from_pem(&key).expect("a key"));
    let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    let key = KeyPair::generate().expect("a key");
    let signed = params.signed_by(&key, &issuer).expect("a certificate");
    fs::write(path(cluster, ca, "expired.crt"), signed.pem()).expect("it can be written");
    fs::write(path(cluster, ca, "expired.key"), key.serialize_pem()).expect("it can be written");
}

#[test]
fn instances_of_two_hosts_and_their_clients_speak_by_tls() {
    const COUNT: u64 = 5_000;
    let mut cluster = cluster();
    certify(&mut cluster);
    cluster.register("sender", "sender", 1);
    cluster.register("receiver", "receiver", 1);
    let here = serve(&cluster, &["--instance", "sender"]);
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port").port();
    let (listen, named) = (format!("127.0.0.1:{port}"), format!("localhost:{port}"));
    let there = serve(&cluster, &["--instance", "receiver", "--listen", &listen, "--advertise", &named]);
    wait_for_primaries(&here, &["sender"]);
    wait_for_primaries(&there, &["receiver"]);
    assert_eq!(cluster.status("receiver")["primary"]["address"], named.as_str());
    cluster.must(&["send", "sender", "start", &format!("[\"receiver\", {COUNT}, 10, 3000]")]);
    let began = Instant::now();
    let expected = format!("[{COUNT},0]");
    loop {
        let report = cluster.must(&["send", "receiver", "report"]).replace([' ', '\n'], "");
        if report == expected {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{report} in the place of {expected}");
    }
    assert!(!there.said().contains("refused") && !here.said().contains("refused"), "{}", there.said());
}

/// Makes a token, and the flags of a client that has it in a file.
fn with_token(cluster: &Cluster, name: &str, deeds: &[&str]) -> Vec<String> {
    let token = cluster.must(&[&["token", "new", "--name", name], deeds].concat());
    let file = cluster.file(&format!("{name}.token"));
    fs::write(&file, token).expect("it can be written");
    let mut flags = flags(cluster, "ca", None);
    flags.extend(["--token-file".to_owned(), file.to_str().expect("a plain path").to_owned()]);
    flags
}

#[test]
fn a_client_with_a_token_does_what_that_allows_until_it_is_revoked() {
    let cluster = cluster();
    cluster.register("counter", "outside", 1);
    issue(&cluster, "ca", &OF_HOST);
    let (_host, at) = start(&cluster, "localhost", &flags(&cluster, "ca", Some(("ca", "localhost"))));
    let sends = with_token(&cluster, "sends", &["--deed", "send", "--instance", "counter"]);
    let queries = with_token(&cluster, "queries", &["--deed", "query"]);
    let elsewhere = with_token(&cluster, "elsewhere", &["--instance", "other"]);
    let run = |verb: &[&str], flags: &[String]| {
        let ran = cluster.run(&[verb, &["--at", &at, "--timeout", "3"], &as_words(flags)].concat());
        if ran.code == 0 { Ok(ran.stdout.trim_end().to_owned()) } else { Err(ran.stderr) }
    };
    let refused = |verb: &[&str], flags: &[String], words: &str| {
        let said = run(verb, flags).expect_err("it is refused");
        assert!(said.contains(words), "{verb:?} did not say {words:?}: {said}");
    };
    let (send, query) = (["send", "counter", "emit", "[\"a\", 1]"], ["query", "counter", "outcomes", "[]"]);
    assert_eq!(run(&send, &sends).as_deref(), Ok("null"));
    assert_eq!(run(&query, &queries).as_deref(), Ok("[]"));
    refused(&send, &queries, "the token does not allow this: it needs `send`");
    refused(&query, &sends, "the token does not allow this: it needs `query`");
    refused(&send, &elsewhere, "the token is not for instance counter");
    let unknown = cluster.file("unknown.token");
    fs::write(&unknown, "ambrosia_00\n").expect("it can be written");
    let mut stranger = flags(&cluster, "ca", None);
    stranger.extend(["--token-file".to_owned(), unknown.to_str().expect("a plain path").to_owned()]);
    refused(&send, &stranger, "the token is not known here");
    // Whoever listens and says nothing is sent away, too.
    let listens = cluster.command(&[&["events", "counter", "--follow", "--at", &at], &as_words(&queries)[..]].concat());
    let listening = Host::start(listens, |_| {}).expect("it can be started");
    assert_eq!(listening.wait_for_lines(1).len(), 1, "of all that was sent, one was done");
    cluster.must(&["token", "revoke", "--name", "queries"]);
    cluster.must(&["token", "revoke", "--name", "sends"]);
    refused(&send, &sends, "the token is not known here");
    listening.wait_for_word("the token is not known here");
}

#[test]
fn whoever_is_not_believed_is_told_why() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    issue(&cluster, "ca", &OF_HOST);
    issue(&cluster, "ca", &["--client", "laptop"]);
    issue(&cluster, "other", &["--client", "laptop"]);
    issue_expired(&cluster, "ca");
    let (mut host, at) = start(&cluster, "localhost", &flags(&cluster, "ca", Some(("ca", "localhost"))));
    let client = flags(&cluster, "ca", Some(("ca", "laptop")));
    assert_eq!(add(&cluster, &at, &client), "1");
    for (flags, word) in [
        (vec![], "this host takes TLS only"),
        (flags(&cluster, "ca", None), "show a certificate, by --tls-cert and --tls-key, or a token"),
        (flags(&cluster, "ca", Some(("other", "laptop"))), "does not know the CA"),
        (flags(&cluster, "ca", Some(("ca", "expired"))), "says that the certificate of this one has expired"),
        (flags(&cluster, "other", Some(("ca", "laptop"))), "is not signed by the CA of --tls-ca"),
    ] {
        let said = refusal(&cluster, &at, &flags);
        assert!(said.contains(word), "{flags:?} did not say {word:?}: {said}");
    }
    assert_eq!(add(&cluster, &at, &client), "2", "none of the others was heard");
    host.kill();
    // The host is another one than was asked for, or it has no TLS.
    issue(&cluster, "ca", &["--host", "127.0.0.1"]);
    for (own, word) in [
        (Some("127.0.0.1"), "the certificate of the other side is not for localhost, but for "),
        (None, "the other side has no TLS"),
    ] {
        let with = own.map(|own| flags(&cluster, "ca", Some(("ca", own)))).unwrap_or_default();
        let (mut host, at) = start(&cluster, "127.0.0.1", &with);
        let said = refusal(&cluster, &at.replace("127.0.0.1", "localhost"), &client);
        assert!(said.contains(word), "{own:?}: not {word:?}: {said}");
        host.kill();
    }
    assert_eq!(add_by_store(&cluster), "3");
}

/// Of an instance that runs in clear text from here on.
fn add_by_store(cluster: &Cluster) -> String {
    let host = cluster.start("counter", 0);
    host.wait_until_primary();
    cluster.must(&["send", "counter", "add", "[1]"]).trim_end().to_owned()
}

#[test]
fn a_host_whom_nobody_would_believe_does_not_begin() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    issue(&cluster, "ca", &OF_HOST);
    issue(&cluster, "ca", &["--host", "elsewhere.example"]);
    issue(&cluster, "ca", &["--client", "laptop"]);
    issue(&cluster, "other", &OF_HOST);
    issue_expired(&cluster, "ca");
    for (own, words) in [
        (("ca", "expired"), "expired.crt has expired: give it a new one"),
        (("ca", "elsewhere.example"), "is not for localhost, but for elsewhere.example"),
        (("other", "localhost"), "is not signed by the CA of --tls-ca"),
        (("ca", "laptop"), "can't be believed: certificate does not allow extended key usage for server"),
    ] {
        let with = flags(&cluster, "ca", Some(own));
        for verb in [&["run", "--instance", "counter"][..], &["serve"]] {
            let begin =
                [verb, &["--listen", "127.0.0.1:0", "--advertise", "localhost:7400"], &as_words(&with)].concat();
            fails(&cluster, &begin, &["no host or client would believe this host: the certificate in", words]);
        }
    }
    let with = flags(&cluster, "ca", Some(("ca", "localhost")));
    let (_host, at) = start(&cluster, "localhost", &with);
    assert_eq!(add(&cluster, &at, &with), "1");
}

#[test]
fn a_certificate_of_a_client_is_no_host() {
    let mut cluster = cluster();
    certify(&mut cluster);
    cluster.register("receiver", "receiver", 1);
    let there = serve(&cluster, &["--instance", "receiver"]);
    wait_for_primaries(&there, &["receiver"]);
    let address = cluster.status("receiver")["primary"]["address"].as_str().expect("it runs").to_owned();
    let says_that_it_is_a_host = |own: &str| {
        let file = |kind: &str| path(&cluster, "ca", &format!("{own}.{kind}"));
        let own = Some(OwnFiles { certificate: file("crt"), key: file("key") });
        let tls = Tls::of(TlsFiles { ca: path(&cluster, "ca", "ca.crt"), own, token: None }).expect("good files");
        let security = Security::Tls(Arc::new(tls));
        let hello = Control::Hello {
            version: 1,
            from: "sender".to_owned(),
            from_uuid: [7; 16],
            epoch: 1,
            to: "receiver".to_owned(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let socket = security.connect(&address.parse().expect("an address")).await.expect("it listens");
            let (_handle, mut connection) = Connection::new(socket).expect("a socket");
            connection.write_frame(&Frame::Control(hello)).await.expect("it is taken");
            connection.read_frame().await.expect("it answers")
        })
    };
    match says_that_it_is_a_host("laptop") {
        Frame::Control(Control::Refused { elsewhere: false, reason }) => {
            assert!(reason.contains("the certificate is one of a client, and no host's"), "{reason}");
        }
        other => panic!("a client was heard as a host: {other:?}"),
    }
    there.wait_for_word("the certificate is one of a client, and no host's");
    // Whom a host says to be is looked up then.
    match says_that_it_is_a_host("localhost") {
        Frame::Control(Control::Refused { elsewhere: true, reason }) => {
            assert!(reason.contains("the registry does not say that the peer is the instance"), "{reason}");
        }
        other => panic!("an instance that there is not was heard: {other:?}"),
    }
}

#[test]
fn a_certificate_that_is_replaced_is_used_for_new_connections_and_one_that_is_broken_is_not() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    issue(&cluster, "ca", &OF_HOST);
    issue(&cluster, "ca", &["--client", "laptop"]);
    issue(&cluster, "other", &OF_HOST);
    issue(&cluster, "other", &["--client", "laptop"]);
    let old = flags(&cluster, "ca", Some(("ca", "laptop")));
    // What the host reads is what is changed below.
    let used = cluster.directory().join("used");
    fs::create_dir(&used).expect("it is new");
    let copy = |ca: &str, file: &str| {
        fs::copy(path(&cluster, ca, file), used.join(file)).expect("both are there");
    };
    ["ca.crt", "localhost.crt", "localhost.key"].iter().for_each(|file| copy("ca", file));
    let (host, at) = start(&cluster, "localhost", &flags(&cluster, "used", Some(("used", "localhost"))));
    assert_eq!(add(&cluster, &at, &old), "1");
    for broken in ["", "-----BEGIN CERTIFICATE-----\nMIIB", "no certificate"] {
        fs::write(used.join("localhost.crt"), broken).expect("it can be written");
        add(&cluster, &at, &old);
    }
    host.wait_for_word("the files of TLS have changed and can't be used, those from before are");
    // The new certificate is there before its key: they don't go together.
    copy("other", "localhost.crt");
    assert_eq!(add(&cluster, &at, &old), "5");
    host.wait_for_word("can't be used with the key");
    copy("other", "localhost.key");
    copy("other", "ca.crt");
    let new = flags(&cluster, "other", Some(("other", "laptop")));
    assert_eq!(add(&cluster, &at, &new), "6");
    assert!(refusal(&cluster, &at, &old).contains("is not signed by the CA"));
    // One that is good, and would be believed by nobody, is not used either.
    ["localhost.crt", "localhost.key"].iter().for_each(|file| copy("ca", file));
    assert_eq!(add(&cluster, &at, &new), "7");
    host.wait_for_word("localhost.crt is not signed by the CA of --tls-ca");
    let key = fs::read_to_string(path(&cluster, "ca", "localhost.key")).expect("it is there");
    let secret = key.lines().nth(1).expect("base 64 between two lines");
    assert!(!host.said().contains(secret), "{}", host.said());
}

#[test]
fn files_that_are_wrong_are_told_without_what_is_in_them() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    issue(&cluster, "ca", &OF_HOST);
    issue(&cluster, "ca", &["--client", "laptop"]);
    let file = |name: &str| path(&cluster, "ca", name).to_str().expect("a plain path").to_owned();
    let (ca, crt, key) = (file("ca.crt"), file("localhost.crt"), file("localhost.key"));
    let run =
        |more: &[&str], words: &[&str]| fails(&cluster, &[&["run", "--instance", "counter"], more].concat(), words);
    run(&["--tls-ca", &ca], &["give --tls-cert and --tls-key"]);
    run(&["--tls-cert", &crt, "--tls-ca", &ca], &["give --tls-key"]);
    run(&["--tls-cert", &crt, "--tls-key", &key], &["give --tls-ca"]);
    run(&["--tls-cert", &crt, "--tls-key", &file("laptop.key"), "--tls-ca", &ca], &["can't be used with the key"]);
    run(
        &["--tls-cert", &key, "--tls-key", &key, "--tls-ca", &ca],
        &["the certificate can't be read from", "has none in PEM"],
    );
    run(&["--tls-cert", &crt, "--tls-key", &crt, "--tls-ca", &ca], &["the key can't be read from", "has none in PEM"]);
    run(
        &["--tls-cert", &crt, "--tls-key", &file("none"), "--tls-ca", &ca],
        &["the key can't be read from", "No such file"],
    );
    let all = ["--tls-cert", &crt, "--tls-key", &key, "--tls-ca", &ca];
    run(&[&all[..], &["--listen", "0.0.0.0:0"]].concat(), &["says where to listen", "--advertise a.example:7400"]);
    let ran = cluster.run(&["run", "--instance", "counter", "--advertise", "a.example"]);
    assert_eq!((ran.code, ran.stderr.contains("such as a.example:7400")), (2, true), "{}", ran.stderr);
}

#[test]
fn a_ca_is_never_replaced_and_keys_are_of_their_owner_alone() {
    let cluster = cluster();
    issue(&cluster, "ca", &OF_HOST);
    let dir = cluster.directory().join("ca");
    let dir = dir.to_str().expect("a plain path");
    let ca = fs::read(path(&cluster, "ca", "ca.key")).expect("it was made");
    fails(&cluster, &["cert", "init", "--dir", dir], &["a CA is never replaced"]);
    fs::remove_file(path(&cluster, "ca", "ca.crt")).expect("it was made");
    fails(&cluster, &["cert", "init", "--dir", dir], &["a CA is never replaced"]);
    assert_eq!(fs::read(path(&cluster, "ca", "ca.key")).expect("it is there"), ca);
    for key in ["ca.key", "localhost.key"] {
        let mode = fs::metadata(path(&cluster, "ca", key)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let nowhere = cluster.directory().join("nowhere");
    let nowhere = nowhere.to_str().expect("a plain path");
    fails(&cluster, &["cert", "issue", "--dir", nowhere, "--host", "a"], &["make one with `ambrosia-host cert init`"]);
    for wrong in ["a b", "a:7400", "https://a", "../a", ""] {
        fails(&cluster, &["cert", "issue", "--dir", dir, "--host", wrong], &["is no name or IP address"]);
    }
    for whose in ["--host", "--client", "--operator"] {
        let verb = ["cert", "issue", "--dir", dir, whose, "ca", "--renew"];
        fails(&cluster, &verb, &["would be those of the CA itself"]);
    }
    assert_eq!(fs::read(path(&cluster, "ca", "ca.key")).expect("it is there"), ca);
}

/// What an earlier try has left may be for others to read, or lead elsewhere.
#[test]
fn a_key_that_is_renewed_is_written_to_a_file_of_its_own() {
    let cluster = cluster();
    issue(&cluster, "ca", &OF_HOST);
    let (left, elsewhere) = (path(&cluster, "ca", "localhost.key.new"), cluster.directory().join("elsewhere"));
    fs::write(&elsewhere, "of somebody else").expect("there is room");
    std::os::unix::fs::symlink(&elsewhere, left).expect("there is room");
    let dir = cluster.directory().join("ca");
    cluster.must(&[&["cert", "issue", "--dir", dir.to_str().expect("a plain path"), "--renew"], &OF_HOST[..]].concat());
    assert_eq!(fs::read_to_string(&elsewhere).expect("it is there"), "of somebody else");
    let key = fs::symlink_metadata(path(&cluster, "ca", "localhost.key")).expect("it is there");
    assert!(key.is_file() && key.permissions().mode() & 0o777 == 0o600);
}
