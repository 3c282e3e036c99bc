//! Another module, or other limits, for an instance that runs.

use crate::{Fault, Limits, Record, RecordError, RecordKind, bytes_reader::BytesReader};

/// Body of an upgrade record: from here on the instance runs another module, or has other limits.
///
/// It is written only once the primary has done it, so every other replica can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Upgrade {
    /// The wish that it fulfils: higher than those before it.
    pub attempt: u64,
    /// SHA-256 of the module before it.
    pub from: [u8; 32],
    /// SHA-256 of the module behind it. The same module keeps its memory, and may have other limits.
    pub to: [u8; 32],
    /// What the guest may use behind it.
    pub limits: Limits,
    /// Fuel that the old code has to hand over its state, and the new code to take it, each.
    pub handover_fuel: u64,
    /// Whether handlers that wait and can't go on end with an error.
    pub end_waiting: bool,
}

impl Upgrade {
    /// The upgrade that the record is of; `None` if it is of another kind.
    ///
    /// # Errors
    /// If the body can't be one.
    pub fn of(record: &Record) -> Result<Option<Upgrade>, RecordError> {
        (record.header().kind == RecordKind::Upgrade).then(|| Upgrade::decode(record.body())).transpose()
    }

    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Upgrade { attempt, from, to, limits: Limits { fuel, memory_bytes }, handover_fuel, end_waiting } = self;
        out.extend_from_slice(&attempt.to_le_bytes());
        out.extend_from_slice(from);
        out.extend_from_slice(to);
        for number in [fuel, memory_bytes, handover_fuel] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.push(u8::from(*end_waiting));
    }

    /// Decodes the body of an upgrade record.
    pub fn decode(body: &[u8]) -> Result<Upgrade, RecordError> {
        let mut fields = BytesReader(body);
        let mut read = || {
            let (attempt, from, to) = (fields.u64()?, fields.array()?, fields.array()?);
            let limits = Limits { fuel: fields.u64()?, memory_bytes: fields.u64()? };
            let handover_fuel = fields.u64()?;
            let end_waiting = match fields.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            };
            fields.0.is_empty().then_some(Upgrade { attempt, from, to, limits, handover_fuel, end_waiting })
        };
        read().ok_or(RecordError::Shape)
    }
}

/// Why a guest was not handed over to another module.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandoverError {
    /// The old code or the new one refuses, or fails at it. The guest is what it was.
    #[error("{0}")]
    Refused(Fault),
    /// Handlers wait that can't go on in the new code: it may be tried again when they don't. The guest is what it was.
    #[error("{0}")]
    Waits(String),
    /// The guest failed at it and can't be put back. It is not to be called again.
    #[error("{0}")]
    Lost(Fault),
}

impl HandoverError {
    /// Why, as a fault.
    pub fn into_fault(self) -> Fault {
        match self {
            HandoverError::Refused(fault) | HandoverError::Lost(fault) => fault,
            HandoverError::Waits(report) => Fault::because(report),
        }
    }
}
