//! `add-replica`: allows one more replica of an instance to run.

use std::{io::Write, process::ExitCode};

use ambrosia_core::ReplicaIndex;
use ambrosia_storage::{Instances, StorePlace};

use crate::arguments::AddReplica;

pub(crate) fn add_replica(store: &StorePlace, verb: &AddReplica) -> anyhow::Result<ExitCode> {
    let (instance, replica) = (&verb.of.instance, verb.of.replica);
    let store = store.open()?;
    let mut out = std::io::stdout();
    if store.instance(instance)?.replicas.contains(&replica) {
        writeln!(out, "instance {instance} has replica {replica} already: nothing to do")?;
        return Ok(ExitCode::SUCCESS);
    }
    store.add_replica(instance, ReplicaIndex(replica))?;
    writeln!(out, "added replica {replica} of instance {instance}")?;
    writeln!(out, "start it with `ambrosia-host run --instance {instance} --replica {replica}`")?;
    Ok(ExitCode::SUCCESS)
}
