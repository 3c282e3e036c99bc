//! One replica in a process of its own, which is started again when it dies.
//!
//! **Architecture Invariant:** the process ends when its stdin does, and the other end of that is here: it can't outlive this
//! process, whatever that dies of.

use std::{
    ffi::OsString,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child as Process, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread::{Builder, JoinHandle},
    time::{Duration, Instant},
};

use ambrosia_core::InstanceName;
use ambrosia_host::{GuestLogPlace, stands_at};
use ambrosia_storage::{Instances, RecordedOutcome, Store, StorePlace};
use anyhow::Context;

use super::{
    Happened,
    speaker::{Label, Speaker, Where},
};

/// Pause before a replica is started again; it doubles each time that it dies young …
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// … up to this.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// One that has lived so long has not died young.
const YOUTH: Duration = Duration::from_secs(10);
/// Asked to end, it has so long.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// While its instance stands still, it is looked that often whether that goes on.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// A replica, and the thread that looks after it.
pub(crate) struct Child {
    orders: Sender<Order>,
    keeper: JoinHandle<()>,
}

enum Order {
    End,
    Kill,
    /// One of the two streams of the process has ended.
    StreamEnded,
}

/// Who is told.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) speaker: Speaker,
    /// Where what its guest logs goes.
    pub(crate) guest_log: GuestLogPlace,
    pub(crate) happens: Sender<Happened>,
}

/// Which replica it is, and what it is told beside that: arguments of `run`.
#[derive(Clone)]
pub(crate) struct Which {
    pub(crate) name: InstanceName,
    pub(crate) replica: u16,
    pub(crate) arguments: Arc<[OsString]>,
}

/// How it was with a replica that is not started again.
pub(crate) struct Over {
    /// It was asked to end and did, or its instance has finished with 0.
    pub(crate) is_well: bool,
}

impl Child {
    /// Has it run from now on.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub(crate) fn start(place: &StorePlace, store: Arc<dyn Store>, which: Which, told: Told) -> anyhow::Result<Child> {
        let (orders, received) = channel();
        let label = told.speaker.label(&which.name, which.replica);
        let place = place.clone();
        let keeper = Keeper { place, store, which, label, told, orders: orders.clone(), received, pause: PAUSE_MIN };
        let keeper = Builder::new()
            .name("replica".to_owned())
            .spawn(move || keeper.keep())
            .context("a thread can't be started")?;
        Ok(Child { orders, keeper })
    }

    /// Has it hand over and end.
    pub(crate) fn end(&self) {
        self.order(Order::End);
    }

    /// Has it end at once.
    pub(crate) fn kill(&self) {
        self.order(Order::Kill);
    }

    fn order(&self, order: Order) {
        // One that is over has ended already.
        let _over = self.orders.send(order);
    }

    /// Waits until it is over.
    pub(crate) fn join(self) {
        if self.keeper.join().is_err() {
            tracing::error!("the thread of a replica has panicked; this is a defect of ambrosia-host");
        }
    }
}

/// How a process is to be gone on with.
enum Next {
    Again,
    Over { is_well: bool },
}

struct Keeper {
    place: StorePlace,
    store: Arc<dyn Store>,
    which: Which,
    label: Label,
    told: Told,
    /// For what passes on the streams.
    orders: Sender<Order>,
    received: Receiver<Order>,
    pause: Duration,
}

/// Whether it was asked to end meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Not,
    ToEnd,
}

impl Keeper {
    fn keep(mut self) {
        let is_well = loop {
            let began = Instant::now();
            let (status, asked) = match self.run() {
                Ok(ended) => ended,
                Err(error) => {
                    self.say(format_args!("can't be started: {error:#}"));
                    break false;
                }
            };
            if asked == Asked::ToEnd {
                break status.success();
            }
            if began.elapsed() > YOUTH {
                self.pause = PAUSE_MIN;
            }
            match self.next(status) {
                Next::Again => {}
                Next::Over { is_well } => break is_well,
            }
        };
        // Nobody counts any more if the other end is gone.
        let _gone = self.told.happens.send(Happened::Over(Over { is_well }));
    }

    /// Runs the process until it is gone.
    fn run(&self) -> anyhow::Result<(ExitStatus, Asked)> {
        let mut process = self.command()?.spawn().context("can't start ambrosia-host")?;
        let streams = [(Where::Stdout, None, process.stdout.take()), (Where::Stderr, process.stderr.take(), None)];
        for (to, stderr, stdout) in streams {
            let (speaker, label, orders) = (self.told.speaker.clone(), self.label.clone(), self.orders.clone());
            let pass_on = move || {
                stdout.into_iter().for_each(|from| speaker.pass_on(&label, from, to));
                stderr.into_iter().for_each(|from| speaker.pass_on(&label, from, to));
                // The replica is over if nobody hears it.
                let _over = orders.send(Order::StreamEnded);
            };
            Builder::new().name("lines".to_owned()).spawn(pass_on).context("a thread can't be started")?;
        }
        Ok(self.wait(process)?)
    }

    fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("this program can't be found")?);
        match &self.place {
            StorePlace::Directory(place) => {
                command.env_remove("AMBROSIA_STORE_FILE").arg("--store").arg(&place.directory);
                if place.allow_network_file_system {
                    command.arg("--allow-network-file-system");
                }
            }
            // It may hold a password, and everybody on this machine sees what arguments a process has.
            StorePlace::Engine(place) => match place.file() {
                Some(file) => drop(command.env_remove("AMBROSIA_STORE").env("AMBROSIA_STORE_FILE", file)),
                None => drop(command.env_remove("AMBROSIA_STORE_FILE").env("AMBROSIA_STORE", place.url())),
            },
        }
        command.args([
            "run",
            "--instance",
            self.which.name.as_str(),
            "--replica",
            &self.which.replica.to_string(),
            "--end-with-stdin",
        ]);
        command.args(&*self.which.arguments);
        match &self.told.guest_log {
            GuestLogPlace::Stderr => command.args(["--guest-log", "-"]),
            GuestLogPlace::File(path) => command.arg("--guest-log").arg(path),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for this process, which has all of them end in order.
        command.process_group(0);
        Ok(command)
    }

    fn wait(&self, mut process: Process) -> std::io::Result<(ExitStatus, Asked)> {
        let (mut open, mut asked, mut deadline) = (2, Asked::Not, None::<Instant>);
        let mut stdin = process.stdin.take();
        while open > 0 {
            let order = match deadline {
                None => self.received.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(deadline) => self.received.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            };
            match order {
                Ok(Order::StreamEnded) => open -= 1,
                Ok(Order::End) => {
                    asked = Asked::ToEnd;
                    deadline = Some(Instant::now() + END_PATIENCE);
                    stdin = None;
                }
                Ok(Order::Kill) => {
                    asked = Asked::ToEnd;
                    process.kill()?;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.say(format_args!("has not ended within {} s, and is killed", END_PATIENCE.as_secs()));
                    deadline = None;
                    process.kill()?;
                }
                // This thread has a sender itself.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = process.wait()?;
        drop(stdin);
        Ok((status, asked))
    }

    /// What becomes of a replica whose process has ended by itself.
    fn next(&mut self, status: ExitStatus) -> Next {
        match self.standing() {
            Ok(Standing::Finished { code }) => return Next::Over { is_well: code == 0 },
            Ok(Standing::Halted) => {
                self.say("its instance has halted; when it is mended, or a fixed module is swapped in, it goes on");
                return self.wait_for_mend();
            }
            Ok(Standing::Goes) => {}
            Err(error) => self.say(format_args!("what has become of it can't be read: {error:#}")),
        }
        let how = match (status.signal(), status.code()) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, code) => format!("exit code {}", code.unwrap_or(-1)),
        };
        self.say(format_args!("died ({how}); it is started again in {} ms", self.pause.as_millis()));
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match self.received.recv_timeout(left) {
                Ok(Order::End | Order::Kill) => return Next::Over { is_well: true },
                Ok(Order::StreamEnded) | Err(_) => {}
            }
        }
        Next::Again
    }

    fn wait_for_mend(&self) -> Next {
        loop {
            match self.received.recv_timeout(LOOK_INTERVAL) {
                Ok(Order::End | Order::Kill) => return Next::Over { is_well: true },
                Ok(Order::StreamEnded) | Err(_) => {}
            }
            if matches!(self.standing(), Ok(Standing::Goes)) {
                return Next::Again;
            }
        }
    }

    fn standing(&self) -> anyhow::Result<Standing> {
        let entry = self.store.instance(&self.which.name)?;
        if let Some(RecordedOutcome::Finished { code, .. }) = entry.outcome {
            return Ok(Standing::Finished { code });
        }
        let halted = entry.upgrades.wanted.is_none() && stands_at(&*self.store, &entry)?.is_some();
        Ok(if halted { Standing::Halted } else { Standing::Goes })
    }

    fn say(&self, line: impl std::fmt::Display) {
        self.told.speaker.say_of(&self.label, line);
    }
}

/// How it is with an instance.
enum Standing {
    Goes,
    Halted,
    Finished { code: i32 },
}
