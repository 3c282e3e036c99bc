//! The world outside fulfils promises that it was asked to fulfil.

use ambrosia_core::{CallId, ConnectionId, InstanceUuid, PromiseToken, Traffic, member::MemberInput};

use crate::{agenda::Event, model::Callback, options::MILLISECOND, process::Process, sim::Sim};

/// Whoever does not hear that a promise is known asks again after this.
const PATIENCE: (u64, u64) = (5 * MILLISECOND, 200 * MILLISECOND);
/// So many of a hundred are repeated by whoever knows already that they are fulfilled.
const REPEATED_PERCENT: u64 = 10;
/// So many times of a hundred somebody tries who does not know the token, and would fulfil it with something else.
const GUESSED_PERCENT: u64 = 10;

impl Sim {
    /// A request to the world outside has asked for it.
    pub(crate) fn learn_promise(&self, process: &Process, body: &[u8]) {
        let Some(callback) = Callback::of_body(body) else { return };
        let (instance, uuid) = (process.place.instance, process.uuid);
        self.note(|| format!("{} is to be called back for promise {}", process.place, callback.promise));
        if self.witness.borrow_mut().outside.on_promise(uuid, callback) {
            self.put_in(self.options.latency, Event::Fulfil(instance, uuid, callback.promise));
        }
    }

    /// Somebody outside fulfils a promise, until it is heard that it is fulfilled.
    pub(crate) fn fulfil(&self, instance: usize, uuid: InstanceUuid, promise: CallId) {
        let (newest, before) = {
            let instances = self.instances.borrow();
            if instances[instance].uuid != uuid {
                return; // it was promised by an earlier life
            }
            (instances[instance].primary, instances[instance].primary_before)
        };
        if self.witness.borrow().outside.is_fulfilled(uuid, promise) && !self.dice().percent(REPEATED_PERCENT) {
            return;
        }
        let old_news = self.storm.get() && self.dice().percent(5);
        if let Some(to) = if old_news { before } else { newest } {
            self.put_in(self.options.latency, Event::Resolve(to, uuid, promise));
        }
        self.put_in(PATIENCE, Event::Fulfil(instance, uuid, promise));
    }

    /// That arrives.
    pub(crate) fn on_resolve(&self, process: &Process, uuid: InstanceUuid, promise: CallId) {
        if process.uuid != uuid {
            return;
        }
        self.at_reign(process, |driver| {
            let mut token = self.witness.borrow().outside.token(uuid, promise);
            let mut value = Callback::value(promise);
            if self.dice().percent(GUESSED_PERCENT) {
                token[self.dice().below(token.len() as u64) as usize] ^= 1;
                value.fill(0);
            }
            let connection = ConnectionId(promise.0);
            let traffic = Traffic::Resolve { connection, promise, token, value: value.into() };
            self.step(process, driver, MemberInput::Traffic(traffic));
            self.plan_delivery(process);
        });
    }

    /// A primary says what has become of that.
    pub(crate) fn on_resolved(&self, process: &Process, promise: CallId, token: PromiseToken, is_known: bool) {
        self.note(|| format!("{} says of promise {promise}: known {is_known}", process.id));
        let mut witness = self.witness.borrow_mut();
        let is_right = witness.outside.token(process.uuid, promise) == token;
        assert_eq!(is_known, is_right, "who knows the token of a promise fulfils it, and nobody else");
        if is_known {
            witness.counts.promises_fulfilled += 1;
            witness.outside.on_fulfilled(process.uuid, promise);
        } else {
            witness.counts.tokens_guessed += 1;
        }
    }
}
