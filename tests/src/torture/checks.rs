//! What must hold when all faults are over: nothing acknowledged lost, nothing done twice, the order kept, the same
//! state on every replica, a log that reads whole, and a status that is true.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    process::Stdio,
    time::Instant,
};

use ambrosia_core::{DeliverBody, InstanceName, Lsn, RecordKind, RequestId};
use ambrosia_storage::FileStore;
use anyhow::{Context, ensure};

use super::{
    asker::Asker,
    draw::Draw,
    report::{Report, at_rest, check_reports},
    stage::{Stage, Tally},
    workload::Book,
    world::{EACH, INSTANCES, REPLICAS, World},
};

/// Of each client so many of the last requests are asked again, and twice as many others.
const LAST_ASKED_AGAIN: usize = 15;

/// Heals nothing and waits for nothing but what must come by itself. Ends all processes.
pub(crate) fn check_all(mut stage: Stage) -> anyhow::Result<Tally> {
    stage.start_dead(true)?;
    let begun = Instant::now();
    stage.wait_for_service(begun)?;
    check_status_at_rest(&mut stage)?;

    let Stage { workload, mut world, meter, mut draw, mut tally, .. } = stage;
    let books = workload.finish()?;
    drop(meter);
    let mut asker = Asker::new(&world)?;
    let reports = wait_for_rest(&mut asker, &world)?;
    check_books(&books, &reports, true)?;
    ask_again(&mut asker, &world, &books, &mut draw)?;
    for at in EACH {
        check_log_verb(&world, at)?;
        check_log(&world, at, &books)?;
        tally.reigns += world.epoch(at)?;
        let checkpoints = &world.status(at)?["checkpoints"];
        tally.checkpoints += checkpoints.as_array().context("status lists checkpoints")?.len() as u64;
        tally.messages += reports[at].get("received") as u64;
        tally.bytes += reports[at].get("received bytes") as u64;
    }
    tally.requests = books.iter().map(|book| book.acknowledged.len() as u64).sum();
    check_every_replica(&mut asker, &mut world, &reports, &mut draw)?;
    world.reap()?;
    world.bury_all()?;
    Ok(tally)
}

/// With all replicas running and nothing wrong: one primary, that of the newest epoch; the others standbys; each with
/// its process, and all that is durable applied.
fn check_status_at_rest(stage: &mut Stage) -> anyhow::Result<()> {
    for at in EACH {
        let mut last = None;
        let settled = stage.wait_until("all replicas follow", |stage| {
            let status = stage.world.status(at)?;
            let replicas = status["replicas"].as_array().context("status lists replicas")?;
            let role = |wanted: &str| replicas.iter().filter(|one| one["role"] == wanted).count();
            // The log goes on meanwhile, so they are a few records behind.
            let follows = |one: &serde_json::Value| {
                one["applied_lsn"].as_u64().zip(status["durable_lsn"].as_u64()).is_some_and(|(applied, durable)| {
                    applied + 1000 >= durable && one["heartbeat_age_ms"].as_u64().is_some_and(|age| age < 600)
                })
            };
            let roles = role("primary") == 1 && role("standby") == usize::from(REPLICAS[at]) - 1;
            let all = roles && replicas.iter().all(follows);
            last = Some(format!("{status:#}"));
            Ok(all.then(|| status.clone()))
        });
        let status = settled.with_context(|| format!("the status is {}", last.unwrap_or_default()))?;
        let epoch = stage.world.epoch(at)?;
        ensure!(status["epoch"] == epoch, "the newest epoch is {epoch}: {status:#}");
        let primary = stage.world.primary(at)?;
        ensure!(status["primary"]["replica"].as_u64() == primary.map(u64::from), "primary is {primary:?}: {status:#}");
        for (replica, running) in &stage.world.instances[at].running {
            let said = &status["replicas"][usize::from(*replica)];
            ensure!(said["pid"] == running.host.pid(), "process {} is missing: {status:#}", running.host.pid());
        }
    }
    stage.check_status()
}

