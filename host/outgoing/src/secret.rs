//! Secrets by name: where their values are, and how they get into a request on its way out.
//!
//! **Architecture Invariant:** a value is read when a request is sent and forgotten with it. It is in no error, no message of
//! the host and no `Debug`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    io::Read as _,
    path::PathBuf,
    str::FromStr,
};

use crate::limits::SECRET_BYTES_MAX;

const OPENING: &str = "{{secret:";
const CLOSING: &str = "}}";
/// The same within a query that was encoded.
const OPENING_ENCODED: &str = "%7B%7Bsecret%3A";
const CLOSING_ENCODED: &str = "%7D%7D";

/// What a secret is called: letters, digits and `_`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SecretName(String);

/// A text is no name of a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no name of a secret: use letters, digits and _")]
pub struct SecretNameError(String);

impl FromStr for SecretName {
    type Err = SecretNameError;

    fn from_str(text: &str) -> Result<SecretName, SecretNameError> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if text.is_empty() || !text.bytes().all(is_known) {
            return Err(SecretNameError(text.to_owned()));
        }
        Ok(SecretName(text.to_owned()))
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Where the value of a secret is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// In this variable of the host's environment.
    Environment(String),
    /// In this file, without the line end at its end. It is read for each attempt, so what changes there counts at once.
    File(PathBuf),
}

/// One secret: `NAME=env:VARIABLE` or `NAME=file:PATH`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// What guests call it.
    pub name: SecretName,
    /// Where it is.
    pub source: SecretSource,
}

/// A text says no secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SecretError {
    /// What is wrong may be the secret itself, and is not shown.
    #[error("a secret is written NAME=env:VARIABLE or NAME=file:PATH; its value is never given itself")]
    Form,
    /// No name.
    #[error(transparent)]
    Name(#[from] SecretNameError),
}

impl FromStr for SecretSource {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<SecretSource, SecretError> {
        match text.split_once(':') {
            Some(("env", variable)) if !variable.is_empty() && !variable.contains(['=', '\0']) => {
                Ok(SecretSource::Environment(variable.to_owned()))
            }
            Some(("file", path)) if !path.is_empty() => Ok(SecretSource::File(path.into())),
            _ => Err(SecretError::Form),
        }
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Secret, SecretError> {
        let (name, source) = text.split_once('=').ok_or(SecretError::Form)?;
        Ok(Secret { name: name.parse()?, source: source.parse()? })
    }
}

/// All secrets of an instance, by their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Secrets(BTreeMap<SecretName, SecretSource>);

impl FromIterator<Secret> for Secrets {
    fn from_iter<I: IntoIterator<Item = Secret>>(secrets: I) -> Secrets {
        Secrets(secrets.into_iter().map(|secret| (secret.name, secret.source)).collect())
    }
}

/// Why a request can't get its secrets.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum FillError {
    /// The grant does not list it.
    #[error("the secret {0} may not go there: no grant that covers the URL lists it (`secrets={0}`)")]
    NotGranted(SecretName),
    /// The host does not have it.
    #[error(
        "the host was not given the secret {0}: give it with `--secret {0}=env:VARIABLE` or `--secret {0}=file:PATH`"
    )]
    Absent(SecretName),
    /// It can't be read now.
    #[error("the secret {name} can't be read: {reason}")]
    Unreadable { name: SecretName, reason: String },
    /// A header can't hold it.
    #[error("the secret {0} holds a line end or another character that no header may have")]
    NotForHeader(SecretName),
}

impl Secrets {
    fn read(&self, name: &SecretName) -> Result<Vec<u8>, FillError> {
        let unreadable = |reason: String| FillError::Unreadable { name: name.clone(), reason };
        let mut value = match self.0.get(name) {
            None => return Err(FillError::Absent(name.clone())),
            Some(SecretSource::Environment(variable)) => std::env::var_os(variable)
                .ok_or_else(|| unreadable(format!("the host has no variable {variable} in its environment")))?
                .into_encoded_bytes(),
            Some(SecretSource::File(path)) => {
                let failed = |error: std::io::Error| unreadable(format!("{}: {error}", path.display()));
                // To open anything else may take for ever.
                if !std::fs::metadata(path).map_err(failed)?.is_file() {
                    return Err(unreadable(format!("{} is no file", path.display())));
                }
                let file = std::fs::File::open(path).map_err(failed)?;
                let mut value = Vec::new();
                file.take(SECRET_BYTES_MAX as u64 + 1).read_to_end(&mut value).map_err(failed)?;
                value
            }
        };
        if value.len() > SECRET_BYTES_MAX {
            return Err(unreadable(format!("it has more than {SECRET_BYTES_MAX} bytes")));
        }
        while let Some(b'\n' | b'\r') = value.last() {
            value.pop();
        }
        if value.is_empty() {
            return Err(unreadable("it is empty".to_owned()));
        }
        Ok(value)
    }
}

/// Puts secrets into the parts of one attempt.
pub(crate) struct Filling<'a> {
    instance: &'a str,
    secrets: &'a Secrets,
    granted: &'a BTreeSet<SecretName>,
    /// What was put in, to be found again in the answer.
    used: BTreeMap<SecretName, Vec<u8>>,
}

/// Where a value is put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The query of a URL: it is encoded for that.
    Query,
    /// The value of a header.
    Header,
    /// The body: it is put in as it is.
    Body,
}

