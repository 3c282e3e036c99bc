//! `upgrade`: has an instance run another module, or the same one with other limits.
//!
//! It says in the registry what is wished, and waits until whoever is primary has said what came of it.

use std::{io::Write, path::Path, process::ExitCode, sync::Arc, time::Duration};

use ambrosia_core::{InstanceName, Limits};
use ambrosia_engine::Module;
use ambrosia_host::{
    Clock, Diagnostics, Modules, RunningCode, StateType, SystemClock, running_code, stands_at,
    travel::{TrialPlan, TrialStretch},
};
use ambrosia_storage::{
    Answered, BlobHash, InstanceEntry, Instances, Role, Store, StorePlace, Waiting, Wanted, WantedLimits, WishAnswer,
    Wished,
};
use anyhow::{Context, anyhow, bail};
use serde::Serialize;

use crate::{
    arguments::Upgrade,
    checked_module::{CheckedModule, read_module},
    plan::{Plan, Side},
    trial::{ShownTrial, tried},
    wishing::{News, ask, cancel, check_life, is_running, timeout_or},
};

/// Fewest characters of a hash that name a module.
const HASH_CHARACTERS_MIN: usize = 8;

/// A module is ready on all replicas, or told to be late, after so long, and what is said of a wish is written.
const BEYOND_THE_WAIT: Duration = Duration::from_secs(30);

/// The whole answer; its JSON is an interface for scripts.
#[derive(Serialize, Default)]
struct Told {
    plan: Option<Plan>,
    /// The record that the instance stands at, whose messages are delivered to the new code.
    #[serde(skip_serializing_if = "Option::is_none")]
    halted_at: Option<u64>,
    /// How many handlers wait, as the primary said before; null if nobody says.
    waiting_handlers: Option<u64>,
    /// Null if none was asked for, or nothing is to be done.
    trial: Option<ShownTrial>,
    /// "done", "runs it already", "refused", "given up", "cancelled", "stands", or "planned" for `--dry-run`, or "tried" if the trial
    /// speaks against it.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lsn: Option<u64>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<String>,
}

pub(crate) fn upgrade(store: &StorePlace, verb: &Upgrade) -> anyhow::Result<ExitCode> {
    let store = store.open()?;
    let entry = store.instance(&verb.of.instance)?;
    let timeout = timeout_or(verb.timeout, verb.wait + BEYOND_THE_WAIT)?;
    if verb.cancel {
        return cancel(&*store, &verb.of.instance, "upgrade", timeout);
    }
    check_life(&entry)?;
    let stands_at = stands_at(&*store, &entry)?;
    let limits_given = WantedLimits { fuel: verb.fuel, memory_bytes: verb.memory_mib.map(|mib| mib << 20) };
    if verb.of.module.is_none() && limits_given.is_none() {
        bail!("nothing to be done: give --module, or --fuel or --memory-mib, or --cancel");
    }
    let now = running_code(&*store.looking(), &entry)?;
    let limits = limits_given.over(now.limits);
    let module = module(&*store, &entry, verb.of.module.as_deref(), &now)?;
    let shown_module = verb.of.module.as_deref().unwrap_or("the module");
    let module = CheckedModule::check(module, Some(&*store));
    let module = module.with_context(|| format!("{shown_module} can't be run, so nothing is changed"))?;
    if module.hash().0 == now.module && limits == now.limits && entry.upgrades.wanted.is_none() {
        if let Some(lsn) = stands_at {
            bail!(
                "instance {0} has this module and these limits, and stands at lsn {lsn} with them: give another module or \
                 limits, or have messages skipped with `ambrosia-host skip --instance {0} --lsn {lsn}`",
                verb.of.instance
            );
        }
        return tell(verb, Told { outcome: "runs it already", ..Told::default() });
    }
    let plan =
        plan(&store, verb, &now, &module, limits).with_context(|| format!("{shown_module}: nothing is changed"))?;
    if !verb.json {
        std::io::stdout().write_all(plan.as_text().as_bytes())?;
        if let Some(lsn) = stands_at {
            writeln!(std::io::stdout(), "  halted at lsn {lsn}, whose messages are delivered to the new code")?;
        }
        module.say_what_is_denied();
        module.say_how_captured();
    }
    let waiting_handlers = waiting_handlers(&*store, &verb.of.instance)?;
    let trial = trial(&store, verb, &now, &module, limits)?;
    if !verb.json {
        let waits =
            waiting_handlers.filter(|count| *count > 0 && !trial.as_ref().is_some_and(ShownTrial::names_waiting));
        if let Some(count) = waits.filter(|_| module.hash().0 != now.module) {
            writeln!(std::io::stdout(), "  waits  {count} handler{}", if count == 1 { "" } else { "s" })?;
        }
        let shown = trial.as_ref().map_or_else(String::new, ShownTrial::as_text);
        std::io::stdout().write_all(shown.as_bytes())?;
    }
    let halted_at = stands_at.map(|lsn| lsn.0);
    let told = Told { plan: Some(plan), halted_at, waiting_handlers, trial, ..Told::default() };
    let has_failed = !verb.despite_trial && told.trial.as_ref().is_some_and(ShownTrial::has_failed);
    if verb.dry_run || has_failed {
        let outcome = if verb.dry_run { "planned" } else { "tried" };
        return tell(verb, Told { outcome, ..told });
    }
    if !verb.yes && !ask("swap?")? {
        bail!("nothing was changed");
    }
    let wanted = Wanted {
        limits: WantedLimits { fuel: Some(limits.fuel), memory_bytes: Some(limits.memory_bytes) },
        handover_fuel: told.trial.as_ref().and_then(ShownTrial::handover_fuel).unwrap_or(limits.fuel),
        wait: verb.wait,
        waiting: Waiting { hold: verb.hold, end: verb.end_waiting },
    };
    wish_and_wait(&store, verb, timeout, &now, &module, &wanted, told)
}

