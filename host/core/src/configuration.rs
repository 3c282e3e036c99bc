//! What the operator has set for the guest: values by name, and the key of its promises.
//!
//! It is part of the world that a guest sees, so it changes by a record only.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    RecordError,
    bytes_reader::BytesReader,
    digest::Digested,
    limits::{CONFIGURATION_BYTES_MAX, CONFIGURATION_MAX, CONFIGURATION_NAME_BYTES_MAX},
    part::{Beside, Broken, Part, StateReader, holds, rises},
    promises::PROMISE_KEY_BYTES,
    shared_state::SharedState,
};

/// What the operator has set, as of the last record that says so.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Configuration {
    /// One MessagePack value for each name.
    pub values: BTreeMap<String, Bytes>,
    /// By which the tokens of promises are made; random, and not of the guest's generator, whose values may be seen. It
    /// never changes once there is one.
    pub promise_key: Option<[u8; PROMISE_KEY_BYTES]>,
}

/// The key is kept out of messages.
impl std::fmt::Debug for Configuration {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Configuration { values, promise_key } = self;
        let (names, has_key) = (values.keys().collect::<Vec<_>>(), promise_key.is_some());
        out.debug_struct("Configuration").field("names", &names).field("has_promise_key", &has_key).finish()
    }
}

/// Why values can't be those of an instance.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// One has no name, or a long one.
    #[error("the name {0:?} has {length} bytes; between 1 and {CONFIGURATION_NAME_BYTES_MAX} are allowed", length = .0.len())]
    Name(String),
    /// They are many.
    #[error("there are {0} values; {CONFIGURATION_MAX} are allowed")]
    Count(usize),
    /// They are large.
    #[error("the values have {0} bytes together with their names; {CONFIGURATION_BYTES_MAX} are allowed")]
    Bytes(usize),
}

impl Configuration {
    /// Whether the limits are kept.
    ///
    /// # Errors
    /// Which one is not.
    pub fn check(&self) -> Result<(), ConfigurationError> {
        let fits = |name: &String| (1..=CONFIGURATION_NAME_BYTES_MAX).contains(&name.len());
        if let Some(name) = self.values.keys().find(|name| !fits(name)) {
            return Err(ConfigurationError::Name(name.clone()));
        }
        if self.values.len() > CONFIGURATION_MAX {
            return Err(ConfigurationError::Count(self.values.len()));
        }
        let bytes: usize = self.values.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > CONFIGURATION_BYTES_MAX {
            return Err(ConfigurationError::Bytes(bytes));
        }
        Ok(())
    }

    /// Appends the body of a configuration record to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut written = SharedState::default();
        self.write(&mut written);
        out.extend_from_slice(&written.to_vec());
    }

    /// Decodes the body of a configuration record.
    ///
    /// # Errors
    /// If it is none.
    pub fn decode(body: &[u8]) -> Result<Configuration, RecordError> {
        let mut rest = BytesReader(body);
        let read = Configuration::read(&mut rest).filter(|_| rest.0.is_empty());
        read.filter(|configuration| configuration.check().is_ok()).ok_or(RecordError::Shape)
    }

    fn write(&self, out: &mut SharedState) {
        let Configuration { values, promise_key } = self;
        out.put_u8(u8::from(promise_key.is_some()));
        out.put(&promise_key.unwrap_or_default());
        out.put_count(values.len());
        for (name, value) in values {
            out.put_count(name.len());
            out.put(name.as_bytes());
            out.put_count(value.len());
            out.put(value);
        }
    }

    fn read(rest: &mut BytesReader<'_>) -> Option<Configuration> {
        let has_key = rest.u8()?;
        let key: [u8; PROMISE_KEY_BYTES] = rest.array()?;
        (has_key == 1 || (has_key == 0 && key == [0; PROMISE_KEY_BYTES])).then_some(())?;
        let (mut values, mut before) = (BTreeMap::new(), None);
        for _ in 0..rest.u32()? {
            let name_bytes = rest.u32()? as usize;
            let name = std::str::from_utf8(rest.take(name_bytes)?).ok()?;
            rises(&mut before, name)?;
            let value_bytes = rest.u32()? as usize;
            values.insert(name.to_owned(), Bytes::copy_from_slice(rest.take(value_bytes)?));
        }
        Some(Configuration { values, promise_key: (has_key == 1).then_some(key) })
    }
}

impl Part for Configuration {
    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {
        self.write(out);
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Configuration> {
        Configuration::read(&mut reader.rest)
    }

    /// Of an instance that has none nothing is added, so that the digests in logs from before there was any still hold.
    fn digest(&self, _: Beside<'_>, digested: &mut Digested) {
        if *self == Configuration::default() {
            return;
        }
        let Configuration { values, promise_key } = self;
        digested.bytes(b"configuration");
        digested.bytes(&promise_key.unwrap_or_default());
        for (name, value) in values {
            digested.bytes(name.as_bytes());
            digested.bytes(value);
        }
    }

    fn validate(&self, _: Beside<'_>) -> Result<(), Broken> {
        holds!(self.check().is_ok(), "the configuration keeps to its limits");
        Ok(())
    }
}
