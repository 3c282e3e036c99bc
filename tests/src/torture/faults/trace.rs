//! A tracer kills a replica at its Nth call of a system call, or lets its Nth write to the disk fail.
//!
//! The counters are those of `strace`: of each thread and each system call.

use std::time::{Duration, Instant};

use crate::torture::{
    draw::Draw,
    fault::{Fault, Victim},
    stage::Stage,
    tool::need_tool,
    world::MayEnd,
};

/// Where a process can die between two steps that matter, of the log, of its files, of its connections; and how often a
/// thread does that in a few seconds.
const CRASH_CALLS: [(&str, u64); 18] = [
    ("pwrite64", 200),
    ("fdatasync", 200),
    ("futex", 200),
    ("/^epoll_p?wait", 100),
    ("epoll_ctl", 20),
    ("sendto", 100),
    ("recvfrom", 100),
    ("accept4", 10),
    ("write", 30),
    ("read", 20),
    ("openat", 20),
    ("close", 20),
    ("mmap", 20),
    ("pread64", 8),
    ("fcntl", 6),
    ("fsync", 3),
    ("/^rename", 2),
    ("/^unlink", 2),
];
/// What the disk can fail at.
const DISK_CALLS: [(&str, u64); 5] =
    [("fdatasync", 200), ("fdatasync", 20), ("pwrite64", 200), ("fsync", 3), ("/^rename", 2)];

#[derive(Debug)]
pub(crate) struct Trace {
    victim: Victim,
    call: &'static str,
    nth: u64,
    injected: Injected,
    rise: Rise,
    /// So long is it traced if nothing happens.
    limit: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Injected {
    Kill,
    InputOutputError,
}

/// When the others die, so that the traced replica becomes primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rise {
    Never,
    WhileItStarts,
    WhenItFollows,
}

impl Trace {
    pub(crate) fn draw_crash(draw: &mut Draw) -> Box<dyn Fault> {
        let (call, most) = *draw.one_of(&CRASH_CALLS);
        Trace::draw(draw, call, most, Injected::Kill)
    }

    pub(crate) fn draw_disk_error(draw: &mut Draw) -> Box<dyn Fault> {
        let (call, most) = *draw.one_of(&DISK_CALLS);
        Trace::draw(draw, call, most, Injected::InputOutputError)
    }

    fn draw(draw: &mut Draw, call: &'static str, most: u64, injected: Injected) -> Box<dyn Fault> {
        let nth = draw.magnitude(1..=most);
        let rise = *draw.one_of(&[Rise::Never, Rise::WhileItStarts, Rise::WhenItFollows, Rise::WhenItFollows]);
        let limit = draw.millis(1000..=3000);
        Box::new(Trace { victim: Victim::draw(draw), call, nth, injected, rise, limit })
    }

    /// Why it can't be done here, if so.
    pub(crate) fn impossible() -> Option<String> {
        need_tool("strace", "-V").err()
    }

    fn tracer(&self, stage: &Stage) -> Vec<String> {
        let (call, nth) = (self.call, self.nth);
        let what = match self.injected {
            Injected::Kill => "signal=KILL",
            Injected::InputOutputError => "error=EIO",
        };
        let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{what}:when={nth}"));
        let file = stage.world.cluster.file("traced").display().to_string();
        // As a grandchild (-D): the traced process stays our own child. Calls that nobody asked for are not stopped at.
        let words = ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", &file, "-e", &trace, "-e", &inject, "--"];
        words.map(str::to_owned).to_vec()
    }
}

impl Fault for Trace {
    fn name(&self) -> &'static str {
        match self.injected {
            Injected::Kill => "traced, to crash at the Nth system call",
            Injected::InputOutputError => "traced, to get EIO at the Nth write or sync",
        }
    }

    fn obstructs(&self) -> bool {
        true
    }

    fn begin(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        let Some((at, replica)) = self.victim.find(&mut stage.world)? else { return Ok(()) };
        stage.world.kill(&[(at, replica)])?;
        let tracer = self.tracer(stage);
        stage.world.start(at, replica, &tracer)?;
        let may_end = match self.injected {
            Injected::Kill => MayEnd::Killed,
            Injected::InputOutputError => MayEnd::Saying("Input/output error"),
        };
        let running = stage.world.instances[at].running.get_mut(&replica);
        running.expect("it was started just now").may_end = Some(may_end);

        let follows = |stage: &Stage| stage.world.instances[at].running.get(&replica).is_none_or(|one| one.is_ready());
        if self.rise == Rise::WhenItFollows {
            stage.wait_until("the traced replica follows", |stage| {
                stage.world.reap()?;
                Ok(follows(stage).then_some(()))
            })?;
        }
        if self.rise != Rise::Never {
            let others = stage.world.instances[at].running.keys().filter(|other| **other != replica);
            let others: Vec<(usize, u16)> = others.map(|other| (at, *other)).collect();
            stage.world.kill(&others)?;
        }
        let deadline = Instant::now() + self.limit;
        let happened = stage.wait_until("it happens, or the time is over", |stage| {
            let gone = stage.world.reap()?.contains(&(at, replica));
            Ok((gone || Instant::now() >= deadline).then_some(gone))
        })?;
        // It may have happened before, while the replica was waited for.
        if happened || !stage.world.instances[at].running.contains_key(&replica) {
            stage.tally.count(match self.injected {
                Injected::Kill => "traced, to crash at the Nth system call: did",
                Injected::InputOutputError => "traced, to get EIO at the Nth write or sync: did, and stopped",
            });
        } else {
            stage.world.kill(&[(at, replica)])?;
        }
        Ok(())
    }
}
