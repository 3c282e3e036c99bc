//! Parameters of a URL that the client of PostgreSQL does not know, or not as they are meant here.

use ambrosia_storage_tls::{TlsParameters, decoded};

/// What a URL says beside what the library reads of it.
#[derive(Default, Debug)]
pub(crate) struct Parameters {
    pub(crate) schema: Option<String>,
    /// As it stands there.
    pub(crate) blobs: Option<String>,
    pub(crate) tls: TlsParameters,
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
        if name == "schema" {
            self.schema = Some(String::from_utf8_lossy(&decoded(value)).into_owned());
            return true;
        }
        if name == "blobs" {
            self.blobs = Some(value.to_owned());
            return true;
        }
        self.tls.take(name, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_taken_out_and_the_others_stay() {
        let url = "postgres://me@h/db?schema=a&blobs=s3://b/a&application_name=x&sslrootcert=%2Fetc%2fca%20of%us.crt&schema=shop&sslcert=";
        let (rest, taken) = Parameters::take(url);
        assert_eq!(rest, "postgres://me@h/db?application_name=x");
        assert_eq!((taken.schema.as_deref(), taken.blobs.as_deref()), (Some("shop"), Some("s3://b/a")));
        let files = taken.tls.files(None).expect("it is whole").expect("they are named");
        assert_eq!((files.roots, files.own), (Some("/etc/ca of%us.crt".into()), None));
        assert_eq!(Parameters::take("postgres://h/db?sslmode=disable").0, "postgres://h/db");
    }
}
