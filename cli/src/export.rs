//! `export`: takes a part of an instance's life into a store of its own.

use std::process::ExitCode;

use ambrosia_core::Lsn;
use ambrosia_host::travel::export;
use ambrosia_storage::StorePlace;

use crate::arguments::Export;

pub(crate) fn run(store: &StorePlace, verb: &Export) -> anyhow::Result<ExitCode> {
    let range = (verb.from.map(Lsn), verb.to.map(Lsn));
    let exported = export(&store.open()?, &verb.instance, range, &verb.output)?;
    let (instance, output) = (&verb.instance, verb.output.display());
    println!("records {} to {} of {instance} are in {output}", exported.first, exported.last);
    if let Some(lsn) = exported.checkpoint {
        println!("they go on behind the checkpoint at lsn {lsn}");
    }
    println!("look at them with `ambrosia-host --store {output} debug --instance {instance}`");
    Ok(ExitCode::SUCCESS)
}
