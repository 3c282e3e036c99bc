//! `register-instance`: checks a module, keeps a copy of it, and begins a log.

use std::{io::Write, process::ExitCode};

use ambrosia_core::Limits;
use ambrosia_engine::{Captures, Engine, Module};
use ambrosia_host::{Clock, Diagnostics, Methods, SystemClock, entropy_u64, fresh_uuid, write_down};
use ambrosia_storage::{BlobHash, Instances, Registered, Store, StorePlace};
use anyhow::Context;

use crate::arguments::RegisterInstance;

/// Functions of one interface that are shown by name.
const SHOWN_MAX: usize = 3;

pub(crate) fn register_instance(store: &StorePlace, verb: &RegisterInstance) -> anyhow::Result<ExitCode> {
    let file = verb.module.display();
    let module = std::fs::read(&verb.module).with_context(|| format!("can't read the module {file}"))?;
    let engine = Engine::new()?;
    let denied = engine.denied(&module);
    if verb.strict_imports && !denied.is_empty() {
        let names = denied.iter().map(|(interface, functions)| listed(interface, functions)).collect::<Vec<_>>();
        anyhow::bail!(
            "{file} can't be registered with --strict-imports, since it imports what is denied to an immortal: {}",
            names.join("; ")
        );
    }
    // Everything that can be wrong with a module is found now, not at the first run. A module that another instance has was
    // compiled before.
    let known = store.open().ok();
    let loaded = match known.as_deref().and_then(Store::cache) {
        Some(cache) => engine.load_known(&module, cache),
        None => engine.load(&module),
    };
    let loaded = loaded.with_context(|| format!("{file} can't be registered"))?;
    let limits = Limits { fuel: verb.fuel, memory_bytes: verb.memory_mib << 20 };
    let methods = loaded.methods_within(limits.memory_bytes);
    let methods = Methods::new(methods.with_context(|| format!("{file} can't be registered"))?);

    let store = store.create_or_open()?;
    let now = SystemClock::check()?.now();
    let registered = store.register(&verb.instance, &module, entropy_u64(), fresh_uuid(), limits, now)?;
    if let Some(cache) = store.cache() {
        engine.keep(&module, &loaded, cache);
    }
    if let Err(error) = write_down(&methods, &*store, BlobHash::of(&module).0) {
        Diagnostics::say(format_args!(
            "ambrosia-host: the methods of the module can't be written down ({error}); `send` loads it for them"
        ));
    }
    let mut out = std::io::stdout();
    say_what_is_denied(&denied);
    say_how_captured(&loaded);
    match registered {
        Registered::New => {
            let names: Vec<_> = methods.iter().map(|method| method.name.as_str()).collect();
            writeln!(out, "registered instance {} with module {file} (methods: {})", verb.instance, names.join(", "))?;
        }
        Registered::Same => {
            writeln!(out, "instance {} is registered with this module already: nothing to do", verb.instance)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says now what would otherwise be noticed when the guest asks for a file or a socket.
fn say_what_is_denied(denied: &[(String, Vec<String>)]) {
    if denied.is_empty() {
        return;
    }
    Diagnostics::say(format_args!(
        "ambrosia-host: the module imports files or sockets, and an immortal has none; it runs, and is denied what it asks for:"
    ));
    for (interface, functions) in denied {
        match functions.len() {
            ..=SHOWN_MAX => Diagnostics::say(format_args!("  {}", listed(interface, functions))),
            count => Diagnostics::say(format_args!("  {interface} ({count} functions)")),
        }
    }
}

fn listed(interface: &str, functions: &[String]) -> String {
    let functions: Vec<_> = functions.iter().map(|name| name.trim_start_matches("[method]")).collect();
    format!("{interface} ({})", functions.join(", "))
}

/// Says now what would otherwise be noticed when a recovery takes long.
fn say_how_captured(module: &Module) {
    let (findings, means) = match module.capture_means() {
        Captures::Memory => return,
        Captures::Save(findings) => (findings, "checkpoints are taken by its own `save` and `load`"),
        Captures::Nothing(findings) => (findings, "every recovery will be a replay of the whole log"),
    };
    Diagnostics::say(format_args!(
        "ambrosia-host: the memory of this module can't be captured from outside, so {means}:"
    ));
    for finding in findings {
        Diagnostics::say(format_args!("  {finding}"));
    }
}
