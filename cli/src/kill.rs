//! `kill`: ends the process of a replica as `kill -9` does, and shows who takes over.

use std::{
    io::Write,
    process::ExitCode,
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use ambrosia_core::ReplicaIndex;
use ambrosia_storage::{Instances, Member, Role, StorePlace, kill_member};
use anyhow::{Context, bail};

use crate::{arguments::Kill, said::NotRunning};

/// A takeover takes milliseconds; a machine that is busy with other things has this long.
const TAKEOVER_WAIT_MAX: Duration = Duration::from_secs(20);
/// Between two looks, where nobody tells.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) fn kill(store: &StorePlace, verb: &Kill) -> anyhow::Result<ExitCode> {
    let store = store.open()?;
    let name = &verb.instance;
    let members = store.members_of(name)?;
    let running = members.running()?;
    let replica = match verb.replica {
        Some(replica) => ReplicaIndex(replica),
        None => match running.iter().find(|member| member.role == Role::Primary) {
            Some(primary) => primary.replica,
            None => {
                let text = format!(
                    "instance {name} has no primary now: start a replica with `ambrosia-host run --instance {name}`"
                );
                return Err(NotRunning(text).into());
            }
        },
    };
    let (sender, news) = channel();
    let tell = move || {
        // Nobody listens once the answer is there.
        let _nobody = sender.send(());
    };
    let _subscription = members.subscribe(Box::new(tell)).context("news of the primary can't be followed")?;
    let reign = members.primary()?.map(|primary| primary.epoch);
    let began = Instant::now();
    let killed = kill_member(&*members, replica).with_context(|| format!("instance {name}"))?;
    let mut out = std::io::stdout();
    let role = if killed.role == Role::Primary { "the primary" } else { "a standby" };
    writeln!(out, "killed replica {replica} of {name}, {role}, process {}", killed.pid)?;
    if killed.role != Role::Primary {
        writeln!(out, "the primary goes on")?;
        return Ok(ExitCode::SUCCESS);
    }
    let others: Vec<_> = running.iter().filter(|member| is_another(member, &killed)).collect();
    if others.is_empty() {
        writeln!(out, "no other replica was running, so nobody takes over until one is started")?;
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        if let Some(primary) = members.primary()?.filter(|primary| Some(primary.epoch) > reign) {
            let took = began.elapsed().as_secs_f64() * 1e3;
            writeln!(out, "replica {} took over in {took:.1} ms, process {}", primary.replica, primary.pid)?;
            return Ok(ExitCode::SUCCESS);
        }
        if began.elapsed() > TAKEOVER_WAIT_MAX {
            bail!(
                "nobody took over within {} s: see `ambrosia-host status --instance {name}`",
                TAKEOVER_WAIT_MAX.as_secs()
            );
        }
        match news.recv_timeout(LOOK_INTERVAL) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::park_timeout(LOOK_INTERVAL),
        }
    }
}

/// Whether it runs, and does not die with that one.
fn is_another(member: &Member, killed: &Member) -> bool {
    member.role != Role::Down && member.pid != killed.pid
}
