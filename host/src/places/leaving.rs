//! What a host gives up, once others go on without it.
//!
//! **Architecture Invariant:** nothing is given up that another replica can't go on with, but where an operator wants the end of the
//! instance, or of the only place that it has.

use std::time::{Duration, Instant};

use ambrosia_core::{InstanceName, InstanceUuid, Lsn};
use ambrosia_storage::{
    HEARTBEAT_SILENCE, HostInfo, HostUuid, Keeper, LogError, LogId, Member, OtherReplica, ProcessPlace, Role,
    may_leave, weight,
};

use super::{
    Deed,
    placer::{Held, Instance, Placer},
    turns::{Looked, MARK_TIME_MAX},
};
use crate::run::RunError;

/// The time after which a primary goes to the host for which it is meant doubles so often.
const SENT_HOME_DOUBLINGS_MAX: u32 = 6;

const GOES_HOME: &str = "another host is meant to have the primary";

/// Why a replica is to end here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reason {
    /// An operator wants the instance to end everywhere.
    Retiring,
    /// An operator wants this host to have none.
    Draining,
    /// It is meant for others.
    Unmeant,
}

impl Placer {
    fn reason(&self, name: &InstanceName, held: &Held) -> Option<Reason> {
        if self.picture.retiring.contains(&held.uuid) {
            return Some(Reason::Retiring);
        }
        if self.is_draining {
            return Some(Reason::Draining);
        }
        let instance = self.picture.instances.get(name)?;
        (!instance.is_meant_for_me()).then_some(Reason::Unmeant)
    }

    /// Looks at replicas of this host, and has those end that are to, once others go on. Whether something is to end soon.
    pub(super) fn leave(&mut self) -> bool {
        let mut looked = Looked::default();
        let mut held = std::mem::take(&mut self.held);
        for (name, held) in &mut held {
            if held.is_leaving {
                continue;
            }
            let reason = self.reason(name, held);
            held.unmeant = (reason == Some(Reason::Unmeant)).then(|| held.unmeant.unwrap_or_else(Instant::now));
            let is_urgent = self.is_time(reason, name, held.unmeant, held.not_first) || held.is_to_be_checked;
            let names = match held.mark() {
                Some(_) if is_urgent => &mut looked.known,
                None if is_urgent => &mut looked.new,
                _ => &mut looked.idle,
            };
            names.push(name.clone());
        }
        let is_urgent = !looked.known.is_empty() || !looked.new.is_empty() || held.values().any(|held| held.is_leaving);
        for name in self.looks.next(&looked) {
            let is_primary_leaving = held.values().any(|held| held.is_leaving && held.was_primary);
            let one = held.get_mut(&name).expect("it was seen above");
            match self.is_to_leave(&name, one, is_primary_leaving) {
                Ok(None) => {}
                Ok(Some(why)) => {
                    tracing::info!(instance = %name, replica = %one.replica, "gives its place up: {why}");
                    one.is_leaving = true;
                    if why == GOES_HOME {
                        *self.sent_home.entry(name.clone()).or_default() += 1;
                    }
                    (self.act)(Deed::Leave(name));
                }
                // It is tried again, and the instance is served meanwhile.
                Err(error) => tracing::debug!(instance = %name, %error, "can't look at the replicas"),
            }
        }
        self.held = held;
        is_urgent
    }

