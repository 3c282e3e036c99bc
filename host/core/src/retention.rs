//! For how long results of requests are remembered, so that a request that is repeated is done once.
//!
//! It decides what the replicated state forgets, so it is a value of the configuration, which changes by a record only. Where
//! none is set, or what is set is nothing of the kind, it is what it was before it could be set.

use bytes::Bytes;

use crate::{
    Configuration,
    bytes_reader::BytesReader,
    limits::{
        RESULTS_AGE_NS_MAX, RESULTS_BYTES_MAX, RESULTS_MAX, RETENTION_AGE_S_MAX, RETENTION_BYTES_MAX,
        RETENTION_COUNT_MAX,
    },
};

/// MessagePack: an array of three elements.
const ARRAY_OF_3: u8 = 0x93;
/// MessagePack: a number of 8 bytes follows, the highest first.
const U64: u8 = 0xcf;

/// Results are forgotten, the oldest first, once one of these is exceeded. The latest is always kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// How many are kept.
    pub count: u64,
    /// Bytes of their values together.
    pub bytes: u64,
    /// Age, in seconds by the time of records.
    pub age_s: u64,
}

/// It is more than an instance may remember, or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RetentionError {
    /// Too many results, or none.
    #[error("results of 1 to {RETENTION_COUNT_MAX} requests can be kept, not of {0}")]
    Count(u64),
    /// Too large, or nothing.
    #[error("results of 1 to {RETENTION_BYTES_MAX} bytes together can be kept, not of {0}")]
    Bytes(u64),
    /// For too long, or not at all.
    #[error("results can be kept for 1 to {RETENTION_AGE_S_MAX} seconds, not for {0}")]
    Age(u64),
}

impl Default for Retention {
    fn default() -> Retention {
        let (count, bytes) = (RESULTS_MAX as u64, RESULTS_BYTES_MAX as u64);
        Retention { count, bytes, age_s: RESULTS_AGE_NS_MAX / 1_000_000_000 }
    }
}

impl Retention {
    /// The name of the value in the configuration.
    pub const NAME: &'static str = "ambrosia.request-retention";

    /// What a configuration says of it.
    pub fn of(configuration: &Configuration) -> Retention {
        configuration.values.get(Retention::NAME).and_then(|value| Retention::read(value)).unwrap_or_default()
    }

    /// Whether an instance can do it.
    ///
    /// # Errors
    /// What is too much.
    pub fn check(&self) -> Result<(), RetentionError> {
        let Retention { count, bytes, age_s } = *self;
        let fits = |number: u64, max: u64| (1..=max).contains(&number);
        if !fits(count, RETENTION_COUNT_MAX) {
            return Err(RetentionError::Count(count));
        }
        if !fits(bytes, RETENTION_BYTES_MAX) {
            return Err(RetentionError::Bytes(bytes));
        }
        if fits(age_s, RETENTION_AGE_S_MAX) { Ok(()) } else { Err(RetentionError::Age(age_s)) }
    }

    /// The value for the configuration: a MessagePack array of the three numbers.
    pub fn value(&self) -> Bytes {
        let mut value = vec![ARRAY_OF_3];
        for number in [self.count, self.bytes, self.age_s] {
            value.push(U64);
            value.extend_from_slice(&number.to_be_bytes());
        }
        value.into()
    }

    /// `None` if the value is nothing of the kind.
    fn read(value: &[u8]) -> Option<Retention> {
        let mut rest = BytesReader(value);
        (rest.u8()? == ARRAY_OF_3).then_some(())?;
        let mut number = || {
            (rest.u8()? == U64).then_some(())?;
            rest.array().map(u64::from_be_bytes)
        };
        let retention = Retention { count: number()?, bytes: number()?, age_s: number()? };
        (rest.0.is_empty() && retention.check().is_ok()).then_some(retention)
    }

    /// The age in the unit of the time of records.
    pub(crate) fn age_ns(&self) -> u64 {
        self.age_s.saturating_mul(1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(value: &[u8]) -> Configuration {
        let values = [(Retention::NAME.to_owned(), Bytes::copy_from_slice(value))];
        Configuration { values: values.into(), promise_key: None }
    }

    #[test]
    fn what_is_set_is_what_counts_and_nonsense_is_as_if_nothing_was() {
        let day = Retention { count: 7, bytes: 1 << 30, age_s: 86_400 };
        assert_eq!(Retention::of(&configured(&day.value())), day);
        assert_eq!(Retention::of(&Configuration::default()), Retention::default());
        let value = day.value();
        let longer = [&value[..], &[0]].concat();
        for bad in [&b""[..], b"\xc0", b"\x93\x01\x02\x03", &value[..value.len() - 1], &longer] {
            assert_eq!(Retention::of(&configured(bad)), Retention::default(), "{bad:?}");
        }
        for bad in [
            Retention { count: 0, ..day },
            Retention { bytes: 0, ..day },
            Retention { age_s: 0, ..day },
            Retention { count: RETENTION_COUNT_MAX + 1, ..day },
            Retention { bytes: RETENTION_BYTES_MAX + 1, ..day },
            Retention { age_s: RETENTION_AGE_S_MAX + 1, ..day },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
            assert_eq!(Retention::of(&configured(&bad.value())), Retention::default(), "{bad:?}");
        }
    }
}
