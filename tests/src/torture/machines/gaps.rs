//! How long clients had no answer, by what had gone wrong.

use std::{collections::BTreeMap, time::Duration};

use super::plan::FaultKind;
use crate::{Sample, ms};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Occasion {
    /// A fault alone: from its beginning to the answer, or from when the service was possible again.
    Fault(FaultKind),
    /// What was gone came back, while others served.
    Return(FaultKind),
    /// Several faults at once.
    Several,
}

/// Gaps that clients had, each in time in which the machine was there for us.
#[derive(Clone, Debug, Default)]
pub struct Gaps(BTreeMap<Occasion, Vec<Duration>>);

impl Gaps {
    pub(crate) fn note(&mut self, occasion: Occasion, gap: Duration) {
        self.0.entry(occasion).or_default().push(gap);
    }

    /// Adds those of another round.
    pub fn add(&mut self, other: &Gaps) {
        for (occasion, gaps) in &other.0 {
            self.0.entry(*occasion).or_default().extend(gaps);
        }
    }

    /// The longest of all.
    pub fn worst(&self) -> Duration {
        self.0.values().flatten().copied().max().unwrap_or_default()
    }

    /// A line for each occasion, beside what is wanted.
    pub fn table(&self) -> Vec<String> {
        let mut lines =
            vec!["   gaps    p50 ms  worst ms   goal ms  (in time in which the machine was there for us)".to_owned()];
        for (occasion, gaps) in &self.0 {
            let sample = Sample::new(gaps.clone());
            let (name, goal) = match occasion {
                Occasion::Fault(kind) => (kind.name().to_owned(), kind.goal()),
                Occasion::Return(kind) => (format!("  and is back ({})", kind.name()), None),
                Occasion::Several => ("several at once".to_owned(), None),
            };
            let (median, worst) = (sample.median(), sample.worst());
            let (goal, verdict) = match goal {
                None => ("-".to_owned(), ""),
                Some((of_median, of_worst)) => {
                    let holds = median <= of_median && worst <= of_worst;
                    let goal = format!("{:.0}/{:.0}", ms(of_median), ms(of_worst));
                    (goal, if holds { "  met" } else { "  MISSED" })
                }
            };
            let (count, median, worst) = (sample.count(), ms(median), ms(worst));
            lines.push(format!("  {count:>5}  {median:>8.0}  {worst:>8.0}  {goal:>8}  {name}{verdict}"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::HostFault;
    use super::*;

    #[test]
    fn the_table_says_median_and_worst_beside_the_goal() {
        let mut gaps = Gaps::default();
        for gap in [600, 650, 990] {
            gaps.note(Occasion::Fault(FaultKind::Host(HostFault::Cut)), Duration::from_millis(gap));
        }
        let mut others = Gaps::default();
        others.note(Occasion::Fault(FaultKind::Host(HostFault::Killed)), Duration::from_millis(51));
        gaps.add(&others);
        let table = gaps.table();
        assert!(table[1].contains("MISSED") && table[1].contains("50/50"), "{table:?}");
        assert!(
            table[2].ends_with("cut off  met") && table[2].contains("650") && table[2].contains("990"),
            "{table:?}"
        );
        assert_eq!(gaps.worst(), Duration::from_millis(990));
    }
}
