//! What a bank says of itself, and what both must say together.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::world::INSTANCES;
use crate::integer;

/// The values of a bank by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Report(BTreeMap<String, i64>);

impl Report {
    pub(crate) fn read(value: &Value) -> anyhow::Result<Report> {
        let fields = value.as_object().with_context(|| format!("a report has names, and this is {value}"))?;
        let number = |(name, value): (&String, &Value)| -> anyhow::Result<(String, i64)> {
            Ok((name.clone(), integer(value).with_context(|| format!("{name} of a report is {value}"))?))
        };
        Ok(Report(fields.iter().map(number).collect::<anyhow::Result<_>>()?))
    }

    pub(crate) fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// How many requests of a client it has begun.
    pub(crate) fn requests_of(&self, client: u64) -> u64 {
        self.get(&format!("requests of {client}")) as u64
    }

    /// All that depends on what it was asked alone.
    pub(crate) fn state(&self) -> Report {
        let mut state = self.0.clone();
        state.remove("reigns");
        state.remove("ticks");
        Report(state)
    }
}

/// Whether nothing is under way between the banks.
pub(crate) fn at_rest(reports: &[Report; 2]) -> bool {
    let arrived = |from: usize| reports[from].get("posted") == reports[1 - from].get("received");
    reports.iter().all(|report| report.get("under way") == 0) && arrived(0) && arrived(1)
}

/// What must hold of two banks at rest, whatever they were asked: nothing lost, doubled, reordered or changed.
pub(crate) fn check_reports(reports: &[Report; 2]) -> anyhow::Result<()> {
    for (at, report) in reports.iter().enumerate() {
        for name in ["failed calls", "out of turn", "misnumbered", "changed", "under way"] {
            ensure!(report.get(name) == 0, "{name} of {} is not 0: {report:#?}", INSTANCES[at]);
        }
        let clients = report.0.iter().filter(|(name, _)| name.starts_with("requests of"));
        let requests: i64 = clients.map(|(_, last)| last).sum();
        ensure!(requests == report.get("serial"), "{} counted requests twice: {report:#?}", INSTANCES[at]);
        let other = &reports[1 - at];
        for name in ["", " bytes", " checksum"] {
            let (posted, received) = (report.get(&format!("posted{name}")), other.get(&format!("received{name}")));
            ensure!(posted == received, "posted{name} is {posted}, received{name} {received}: {reports:#?}");
        }
    }
    let balances = [reports[0].get("balance"), reports[1].get("balance")];
    ensure!(balances[0] + balances[1] == 0, "money was made or lost: {balances:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reports(left: &Value, right: &Value) -> [Report; 2] {
        [left, right].map(|value| Report::read(value).expect("numbers by name"))
    }

    #[test]
    fn what_is_right_is_accepted() {
        let left = json!({"balance": -3, "serial": 5, "requests of 1": 2, "requests of 2": 3, "posted": 7});
        check_reports(&reports(&left, &json!({"balance": 3, "received": 7}))).expect("all is right");
    }

    #[test]
    fn whatever_is_wrong_is_found() {
        for (left, right) in [
            (json!({"balance": 1}), json!({})),
            (json!({"posted": 1}), json!({})),
            (json!({}), json!({"received": 1})),
            (json!({"posted checksum": 1}), json!({"received checksum": 2})),
            (json!({"posted bytes": 1}), json!({"received bytes": 2})),
            (json!({"out of turn": 1}), json!({})),
            (json!({}), json!({"misnumbered": 1})),
            (json!({"changed": 1}), json!({})),
            (json!({"failed calls": 1}), json!({})),
            (json!({"serial": 2, "requests of 1": 1}), json!({})),
        ] {
            assert!(check_reports(&reports(&left, &right)).is_err(), "{left} {right}");
        }
    }
}
