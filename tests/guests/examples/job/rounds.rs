//! What a job has to send.

/// Rounds of messages, each round with messages of one size.
#[ambrosia::state]
pub(crate) struct Rounds {
    sizes: Vec<u64>,
    round_bytes: u64,
    /// Index of the round of the next message.
    round: usize,
    sent_of_round: u64,
}

impl Rounds {
    pub(crate) fn new(sizes: Vec<u64>, round_bytes: u64) -> Rounds {
        Rounds { sizes, round_bytes, round: 0, sent_of_round: 0 }
    }

    /// Bytes of the next message.
    pub(crate) fn next_message(&mut self) -> Option<u64> {
        let bytes = *self.sizes.get(self.round)?;
        self.sent_of_round += 1;
        if self.sent_of_round == self.messages_of_round(bytes) {
            self.round += 1;
            self.sent_of_round = 0;
        }
        Some(bytes)
    }

    fn messages_of_round(&self, bytes: u64) -> u64 {
        (self.round_bytes / bytes).max(1)
    }

    /// What is to be said of a round, if the last message ended it.
    pub(crate) fn round_just_ended(&self) -> Option<String> {
        let bytes = *self.sizes.get(self.round.checked_sub(1)?)?;
        let messages = self.messages_of_round(bytes);
        (self.sent_of_round == 0).then(|| format!("Round {}: {messages} messages of {bytes} bytes", self.round))
    }

    /// Whether the last round is the next to begin.
    pub(crate) fn last_is_next(&self) -> bool {
        self.round + 1 == self.sizes.len() && self.sent_of_round == 0
    }

    pub(crate) fn begin_again(&mut self) {
        self.round = 0;
    }

    pub(crate) fn is_over(&self) -> bool {
        self.round == self.sizes.len()
    }
}
