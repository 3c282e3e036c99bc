//! Runs replicas of many instances in this process.

use std::{collections::BTreeSet, sync::Arc};

use ambrosia_core::{InstanceName, ReplicaIndex};
use ambrosia_engine::spare_address_space;
use ambrosia_storage::{Instances, Store, StorePlace};

use crate::{
    clock::SystemClock,
    guest_log::GuestLogPlace,
    host::{Ended, Entered, Entrance, Host, Surface, enter, start_engine},
    listen::Listen,
    modules::Modules,
    places::PlacingOptions,
    resources,
    run::{Ending, HttpAddress, MemberOptions, RunError, check_http},
    running_code::running_code,
    standing::has_work,
};

/// What to run and how.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where the store lies.
    pub store: StorePlace,
    /// Which replicas.
    pub which: Which,
    /// Where peers and clients of all of them connect.
    pub listen: Listen,
    /// Where HTTP is taken for all instances of the store, if anywhere.
    pub http: Option<HttpAddress>,
    /// Where what the guests log is written, if anywhere.
    pub guest_log: Option<GuestLogPlace>,
    /// How many bytes of linear memory the guests of all of them may take together, by what each instance is allowed when the
    /// process starts. `None` for no limit.
    pub process_memory_bytes: Option<u64>,
    /// How each of them lives.
    pub member: MemberOptions,
}

/// Replicas of a store.
#[derive(Clone, Debug)]
pub enum Which {
    /// These.
    Named(Vec<(InstanceName, ReplicaIndex)>),
    /// The replica of that number of each instance that has one and has not come to its end. One that has halted is among them
    /// if it is mended, or is to be.
    All(ReplicaIndex),
    /// Those whose places this host takes by itself, among all hosts that do.
    Meant(PlacingOptions),
}

/// One of the replicas has ended.
#[derive(Debug)]
pub struct MemberEnded {
    /// Its instance.
    pub instance: InstanceName,
    /// Its number.
    pub replica: ReplicaIndex,
    /// How.
    pub ending: Result<Ending, RunError>,
}

/// Runs replicas until all of them have ended, or the process gets SIGTERM or SIGINT; if it takes places by itself, until the
/// latter. One that ends or fails does no harm to the
/// others; `tell` hears of each.
///
/// # Errors
/// If one of them can't be started: then none is.
pub fn serve(options: ServeOptions, mut tell: impl FnMut(MemberEnded)) -> Result<(), RunError> {
    options.listen.check()?;
    let clock = SystemClock::check()?;
    spare_address_space();
    let store = options.store.open()?;
    if let Some(caution) = store.caution() {
        tracing::warn!("{caution}");
    }
    check_http(&*store, options.http.as_ref(), &options.listen.security)?;
    let placing = if let Which::Meant(placing) = &options.which { Some(placing.clone()) } else { None };
    let which = chosen(&*store, options.which)?;
    resources::check(which.len())?;
    let mut entered: Vec<Entered> = Vec::new();
    for (instance, replica) in which {
        let failed = |error| RunError::NotServed { name: instance.clone(), replica, error: Box::new(error) };
        match enter(&*store, instance.clone(), replica).map_err(failed)? {
            Entrance::Entered(one) => entered.push(*one),
            Entrance::Over(ending) => tell(MemberEnded { instance, replica, ending }),
        }
    }
    if let Some(allowed) = options.process_memory_bytes {
        check_memory(&*store, &entered, allowed)?;
    }
    let modules = Arc::new(Modules::new(Arc::clone(&store)));
    start_engine(&modules)?;
    let ready = entered.into_iter().map(|entered| entered.get_ready(&modules));
    let ready = ready.collect::<Result<Vec<_>, _>>()?;
    let mut host = Host::start(
        store,
        modules,
        clock,
        &options.listen,
        Surface::Process { names_members: true, ends_with_stdin: false },
    )?;
    options.http.map(|http| host.open_door(http.address, http.mounts)).transpose()?;
    options.guest_log.map_or(Ok(()), |place| host.open_guest_log(&place))?;
    if let Some(placing) = placing {
        let tell = |Ended { instance, replica, ending, .. }| tell(MemberEnded { instance, replica, ending });
        return host.take_places(placing, options.process_memory_bytes, &options.member, tell);
    }
    tracing::info!(replicas = ready.len(), "serving");
    for ready in ready {
        host.add(ready, None, &options.member)?;
    }
    host.wait(|ended| {
        tell(MemberEnded { instance: ended.instance, replica: ended.replica, ending: ended.ending });
    });
    Ok(())
}

/// Sees that the guests can't need more memory than the process may take. What each may take its log says.
fn check_memory(store: &dyn Store, entered: &[Entered], allowed: u64) -> Result<(), RunError> {
    let mut needed: u64 = 0;
    for one in entered {
        let limits = running_code(store, one.entry())?.limits;
        needed = needed.saturating_add(limits.memory_bytes);
    }
    if needed > allowed {
        return Err(RunError::ProcessMemory { replicas: entered.len(), needed, allowed });
    }
    Ok(())
}

fn chosen(store: &dyn Store, which: Which) -> Result<Vec<(InstanceName, ReplicaIndex)>, RunError> {
    let replica = match which {
        Which::Named(named) => {
            let mut names = BTreeSet::new();
            return match named.iter().find(|(name, _)| !names.insert(name.clone())) {
                Some((twice, _)) => Err(RunError::Twice(twice.clone())),
                None => Ok(named),
            };
        }
        Which::All(replica) => replica,
        Which::Meant(_) => return Ok(Vec::new()),
    };
    let mut runnable = Vec::new();
    for entry in store.instances()?.into_iter().filter(|entry| entry.replicas.contains(&replica.0)) {
        if has_work(store, &entry)? {
            runnable.push((entry.name, replica));
        }
    }
    Ok(runnable)
}
