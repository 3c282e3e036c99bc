//! Outputs that wait for the record that caused them to be durable: every driver holds them here.

use std::collections::VecDeque;

use crate::{Lsn, Output};

/// Keeps outputs in order and hands them out when they may be seen.
#[derive(Debug, Default)]
pub struct Held {
    outputs: VecDeque<Output>,
    durable: Lsn,
}

impl Held {
    /// Nothing waits, and everything up to `durable` is durable.
    pub fn new(durable: Lsn) -> Self {
        Held { outputs: VecDeque::new(), durable }
    }

    /// Adds an output behind the others.
    pub fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    /// Everything up to `lsn` is durable.
    pub fn set_durable(&mut self, lsn: Lsn) {
        assert!(lsn >= self.durable, "what is durable stays so");
        self.durable = lsn;
    }

    /// What is durable, as far as this knows.
    pub fn durable(&self) -> Lsn {
        self.durable
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.outputs.len()
    }

    /// The next output, if it may be seen by now.
    pub fn pop(&mut self) -> Option<Output> {
        let next = self.outputs.front()?;
        if next.after() > self.durable {
            return None;
        }
        let output = self.outputs.pop_front()?;
        assert!(output.after() <= self.durable, "nothing is seen before its record is durable");
        Some(output)
    }
}

#[cfg(test)]
mod tests {
    use crate::RequestId;

    use super::*;

    #[test]
    fn nothing_is_handed_out_before_it_is_durable() {
        let output = |lsn| Output::Accepted { request: RequestId::new("r").expect("short"), after: Lsn(lsn) };
        let mut held = Held::new(Lsn(4));
        held.push(output(5));
        held.push(output(6));
        assert_eq!(held.pop(), None);
        held.set_durable(Lsn(5));
        assert_eq!(held.pop(), Some(output(5)));
        assert_eq!(held.pop(), None);
    }
}
