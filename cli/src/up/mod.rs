//! `up`: builds, registers and runs all that a project names, until Ctrl-C.
//!
//! **Architecture Invariant:** no replica lives in this process, so whichever is killed, this one and its HTTP stay; and none
//! outlives it.

mod building;
mod code;
mod replica;
mod speaker;
mod surroundings;
mod wasip2;
mod watch;
mod wish_to_end;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
};

use ambrosia_core::ReplicaIndex;
use ambrosia_host::{Doorway, Mount, Security};
use ambrosia_project::{PROJECT_FILE, Project, ProjectInstance};
use ambrosia_storage::{Instances, Role, Store, StorePlace};
use anyhow::{Context, bail};

use crate::{
    arguments::{HttpOrOff, NamedWithModule, RegisterInstance, Up},
    place::need_itself,
    register_instance::register_instance,
    style::Colours,
};
use code::Code;
use replica::{Child, Over};
use speaker::Speaker;

/// What happens while all of them run.
pub(crate) enum Happened {
    /// Somebody wants it to end.
    Asked,
    /// They want it again.
    AskedAgain,
    /// A replica is over by itself, and not started again.
    Over(Over),
}

/// Where a project lies, and what it says.
#[derive(Clone)]
pub(crate) struct Place {
    directory: PathBuf,
    project: Project,
}

impl Place {
    fn read(directory: PathBuf) -> anyhow::Result<Place> {
        let file = directory.join(PROJECT_FILE);
        let text = std::fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
        let project = Project::parse(&text).with_context(|| file.display().to_string())?;
        Ok(Place { directory, project })
    }

    /// The file of a module. What cargo builds lies where it is told to build.
    fn module(&self, instance: &ProjectInstance) -> PathBuf {
        match (std::env::var_os("CARGO_TARGET_DIR"), below_target(&instance.module)) {
            (Some(target), Some(below)) if instance.build.is_some() => Path::new(&target).join(below),
            _ => self.directory.join(&instance.module),
        }
    }
}

/// What is behind `target/`, be that here or in a directory above, as in a workspace.
fn below_target(module: &Path) -> Option<&Path> {
    let mut rest = module;
    while let Ok(above) = rest.strip_prefix("..") {
        rest = above;
    }
    rest.strip_prefix("target").ok()
}

pub(crate) fn up(
    store: StorePlace,
    directory: PathBuf,
    verb: &Up,
    colours: Colours,
    security: Security,
) -> anyhow::Result<ExitCode> {
    need_itself(&store, "`up`")?;
    let place = Place::read(directory)?;
    let (sender, happens) = channel();
    wish_to_end::watch(sender.clone())?;
    let speaker = Speaker::new(&place.project, colours);
    surroundings::check(&place, &speaker)?;
    let seen = watch::Seen::look(&place, &watch::Seen::default())?;
    building::build(&place, &speaker)?;
    if let Ok(Happened::Asked) = happens.try_recv() {
        bail!("asked to stop before anything ran");
    }
    register(&store, &place)?;
    let opened = store.open()?;
    refuse_running(&*opened, &place)?;
    let http = verb.http.map_or(place.project.http, |HttpOrOff(http)| http);
    let scheme = if security.is_tls() { "https" } else { "http" };
    let door = http
        .map(|address| Doorway::open(Arc::clone(&opened), address, place.project.routes.clone(), security))
        .transpose()?;
    let public_url = place.project.public_url.clone();
    let public_url = public_url.or_else(|| Some(format!("{scheme}://{}", door.as_ref()?.address())));
    let told = replica::Told { speaker: speaker.clone(), guest_log: verb.guest_log.clone(), happens: sender };
    let children = start(&store, &opened, &place, public_url.as_deref(), &told)?;
    if let Some(door) = &door {
        let address = door.address();
        for name in place.project.instances.keys() {
            speaker.say(format_args!("{name}: {scheme}://{address}/v1/{name}/"));
        }
        for Mount { prefix, instance } in place.project.routes.iter() {
            speaker.say(format_args!("{instance}: its routes at {scheme}://{address}{prefix}"));
        }
    }
    Code { store, place, speaker: speaker.clone() }.keep(seen, verb.watch)?;
    let code = wait(&happens, &children, &speaker);
    children.into_iter().for_each(Child::join);
    if let Some(door) = door {
        door.close();
    }
    Ok(code)
}

