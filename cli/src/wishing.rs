//! What `upgrade` and `skip` share: a wish is made, and what comes of it is waited for; or it is taken back.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::mpsc::{RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use ambrosia_core::InstanceName;
use ambrosia_storage::{
    Answered, BlobHash, Cancelled, InstanceEntry, Instances, RecordedOutcome, Role, StandingWish, Store, WishAnswer,
};
use anyhow::{Context, anyhow, bail};

use crate::plan::shown;

/// Who may not be told of changes in the registry looks that often.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// An instance that has finished never goes on.
pub(crate) fn check_life(entry: &InstanceEntry) -> anyhow::Result<()> {
    match &entry.outcome {
        None | Some(RecordedOutcome::Halted { .. }) => Ok(()),
        Some(RecordedOutcome::Finished { code, lsn }) => {
            bail!(
                "instance {} has finished with exit code {code} at lsn {lsn}, so nothing of it can be changed any more",
                entry.name
            )
        }
    }
}

/// Whether the person at the terminal wants it.
pub(crate) fn ask(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nothing was changed: repeat it with --yes to have it done without being asked");
    }
    let mut out = std::io::stdout();
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Whether any replica runs.
pub(crate) fn is_running(store: &dyn Store, name: &InstanceName) -> anyhow::Result<bool> {
    let running = store.members_of(name)?.running()?;
    Ok(running.iter().any(|member| member.role != Role::Down))
}

/// News of the registry.
pub(crate) struct News {
    calls: std::sync::mpsc::Receiver<()>,
    /// Kept for its calls; `None` if this process may not know of changes.
    _subscription: Option<ambrosia_storage::Subscription>,
}

impl News {
    pub(crate) fn of(store: &dyn Store) -> anyhow::Result<News> {
        let (sender, calls) = channel();
        let call = move || {
            // Nobody listens once the answer is there.
            let _nobody = sender.send(());
        };
        let subscription = store.registry().subscribe(Box::new(call));
        Ok(News { calls, _subscription: subscription.context("the registry can't be followed")? })
    }

    /// What came of an attempt; `None` if nothing has in that time.
    pub(crate) fn wait(
        &self,
        store: &dyn Store,
        name: &InstanceName,
        attempt: u64,
        timeout: Duration,
    ) -> anyhow::Result<Option<Answered>> {
        let deadline = Instant::now() + timeout;
        loop {
            let entry = store.instance(name)?;
            match entry.upgrades.answered.clone() {
                Some(answered) if answered.attempt == attempt => return Ok(Some(answered)),
                Some(answered) if answered.attempt > attempt => {
                    bail!("a later change of instance {name} has overtaken this one, see `status`")
                }
                _ => check_life(&entry)?,
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // Whoever wrote the answer may have died before it told of that, so it is looked without news too.
            match self.calls.recv_timeout(left.min(LOOK_INTERVAL)) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("the registry is not followed any more")),
            }
        }
    }
}

/// Takes the wish that stands back, whichever verb has made it.
pub(crate) fn cancel(
    store: &dyn Store,
    name: &InstanceName,
    verb: &str,
    timeout: Duration,
) -> anyhow::Result<ExitCode> {
    let news = News::of(store)?;
    let out = &mut std::io::stdout();
    let wish = match store.cancel_wish(name)? {
        Cancelled::NoWish => {
            writeln!(out, "no {verb} of instance {name} is under way: nothing to do")?;
            return Ok(ExitCode::SUCCESS);
        }
        Cancelled::Done(wish) => {
            writeln!(out, "took back {}", what(&wish, name))?;
            return Ok(ExitCode::SUCCESS);
        }
        Cancelled::Told(wish) => wish,
    };
    match news.wait(store, name, wish.attempt, timeout)?.map(|answered| answered.answer) {
        Some(WishAnswer::Done { lsn }) => {
            bail!("the {} of instance {name} was done before it could be taken back, at lsn {lsn}", wish.verb())
        }
        Some(_) => {
            writeln!(out, "took back {}", what(&wish, name))?;
            Ok(ExitCode::SUCCESS)
        }
        None => bail!(
            "the {} of instance {name} is to be taken back, and its primary, which was at it, has not said yet whether it was \
             faster: the next one says so, see `status`",
            wish.verb()
        ),
    }
}

/// A wish, for a person.
fn what(wish: &StandingWish, name: &InstanceName) -> String {
    match &wish.skip {
        None => format!("the upgrade of instance {name} to module {}", shown(&BlobHash(wish.to).to_string())),
        Some(skip) => format!("the skip of {skip} of instance {name}"),
    }
}

/// The seconds that were given, or else that time.
pub(crate) fn timeout_or(seconds: Option<f64>, otherwise: Duration) -> anyhow::Result<Duration> {
    match seconds {
        Some(seconds) if (0.0..=1e9).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Some(_) => bail!("--timeout must be a number of seconds"),
        None => Ok(otherwise),
    }
}