    /// Whether a replica is to end now, and why.
    fn is_to_leave(
        &self,
        name: &InstanceName,
        held: &mut Held,
        is_primary_leaving: bool,
    ) -> Result<Option<&'static str>, RunError> {
        let reason = self.reason(name, held);
        if reason == Some(Reason::Retiring) {
            return Ok(Some("the instance is to end"));
        }
        let log = LogId(held.uuid);
        let running = self.store.members(log)?.running().map_err(LogError::from)?;
        let (own, others): (Vec<&Member>, Vec<_>) = running.iter().partition(|member| member.replica == held.replica);
        held.is_to_be_checked = false;
        let Some(own) = own.first().filter(|own| is_of_this_process(own)) else {
            return Ok(Some("another host has it by now"));
        };
        held.was_primary = own.role == Role::Primary;
        let Some(instance) = self.picture.instances.get(name) else { return Ok(None) };
        let is_of_first = |member: &Member| {
            let is_alive = member.role != Role::Down && member.heartbeat_age < HEARTBEAT_SILENCE;
            is_alive && self.host_of(member).map(|host| &host.name) == instance.first.as_ref()
        };
        let is_away = held.was_primary && reason.is_none() && others.iter().any(|member| is_of_first(member));
        let not_first = held.not_first.filter(|_| is_away);
        held.not_first = is_away.then(|| not_first.unwrap_or_else(Instant::now));
        if !self.is_time(reason, name, held.unmeant, not_first) {
            held.mark = None;
            return Ok(None);
        }
        if held.was_primary && is_primary_leaving {
            return Ok(None);
        }
        let Some(mark) = held.mark() else {
            held.mark = Some((self.store.log(log)?.head()?.durable, Instant::now()));
            return Ok(None);
        };
        let others: Vec<_> = others.iter().map(|member| (self.other(held.uuid, member, mark), *member)).collect();
        let seen: Vec<OtherReplica> = others.iter().map(|(other, _)| *other).collect();
        let (replicas, own_weight) = (instance.entry.replicas.len(), Keeper::Host(weight(held.uuid, &self.me)));
        let uuid = self.presence.uuid();
        let why = match reason {
            Some(Reason::Retiring) => Some("the instance is to end"),
            // Nobody else can have the only place, so whoever is to have it begins where this one ends.
            Some(Reason::Draining) if replicas == 1 && self.is_first_alive(instance) => Some("this host drains"),
            Some(Reason::Draining) => may_leave(Keeper::Draining, uuid, &seen).then_some("this host drains"),
            Some(Reason::Unmeant) => {
                let all_are_well = seen.len() + 1 == replicas && seen.iter().all(|other| other.is_caught_up);
                let is_last = seen.iter().all(|other| (other.keeper, other.uuid) > (own_weight, uuid));
                (replicas > 1 && all_are_well && is_last).then_some("it is meant for another host")
            }
            None => {
                let is_ready = others.iter().any(|(other, member)| other.is_caught_up && is_of_first(member));
                is_ready.then_some(GOES_HOME)
            }
        };
        Ok(why)
    }

    /// Whether the only place of an instance, which this host gives up while it drains, is taken at once: by the host for which it is meant. Who
    /// has died takes part for a while, for it may be back soon, and nobody else takes its places meanwhile.
    fn is_first_alive(&self, instance: &Instance) -> bool {
        self.hosts.iter().any(|host| host.is_alive && Some(&host.name) == instance.first.as_ref())
    }

    /// Whether that reason stands for long enough: it is not meant for this host, or another one is meant to have the primary, since then.
    fn is_time(
        &self,
        reason: Option<Reason>,
        name: &InstanceName,
        unmeant: Option<Instant>,
        not_first: Option<Instant>,
    ) -> bool {
        match reason {
            Some(Reason::Retiring | Reason::Draining) => true,
            Some(Reason::Unmeant) => unmeant.is_some_and(|since| since.elapsed() >= self.move_after),
            None => not_first.is_some_and(|since| since.elapsed() >= self.home_after(name)),
        }
    }

    /// A primary that another host is meant to have stays here for so long: the longer, the more often it came back, for who takes over
    /// is whoever is the fastest.
    fn home_after(&self, name: &InstanceName) -> Duration {
        let tries = self.sent_home.get(name).copied().unwrap_or_default();
        self.move_after.saturating_mul(1 << tries.min(SENT_HOME_DOUBLINGS_MAX))
    }

    /// Another replica of the instance, as it matters for whether this one may end.
    fn other(&self, instance: InstanceUuid, member: &Member, mark: Lsn) -> OtherReplica {
        let host = self.host_of(member);
        let keeper = match host {
            None => Keeper::Hand,
            Some(host) if self.picture.draining.contains(&host.uuid) => Keeper::Draining,
            Some(host) => Keeper::Host(weight(instance, &host.name)),
        };
        let is_alive = member.role != Role::Down && member.heartbeat_age < HEARTBEAT_SILENCE;
        let uuid = host.map_or(HostUuid([0; 16]), |host| host.uuid);
        OtherReplica { keeper, uuid, is_caught_up: is_alive && member.applied >= mark }
    }

    /// The host that has a replica, if it takes places by itself.
    fn host_of(&self, member: &Member) -> Option<&HostInfo> {
        self.hosts.iter().find(|host| host.has(member))
    }
}

impl Held {
    /// How far the log was when it was looked at, if that counts still.
    fn mark(&self) -> Option<Lsn> {
        self.mark.filter(|(_, at)| at.elapsed() < MARK_TIME_MAX).map(|(mark, _)| mark)
    }
}

fn is_of_this_process(member: &Member) -> bool {
    member.pid == std::process::id() && member.place == *ProcessPlace::here()
}