/// The bytes of the module that is to run: from a file, or from the store by its hash, or those of the module that runs.
fn module(store: &dyn Store, entry: &InstanceEntry, given: Option<&str>, now: &RunningCode) -> anyhow::Result<Vec<u8>> {
    match given {
        Some(given) => module_named(store, entry, given),
        None => Ok(store.blobs().get(BlobHash(now.module))?),
    }
}

/// The bytes of a module: from a file, or from the store by its hash.
///
/// # Errors
/// If there is no such file, nor one such module.
pub(crate) fn module_named(store: &dyn Store, entry: &InstanceEntry, given: &str) -> anyhow::Result<Vec<u8>> {
    let is_hash = given.len() >= HASH_CHARACTERS_MIN && given.chars().all(|digit| digit.is_ascii_hexdigit());
    if !is_hash || Path::new(given).exists() {
        return read_module(Path::new(given));
    }
    let mut known = store.blobs().list()?;
    known.retain(|hash| hash.to_string().starts_with(&given.to_ascii_lowercase()));
    match known[..] {
        [hash] => Ok(store.blobs().get(hash)?),
        [] => {
            let own: Vec<_> = entry.upgrades.modules.iter().map(|hash| BlobHash(*hash).to_string()).collect();
            bail!(
                "there is no module {given} in the store, and no such file; instance {} has had: {}",
                entry.name,
                own.join(", ")
            )
        }
        _ => bail!("{given} is the beginning of the hashes of {} modules in the store: give more of it", known.len()),
    }
}

fn plan(
    store: &Arc<dyn Store>,
    verb: &Upgrade,
    now: &RunningCode,
    module: &CheckedModule,
    limits: Limits,
) -> anyhow::Result<Plan> {
    let modules = Modules::looking(Arc::clone(store));
    let runs = BlobHash(now.module);
    if module.hash() != runs {
        let running = modules.module(now.module)?;
        running.check_upgrade_to(&module.compiled).map_err(|reason| anyhow!(reason))?;
    }
    let of_running = || format!("what module {runs} describes, which the instance runs, is not known");
    let before = Side {
        module: runs,
        methods: modules.methods(now.module).with_context(of_running)?,
        state: modules
            .module(now.module)
            .map_err(Into::into)
            .and_then(|module| state_type(&module, now.limits))
            .with_context(of_running)?,
        limits: now.limits,
    };
    let after = Side {
        module: module.hash(),
        methods: module.methods(limits.memory_bytes)?,
        state: state_type(&module.compiled, limits)?,
        limits,
    };
    Ok(Plan::new(&verb.of.instance, &before, &after))
}

fn state_type(module: &Module, limits: Limits) -> anyhow::Result<Option<StateType>> {
    Ok(module.state_type_within(limits.memory_bytes)?)
}

/// How many handlers wait, as the primary last said.
fn waiting_handlers(store: &dyn Store, name: &InstanceName) -> anyhow::Result<Option<u64>> {
    let running = store.members_of(name)?.running()?;
    Ok(running.iter().find(|member| member.role == Role::Primary).and_then(|member| member.waiting))
}

