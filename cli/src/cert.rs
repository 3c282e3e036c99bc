//! `cert`: a CA of one's own, and the certificates that it signs.
//!
//! **Architecture Invariant:** a key is in a file that its owner alone can read, from its first byte on, and nowhere else.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use ambrosia_core::HostAddress;
use ambrosia_host::{Clock, OPERATOR_NAME, SystemClock};
use anyhow::{Context, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::arguments::{CertVerb, InitCa, IssueCertificate};

/// What the CA is called. That is all that a certificate says of who signed it, beside its key, so it is the same for every one.
const CA_NAME: &str = "Ambrosia CA";

/// Clocks of other machines may be behind by so much.
const BEHIND: Duration = Duration::from_secs(3600);

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn cert(verb: &CertVerb) -> anyhow::Result<ExitCode> {
    match verb {
        CertVerb::Init(verb) => init(verb),
        CertVerb::Issue(verb) => issue(verb),
    }
}

fn init(verb: &InitCa) -> anyhow::Result<ExitCode> {
    let (certificate, key) = (verb.dir.join("ca.crt"), verb.dir.join("ca.key"));
    for path in [&certificate, &key] {
        if path.try_exists().with_context(|| format!("can't look for {}", path.display()))? {
            bail!(
                "{} is there: a CA is never replaced, for all certificates that it signed would be worth nothing. Issue one with \
                 `ambrosia-host cert issue`, or make another CA with --dir",
                path.display()
            );
        }
    }
    let made = KeyPair::generate().context("no key can be made")?;
    let signed = of_ca(verb.days)?.self_signed(&made).context("no certificate can be made")?;
    fs::create_dir_all(&verb.dir).with_context(|| format!("can't make the directory {}", verb.dir.display()))?;
    create(&key, &made.serialize_pem(), 0o600)?;
    create(&certificate, &signed.pem(), 0o644)?;
    let dir = of_dir(&verb.dir);
    writeln!(
        io::stdout(),
        "made {} and {}\n\nKeep the key on this machine. Now issue a certificate for each host, by the name or IP address that others reach it \
         by, for each client, and for whoever operates them from elsewhere:\n  ambrosia-host cert issue{dir} --host a.example\n  ambrosia-host cert \
         issue{dir} --client laptop\n  ambrosia-host cert issue{dir} --operator anna",
        certificate.display(),
        key.display()
    )?;
    Ok(ExitCode::SUCCESS)
}

fn issue(verb: &IssueCertificate) -> anyhow::Result<ExitCode> {
    let (name, params) = match (&verb.client, &verb.operator) {
        (Some(client), _) => (client.as_str(), of_client("--client", client, verb.days)?),
        (None, Some(operator)) => (operator.as_str(), of_operator(operator, verb.days)?),
        (None, None) => (verb.host[0].as_str(), of_host(&verb.host, verb.days)?),
    };
    // Also in another directory: what is copied from there lies beside the `ca.crt` of the CA.
    if name.eq_ignore_ascii_case("ca") {
        bail!("the files of {name} would be those of the CA itself: give it another name");
    }
    let (ca, ca_key) = (verb.dir.join("ca.crt"), verb.dir.join("ca.key"));
    let hint = || format!("there is no CA in {}: make one with `ambrosia-host cert init`", verb.dir.display());
    let pem = fs::read_to_string(&ca_key).with_context(|| format!("can't read {}: {}", ca_key.display(), hint()))?;
    let ca_key = KeyPair::from_pem(&pem).map_err(|_| anyhow::anyhow!("{} holds no key in PEM", ca_key.display()))?;
    let theirs = fs::read(&ca).with_context(|| format!("can't read {}: {}", ca.display(), hint()))?;
    let issuer = Issuer::new(of_ca(1)?, ca_key);
    let key = KeyPair::generate().context("no key can be made")?;
    let signed = params.signed_by(&key, &issuer).context("no certificate can be made")?;
    let out = verb.out.as_ref().unwrap_or(&verb.dir);
    fs::create_dir_all(out).with_context(|| format!("can't make the directory {}", out.display()))?;
    let (certificate_path, key_path) = (out.join(format!("{name}.crt")), out.join(format!("{name}.key")));
    check_signed(&theirs, &signed.pem(), &ca)?;
    let write = if verb.renew { replace } else { create };
    write(&key_path, &key.serialize_pem(), 0o600)?;
    write(&certificate_path, &signed.pem(), 0o644)?;
    let (certificate, key, ca) = (certificate_path.display(), key_path.display(), ca.display());
    let next = match (&verb.client, &verb.operator) {
        (Some(_), _) => format!(
            "  ambrosia-host send --at a.example:7400 --tls-cert {certificate} --tls-key {key} --tls-ca {ca} NAME METHOD"
        ),
        (None, Some(_)) => format!(
            "  ambrosia-host status --store ambrosia://a.example:7400 --tls-cert {certificate} --tls-key {key} --tls-ca {ca}"
        ),
        (None, None) => format!(
            "  ambrosia-host serve --listen 0.0.0.0:7400 --advertise {}:7400 --tls-cert {certificate} --tls-key {key} --tls-ca {ca}",
            if name.contains(':') { format!("[{name}]") } else { name.to_owned() }
        ),
    };
    writeln!(
        io::stdout(),
        "made {certificate} and {key}, good for {} days\n\nCopy these two and {ca} to the machine of {name}, and nothing else, then run there, with \
         the paths that they have there:\n{next}",
        verb.days
    )?;
    Ok(ExitCode::SUCCESS)
}

fn of_ca(days: u32) -> anyhow::Result<CertificateParams> {
    let mut params = lasting(days)?;
    params.distinguished_name.push(DnType::CommonName, CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn of_host(names: &[String], days: u32) -> anyhow::Result<CertificateParams> {
    let mut params = lasting(days)?;
    params.distinguished_name.push(DnType::CommonName, names[0].as_str());
    params.subject_alt_names = names.iter().map(|name| alternative(name)).collect::<anyhow::Result<_>>()?;
    // Each host is a client of others.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// That of a client, which says that it is an operator's.
fn of_operator(name: &str, days: u32) -> anyhow::Result<CertificateParams> {
    let mut params = of_client("--operator", name, days)?;
    params.subject_alt_names.push(alternative(OPERATOR_NAME)?);
    Ok(params)
}

fn of_client(flag: &str, name: &str, days: u32) -> anyhow::Result<CertificateParams> {
    let mut params = lasting(days)?;
    let SanType::DnsName(alternative) = alternative(name)? else { bail!("{flag} {name}: who uses hosts has a name") };
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(alternative)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn alternative(name: &str) -> anyhow::Result<SanType> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    let wrong = || format!("{name:?} is no name or IP address: write it without a port, such as a.example");
    HostAddress::named(name, 1).ok().with_context(wrong)?;
    Ok(SanType::DnsName(name.to_ascii_lowercase().try_into().with_context(wrong)?))
}

/// From now on.
fn lasting(days: u32) -> anyhow::Result<CertificateParams> {
    let now = Duration::from_nanos(SystemClock::check()?.now().0);
    let epoch = date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = epoch + now.saturating_sub(BEHIND);
    params.not_after = epoch + now + DAY * days;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Sees that who has the certificate of the CA believes what was signed: the two files of the CA go together.
fn check_signed(ca: &[u8], signed: &str, path: &Path) -> anyhow::Result<()> {
    ambrosia_host::check_signed(ca, signed.as_bytes())
        .map_err(|error| anyhow::anyhow!("{} does not go with the key beside it: {error}", path.display()))
}

fn create(path: &PathBuf, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(mode).open(path);
    match opened {
        Ok(file) => written(file, text).with_context(|| format!("can't write {}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            bail!(
                "{} is there, and is not replaced: add --renew for a new one in its place, or give --out",
                path.display()
            )
        }
        Err(error) => Err(error).with_context(|| format!("can't make {}", path.display())),
    }
}

/// Nobody sees half of it.
fn replace(path: &PathBuf, text: &str, mode: u32) -> anyhow::Result<()> {
    let fresh = path.with_added_extension("new");
    // One that was left lying may be a link, or for others to read.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("can't remove {}", fresh.display()));
        }
        _ => {}
    }
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh);
    let replaced = opened.and_then(|file| written(file, text)).and_then(|()| fs::rename(&fresh, path));
    replaced.with_context(|| format!("can't write {}", path.display()))
}

fn written(mut file: File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The flag that names a directory which is not the usual one.
fn of_dir(dir: &Path) -> String {
    if dir == Path::new("ambrosia-ca") { String::new() } else { format!(" --dir {}", dir.display()) }
}
