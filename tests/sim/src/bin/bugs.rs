//! Whether the simulator finds bugs: puts each of a list of mistakes into a copy of the sources, and hunts.
//!
//! A mistake is one replacement or more in one file, of texts that occur there once. The list is the one below; a change of
//! the product that moves such a text fails here, and the entry moves with it.
//!
//! One program has them all, each behind a switch: to compile what depends on the core takes both processors for ten seconds,
//! most hunts take less than one. A mistake that does not stand in a function has a program of its own.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;

use self::{
    copy::Copy,
    switched::{Changes, place},
};

#[path = "bugs/copy.rs"]
mod copy;
#[path = "bugs/switched.rs"]
mod switched;

/// A mistake that somebody could make.
struct Bug {
    name: &'static str,
    file: &'static str,
    /// What stands there, and what is put in its place.
    changes: &'static Changes,
}

const BUGS: &[Bug] = &[
    Bug {
        name: "requests of sessions are delivered and the record does not say which they are",
        file: "host/core/src/batch.rs",
        changes: &[("&acknowledged, &requests, &sessions, &traces);", "&acknowledged, &requests, &[], &traces);")],
    },
    Bug {
        name: "the trace of a request is written down for the one before it",
        file: "host/core/src/batch.rs",
        changes: &[(
            "TraceEntry { call_id: self.last_impulse, context }",
            "TraceEntry { call_id: CallId(self.last_impulse.0 - 1), context }",
        )],
    },
    Bug {
        name: "results of sessions are forgotten before they are confirmed",
        file: "host/core/src/batch.rs",
        changes: &[(
            "let confirmed = inbox.sessions.confirmed(ticket).max(session.confirmed());",
            "let all = session.accepted();\n            let confirmed = if session.may_confirm(all) { all } else { session.confirmed() };",
        )],
    },
    Bug {
        name: "how far a session is, is not in the checkpoint",
        file: "host/core/src/sessions.rs",
        changes: &[("            out.put_u64(confirmed.0);\n", "            out.put_u64(0);\n")],
    },
    Bug {
        name: "requests of a client whose session another one has opened go on",
        file: "host/core/src/sessions.rs",
        changes: &[("Some(session) if session.ticket == ticket => Ok(session),", "Some(session) => Ok(session),")],
    },
    Bug {
        name: "what waits of a session is delivered although another client has opened it",
        file: "host/core/src/replica/sessions.rs",
        changes: &[(
            "                let _never_delivered = reign.inbox.sessions.forget(ticket);\n",
            "                let _ = reign;\n",
        )],
    },
    Bug {
        name: "the last request of a session is not answered again",
        file: "host/core/src/replica/sessions.rs",
        changes: &[("        if seq <= accepted {\n", "        if seq < accepted {\n")],
    },
    Bug {
        name: "a primary leaves what earlier reigns were to perform outside undone",
        file: "host/core/src/replica.rs",
        changes: &[("            self.resume_requests(durable.next(), outputs);\n", "")],
    },
    Bug {
        name: "who performs a request once more is not told that it may have been done",
        file: "host/core/src/replica.rs",
        changes: &[(
            "Output::Request { id, body, resumed: true, after }",
            "Output::Request { id, body, resumed: false, after }",
        )],
    },
    Bug {
        name: "a request to the outside is kept although its outcome was delivered",
        file: "host/core/src/state.rs",
        changes: &[(
            "                self.outgoing.settle(message.call_id);\n            }\n            MessageKind::Resolved",
            "            }\n            MessageKind::Resolved",
        )],
    },
    Bug {
        name: "whoever was deposed says of promises what it takes for so",
        file: "host/core/src/member/primary.rs",
        changes: &[("self.common.queries.put_of_now(Command::Out(output));", "context.carry(Command::Out(output));")],
    },
    Bug {
        name: "a promise is fulfilled by whoever guesses",
        file: "host/core/src/replica.rs",
        changes: &[("is_same(promise_token(&key, promise), token)", "key != token[..] || promise.0 > 0")],
    },
    Bug {
        name: "a method of the calendar runs again for an earlier time",
        file: "host/core/src/crons.rs",
        changes: &[("is_none_or(|done| *done < due)", "is_none_or(|done| *done != due)")],
    },
    Bug {
        name: "what the operator has set is forgotten while the instance stands",
        file: "host/core/src/member/fulfilment.rs",
        changes: &[("            self.configure(context);\n        } else if", "        } else if")],
    },
    Bug {
        name: "outputs leave before their record is durable",
        file: "host/core/src/held.rs",
        changes: &[("if next.after() > self.durable {", "if next.after().0 > self.durable.0 + 1 {")],
    },
    Bug {
        name: "the writer does not look at the fence",
        file: "host/storage/src/file/log_thread.rs",
        changes: &[("if fence == self.epoch { Ok(())", "if fence >= self.epoch { Ok(())")],
    },
    Bug {
        name: "a query is answered without a look at the fence",
        file: "host/core/src/member/queries.rs",
        changes: &[("match context.shell.look_at_fence(looking.number) {", "match Ok::<_, Epoch>(FenceLook::Done) {")],
    },
    Bug {
        name: "the look at the fence is made before what a query tells of is durable",
        file: "host/core/src/member/queries.rs",
        changes: &[(
            "self.answered.iter().take_while(|(at, _)| *at <= durable).count();",
            "self.answered.iter().take_while(|(at, _)| *at <= durable || at.0 > 0).count();",
        )],
    },
    Bug {
        name: "a query does not wait for the record that it asks for",
        file: "host/core/src/member/queries.rs",
        changes: &[("if is_ready && query.at_least <= replica.applied() {", "if is_ready {")],
    },
    Bug {
        name: "the fence is raised after the log was read",
        file: "host/storage/src/file/file_log.rs",
        changes: &[
            (
                "if self.control.raise_fence(before, ReignWord { epoch, replica: me.replica }) {",
                "if self.control.fence() == before {",
            ),
            (
                "let sealed = self.read_and_seal(&me, epoch, now, tail);\n",
                "let sealed = self.read_and_seal(&me, epoch, now, tail);\n        self.control.raise_fence(over, ReignWord { epoch, replica: me.replica });\n",
            ),
        ],
    },
    Bug {
        name: "records are published without a sync",
        file: "host/storage/src/file/log_thread.rs",
        changes: &[(
            "        self.timed_sync(|segment| segment.sync())?;\n        self.check_fence()?;",
            "        self.check_fence()?;",
        )],
    },
    Bug {
        name: "records are published before the sync",
        file: "host/storage/src/file/log_thread.rs",
        changes: &[(
            "        self.timed_sync(|segment| segment.sync())?;\n        self.check_fence()?;\n",
            "        let at = self.batch.bytes.len() - self.batch.lengths.last().map_or(0, |bytes| *bytes as usize);\n        self.control.publish_durable(last_record(&self.batch.bytes[at..]).lsn);\n        self.timed_sync(|segment| segment.sync())?;\n        self.check_fence()?;\n",
        )],
    },
    Bug {
        name: "a candidate does not look at the fence after it has sealed",
        file: "host/storage/src/file/file_log.rs",
        changes: &[("        if fence != epoch {", "        if fence < epoch {")],
    },
    Bug {
        name: "a candidate that is stopped keeps all others from taking over",
        file: "host/storage/src/file/file_log.rs",
        changes: &[(
            "if self.watch.has_paused(before) { REIGNS_TRIED_MAX } else { 1 };",
            "if self.watch.has_paused(before) && REIGNS_TRIED_MAX == 0 { 2 } else { 1 };",
        )],
    },
    Bug {
        name: "what a failed sync left in memory is trusted",
        file: "host/storage/src/file/file_log.rs",
        changes: &[(
            "        file.write_all_at(&stored, place.offset).context(\"write\", &path)?;\n",
            "        let _ = (stored, place);\n",
        )],
    },
    Bug {
        name: "a tail that was never synced is trusted",
        file: "host/storage/src/file/file_log.rs",
        changes: &[("        write_again(cursor, &unsure)?;\n", "        let _ = (&unsure, write_again);\n")],
    },
    Bug {
        name: "a log is cut off at a flipped bit",
        file: "host/storage/src/file/log_end.rs",
        changes: &[(
            "    let damage = |evidence: String| {",
            "    if !matches!(fault, Fault::Full) {\n        return Ok(LogEnd { torn_bytes: 1 });\n    }\n    let damage = |evidence: String| {",
        )],
    },
    Bug {
        name: "a torn tail is taken for damage",
        file: "host/storage/src/file/evidence.rs",
        changes: &[("&& header.durable >= cursor.next_lsn()", "&& header.lsn >= cursor.next_lsn()")],
    },
    Bug {
        name: "a segment is begun before the one before is synced",
        file: "host/storage/src/file/segment_writer.rs",
        changes: &[(
            "        self.sync()?;\n        let place = SegmentPlace { follows: self.epoch,",
            "        let place = SegmentPlace { follows: self.epoch,",
        )],
    },
    Bug {
        name: "the name of a segment is not synced",
        file: "host/storage/src/file/durable_file.rs",
        changes: &[(
            "    machine.rename(from, to).context(\"rename to its place\", from)?;\n    sync_directory(machine, to.parent().expect(\"a file lies in a directory\"))",
            "    machine.rename(from, to).context(\"rename to its place\", from)",
        )],
    },
    Bug {
        name: "the first record of a reign is not synced",
        file: "host/storage/src/file/segment_writer.rs",
        changes: &[(
            "    file.sync_all().context(\"sync\", temporary)?;\n    let path = directory.segment_path(name);",
            "    let path = directory.segment_path(name);",
        )],
    },
    Bug {
        name: "followers see what is not durable",
        file: "host/storage/src/file/log_thread.rs",
        changes: &[(
            "        self.write_batch()?;\n                Ok(Turn::Wrote)",
            "        self.write_batch()?;\n                self.control.publish_durable(last_record(&self.batch.bytes[self.batch.bytes.len() - *self.batch.lengths.last().expect(\"one\") as usize..]).lsn);\n                Ok(Turn::Wrote)",
        )],
    },
    Bug {
        name: "a gap in a stream is accepted",
        file: "host/core/src/replica.rs",
        changes: &[("if chunk.first_seq > last.next() {", "if chunk.first_seq.0 > last.0 + 1000 {")],
    },
    Bug {
        name: "messages that come twice are delivered twice",
        file: "host/core/src/outbox.rs",
        changes: &[(
            "        if self.last_seq() <= seq {\n            return None;\n        }\n",
            "        if self.last_seq() < seq {\n            return None;\n        }\n        if self.last_seq() == seq {\n            return Some(self.clone());\n        }\n",
        )],
    },
    Bug {
        name: "what was received is acknowledged before it is durable",
        file: "host/core/src/io.rs",
        changes: &[(
            "            Output::Welcome { after, .. }\n            | Output::Acknowledge { after, .. }\n",
            "            Output::Acknowledge { .. } => Lsn(0),\n            Output::Welcome { after, .. }\n",
        )],
    },
    Bug {
        name: "answers leave before they are durable",
        file: "host/core/src/io.rs",
        changes: &[
            ("            | Output::Answered { after, .. }\n", ""),
            (
                "            Output::Welcome { after, .. }\n",
                "            Output::Answered { .. } => Lsn(0),\n            Output::Welcome { after, .. }\n",
            ),
        ],
    },
    Bug {
        name: "the outbox is forgotten at a takeover",
        file: "host/core/src/replica.rs",
        changes: &[(
            "(stream.outbox.acknowledged() < stream.outbox.last_seq()).then_some(peer)",
            "(stream.outbox.acknowledged() > stream.outbox.last_seq()).then_some(peer)",
        )],
    },
    Bug {
        name: "a request that comes again is done again",
        file: "host/core/src/replica.rs",
        changes: &[(
            "left_out.is_some() || self.put_known_request(request.clone(), content, from, outputs) {",
            "left_out.is_some() || request.as_bytes().is_empty() && self.put_known_request(request.clone(), content, from, outputs) {",
        )],
    },
    Bug {
        name: "a stream goes on although its peer was registered anew",
        file: "host/core/src/stream.rs",
        changes: &[("        self.received = Seq(0);\n", "")],
    },
    Bug {
        name: "calls to a peer that was registered anew wait for ever",
        file: "host/core/src/calls.rs",
        changes: &[(
            "            self.waiting.remove(call);\n            self.failed.insert(*call);\n",
            "            let _ = call;\n",
        )],
    },
    Bug {
        name: "a timer that fired is kept",
        file: "host/core/src/state.rs",
        changes: &[(
            "            MessageKind::Timer => self.timers.cancel(message.call_id),\n            MessageKind::Error => self",
            "            MessageKind::Timer => {}\n            MessageKind::Error => self",
        )],
    },
    Bug {
        name: "a guest sees the clock of its host",
        file: "host/core/src/replica.rs",
        changes: &[(
            "        let reign = self.primary.as_mut().expect(\"only a primary delivers\");\n",
            "        self.state.world.time = now;\n        let reign = self.primary.as_mut().expect(\"only a primary delivers\");\n",
        )],
    },
    Bug {
        name: "a reader whose segment was removed is not told that it was overtaken",
        file: "host/storage/src/file/cursor.rs",
        changes: &[("Err(error) if is_gone(&error) => {", "Err(error) if is_gone(&error) && name.first.0 == 0 => {")],
    },
    Bug {
        name: "pages of a base win over those that have changed since",
        file: "host/storage/src/file/checkpoint_directory.rs",
        changes: &[("    for file in chain {", "    for file in chain.iter().rev() {")],
    },
    Bug {
        name: "a base made of a chain has no registers",
        file: "host/storage/src/file/checkpoint_directory.rs",
        changes: &[(
            "CheckpointIndex { parent: None, memories: Vec::new(), ..chain[0].index.clone() };",
            "CheckpointIndex { parent: None, memories: Vec::new(), registers: Vec::new(), ..chain[0].index.clone() };",
        )],
    },
    Bug {
        name: "a base made of a chain has the state of the base before",
        file: "host/storage/src/file/checkpoint_directory.rs",
        changes: &[(
            "CheckpointIndex { parent: None, memories: Vec::new(), ..chain[0].index.clone() };",
            "CheckpointIndex { parent: None, memories: Vec::new(), state: chain[chain.len() - 1].index.state.clone(), ..chain[0].index.clone() };",
        )],
    },
    Bug {
        name: "a checkpoint lacks the newest messages to peers",
        file: "host/core/src/outbox.rs",
        changes: &[(
            "        out.put_count(chunks.len());\n        for Chunk { after, first_seq, count, messages } in chunks {",
            "        let some = chunks.len().saturating_sub(1);\n        out.put_count(some);\n        for Chunk { after, first_seq, count, messages } in chunks.iter().take(some) {",
        )],
    },
    Bug {
        name: "what a checkpoint holds for peers may leave before it is durable",
        file: "host/core/src/outbox.rs",
        changes: &[("            out.put_u64(after.0);", "            out.put_u64(after.0 - 1);")],
    },
    Bug {
        name: "a checkpoint lacks the random generator",
        file: "host/core/src/checkpoint.rs",
        changes: &[(
            "        out.put_u64(random.state());",
            "        let _ = random;\n        out.put_u64(genesis.seed);",
        )],
    },
    Bug {
        name: "a checkpoint lacks the number of the last impulse",
        file: "host/core/src/requests.rs",
        changes: &[("        out.put_u64(last_impulse.0);", "        let _ = last_impulse;\n        out.put_u64(0);")],
    },
    Bug {
        name: "a checkpoint lacks the requests without an answer",
        file: "host/core/src/requests.rs",
        changes: &[(
            "        out.put_count(pending.len());\n        for (call, Pending { id, accepted, content }) in pending {",
            "        out.put_count(0);\n        for (call, Pending { id, accepted, content }) in pending.iter().take(0) {",
        )],
    },
    Bug {
        name: "a checkpoint lacks the last timer",
        file: "host/core/src/timers.rs",
        changes: &[(
            "        out.put_count(by_time.len());\n        for (due, id) in by_time {",
            "        let some = by_time.len().saturating_sub(1);\n        out.put_count(some);\n        for (due, id) in by_time.iter().take(some) {",
        )],
    },
    Bug {
        name: "the log is removed up to the newest checkpoint",
        file: "host/storage/src/chains.rs",
        changes: &[(
            "applied.iter().copied().fold(oldest, Lsn::min)",
            "applied.iter().copied().fold(oldest.max(newest), Lsn::min)",
        )],
    },
    Bug {
        name: "the log is removed although a replica that runs needs it",
        file: "host/storage/src/chains.rs",
        changes: &[(
            "applied.iter().copied().fold(oldest, Lsn::min)",
            "applied.iter().copied().fold(oldest, Lsn::max).min(oldest)",
        )],
    },
    Bug {
        name: "the log is removed although all checkpoints rest on one base",
        file: "host/storage/src/chains.rs",
        changes: &[(" && self.bases(&kept).len() >= count.min(2);", ";")],
    },
    Bug {
        name: "segments are removed newest first",
        file: "host/storage/src/file/checkpoints.rs",
        changes: &[(
            "for name in trimmed(&self.directory.segments()?, before) {",
            "for name in trimmed(&self.directory.segments()?, before).into_iter().rev() {",
        )],
    },
    Bug {
        name: "a base is removed on which a checkpoint rests that is kept",
        file: "host/storage/src/chains.rs",
        changes: &[(
            "        let kept: BTreeSet<_> = kept.iter().filter_map(|lsn| self.chain(*lsn)).flatten().collect();",
            "        let kept: BTreeSet<_> = kept.iter().filter_map(|lsn| self.chain(*lsn)?.into_iter().next()).collect();",
        )],
    },
    Bug {
        name: "a checkpoint gets its name before it is on the disk",
        file: "host/storage/src/file/checkpoint_file.rs",
        changes: &[("    Ok(file.sync_all().context(\"sync\", path)?)", "    Ok(())")],
    },
    Bug {
        name: "a damaged page of a checkpoint is believed",
        file: "host/storage/src/file/checkpoint_file.rs",
        changes: &[(
            "            if page_hash(contents) != hash {",
            "            if page_hash(contents) != hash && contents.is_empty() {",
        )],
    },
    Bug {
        name: "a damaged index of a checkpoint is believed",
        file: "host/storage/src/file/checkpoint_file.rs",
        changes: &[(
            "        if crc32c::crc32c(&stored) != u32_at(INDEX_CHECKSUM_AT) {",
            "        if stored.is_empty() {",
        )],
    },
    Bug {
        name: "a member lets out what is not durable",
        file: "host/core/src/member/primary.rs",
        changes: &[
            (
                "                output if output.after() == Lsn(0) => self.carry(context, output),",
                "                output if output.after() <= self.common.replica.applied() => self.carry(context, output),",
            ),
            ("        assert!(output.after() <= self.held.durable(), \"nothing is seen before it is durable\");\n", ""),
        ],
    },
    Bug {
        name: "a checkpoint is published before its record is durable",
        file: "host/core/src/member/own_checkpoint.rs",
        changes: &[
            (
                "            (Step::Write { is_durable: true }, CheckpointEvent::Written(Ok(()))) => {",
                "            (Step::Write { .. }, CheckpointEvent::Written(Ok(()))) => {",
            ),
            (
                "            (Step::Write { is_durable: false }, CheckpointEvent::Written(Ok(()))) => (Some(Step::Durable), None),\n",
                "",
            ),
        ],
    },
    Bug {
        name: "a record that became durable while its checkpoint was written is forgotten",
        file: "host/core/src/member/own_checkpoint.rs",
        changes: &[(
            "            Step::Capture { is_durable } | Step::Write { is_durable } => *is_durable = true,",
            "            Step::Capture { .. } | Step::Write { .. } => {}",
        )],
    },
    Bug {
        name: "a guest goes on before it is captured",
        file: "host/core/src/member/standby.rs",
        changes: &[("        while !self.common.own.is_capturing() {", "        loop {")],
    },
    Bug {
        name: "a capture that failed is tried again at once",
        file: "host/core/src/member/common.rs",
        changes: &[(
            "Some(Attempt::Failed(_)) => self.schedule.on_failed(),",
            "Some(Attempt::Failed(_)) => self.schedule.on_gone(),",
        )],
    },
    Bug {
        name: "a checkpoint is taken of an instance that has ended",
        file: "host/core/src/member/primary.rs",
        changes: &[(
            "        if !self.common.replica.goes_on() || self.end.is_some() {\n            return;\n        }\n        self.look_after",
            "        self.look_after",
        )],
    },
    Bug {
        name: "a candidate that was too late tries again without reading",
        file: "host/core/src/member/standby.rs",
        changes: &[
            (
                "                assert!(matches!(self.phase, Phase::Acquire(_)), \"only a candidate can be too late\");\n                self.open(context);",
                "                let Phase::Acquire(over) = self.phase else { unreachable!() };\n                context.carry(Command::Open(self.common.replica.applied().next()));\n                context.carry(Command::Acquire(over));",
            ),
            (
                "                assert_eq!(self.phase, Phase::Open, \"the log is opened anew after a try to become primary\");\n                self.phase = Phase::Read;\n                context.carry(Command::WatchOn);\n                context.carry(Command::Read);\n",
                "",
            ),
        ],
    },
    Bug {
        name: "a candidate that was too late leaves a record out",
        file: "host/core/src/member/standby.rs",
        changes: &[(
            "Command::Open(self.common.replica.applied().next())",
            "Command::Open(self.common.replica.applied().next().next())",
        )],
    },
    Bug {
        name: "the log is trimmed although a replica that was added needs it",
        file: "host/core/src/member/own_checkpoint.rs",
        changes: &[(
            "running.iter().filter(|other| other.heartbeat_age < IN_USE);",
            "running.iter().filter(|other| other.heartbeat_age < IN_USE && other.replica.0 == 0);",
        )],
    },
    Bug {
        name: "the log is trimmed although a replica that was silent for a moment needs it",
        file: "host/core/src/member/own_checkpoint.rs",
        changes: &[(
            "const IN_USE: Duration = Duration::from_secs(60);",
            "const IN_USE: Duration = Duration::from_millis(600);",
        )],
    },
    Bug {
        name: "a recovery that trimming has overtaken gives up",
        file: "host/core/src/member/recovery.rs",
        changes: &[(
            "        let may_be_overtaken = self.tried != Some(self.newest) && (self.vanished || published > self.newest);",
            "        let may_be_overtaken = published == Lsn(u64::MAX) && self.tried != Some(self.newest);",
        )],
    },
    Bug {
        name: "a deposed primary keeps what belongs to its reign",
        file: "host/core/src/member/primary.rs",
        changes: &[(
            "    fn begin_anew(self, context: &mut Context<'_, G>) -> Stage<G> {\n        context.carry(Command::Abandon);",
            "    fn begin_anew(self, context: &mut Context<'_, G>) -> Stage<G> {",
        )],
    },
    Bug {
        name: "a reign goes by the wall clock",
        file: "host/core/src/member/clock.rs",
        changes: &[(
            "        self.told_ahead = ahead;\n",
            "        self.told_ahead = 0;\n        (self.began, self.began_at) = (wall, now);\n",
        )],
    },
    Bug {
        name: "changes are counted since a checkpoint that was not taken",
        file: "host/core/src/member/own_checkpoint.rs",
        changes: &[("let parent = self.parent.take();", "let parent = self.parent;")],
    },
    Bug {
        name: "a checkpoint is asked of nobody",
        file: "host/core/src/member/primary.rs",
        changes: &[("        self.digest(context, Some(by));", "        self.digest(context, None);")],
    },
    Bug {
        name: "a standby takes over before it has read the log",
        file: "host/core/src/member/standby.rs",
        changes: &[("self.durable.is_some_and(|durable| applied >= durable)", "applied >= Lsn(1)")],
    },
    Bug {
        name: "a standby that was overtaken goes on reading",
        file: "host/core/src/member/standby.rs",
        changes: &[(
            "        if published < asked {\n            return self.end(context, Ending::Overtaken { asked, first });\n        }\n",
            "        if published < Lsn(u64::MAX) {\n            return self.end(context, Ending::Overtaken { asked, first });\n        }\n",
        )],
    },
    Bug {
        name: "who stepped down for its output takes over again at once",
        file: "host/core/src/member/standby.rs",
        changes: &[(
            "        if !is_stuck {\n            self.left = None;\n            return false;\n        }",
            "        if !is_stuck || self.left.is_none() {\n            self.left = None;\n            return false;\n        }",
        )],
    },
    Bug {
        name: "a peer is whoever it says it is, also when it is gone",
        file: "host/core/src/member/primary.rs",
        changes: &[(
            "match self.common.replica.unmet_peer(&traffic) {",
            "match self.common.replica.unmet_peer(&traffic).filter(|_| false) {",
        )],
    },
    Bug {
        name: "an upgrade is recorded before it is judged",
        file: "host/core/src/replica/changing.rs",
        changes: &[
            (
                "        let applied = judged.apply(",
                "        outputs.push(Output::Append(record.clone()));\n        let applied = judged.apply(",
            ),
            (
                "        outputs.push(Output::Append(record));\n        self.put_effects(applied, after, outputs);\n        outputs",
                "        self.put_effects(applied, after, outputs);\n        outputs",
            ),
        ],
    },
    Bug {
        name: "an upgrade is said to be done before it is durable",
        file: "host/core/src/io.rs",
        changes: &[
            ("            | Output::Upgraded { after, .. }\n", ""),
            (
                "            | Output::UpgradeWaits { .. }\n",
                "            | Output::UpgradeWaits { .. }\n            | Output::Upgraded { .. }\n",
            ),
        ],
    },
    Bug {
        name: "the guest is not put back when the effects of the new code are at fault",
        file: "host/core/src/state.rs",
        changes: &[("guest.undo_upgrade().map_or_else(", "Ok::<(), Fault>(guest.keep_upgrade()).map_or_else(")],
    },
    Bug {
        name: "an upgrade that is refused leaves the generator where it drew to",
        file: "host/core/src/replica/changing.rs",
        changes: &[(
            "            Err(HandoverError::Refused(fault)) => {\n",
            "            Err(HandoverError::Refused(fault)) => {\n                self.state.world.random = judged.world.random.clone();\n",
        )],
    },
    Bug {
        name: "a peer that the new code attached stays when the upgrade is refused",
        file: "host/core/src/replica/changing.rs",
        changes: &[(
            "            Err(HandoverError::Refused(fault)) => {\n",
            "            Err(HandoverError::Refused(fault)) => {\n                (self.state.world.peers, self.state.streams) = (judged.world.peers.clone(), judged.streams.clone());\n",
        )],
    },
    Bug {
        name: "a checkpoint has the module of genesis",
        file: "host/core/src/code.rs",
        changes: &[
            (
                "    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {",
                "    fn encode(&self, beside: Beside<'_>, out: &mut SharedState) {",
            ),
            ("        out.put(module);\n", "        let _ = module;\n        out.put(&beside.genesis.module);\n"),
        ],
    },
    Bug {
        name: "a delta rests on a base from before an upgrade",
        file: "host/core/src/member/own_checkpoint.rs",
        changes: &[(
            "        self.parent = None;\n        self.anew_since = applied;\n",
            "        self.anew_since = applied;\n",
        )],
    },
    Bug {
        name: "a delta rests on a checkpoint that was captured before an upgrade and published after it",
        file: "host/core/src/member/own_checkpoint.rs",
        changes: &[("(at > self.anew_since).then_some(at)", "(at > Lsn(0)).then_some(at)")],
    },
    Bug {
        name: "a wish is carried out once more after a takeover",
        file: "host/core/src/member/fulfilment.rs",
        changes: &[(
            "        if replica.attempt() == wish.attempt() {\n            // An earlier",
            "        if replica.attempt() == wish.attempt() && replica.epoch() == Epoch(0) {\n            // An earlier",
        )],
    },
    Bug {
        name: "a wish is seen to without a claim",
        file: "host/core/src/member/fulfilment.rs",
        changes: &[(
            "        if self.until_claim(context.now) == Some(Duration::ZERO) {\n",
            "        self.fulfilment.claim = Claim::Held;\n        if self.until_claim(context.now) == Some(Duration::ZERO) {\n",
        )],
    },
    Bug {
        name: "a guest that was lost in an upgrade goes on",
        file: "host/core/src/member/primary.rs",
        changes: &[("                } else if is_lost {\n", "                } else if is_lost && self.me.0 > 9 {\n")],
    },
    Bug {
        name: "a mend is recorded before it is judged",
        file: "host/core/src/replica/changing.rs",
        changes: &[(
            "                return outputs.push(Output::UpgradeRefused { attempt: mend.attempt(), fault, is_lost: true });\n",
            "                let _ = fault;\n",
        )],
    },
    Bug {
        name: "a late replica says that an instance stands that was mended",
        file: "host/core/src/member/mending.rs",
        changes: &[("        if !is_mended && wish.is_none() {\n", "        if wish.is_none() {\n")],
    },
    Bug {
        name: "who stands does not look for a mend",
        file: "host/core/src/member/standby.rs",
        changes: &[(
            "return self.on_halted(context, fault, lsn),",
            "return self.end(context, Ending::Halted { fault, lsn }),",
        )],
    },
    Bug {
        name: "a request that is skipped is not answered",
        file: "host/core/src/mend.rs",
        changes: &[(
            "MessageKind::Impulse => self.answer(PeerIndex::OUTSIDE, position, message),",
            "MessageKind::Impulse => {}",
        )],
    },
    Bug {
        name: "what a mend brought about is seen as if the record that was left out had",
        file: "host/core/src/replica/changing.rs",
        changes: &[(
            "        self.put_effects(applied, after, outputs);\n        self.want_all(outputs);\n",
            "        self.put_effects(applied, mend.lsn, outputs);\n        self.want_all(outputs);\n",
        )],
    },
    Bug {
        name: "a skip does not count as done",
        file: "host/core/src/state.rs",
        changes: &[("        self.code.skip(skip, self.position.lsn);\n", "")],
    },
    Bug {
        name: "who has a record to mend is spoken to before",
        file: "host/core/src/member/primary.rs",
        changes: &[("        if primary.common.replica.void().is_none() {\n", "        if primary.me.0 < 9 {\n")],
    },
    Bug {
        name: "after a mend nobody is connected to",
        file: "host/core/src/replica/changing.rs",
        changes: &[(
            "        self.want_all(outputs);\n        self.resume_requests(after, outputs);\n",
            "        self.resume_requests(after, outputs);\n",
        )],
    },
    Bug {
        name: "a delta of a standby rests on a base from before a mend by other code",
        file: "host/core/src/member/common.rs",
        changes: &[(
            "                    if hands_over(&mend) {\n",
            "                    if hands_over(&mend) && after == Lsn(0) {\n",
        )],
    },
    Bug {
        name: "what stands in the log counts as durable without a barrier",
        file: "host/storage/shared/src/writer.rs",
        changes: &[("match self.sight().on_barred(result) {", "match self.sight().on_barred(result.or(Ok(()))) {")],
    },
    Bug {
        name: "what is not known to have been appended counts as durable",
        file: "host/storage/shared/src/writer.rs",
        changes: &[(
            "                self.is_unsure = true;\n                self.unsettle(reason, now, events);\n",
            "                let _ = reason;\n                self.settled(self.group().last, now, events);\n",
        )],
    },
    Bug {
        name: "a group is sent anew with other bytes while its outcome is unknown",
        file: "host/storage/shared/src/writer.rs",
        changes: &[
            (
                "        if self.group.is_some() {\n            self.stage = Stage::Ready(now);\n",
                "        if self.group.is_some() {\n            self.ungroup();\n            self.rest(now);\n",
            ),
            (
                "let mut taken = self.grouped.iter().chain(&self.queue);",
                "let mut taken = self.grouped.iter().rev().take(1);",
            ),
        ],
    },
    Bug {
        name: "one answer of a committer is given to another log",
        file: "host/storage/shared/src/committer/lanes.rs",
        changes: &[(
            "        for (id, result) in ids.iter().zip(results) {\n            self.tell(*id, now, |task, events| match task {\n                Task::Writer",
            "        for (id, result) in ids.iter().rev().zip(results) {\n            self.tell(*id, now, |task, events| match task {\n                Task::Writer",
        )],
    },
    Bug {
        name: "readers hand on what no barrier has covered",
        file: "host/storage/shared/src/read_once.rs",
        changes: &[("self.sight.on_barred(result)", "self.sight.on_barred(result.or(Ok(())))")],
    },
    Bug {
        name: "a look at the fence believes a node out of office",
        file: "host/storage/shared/src/head_once.rs",
        changes: &[("self.sight.on_barred(result)", "self.sight.on_barred(result.or(Ok(())))")],
    },
    Bug {
        name: "a candidate finds fault with a log that a node out of office shows",
        file: "host/storage/shared/src/takeover.rs",
        changes: &[("match self.sight().on_barred(result) {", "match self.sight().on_barred(result.or(Ok(()))) {")],
    },
    Bug {
        name: "silence of others counts while own beats are not answered",
        file: "host/storage/shared/src/committer/beats.rs",
        changes: &[(
            "        if let Ok(Answered::Beats { session, beats }) = answer {\n",
            "        let beats = of.iter().map(|host| (*host, 0)).collect();\n        let unheard = Answered::Beats { session: crate::engine::Session(0), beats };\n        if let Ok(Answered::Beats { session, beats }) = answer.or(Ok::<_, crate::engine::Fault>(unheard)) {\n",
        )],
    },
    Bug {
        name: "silence is counted on when another node answers",
        file: "host/storage/shared/src/lives.rs",
        changes: &[("            self.seen.clear();\n", "")],
    },
    Bug {
        name: "a barrier counts for what was read of another node",
        file: "tests/sim/src/engine/office.rs",
        changes: &[("            && read != session\n", "            && read.0 == 0\n")],
    },
    Bug {
        name: "head rows are read from a replica that lags",
        file: "tests/sim/src/engine/office.rs",
        changes: &[(
            "                let answered = self.shown.execute(&request, session);\n",
            "                let answered = match (&request, &mut self.backup) {\n                    (Request::Heads { .. }, Some(lagging)) => lagging.execute(&request, session),\n                    _ => self.shown.execute(&request, session),\n                };\n",
        )],
    },
    Bug {
        name: "the epoch is raised after the log was read",
        file: "host/storage/shared/src/takeover.rs",
        changes: &[(
            "        if at.last.lsn < head.last.lsn {\n            self.stage = read_from(now);\n",
            "        if at.last.lsn < head.last.lsn {\n            self.reader.standing.last = head.last;\n            self.stage = Stage::Done;\n",
        )],
    },
    Bug {
        name: "a place that is free is the fence of an engine",
        file: "host/storage/shared/src/rows.rs",
        changes: &[(
            "if !(head.epoch == group.epoch && head.last == group.after) {",
            "if rows.groups.contains_key(&group.last.lsn) {",
        )],
    },
    Bug {
        name: "an engine does not compare the epoch of its head row",
        file: "host/storage/shared/src/rows.rs",
        changes: &[("if !(head.epoch == group.epoch && head.last == group.after) {", "if head.last != group.after {")],
    },
    Bug {
        name: "two candidates raise the same epoch",
        file: "host/storage/shared/src/rows.rs",
        changes: &[(
            "let is_mine = head.epoch == epoch && head.claim == raise.claim;",
            "let is_mine = head.epoch == epoch;",
        )],
    },
    Bug {
        name: "of two that have claimed the same place both reign",
        file: "host/storage/shared/src/rows.rs",
        changes: &[(
            "let is_mine = head.epoch == epoch && head.claim == raise.claim;",
            "let is_mine = head.epoch == epoch && head.replica == raise.replica;",
        )],
    },
    Bug {
        name: "a reader does not notice that the store has gone back",
        file: "host/storage/shared/src/reader.rs",
        changes: &[(
            "if head.last.lsn < at.lsn || head.epoch < self.standing.epoch {",
            "if head.last.lsn < at.lsn && head.epoch < Epoch(0) {",
        )],
    },
    Bug {
        name: "a reader does not compare links",
        file: "host/storage/shared/src/reader.rs",
        changes: &[(
            "if record.header().previous != before.last.link {",
            "if record.header().previous != before.last.link && lsn.0 == 0 {",
        )],
    },
    Bug {
        name: "a replica takes over from another engine without having compared itself",
        file: "host/core/src/member/agreement.rs",
        changes: &[("self.untested.filter(|_| !self.is_believed)", "self.untested.filter(|_| self.own == [0; 32])")],
    },
    Bug {
        name: "a candidate keeps a reign although it can't vouch for what it found",
        file: "host/core/src/member/standby.rs",
        changes: &[(
            "Phase::Acquired(epoch, wall) => match self.doubt(context) {",
            "Phase::Acquired(epoch, wall) => match self.doubt(context).filter(|since| since.0 == 0) {",
        )],
    },
    Bug {
        name: "a reign that was given up at once vouches for what was before",
        file: "host/core/src/member/agreement.rs",
        changes: &[(
            "            self.is_to_show |= before != engine;\n",
            "            self.is_to_show |= before != engine;\n            self.untested = None;\n",
        )],
    },
    Bug {
        name: "what another engine has shown is forgotten before a digest stands behind it",
        file: "host/core/src/member/agreement.rs",
        changes: &[(
            "            Did::Handled => {\n                self.untested = self.untested.or(Some(lsn));\n                None\n            }\n",
            "            Did::Handled => {\n                self.untested = self.untested.or(Some(lsn)).filter(|_| !lsn.0.is_multiple_of(2));\n                None\n            }\n",
        )],
    },
];

