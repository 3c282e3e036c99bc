//! Runs each hour by itself, by methods that make up for what was missed in each way. It takes over from `scheduled`.

use std::collections::BTreeMap;

use ambrosia::{This, Timestamp};

#[ambrosia::state]
struct Hourly {
    /// Seconds since 1970 for which each method has run.
    ran: BTreeMap<String, Vec<u64>>,
}

#[ambrosia::immortal]
impl Hourly {
    #[ambrosia(cron = "0 * * * *")]
    fn one(&mut self, due: Timestamp) {
        self.note("one", due);
    }

    #[ambrosia(cron = "0 * * * *", missed = "all")]
    async fn all(this: This<Self>, due: Timestamp) {
        this.with(|hourly| hourly.note("all", due));
    }

    #[ambrosia(cron = "0 * * * *", missed = "none")]
    fn none(&mut self, due: Timestamp) {
        self.note("none", due);
    }

    #[ambrosia(cron = "30 2 29 2 *", zone = "Europe/Berlin")]
    fn leap(&mut self) {
        self.note("leap", ambrosia::now());
    }

    #[ambrosia(query)]
    fn ran(&self, method: String) -> Vec<u64> {
        self.ran.get(&method).cloned().unwrap_or_default()
    }

    #[ambrosia(helper)]
    fn note(&mut self, method: &str, due: Timestamp) {
        self.ran.entry(method.to_string()).or_default().push(due.since_1970().as_secs());
    }
}