impl<'a> Filling<'a> {
    pub(crate) fn new(instance: &'a str, secrets: &'a Secrets, granted: &'a BTreeSet<SecretName>) -> Self {
        Filling { instance, secrets, granted, used: BTreeMap::new() }
    }

    /// The text with values in place of placeholders; `None` if there are none.
    pub(crate) fn fill(&mut self, text: &[u8], part: Part) -> Result<Option<Vec<u8>>, FillError> {
        let mut filled: Option<Vec<u8>> = None;
        let mut rest = text;
        while let Some((before, name, behind)) = next_placeholder(rest, self.instance, part) {
            let value = self.value(&name)?;
            let filled = filled.get_or_insert_default();
            filled.extend_from_slice(before);
            match part {
                Part::Query => filled.extend_from_slice(percent_encoded(&value).as_bytes()),
                Part::Header if value.iter().any(|byte| *byte < b' ' || *byte == 0x7f) => {
                    return Err(FillError::NotForHeader(name));
                }
                Part::Header | Part::Body => filled.extend_from_slice(&value),
            }
            rest = behind;
        }
        if let Some(filled) = &mut filled {
            filled.extend_from_slice(rest);
        }
        Ok(filled)
    }

    fn value(&mut self, name: &SecretName) -> Result<Vec<u8>, FillError> {
        if !self.granted.contains(name) {
            return Err(FillError::NotGranted(name.clone()));
        }
        if let Some(value) = self.used.get(name) {
            return Ok(value.clone());
        }
        let value = self.secrets.read(name)?;
        self.used.insert(name.clone(), value.clone());
        Ok(value)
    }

    /// What the answer must not bring into the log.
    pub(crate) fn finish(self) -> Sent {
        let placeholders = self.used.into_iter().map(|(name, value)| (value, placeholder(self.instance, &name)));
        Sent(placeholders.filter(|(value, _)| value.len() >= ECHO_BYTES_MIN).collect())
    }
}

/// A shorter secret is not looked for in an answer: what is found would most likely be something else.
const ECHO_BYTES_MIN: usize = 8;

/// The secrets that were sent, to be taken out of the answer: some servers send back what they got, and answers are logged.
#[derive(Default)]
pub(crate) struct Sent(Vec<(Vec<u8>, String)>);

impl Sent {
    /// The bytes with placeholders in place of values; `None` if there are none.
    pub(crate) fn take_out(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut cleaned: Option<Vec<u8>> = None;
        for (value, placeholder) in &self.0 {
            let from = cleaned.as_deref().unwrap_or(bytes);
            if let Some(replaced) = replaced(from, value, placeholder.as_bytes()) {
                cleaned = Some(replaced);
            }
        }
        cleaned
    }
}

fn replaced(bytes: &[u8], what: &[u8], by: &[u8]) -> Option<Vec<u8>> {
    let mut at = position(bytes, what)?;
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), bytes);
    loop {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(by);
        rest = &rest[at + what.len()..];
        match position(rest, what) {
            Some(next) => at = next,
            None => break,
        }
    }
    out.extend_from_slice(rest);
    Some(out)
}

fn position(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    while let Some(found) = bytes[from..].iter().position(|byte| *byte == first) {
        let at = from + found;
        if bytes[at..].starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// The text that a guest has for a secret.
pub(crate) fn placeholder(instance: &str, name: &SecretName) -> String {
    format!("{OPENING}{name}:{:016x}{CLOSING}", tag(instance, &name.0))
}

/// Keeps texts that are alike by accident from being taken for a placeholder. FNV-1a, 64 bits.
fn tag(instance: &str, name: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    instance.bytes().chain(name.bytes()).fold(0xcbf2_9ce4_8422_2325, step)
}

/// What is before the next placeholder, whose it is, and what is behind it.
fn next_placeholder<'t>(text: &'t [u8], instance: &str, part: Part) -> Option<(&'t [u8], SecretName, &'t [u8])> {
    let mut from = 0;
    loop {
        let plain = position(&text[from..], OPENING.as_bytes()).map(|at| (from + at, OPENING, ":", CLOSING));
        let encoded = match part {
            Part::Query => position(&text[from..], OPENING_ENCODED.as_bytes())
                .map(|at| (from + at, OPENING_ENCODED, "%3A", CLOSING_ENCODED)),
            Part::Header | Part::Body => None,
        };
        let (at, opening, colon, closing) = [plain, encoded].into_iter().flatten().min()?;
        let inside = &text[at + opening.len()..];
        if let Some((name, length)) = inside_of(inside, instance, colon, closing) {
            return Some((&text[..at], name, &inside[length..]));
        }
        from = at + opening.len();
    }
}

fn inside_of(inside: &[u8], instance: &str, colon: &str, closing: &str) -> Option<(SecretName, usize)> {
    let name_length = position(inside, colon.as_bytes())?;
    let name: SecretName = std::str::from_utf8(&inside[..name_length]).ok()?.parse().ok()?;
    let expected = format!("{colon}{:016x}{closing}", tag(instance, &name.0));
    inside[name_length..].starts_with(expected.as_bytes()).then_some((name, name_length + expected.len()))
}

/// What begins a placeholder, wherever it may not be.
pub(crate) fn holds_placeholder(text: &str) -> bool {
    text.contains(OPENING) || text.contains(OPENING_ENCODED)
}

fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            write!(text, "%{byte:02X}").expect("a text takes what is written");
        }
    }
    text
}

#[cfg(test)]
mod tests;
