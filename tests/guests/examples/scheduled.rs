//! Runs each second by itself.

use std::collections::BTreeMap;

use ambrosia::Timestamp;

#[ambrosia::state]
struct Scheduled {
    /// Seconds since 1970 for which each method has run.
    ran: BTreeMap<String, Vec<u64>>,
}

#[ambrosia::immortal]
impl Scheduled {
    #[ambrosia(cron = "* * * * * *")]
    fn tick(&mut self, due: Timestamp) {
        println!("tick");
        self.ran.entry("tick".to_string()).or_default().push(due.since_1970().as_secs());
    }

    #[ambrosia(query)]
    fn ran(&self, method: String) -> Vec<u64> {
        self.ran.get(&method).cloned().unwrap_or_default()
    }
}
