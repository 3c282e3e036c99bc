//! What must be so when the storm is over: service is restored by itself, everything that was asked is done, and all
//! replicas agree.

use ambrosia_core::InstanceUuid;
use ambrosia_storage::LogStore;

use crate::{
    agenda::Event,
    checks::outside::number,
    model::{MONEY, Model},
    options::MILLISECOND,
    process::{Driver, Process},
    sim::{Sim, name_of},
};

/// Simulated time in which everything must have come to rest.
const REST_MAX: u64 = 30_000 * MILLISECOND;
/// How often it is looked whether it has.
const LOOK: u64 = 20 * MILLISECOND;

impl Sim {
    /// Lets time pass until nothing moves.
    pub(crate) fn come_to_rest(&self) {
        let deadline = self.now.get() + REST_MAX;
        loop {
            self.run_until(self.now.get() + LOOK);
            match self.unrest() {
                None => return,
                Some(reason) => assert!(self.now.get() < deadline, "service was not restored: {reason}"),
            }
        }
    }

    /// Why there is no rest yet.
    fn unrest(&self) -> Option<String> {
        let lives: Vec<_> = self.instances.borrow().iter().map(|it| it.uuid).collect();
        let witness = self.witness.borrow();
        let waits = |request: &&crate::checks::requests::Request| {
            request.answer.is_none() && lives[request.instance] == request.uuid
        };
        if let Some(request) = witness.requests.all.iter().find(waits) {
            return Some(format!("request {:?} to i{} has no answer", request.id, request.instance));
        }
        if let Some(waiting) = self.unrest_of_sessions() {
            return Some(waiting);
        }
        let living = self.living();
        for (number, _) in lives.iter().enumerate() {
            let replicas = living.iter().filter(|process| process.place.instance == number);
            if let Some(wish) = self.unrest_of_wish(number)
                && !self.instances.borrow()[number].is_finished
            {
                return Some(wish);
            }
            if self.instances.borrow()[number].is_finished {
                if replicas.count() > 0 {
                    return Some(format!("replicas of i{number} have not ended, and it has"));
                }
                continue;
            }
            if replicas.clone().count() < usize::from(self.options.replicas) {
                return Some(format!("i{number} lacks replicas"));
            }
            if replicas.clone().filter(|process| process.is_primary()).count() != 1 {
                return Some(format!("i{number} has no primary, or more than one"));
            }
            for process in replicas {
                let driver = process.driver.borrow();
                let Some(driver) = &*driver else { return Some(format!("{} is starting", process.id)) };
                if let Some(what) = self.unrest_of(process, driver) {
                    return Some(format!("{} ({}): {what}", process.id, process.place));
                }
            }
        }
        None
    }

    fn unrest_of(&self, process: &Process, driver: &Driver) -> Option<String> {
        let Some(replica) = driver.replica() else { return Some("recovers".to_owned()) };
        let head = driver.log.head().expect("a healthy log").durable;
        if replica.applied() != head {
            return Some(format!("has applied {} of {head} records", replica.applied()));
        }
        if driver.hands.job.is_some() || driver.hands.captured.is_some() || driver.hands.written.is_some() {
            return Some("takes a checkpoint".to_owned());
        }
        if driver.hands.others.is_some() {
            return Some("looks at the others".to_owned());
        }
        let wished = self.instances.borrow()[process.place.instance].wished;
        if wished.is_some_and(|before| driver.checkpoints.newest_published() <= before) {
            return Some("a checkpoint is wanted".to_owned());
        }
        driver.member.reign()?;
        let model = replica.guest().model();
        if !driver.hands.appended.is_empty() || process.settle_planned.get() {
            return Some("its log is busy".to_owned());
        }
        if replica.outcome().is_some() {
            return Some("it has finished, and has not ended".to_owned());
        }
        if !model.started || !model.pending.is_empty() || !model.timers.is_empty() {
            return Some(format!("{} calls and {} timers wait", model.pending.len(), model.timers.len()));
        }
        if !model.asked_outside.is_empty() {
            return Some(format!("{} requests to the outside wait", model.asked_outside.len()));
        }
        if !model.promises.is_empty() {
            return Some(format!("promises {:?} wait", model.promises));
        }
        (replica.undelivered() > 0).then(|| format!("{} messages wait", replica.undelivered()))
    }

    /// Everything that was sent, asked and promised has come true.
    pub(crate) fn check_rest(&self) {
        let lives: Vec<InstanceUuid> = self.instances.borrow().iter().map(|it| it.uuid).collect();
        self.witness.borrow().streams.check_all_arrived(&lives);
        self.witness.borrow().logs.check_answers();
        self.witness.borrow().sessions.check_rest();
        let mut money = 0;
        for instance in 0..self.options.instances {
            self.check_replicas(instance);
            self.check_checkpoints(instance);
            self.check_wishes(instance);
            self.check_events(instance);
            self.check_calendar(instance);
            money += self.of_primary(instance, |model| model.money);
            for other in 0..self.options.instances {
                self.check_tokens(instance, other);
            }
        }
        if self.instances.borrow().iter().all(|it| it.lives == 1) {
            assert_eq!(money, MONEY * self.options.instances as u64, "transfers neither make nor lose money");
        }
    }

