//! `verify`: replays the log of an instance, and sees whether it comes to every digest that is written in it.

use std::{io::Write, process::ExitCode};

use ambrosia_core::Lsn;
use ambrosia_host::travel::{TravelError, Traveller, with_stack_for_guests};
use ambrosia_storage::StorePlace;
use serde::Serialize;

use crate::arguments::Verify;

/// What a journey along a log has come to. The JSON is an interface for scripts.
#[derive(Serialize)]
pub(crate) struct Verdict {
    first_lsn: u64,
    last_lsn: u64,
    /// Digests that were compared on all journeys so far.
    digests: usize,
    /// Those that this program does not come to.
    differences: Vec<ShownDifference>,
}

#[derive(Serialize)]
struct ShownDifference {
    lsn: u64,
    difference: String,
}

pub(crate) fn verify(store: &StorePlace, verb: &Verify) -> anyhow::Result<ExitCode> {
    with_stack_for_guests(|| {
        let mut traveller = Traveller::new(&store.open()?, &verb.instance)?;
        let (_, last) = traveller.range();
        let verdict = journey(&mut traveller, last)?;
        let mut out = std::io::stdout();
        if verb.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&verdict)?)?;
        } else {
            verdict.print(&mut out)?;
        }
        Ok(if verdict.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })?
}

/// Goes along the whole log up to there, record by record.
pub(crate) fn journey(traveller: &mut Traveller, to: Lsn) -> Result<Verdict, TravelError> {
    let (first, _) = traveller.range();
    traveller.seek(first)?;
    traveller.go_along(to)?;
    let compared = traveller.compared();
    let differences = compared.iter().filter_map(|(lsn, difference)| {
        Some(ShownDifference { lsn: lsn.0, difference: difference.as_ref()?.to_string() })
    });
    Ok(Verdict { first_lsn: first.0, last_lsn: to.0, digests: compared.len(), differences: differences.collect() })
}

impl Verdict {
    pub(crate) fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let Verdict { first_lsn, last_lsn, digests, differences } = self;
        let records = format!("records {first_lsn} to {last_lsn} were replayed");
        match (digests, differences.first()) {
            (0, _) => writeln!(out, "{records}; no digest is written there, so nothing was compared"),
            (1, None) => writeln!(out, "{records}, and the only digest there agrees"),
            (_, None) => writeln!(out, "{records}, and all {digests} digests there agree"),
            (_, Some(first)) => {
                writeln!(
                    out,
                    "{records}, and {} of {digests} digests differ, from lsn {} on",
                    differences.len(),
                    first.lsn
                )?;
                writeln!(out, "{}", first.difference)
            }
        }
    }
}
