//! Whether memories and registers are all there is of a component's state.
//!
//! **Architecture Invariant:** a verdict depends on the bytes of the component alone, and is given before it runs.

use std::fmt;

use crate::layout::Layout;

/// Findings that are kept; a component that has more is told of these.
pub(crate) const FINDINGS_MAX: usize = 100;

/// What the registers of a component are, or why its state can't be captured without its help.
pub(crate) type Verdict = Result<Layout, Vec<Finding>>;

/// A place where a component could hide state, as a sentence for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding(String);

impl Finding {
    pub(crate) fn new(sentence: impl Into<String>) -> Finding {
        Finding(sentence.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// All of them in one line.
pub(crate) fn listed(findings: &[Finding]) -> String {
    findings.iter().map(Finding::as_str).collect::<Vec<_>>().join("; ")
}
