//! Channel binding: by which a server whose password is checked over TLS sees that nobody stands between (RFC 5929, tls-server-end-point).
//!
//! It is a hash of the server's certificate, by the hash of the signature on it.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// What both sides know of a certificate; `None` if none is defined for its signature, such as one by Ed25519.
pub(crate) fn server_end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    Some(match hash_of(certificate)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// Hashes of RSA's signatures (PKCS #1), by the last part of their identifiers. Those that are broken are replaced.
const OF_RSA: (&[u8], [(u8, Hash); 6]) = (
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01",
    [
        (4, Hash::Sha256), // MD5
        (5, Hash::Sha256), // SHA-1
        (11, Hash::Sha256),
        (12, Hash::Sha384),
        (13, Hash::Sha512),
        (14, Hash::Sha224),
    ],
);

/// ECDSA with SHA-1.
const OF_ECDSA_1: (&[u8], [(u8, Hash); 1]) = (b"\x2a\x86\x48\xce\x3d\x04", [(1, Hash::Sha256)]);

const OF_ECDSA: (&[u8], [(u8, Hash); 4]) =
    (b"\x2a\x86\x48\xce\x3d\x04\x03", [(1, Hash::Sha224), (2, Hash::Sha256), (3, Hash::Sha384), (4, Hash::Sha512)]);

/// Hashes by themselves, as RSASSA-PSS names them.
const OF_PSS: (&[u8], [(u8, Hash); 4]) =
    (b"\x60\x86\x48\x01\x65\x03\x04\x02", [(1, Hash::Sha256), (2, Hash::Sha384), (3, Hash::Sha512), (4, Hash::Sha224)]);

const PSS: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a";

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const IDENTIFIER: u8 = 0x06;
const FIRST_OPTION: u8 = 0xa0;

/// The hash of the signature on a certificate: `SEQUENCE { content, SEQUENCE { identifier, parameters }, signature }`.
fn hash_of(certificate: &[u8]) -> Option<Hash> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (_content, rest) = element(certificate, SEQUENCE)?;
    let (algorithm, _signature) = element(rest, SEQUENCE)?;
    let (identifier, parameters) = element(algorithm, IDENTIFIER)?;
    if identifier == PSS {
        return hash_of_pss(parameters);
    }
    among(identifier, OF_RSA.0, &OF_RSA.1)
        .or_else(|| among(identifier, OF_ECDSA.0, &OF_ECDSA.1))
        .or_else(|| among(identifier, OF_ECDSA_1.0, &OF_ECDSA_1.1))
}

/// `SEQUENCE { [0] SEQUENCE { identifier } }`; where nothing is said it is SHA-1.
fn hash_of_pss(parameters: &[u8]) -> Option<Hash> {
    let (parameters, _) = element(parameters, SEQUENCE)?;
    let Some((option, _)) = element(parameters, FIRST_OPTION) else { return Some(Hash::Sha256) };
    let (algorithm, _) = element(option, SEQUENCE)?;
    let (identifier, _) = element(algorithm, IDENTIFIER)?;
    among(identifier, OF_PSS.0, &OF_PSS.1)
}

fn among(identifier: &[u8], prefix: &[u8], hashes: &[(u8, Hash)]) -> Option<Hash> {
    let [last] = identifier.strip_prefix(prefix)? else { return None };
    hashes.iter().find(|(number, _)| number == last).map(|(_, hash)| *hash)
}

/// The content of the element of DER that the bytes begin with, if it has that tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first().filter(|_| *found == tag)?;
    let (length, rest) = match first {
        short if *short < 0x80 => (usize::from(*short), rest),
        // As many bytes of the length follow. A certificate has no more than 16 MiB.
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    #[test]
    fn a_certificate_is_hashed_as_its_signature_is() {
        let by = |algorithm| {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let params = CertificateParams::new(["db.example".to_owned()]).expect("a name");
            params.self_signed(&key).expect("a certificate").der().clone()
        };
        let small = by(&PKCS_ECDSA_P256_SHA256);
        assert_eq!(server_end_point(&small), Some(Sha256::digest(&small).to_vec()));
        let large = by(&PKCS_ECDSA_P384_SHA384);
        assert_eq!(server_end_point(&large), Some(Sha384::digest(&large).to_vec()));
        assert_eq!(server_end_point(&by(&PKCS_ED25519)), None);
        for end in 0..small.len() - 80 {
            assert_eq!(hash_of(&small[..end]), None, "it is cut at {end}");
        }
    }

    #[test]
    fn hashes_of_rsa_are_those_of_their_identifiers() {
        /// An element of DER that is short.
        fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
            let content = parts.concat();
            [&[tag, u8::try_from(content.len()).expect("it is short")], &content[..]].concat()
        }
        let signed = |algorithm: &[u8]| {
            let certificate =
                der(SEQUENCE, &[&der(SEQUENCE, &[b"content"]), &der(SEQUENCE, &[algorithm]), b"\x03\x00"]);
            hash_of(&certificate)
        };
        let rsa = |last: u8| signed(&der(IDENTIFIER, &[OF_RSA.0, &[last]]));
        assert_eq!(rsa(5), Some(Hash::Sha256), "SHA-1 is replaced");
        assert_eq!((rsa(11), rsa(12), rsa(13)), (Some(Hash::Sha256), Some(Hash::Sha384), Some(Hash::Sha512)));
        assert_eq!(rsa(99), None);
        let pss = |parameters: &[u8]| signed(&[der(IDENTIFIER, &[PSS]), der(SEQUENCE, &[parameters])].concat());
        assert_eq!(pss(b""), Some(Hash::Sha256));
        let sha512 = der(FIRST_OPTION, &[&der(SEQUENCE, &[&der(IDENTIFIER, &[OF_PSS.0, &[3]])])]);
        assert_eq!(pss(&sha512), Some(Hash::Sha512));
    }
}
