//! Where the arguments of a request come from: the command line, which the kernel bounds to 128 KiB, a file, or stdin.

use std::{fs::File, io::Read, path::PathBuf, str::FromStr};

use ambrosia_core::limits::ARGUMENTS_BYTES_MAX;
use anyhow::{Context, bail};

/// JSON is read up to this size. The longest spelling of one byte of a text is six bytes, `\u0041`; what a number takes
/// more than its encoding has room beside that.
const JSON_BYTES_MAX: u64 = 8 * ARGUMENTS_BYTES_MAX as u64;

/// Where to find the JSON array.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ArgumentSource {
    /// Itself.
    Given(String),
    /// `@FILE`; no JSON begins like that.
    File(PathBuf),
    /// `-`, which is no JSON either.
    Stdin,
}

impl Default for ArgumentSource {
    /// No arguments.
    fn default() -> ArgumentSource {
        ArgumentSource::Given("[]".to_owned())
    }
}

impl FromStr for ArgumentSource {
    type Err = String;

    fn from_str(text: &str) -> Result<ArgumentSource, String> {
        match (text, text.strip_prefix('@')) {
            ("-", _) => Ok(ArgumentSource::Stdin),
            (_, Some("")) => Err("'@' is followed by the name of a file".to_owned()),
            (_, Some(file)) => Ok(ArgumentSource::File(file.into())),
            _ => Ok(ArgumentSource::Given(text.to_owned())),
        }
    }
}

impl ArgumentSource {
    /// What follows the name of the option in a message.
    pub(crate) fn place(&self) -> String {
        match self {
            ArgumentSource::Given(_) => String::new(),
            ArgumentSource::File(file) => format!(" @{}", file.display()),
            ArgumentSource::Stdin => " - (stdin)".to_owned(),
        }
    }

    /// The JSON.
    pub(crate) fn read(&self) -> anyhow::Result<String> {
        match self {
            ArgumentSource::Given(json) => Ok(json.clone()),
            ArgumentSource::File(file) => read(File::open(file).context("can't open the file")?, JSON_BYTES_MAX),
            ArgumentSource::Stdin => read(std::io::stdin().lock(), JSON_BYTES_MAX),
        }
    }
}

fn read(from: impl Read, bytes_max: u64) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    from.take(bytes_max + 1).read_to_end(&mut bytes).context("can't read")?;
    if bytes.len() as u64 > bytes_max {
        bail!("more than {bytes_max} bytes of JSON, so its arguments exceed the limit of {ARGUMENTS_BYTES_MAX} bytes");
    }
    String::from_utf8(bytes).context("JSON is UTF-8, and this is not")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_from_json() {
        let parse = |text| ArgumentSource::from_str(text).expect(text);
        assert_eq!(parse("[1]"), ArgumentSource::Given("[1]".to_owned()));
        assert_eq!(parse("-"), ArgumentSource::Stdin);
        assert_eq!(parse("@a b.json"), ArgumentSource::File("a b.json".into()));
        assert_eq!(parse("-1"), ArgumentSource::Given("-1".to_owned()));
        ArgumentSource::from_str("@").expect_err("no name");
    }

    #[test]
    fn what_is_read_is_bounded_and_utf_8() {
        assert_eq!(read(&b"[12]"[..], 4).expect("just short enough"), "[12]");
        assert!(read(&b"[123]"[..], 4).expect_err("too long").to_string().contains("more than 4 bytes"));
        assert!(read(&b"[\"\xff\"]"[..], 9).expect_err("not UTF-8").to_string().contains("UTF-8"));
    }
}