/// Registers what is not there yet.
fn register(store: &StorePlace, place: &Place) -> anyhow::Result<()> {
    for (name, instance) in &place.project.instances {
        let known = store.open().ok().and_then(|store| store.instance(name).ok());
        if known.is_none() {
            register_instance(
                store,
                &RegisterInstance {
                    of: NamedWithModule { instance: name.clone(), module: place.module(instance) },
                    replicas: 1,
                    memory_mib: instance.memory_mib.unwrap_or(ambrosia_core::limits::MEMORY_BYTES_DEFAULT >> 20),
                    fuel: instance.fuel.unwrap_or(ambrosia_core::limits::FUEL_DEFAULT),
                    strict_imports: instance.strict_imports,
                },
            )?;
        }
        let opened = store.open()?;
        let there = opened.instance(name)?.replicas;
        for replica in (0..instance.replicas).filter(|replica| !there.contains(replica)) {
            opened.add_replica(name, ReplicaIndex(replica))?;
        }
    }
    Ok(())
}

/// Two that run the same replicas would start them in turns for ever.
fn refuse_running(store: &dyn Store, place: &Place) -> anyhow::Result<()> {
    for name in place.project.instances.keys() {
        let running = store.members_of(name)?.running()?;
        if let Some(member) = running.iter().find(|member| member.role != Role::Down) {
            bail!(
                "replica {} of instance {name} is running already, as process {}{}: end that one first, or another `up` of this \
                 project",
                member.replica,
                member.pid,
                member.place
            );
        }
    }
    Ok(())
}

fn start(
    store: &StorePlace,
    opened: &Arc<dyn Store>,
    place: &Place,
    public_url: Option<&str>,
    told: &replica::Told,
) -> anyhow::Result<Vec<Child>> {
    let mut children = Vec::new();
    for (name, instance) in &place.project.instances {
        let arguments: Arc<[OsString]> =
            surroundings::arguments(&instance.surroundings, &place.directory, public_url).into();
        for replica in 0..instance.replicas {
            let which = replica::Which { name: name.clone(), replica, arguments: Arc::clone(&arguments) };
            children.push(Child::start(store, Arc::clone(opened), which, told.clone())?);
        }
    }
    Ok(children)
}

/// Waits until all of them are over, or are to be.
fn wait(happens: &Receiver<Happened>, children: &[Child], speaker: &Speaker) -> ExitCode {
    let (mut over, mut all_are_well, mut is_asked) = (0, true, false);
    while over < children.len() {
        // The children hold a sender each until they are over.
        let Ok(happened) = happens.recv() else { break };
        match happened {
            Happened::Asked => {
                is_asked = true;
                speaker.say("asked to stop, handing over; a second Ctrl-C stops at once");
                children.iter().for_each(Child::end);
            }
            Happened::AskedAgain => {
                speaker.say("stopped at once");
                children.iter().for_each(Child::kill);
                all_are_well = false;
            }
            Happened::Over(Over { is_well }) => {
                over += 1;
                all_are_well &= is_well || is_asked;
            }
        }
    }
    if all_are_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_builds_is_known_by_its_place() {
        let below = |path| below_target(Path::new(path)).map(|below| below.display().to_string());
        assert_eq!(below("target/wasm32-wasip2/a.wasm").as_deref(), Some("wasm32-wasip2/a.wasm"));
        assert_eq!(below("../../target/a.wasm").as_deref(), Some("a.wasm"));
        for other in ["a.wasm", "build/target/a.wasm", "/target/a.wasm", "targets/a.wasm"] {
            assert_eq!(below(other), None, "{other}");
        }
    }
}
