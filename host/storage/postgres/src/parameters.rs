//! Parameters of a URL that the client of PostgreSQL does not know, or not as they are meant here.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

/// What a URL says beside what the library reads of it.
#[derive(Default, Debug)]
pub(crate) struct Parameters {
    pub(crate) schema: Option<String>,
    pub(crate) sslmode: Option<String>,
    pub(crate) sslrootcert: Option<PathBuf>,
    pub(crate) sslcert: Option<PathBuf>,
    pub(crate) sslkey: Option<PathBuf>,
}

impl Parameters {
    /// Takes them out of a URL. Of those that stand there twice, the last one counts.
    pub(crate) fn take(url: &str) -> (String, Parameters) {
        let mut taken = Parameters::default();
        let Some((before, parameters)) = url.split_once('?') else { return (url.to_owned(), taken) };
        let theirs: Vec<_> = parameters.split('&').filter(|one| !taken.has_taken(one)).collect();
        let url = if theirs.is_empty() { before.to_owned() } else { format!("{before}?{}", theirs.join("&")) };
        (url, taken)
    }

    fn has_taken(&mut self, parameter: &str) -> bool {
        let Some((name, value)) = parameter.split_once('=') else { return false };
        let text = || String::from_utf8_lossy(&decoded(value)).into_owned();
        // Empty ones are as none, as they are for libpq.
        let path = || Some(decoded(value)).filter(|path| !path.is_empty()).map(|path| OsString::from_vec(path).into());
        match name {
            "schema" => self.schema = Some(text()),
            "sslmode" => self.sslmode = Some(text()).filter(|mode| !mode.is_empty()),
            "sslrootcert" => self.sslrootcert = path(),
            "sslcert" => self.sslcert = path(),
            "sslkey" => self.sslkey = path(),
            _ => return false,
        }
        true
    }
}

/// Of `%2F` and the like the bytes that they stand for; what is none stays as it is.
fn decoded(text: &str) -> Vec<u8> {
    let (mut rest, mut bytes) = (text.as_bytes(), Vec::new());
    while let Some((first, others)) = rest.split_first() {
        let escaped = others.first_chunk().and_then(|digits| byte_of(*digits)).filter(|_| *first == b'%');
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &others[2..] } else { others };
    }
    bytes
}

fn byte_of(digits: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_taken_out_and_the_others_stay() {
        let url =
            "postgres://me@h/db?schema=a&application_name=x&sslrootcert=%2Fetc%2fca%20of%us.crt&schema=shop&sslcert=";
        let (rest, taken) = Parameters::take(url);
        assert_eq!(rest, "postgres://me@h/db?application_name=x");
        assert_eq!(taken.schema.as_deref(), Some("shop"));
        assert_eq!(taken.sslrootcert, Some("/etc/ca of%us.crt".into()));
        assert_eq!((taken.sslmode, taken.sslcert, taken.sslkey), (None, None, None));
        assert_eq!(Parameters::take("postgres://h/db?sslmode=disable").0, "postgres://h/db");
    }
}