/// Puts deliberate bugs into a copy of the sources, and sees that the simulator finds each.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  bugs                 all of them\n  bugs --only fence    those with that word in their name, or in that of their file\n  \
    bugs --list          their names"
)]
struct Arguments {
    /// Seeds after which a bug counts as not found
    #[arg(long, default_value_t = 3000)]
    seeds: u64,
    /// Only bugs with this text in their name, or in that of their file
    #[arg(long, default_value = "")]
    only: String,
    /// List the bugs
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_chosen = |bug: &Bug| [bug.name, bug.file].iter().any(|text| text.contains(&arguments.only));
    let chosen: Vec<_> = (0..BUGS.len()).filter(|number| is_chosen(&BUGS[*number])).collect();
    if arguments.list {
        chosen.iter().map(|number| &BUGS[*number]).for_each(|bug| println!("{} ({})", bug.name, bug.file));
        return ExitCode::SUCCESS;
    }
    match find_all(&chosen, arguments.seeds) {
        Ok(0) => {
            println!("each of {} deliberate bugs was found", chosen.len());
            ExitCode::SUCCESS
        }
        Ok(missed) => {
            println!("{missed} of {} deliberate bugs were NOT found", chosen.len());
            ExitCode::FAILURE
        }
        Err(reason) => {
            eprintln!("bugs: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how many were not found.
fn find_all(numbers: &[usize], seeds: u64) -> Result<usize, String> {
    let begin = Instant::now();
    let copy = Copy::make(sources(), BUGS)?;
    println!("one program has all bugs but {} [{:.0} s]", copy.left_out().len(), begin.elapsed().as_secs_f64());
    for simulation in [Simulation::Clusters, Simulation::Engines] {
        let (fails, how) = copy.hunt(50, simulation, None)?;
        if fails {
            return Err(format!("the sources fail without a deliberate bug: {how}"));
        }
    }
    let (alone, switched): (Vec<_>, Vec<_>) = numbers.iter().partition(|number| copy.left_out().contains(number));
    let mut missed = 0;
    for number in switched {
        missed += usize::from(!find(&copy, number, seeds)?);
    }
    for number in alone {
        copy.put_in(&BUGS[number])?;
        missed += usize::from(!find(&copy, number, seeds)?);
        copy.take_out(&BUGS[number])?;
    }
    Ok(missed)
}

/// Hunts for a bug; whether it was found.
fn find(copy: &Copy, number: usize, seeds: u64) -> Result<bool, String> {
    let (begin, bug) = (Instant::now(), &BUGS[number]);
    let (found, how) = copy.hunt(seeds, bug.simulation(), Some(number))?;
    let said = if found { "found" } else { "MISSED" };
    println!("{said} {} — {how} [{:.1} s]", bug.name, begin.elapsed().as_secs_f64());
    Ok(found)
}

/// What is simulated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Simulation {
    /// Instances, their replicas and logs on files.
    Clusters,
    /// Hosts that share the logs of an engine.
    Engines,
}

impl Bug {
    /// Where it shows.
    fn simulation(&self) -> Simulation {
        let of_engines = ["host/storage/shared/", "tests/sim/src/engine/"];
        let is_of_engines = of_engines.iter().any(|folder| self.file.starts_with(folder));
        if is_of_engines { Simulation::Engines } else { Simulation::Clusters }
    }

    /// A text with the mistake in it.
    fn applied(&self, text: &str) -> Result<String, String> {
        let mut text = text.to_owned();
        for (right, wrong) in self.changes {
            let place = place(&text, right).map_err(|reason| self.blamed(&reason))?;
            text.replace_range(place, wrong);
        }
        Ok(text)
    }

    fn blamed(&self, reason: &str) -> String {
        format!("{}: {:?}: {reason}", self.file, self.name)
    }
}

/// Where the sources are.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two folders up").to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else a change of the product is told after all hunts before it.
    #[test]
    fn each_bug_can_be_put_into_the_sources() {
        let applied = |bug: &Bug| bug.applied(&copy::read(&sources().join(bug.file))?);
        let lost: Vec<_> = BUGS.iter().filter_map(|bug| applied(bug).err()).collect();
        assert!(lost.is_empty(), "{}", lost.join("\n"));
    }

    /// Each that is not takes as long as many others.
    #[test]
    fn all_bugs_but_a_few_are_in_one_program() {
        let texts = copy::Texts::of(&sources(), BUGS).expect("each bug can be put in");
        let left_out: Vec<_> = texts.left_out.iter().map(|number| BUGS[*number].name).collect();
        assert!(left_out.len() * 20 < BUGS.len(), "{left_out:?}");
    }
}
