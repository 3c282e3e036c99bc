//! `query`: what changes nothing, asked of the primary or of any replica.

use std::{io::Write, process::ExitCode};

use ambrosia_core::{Lsn, ReplicaIndex};
use ambrosia_host::{MethodKind, Security, show_value, without_controls};
use ambrosia_storage::StorePlace;
use anyhow::bail;

use crate::{arguments::Query, calling::Calling};

pub(crate) fn query(store: StorePlace, verb: &Query, security: Security) -> anyhow::Result<ExitCode> {
    let mut calling = Calling::begin(store, &verb.what, &verb.at, verb.timeout, security)?;
    let (name, kind) = (&calling.method.name, calling.method.kind);
    if kind != MethodKind::Query {
        let kind = kind.word();
        bail!(
            "method {name} is of kind {kind}, and may change something, so it is no query: `ambrosia-host send` runs it"
        );
    }
    calling.query(verb.replica.map(ReplicaIndex), Lsn(verb.at_least))
}

impl Calling {
    /// Asks, and prints what comes back.
    pub(crate) fn query(&mut self, replica: Option<ReplicaIndex>, at_least: Lsn) -> anyhow::Result<ExitCode> {
        let left = self.left();
        let asked = self.client.query(&self.name, &self.arguments, at_least, replica, left);
        let queried = self.runtime.block_on(asked)?;
        writeln!(std::io::stdout(), "{}", without_controls(&show_value(&self.method, &queried.value).to_string()))?;
        Ok(ExitCode::SUCCESS)
    }
}
