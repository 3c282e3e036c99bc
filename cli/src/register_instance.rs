//! `register-instance`: checks a module, keeps a copy of it, and begins a log.

use std::{io::Write, process::ExitCode};

use ambrosia_core::{InstanceName, Limits};
use ambrosia_host::{Clock, Diagnostics, Methods, OWN_SEGMENTS, SystemClock, entropy_u64, fresh_uuid};
use ambrosia_storage::{Instances, Registered, StorePlace};
use anyhow::Context;

use crate::{
    arguments::RegisterInstance,
    checked_module::{CheckedModule, read_module},
};

pub(crate) fn register_instance(store: &StorePlace, verb: &RegisterInstance) -> anyhow::Result<ExitCode> {
    let file = verb.of.module.display();
    let bytes = read_module(&verb.of.module)?;
    let known = store.open().ok();
    // Everything that can be wrong with a module is found now, not at the first run. A module that another instance has was
    // compiled before.
    let module = CheckedModule::check(bytes, known.as_deref());
    let module = module.with_context(|| format!("{file} can't be registered"))?;
    if verb.strict_imports {
        module.refuse_denied().with_context(|| format!("{file} can't be registered with --strict-imports"))?;
    }
    let limits = Limits { fuel: verb.fuel, memory_bytes: verb.memory_mib << 20 };
    let methods = module.methods(limits.memory_bytes).with_context(|| format!("{file} can't be registered"))?;

    let store = store.create_or_open()?;
    let now = SystemClock::check()?.now();
    let registered = store.register(&verb.of.instance, &module.bytes, entropy_u64(), fresh_uuid(), limits, now)?;
    let replicas_before = store.instance(&verb.of.instance)?.replicas.len();
    store.add_replicas(&verb.of.instance, verb.replicas)?;
    let replicas = store.instance(&verb.of.instance)?.replicas.len();
    module.keep_compiled(&*store);
    module.keep_methods(&methods, &*store);
    let mut out = std::io::stdout();
    module.say_what_is_denied();
    module.say_how_captured();
    say_where_routes_are(&verb.of.instance, &methods);
    match registered {
        Registered::New => {
            let names: Vec<_> = methods.iter().map(|method| method.name.as_str()).collect();
            writeln!(
                out,
                "registered instance {} with module {file} (methods: {})",
                verb.of.instance,
                names.join(", ")
            )?;
        }
        Registered::Same if replicas > replicas_before => {
            let name = &verb.of.instance;
            writeln!(out, "instance {name} is registered with this module already: it has {replicas} replicas now")?;
        }
        Registered::Same => {
            writeln!(out, "instance {} is registered with this module already: nothing to do", verb.of.instance)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says now what would otherwise be noticed when nobody is found at a path: the host has the name of the instance for itself.
fn say_where_routes_are(name: &InstanceName, methods: &Methods) {
    let has_routes = methods.iter().any(|method| !method.routes.is_empty());
    if has_routes && OWN_SEGMENTS.contains(&name.as_str()) {
        Diagnostics::say(format_args!(
            "ambrosia-host: what begins with /{name} is the host's own, so the routes of the instance are not there: have them below another \
             path with `--route /PATH={name}`, or [routes] in ambrosia.toml"
        ));
    }
}