/// Waits until no message and no call is under way; all must be right then.
pub(crate) fn wait_for_rest(asker: &mut Asker, world: &World) -> anyhow::Result<[Report; 2]> {
    let deadline = Instant::now() + crate::PATIENCE;
    loop {
        let reports = [asker.report(world, 0)?, asker.report(world, 1)?];
        if at_rest(&reports) {
            check_reports(&reports)?;
            return Ok(reports);
        }
        ensure!(Instant::now() < deadline, "messages are still under way: {reports:#?}");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}

/// What the clients were told is what the banks have done: at least that, or exactly.
pub(crate) fn check_books(books: &[Book], reports: &[Report; 2], exactly: bool) -> anyhow::Result<()> {
    let mut serials = [BTreeSet::new(), BTreeSet::new()];
    for Book { instance, client, acknowledged, .. } in books {
        let begun = reports[*instance].requests_of(*client);
        let told = acknowledged.len() as u64;
        let fits = if exactly { begun == told } else { begun >= told };
        ensure!(fits, "client {client} of {} had {told} answers, and {begun} were begun", INSTANCES[*instance]);
        for pair in acknowledged.windows(2) {
            ensure!(pair[0].serial < pair[1].serial, "client {client} was answered out of order: {pair:?}");
        }
        for one in acknowledged {
            ensure!(serials[*instance].insert(one.serial), "serial {} was given twice", one.serial);
        }
    }
    Ok(())
}

/// The same request id gives the same result.
pub(crate) fn ask_again(asker: &mut Asker, world: &World, books: &[Book], draw: &mut Draw) -> anyhow::Result<()> {
    for Book { instance, client, acknowledged, .. } in books {
        // Of those that were large what they asked for is not known any more.
        let acknowledged: Vec<_> = acknowledged.iter().filter(|one| one.request.is_some()).collect();
        let last = acknowledged.len().saturating_sub(LAST_ASKED_AGAIN);
        let mut asked: BTreeSet<usize> = (last..acknowledged.len()).collect();
        for _ in 0..if acknowledged.is_empty() { 0 } else { 2 * LAST_ASKED_AGAIN } {
            asked.insert(draw.index(acknowledged.len()));
        }
        for one in asked.into_iter().map(|at| acknowledged[at]) {
            let Some((method, arguments)) = &one.request else { continue };
            // If the id were forgotten, this would be a request out of turn.
            let again = asker.ask_encoded(world, *instance, &one.id, method, arguments)?;
            ensure!(
                again == one.result,
                "request {:?} of client {client} was told {:?}, and is now told {again:?}",
                one.id,
                one.result
            );
        }
    }
    Ok(())
}

/// The log reads whole by its segments; lsns have no gap and epochs do not fall; each request that was
/// acknowledged is in it once.
pub(crate) fn check_log(world: &World, at: usize, books: &[Book]) -> anyhow::Result<()> {
    let store = FileStore::open(world.cluster.store())?;
    let mut requests: BTreeMap<RequestId, u64> = BTreeMap::new();
    let (mut lsn, mut epoch) = (0, 0);
    for scanned in store.scan_log(&InstanceName::new(INSTANCES[at])?, Lsn(1))? {
        let record = scanned?.record;
        let header = record.header();
        ensure!(
            header.lsn.0 == lsn + 1 && header.epoch.0 >= epoch,
            "record {} of epoch {} follows {lsn} of {epoch}",
            header.lsn,
            header.epoch
        );
        (lsn, epoch) = (header.lsn.0, header.epoch.0);
        if header.kind == RecordKind::Deliver {
            for entry in DeliverBody::decode(record.body())?.requests {
                *requests.entry(entry.request).or_default() += 1;
            }
        }
    }
    for book in books.iter().filter(|book| book.instance == at) {
        for one in &book.acknowledged {
            let times = requests.get(&one.id).copied().unwrap_or(0);
            ensure!(
                times == 1,
                "request {:?} was acknowledged, and is {times} times in the log of {}",
                one.id,
                INSTANCES[at]
            );
        }
    }
    Ok(())
}

/// `log --json` reads to the end without an error. Its arguments are megabytes, so only what leads a line is read.
fn check_log_verb(world: &World, at: usize) -> anyhow::Result<()> {
    let mut command = world.cluster.command(&["log", "--instance", INSTANCES[at], "--json"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let out = child.stdout.take().context("piped above")?;
    let mut expected = 1;
    for line in BufReader::with_capacity(1 << 20, out).split(b'\n') {
        let (line, prefix) = (line?, format!("{{\"lsn\":{expected},"));
        let lead = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
        ensure!(lead.starts_with(&prefix), "line {expected} of the log begins with {lead}");
        expected += 1;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && expected > 1, "log ended with {}: {said}", output.status);
    Ok(())
}

/// Every replica, as it lived through the faults, comes to power in turn and has the same state; and so has one that
/// reads the whole log anew.
fn check_every_replica(
    asker: &mut Asker,
    world: &mut World,
    reports: &[Report; 2],
    draw: &mut Draw,
) -> anyhow::Result<()> {
    for at in EACH {
        let mut left: BTreeSet<u16> = world.instances[at].running.keys().copied().collect();
        let mut found = BTreeMap::new();
        while !left.is_empty() {
            let state = asker.report(world, at)?.state();
            let primary = world.wait_for_primary(at)?;
            ensure!(left.remove(&primary), "replica {primary} of {} came to power twice", INSTANCES[at]);
            found.insert(format!("replica {primary}"), state);
            world.end(at, primary)?;
        }
        let anew = draw.index(usize::from(REPLICAS[at])) as u16;
        world.start(at, anew, &[])?;
        found.insert(format!("replica {anew}, anew"), asker.report(world, at)?.state());
        for (who, state) in found {
            ensure!(
                state == reports[at].state(),
                "{who} of {} has {state:#?} and not {:#?}",
                INSTANCES[at],
                reports[at]
            );
        }
    }
    Ok(())
}