    /// Whoever resumes listening misses none of the newest events.
    fn check_events(&self, instance: usize) {
        self.at_primary(instance, |_, driver| {
            let replica = driver.the_replica();
            let emitted = replica.guest().model().emitted;
            let kept: Vec<u64> = replica.events().map(number).collect();
            assert!(kept.iter().copied().eq(emitted + 1 - kept.len() as u64..=emitted), "{kept:?} of {emitted} events");
            assert_eq!(replica.outgoing().len(), 0, "what has its outcome is not kept");
        });
    }

    /// A checkpoint is taken of each instance, now that nothing is in its way, and what it makes unnecessary is gone.
    pub(crate) fn check_trimming(&self) {
        let mut before = Vec::new();
        for instance in 0..self.options.instances {
            let primary = self.instances.borrow()[instance].primary.expect("there is one at rest");
            before.push(self.at_primary(instance, |_, driver| driver.the_replica().applied()));
            self.with(primary, |process| self.want_checkpoint(process));
        }
        self.come_to_rest();
        for (instance, before) in before.into_iter().enumerate() {
            self.check_trimmed(instance, before);
        }
    }

    /// Counts what the guests have done.
    pub(crate) fn count_work(&self) {
        for instance in 0..self.options.instances {
            let (fired, transfers) = self.of_primary(instance, |model| (model.timers_fired, model.transfers));
            let mut witness = self.witness.borrow_mut();
            witness.counts.timers += fired;
            witness.counts.transfers += transfers;
        }
    }

    fn of_primary<T>(&self, instance: usize, look: impl FnOnce(&Model) -> T) -> T {
        self.at_primary(instance, |_, driver| look(driver.the_replica().guest().model()))
    }

    pub(crate) fn at_primary<T>(&self, instance: usize, look: impl FnOnce(&Process, &Driver) -> T) -> T {
        let id = self.instances.borrow()[instance].primary.expect("there is one at rest");
        let process = self.process(id).expect("it lives");
        let driver = process.driver.borrow();
        look(&process, driver.as_ref().expect("it reigns"))
    }

    /// All replicas of an instance are equal, and what the log says of it is what was durable all along.
    fn check_replicas(&self, instance: usize) {
        let of_primary = self.of_primary(instance, Model::clone);
        let mut digests = std::collections::BTreeSet::new();
        let strays = of_primary.strays;
        assert!(
            strays == 0 || self.instances.borrow()[instance].lives > 1,
            "nobody answers what was not asked, and i{instance} had {strays} such answers"
        );
        for process in self.living().iter().filter(|process| process.place.instance == instance) {
            let driver = process.driver.borrow();
            let driver = driver.as_ref().expect("it is at rest");
            assert_eq!(*driver.the_replica().guest().model(), of_primary, "the guests of all replicas are equal");
            digests.insert(driver.the_replica().digest());
            let head = self.witness.borrow().logs.head(process.uuid);
            assert_eq!(driver.the_replica().applied(), head, "every replica has all that was ever durable");
        }
        assert_eq!(digests.len(), 1, "the states of all replicas of i{instance} are equal");
    }

    /// What `to` received of `from` is what that sent, in order and nothing twice.
    fn check_tokens(&self, from: usize, to: usize) {
        let sent = self.of_primary(from, |model| {
            let peer = model.names.get(name_of(to).as_str());
            peer.and_then(|peer| model.sent.get(peer)).cloned().unwrap_or_default()
        });
        let received = self.of_primary(to, |model| {
            let peer = model.names.get(name_of(from).as_str());
            peer.and_then(|peer| model.received.get(peer)).cloned().unwrap_or_default()
        });
        let lives = |instance: usize| self.instances.borrow()[instance].lives;
        let segment = received.last().map_or(&[][..], |segment| segment);
        if from == to || (lives(to) == 1 && lives(from) == 1) {
            assert_eq!(segment, sent, "all that was sent arrives once and in order");
            assert!(received.len() <= 1, "a stream starts afresh with a new life only");
        } else if lives(to) == 1 && !sent.is_empty() {
            assert_eq!(segment, sent, "a new life is heard from its first message on");
        } else if lives(from) == 1 {
            assert!(sent.ends_with(segment), "a new life hears the rest of the stream");
        }
    }

    /// Requests that were answered long ago are asked again: each has the answer that it had.
    pub(crate) fn check_answers_last(&self) {
        let before = self.witness.borrow().counts.answers;
        let numbers: Vec<usize> = {
            let witness = self.witness.borrow();
            let instances = self.instances.borrow();
            let all = witness.requests.all.iter().enumerate();
            all.filter(|(_, request)| instances[request.instance].uuid == request.uuid).map(|(at, _)| at).collect()
        };
        for number in &numbers {
            let instance = self.witness.borrow().requests.all[*number].instance;
            let primary = self.instances.borrow()[instance].primary.expect("there is one at rest");
            self.put(self.now.get(), Event::Request(primary, *number));
        }
        self.come_to_rest();
        let answers = self.witness.borrow().counts.answers - before;
        assert!(answers >= numbers.len() as u64, "{answers} of {} requests still have their answer", numbers.len());
    }

    /// One instance finishes: every replica ends with that.
    pub(crate) fn check_exit(&self) {
        let primary = self.instances.borrow()[0].primary.expect("there is one at rest");
        let checkpoint = self.dice().percent(50);
        self.with(primary, |process| {
            // It is due when the guest is at its end, and there is none any more.
            if checkpoint {
                self.want_checkpoint(process);
            }
            self.ask_to_exit(process);
        });
        self.come_to_rest();
        let finished = self.instances.borrow()[0].finished.len();
        assert_eq!(finished, usize::from(self.options.replicas), "every replica finishes");
    }
}
