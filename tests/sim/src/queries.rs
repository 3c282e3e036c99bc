//! Queries of clients, which change nothing.

use core::time::Duration;

use ambrosia_core::{ConnectionId, Lsn, MethodId, Query, QueryAnswer, member::MemberInput};

use crate::{
    agenda::Event,
    process::{Driver, Process},
    sim::Sim,
};

/// So many of a hundred queries go to whoever is taken for the primary; the others to any replica.
const PRIMARY_PERCENT: u64 = 60;
/// So many wait for a record, which is at most so far away.
const WAIT_PERCENT: u64 = 20;
const RECORDS_MAX: u64 = 4;

impl Sim {
    /// A client asks once: what gets lost is asked again by another one.
    pub(crate) fn ask_query(&self, instance: usize) {
        if !self.storm.get() {
            return;
        }
        self.put_in(self.options.think, Event::AskQuery(instance));
        let (uuid, newest, before) = {
            let instance = &self.instances.borrow()[instance];
            (instance.uuid, instance.primary, instance.primary_before)
        };
        let to = if self.dice().percent(PRIMARY_PERCENT) {
            // Who is primary may be old news.
            if self.dice().percent(25) { before } else { newest }
        } else {
            let here: Vec<_> = self.living().iter().filter(|p| p.place.instance == instance).map(|p| p.id).collect();
            (!here.is_empty()).then(|| here[self.dice().below(here.len() as u64) as usize])
        };
        let Some(to) = to else { return };
        let number = self.witness.borrow_mut().queries.add(uuid);
        self.put_in(self.options.latency, Event::Query(to, number));
    }

    /// A query arrives.
    pub(crate) fn on_query(&self, process: &Process, number: usize) {
        let mut driver = process.driver.borrow_mut();
        let Some(driver) = driver.as_mut() else { return };
        let waits = self.dice().percent(WAIT_PERCENT);
        let further = self.dice().below(RECORDS_MAX);
        let query = {
            let mut witness = self.witness.borrow_mut();
            witness.counts.queries += 1;
            witness.counts.queries_that_waited += u64::from(waits);
            let asked = &mut witness.queries.all[number];
            if asked.uuid != process.uuid {
                return; // it was asked of an earlier life
            }
            if waits {
                asked.at_least = Lsn(process.applied.get().0 + further);
            }
            let (connection, at_least) = (ConnectionId(number as u64), asked.at_least);
            let (method, wait) = (MethodId(0), Duration::from_millis(100));
            Query { connection, number: number as u64, method, arguments: Default::default(), at_least, wait }
        };
        self.step(process, driver, MemberInput::Query(query));
        if !process.dead.get() {
            self.plan_delivery(process);
        }
    }

    /// A process lets out what a query has come to.
    pub(crate) fn on_query_answered(&self, process: &Process, driver: &Driver, answered: &QueryAnswer) {
        let QueryAnswer { number, answer, at, .. } = answered;
        let (reigns, uuid) = (driver.member.reign().is_some(), process.uuid);
        let mut witness = self.witness.borrow_mut();
        if !answer.success {
            let text = String::from_utf8_lossy(&answer.value);
            let expected = ["the instance has", "the instance stands", "has not come to lsn"];
            assert!(expected.iter().any(|words| text.contains(words)), "a query failed for no reason: {text}");
            return;
        }
        let link = witness.logs.link(uuid, *at);
        let link = link.unwrap_or_else(|| panic!("a query told of record {at} before that was durable"));
        // The first record is none that a guest has had.
        let history = if *at == Lsn(1) { Some(0) } else { witness.digests.history(uuid, link) };
        let history = history.map(|history| history.to_le_bytes().to_vec());
        assert_eq!(Some(answer.value.to_vec()), history, "a query sees the state behind record {at}");
        witness.counts.queries_at_standbys += u64::from(!reigns);
        witness.queries.check(process.id, *number as usize, *at, reigns);
    }
}
