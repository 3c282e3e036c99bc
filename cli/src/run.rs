//! `run`: one replica of an instance in this process.

use std::process::ExitCode;

use ambrosia_core::{Lsn, ReplicaIndex};
use ambrosia_host::{Diagnostics, Ending, MemberOptions, RunOptions, Security};
use ambrosia_storage::StorePlace;

use crate::{arguments::Run, place::need_itself};

pub(crate) fn run(store: StorePlace, verb: Run, security: Security) -> anyhow::Result<ExitCode> {
    need_itself(&store, "`run`")?;
    let name = verb.instance.0;
    let ending = ambrosia_host::run(RunOptions {
        store,
        instance: name.clone(),
        replica: ReplicaIndex(verb.replica),
        listen: verb.listen.listen(security),
        http: verb.http.address()?,
        guest_log: verb.guest_log.guest_log,
        stdin: verb.stdin,
        ends_with_stdin: verb.end_with_stdin,
        member: MemberOptions {
            print_replay: verb.print_replay,
            // All that can be shown is to be shown.
            from_beginning: verb.print_replay || verb.ignore_checkpoints,
            allow_engine_change: verb.allow_engine_change,
            allow_divergence: verb.allow_divergence.map(Lsn),
            ..verb.member.options()?
        },
    })?;
    Ok(match ending {
        Ending::Stopped => ExitCode::SUCCESS,
        Ending::Finished { code, lsn } => {
            Diagnostics::say(format_args!(
                "ambrosia-host: instance {name} finished with exit code {code} at lsn {lsn}"
            ));
            // Only the low byte of a code reaches the parent; one that would look like success must not.
            let byte = code.to_le_bytes()[0];
            ExitCode::from(if byte == 0 && code != 0 { 1 } else { byte })
        }
    })
}
