//! The code of an instance, as upgrades have left it.

use crate::{
    Genesis, Limits, Lsn, Skip, Upgrade,
    digest::Digested,
    part::{Beside, Broken, Part, StateReader, holds},
    shared_state::SharedState,
};

/// The code of an instance, and what it has told of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Code {
    /// SHA-256 of the module that handles the next delivery.
    pub(crate) module: [u8; 32],
    /// What the guest may use.
    pub(crate) limits: Limits,
    /// The wish that the last upgrade or skip fulfilled; 0 if there was none.
    pub(crate) attempt: u64,
    /// The record of it; 0 if there was none.
    pub(crate) since: Lsn,
    /// How many handlers wait; `None` if the guest has never told.
    pub(crate) waiting: Option<u64>,
}

impl Code {
    /// That of an instance at the beginning of its life.
    pub(crate) fn of(genesis: &Genesis) -> Code {
        Code { module: genesis.module, limits: genesis.limits, attempt: 0, since: Lsn(0), waiting: None }
    }

    /// The guest runs other code from that record on.
    pub(crate) fn upgrade(&mut self, upgrade: &Upgrade, lsn: Lsn) {
        assert_eq!(self.module, upgrade.from, "an upgrade is from the module that runs");
        // The handlers of the same module go on as they are.
        let waiting = self.waiting.filter(|_| upgrade.to == upgrade.from);
        assert!(self.since < lsn, "each upgrade has a record of its own");
        *self = Code { module: upgrade.to, limits: upgrade.limits, attempt: upgrade.attempt, since: lsn, waiting };
    }

    /// The guest goes on as it is without messages that were skipped: that wish was fulfilled by that record.
    pub(crate) fn skip(&mut self, skip: &Skip, lsn: Lsn) {
        assert!(self.since < lsn, "each wish has a record of its own");
        (self.attempt, self.since) = (skip.attempt, lsn);
    }
}

impl Part for Code {
    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {
        let Code { module, limits: Limits { fuel, memory_bytes }, attempt, since, waiting } = self;
        out.put(module);
        for number in [*fuel, *memory_bytes, *attempt, since.0] {
            out.put_u64(number);
        }
        out.put_u8(u8::from(waiting.is_some()));
        out.put_u64(waiting.unwrap_or_default());
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Code> {
        let module = reader.rest.array()?;
        let limits = Limits { fuel: reader.u64()?, memory_bytes: reader.u64()? };
        let (attempt, since) = (reader.u64()?, Lsn(reader.u64()?));
        let has_told = reader.boolean()?;
        let waiting = reader.u64()?;
        (has_told || waiting == 0).then_some(())?;
        Some(Code { module, limits, attempt, since, waiting: has_told.then_some(waiting) })
    }

    /// Of an instance that was never upgraded nothing is added, so that the digests in logs from before there were upgrades
    /// still hold.
    fn digest(&self, beside: Beside<'_>, digested: &mut Digested) {
        if *self == Code::of(beside.genesis) {
            return;
        }
        let Code { module, limits: Limits { fuel, memory_bytes }, attempt, since, waiting } = self;
        digested.bytes(module);
        for number in [*fuel, *memory_bytes, *attempt, since.0] {
            digested.number(number);
        }
        digested.number(u64::from(waiting.is_some()));
        digested.number(waiting.unwrap_or_default());
    }

    fn validate(&self, beside: Beside<'_>) -> Result<(), Broken> {
        let Code { module, limits, attempt, since, waiting: _ } = self;
        let is_first = *module == beside.genesis.module && *limits == beside.genesis.limits;
        holds!(*attempt > 0 || is_first, "only an upgrade changes the code");
        holds!((*attempt > 0) == (*since > Lsn(0)), "an upgrade has a record");
        holds!(*since <= beside.position.lsn, "the record of the upgrade was applied");
        Ok(())
    }
}
