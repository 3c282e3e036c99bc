//! Certificates for servers and clients of a test.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, date_time_ymd,
};

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its key, in PEM.
pub struct Certified {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// When a certificate is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasting {
    /// Now.
    Now,
    /// It was, long ago.
    Past,
    /// It will be, in far future.
    Future,
}

impl Authority {
    /// A new one. All have the same name, so that they differ in what they sign alone.
    ///
    /// # Panics
    /// If there is no randomness.
    #[expect(clippy::new_without_default, reason = "each is another one")]
    pub fn new() -> Authority {
        Authority::signing_with(&PKCS_ECDSA_P256_SHA256)
    }

    /// A new one whose signatures are longer.
    ///
    /// # Panics
    /// If there is no randomness.
    pub fn with_long_signatures() -> Authority {
        Authority::signing_with(&PKCS_ECDSA_P384_SHA384)
    }

    /// One that there is, of this name and with this key, in PEM.
    ///
    /// # Panics
    /// If that is no key.
    pub fn of(name: &str, key: &str) -> Authority {
        let key = KeyPair::from_pem(key).expect("it is the key of an authority");
        Authority::with_key(name, key)
    }

    fn signing_with(algorithm: &'static rcgen::SignatureAlgorithm) -> Authority {
        let key = KeyPair::generate_for(algorithm).expect("there is randomness");
        Authority::with_key("test authority", key)
    }

    fn with_key(name: &str, key: KeyPair) -> Authority {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it can sign").pem();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    /// Its own certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate of a server that has this name or IP address.
    ///
    /// # Panics
    /// If that is none.
    pub fn certify_server(&self, name: &str, lasting: Lasting) -> Certified {
        let mut params = CertificateParams::new([name.to_owned()]).expect("it is a name");
        (params.not_before, params.not_after) = match lasting {
            Lasting::Now => (date_time_ymd(2001, 1, 1), date_time_ymd(2999, 1, 1)),
            Lasting::Past => (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1)),
            Lasting::Future => (date_time_ymd(2998, 1, 1), date_time_ymd(2999, 1, 1)),
        };
        self.certify(params)
    }

    /// A certificate of a client that is this user.
    ///
    /// # Panics
    /// If there is no randomness.
    pub fn certify_client(&self, user: &str) -> Certified {
        self.certify(named(user))
    }

    fn certify(&self, params: CertificateParams) -> Certified {
        let key = KeyPair::generate().expect("there is randomness");
        let certificate = params.signed_by(&key, &self.issuer).expect("it can sign").pem();
        Certified { certificate, key: key.serialize_pem() }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2999, 1, 1));
    params
}