/// Tries it on what the log has, unless that is not asked for.
fn trial(
    store: &Arc<dyn Store>,
    verb: &Upgrade,
    now: &RunningCode,
    module: &CheckedModule,
    limits: Limits,
) -> anyhow::Result<Option<ShownTrial>> {
    if verb.last == 0 {
        return Ok(None);
    }
    let plan = TrialPlan {
        store,
        instance: &verb.of.instance,
        from: Some(now.module),
        to: module.hash().0,
        module: module.compiled.clone(),
        limits: Some(limits),
        end_waiting: verb.end_waiting,
        stretch: TrialStretch::Last(verb.last),
    };
    tried(&plan, &mut |_| {}).map(Some)
}

fn wish_and_wait(
    store: &Arc<dyn Store>,
    verb: &Upgrade,
    timeout: Duration,
    now: &RunningCode,
    module: &CheckedModule,
    wanted: &Wanted,
    planned: Told,
) -> anyhow::Result<ExitCode> {
    let news = News::of(&**store)?;
    module.keep_compiled(&**store);
    let made = SystemClock::check()?.now();
    // A registry that was restored from a copy may be behind the log.
    store.note_module(&verb.of.instance, now.module, now.attempt)?;
    let wished = store.wish(&verb.of.instance, BlobHash(now.module), &module.bytes, wanted, made)?;
    module.keep_methods(&module.methods(wanted.limits.over(now.limits).memory_bytes)?, &**store);
    let attempt = wished.wish().attempt;
    if let Wished::Same(_) = wished {
        Diagnostics::say(format_args!("ambrosia-host: the same upgrade is under way already, as attempt {attempt}"));
    }
    if !is_running(&**store, &verb.of.instance)? {
        Diagnostics::say(format_args!(
            "ambrosia-host: no replica of instance {} runs: its next `run` carries the upgrade out before anything else",
            verb.of.instance
        ));
    }
    let answered = news.wait(&**store, &verb.of.instance, attempt, timeout)?;
    let told = |outcome, lsn, report| Told { outcome, lsn, report, ..planned };
    match answered {
        None => tell(verb, told("stands", None, None)),
        Some(Answered { answer: WishAnswer::Done { lsn }, .. }) => tell(verb, told("done", Some(lsn.0), None)),
        Some(Answered { answer: WishAnswer::Refused { report }, .. }) => {
            tell(verb, told("refused", None, Some(report)))
        }
        Some(Answered { answer: WishAnswer::GivenUp { report }, .. }) => {
            tell(verb, told("given up", None, Some(report)))
        }
        Some(Answered { answer: WishAnswer::Cancelled, .. }) => tell(verb, told("cancelled", None, None)),
    }
}

/// Says how it went; only if the instance runs the module it went well.
fn tell(verb: &Upgrade, told: Told) -> anyhow::Result<ExitCode> {
    let name = &verb.of.instance;
    let has_failed = !verb.despite_trial && told.trial.as_ref().is_some_and(ShownTrial::has_failed);
    let is_good = matches!(told.outcome, "done" | "runs it already" | "planned") && !has_failed;
    if verb.json {
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&told)?)?;
        return Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let report = told.report.unwrap_or_default();
    match told.outcome {
        "done" => {
            let what = if verb.of.module.is_some() { "runs the new module" } else { "has the new limits" };
            writeln!(std::io::stdout(), "instance {name} {what} since lsn {}", told.lsn.unwrap_or_default())?;
        }
        "runs it already" => writeln!(std::io::stdout(), "instance {name} runs it already: nothing to do")?,
        "planned" if is_good => {}
        "planned" | "tried" => bail!(
            "nothing was changed: in the trial the new code fails. Mend it and try again, or have it done all the same with \
             --despite-trial"
        ),
        "refused" if let Some(lsn) = told.halted_at => {
            bail!("instance {name} stands at lsn {lsn} as before, since the upgrade can't be done: {report}")
        }
        "refused" => bail!("instance {name} goes on as it was, since the upgrade can't be done: {report}"),
        "given up" => bail!(
            "instance {name} goes on as it was, since handlers waited all the time: {report}. Try again with a longer --wait, \
             or with --end-waiting, which ends them with an error"
        ),
        "cancelled" => bail!("the upgrade of instance {name} was taken back by somebody"),
        _ => bail!(
            "the upgrade of instance {name} is not done yet. It stands, and the next primary that can carries it out; take it \
             back with `ambrosia-host upgrade --instance {name} --cancel`"
        ),
    }
    Ok(ExitCode::SUCCESS)
}
