//! `serve`: replicas of many instances in this process.

use std::process::ExitCode;

use ambrosia_core::{InstanceName, ReplicaIndex};
use ambrosia_host::{Diagnostics, Ending, MemberEnded, MemberOptions, PlacingOptions, Security, ServeOptions, Which};
use ambrosia_storage::StorePlace;

use crate::{arguments::Serve, place::need_itself, said::said};

pub(crate) fn serve(store: StorePlace, verb: Serve, security: Security) -> anyhow::Result<ExitCode> {
    need_itself(&store, "`serve`")?;
    let takes_places = !verb.all && verb.words.is_empty() && verb.instance.is_empty();
    let which = if verb.all {
        Which::All(ReplicaIndex(verb.replica))
    } else if takes_places {
        let (name, grace, move_after) = (verb.host_name, verb.host_grace, verb.move_after);
        Which::Meant(PlacingOptions { name, grace, move_after })
    } else {
        let named = verb.words.into_iter().chain(verb.instance);
        Which::Named(named.map(|one| (one.name, ReplicaIndex(one.replica.unwrap_or(verb.replica)))).collect())
    };
    let mut all_are_well = true;
    let tell = |ended: MemberEnded| all_are_well &= tell(ended);
    ambrosia_host::serve(
        ServeOptions {
            store,
            which,
            listen: verb.listen.listen(security),
            http: verb.http.address()?,
            guest_log: verb.guest_log.guest_log,
            process_memory_bytes: verb.process_memory,
            member: MemberOptions { allow_engine_change: verb.allow_engine_change, ..verb.member.options()? },
        },
        tell,
    )?;
    // One that failed once is not how a host ends that has gone on without it.
    Ok(if all_are_well || takes_places { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tells how a member has ended; true if that was well.
fn tell(ended: MemberEnded) -> bool {
    let MemberEnded { instance, replica, ending } = ended;
    match ending {
        Ok(Ending::Stopped) => true,
        Ok(Ending::Finished { code, lsn }) => {
            Diagnostics::say(format_args!(
                "ambrosia-host: instance {instance} finished with exit code {code} at lsn {lsn}"
            ));
            code == 0
        }
        Err(error) => {
            let error = said(&anyhow::Error::new(error));
            Diagnostics::say(format_args!("ambrosia-host: replica {replica} of instance {instance} ended: {error}"));
            false
        }
    }
}

/// A replica as the command line names it: NAME, or NAME:K.
#[derive(Clone, Debug)]
pub(crate) struct NamedReplica {
    name: InstanceName,
    replica: Option<u16>,
}

impl NamedReplica {
    pub(crate) fn parse(text: &str) -> Result<NamedReplica, String> {
        let (name, replica) = match text.split_once(':') {
            None => (text, None),
            Some((name, number)) => {
                let number = number.parse().ok().filter(|number| *number < ambrosia_storage::REPLICAS_MAX);
                let number = number.ok_or("behind the ':' comes the number of a replica, 0 to 63, such as server:1")?;
                (name, Some(number))
            }
        };
        Ok(NamedReplica { name: InstanceName::new(name).map_err(|error| error.to_string())?, replica })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_named_with_or_without_its_number() {
        let parse = |text| NamedReplica::parse(text).map(|one| (one.name.to_string(), one.replica));
        assert_eq!(parse("server"), Ok(("server".to_owned(), None)));
        assert_eq!(parse("server:63"), Ok(("server".to_owned(), Some(63))));
        for bad in ["server:64", "server:", "server:x", ":1", "a:1:2", ""] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
