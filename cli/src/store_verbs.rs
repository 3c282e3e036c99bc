//! `store`: makes a store in a database.

use std::{io::Write, process::ExitCode};

use ambrosia_etcd::EtcdEngine;
use ambrosia_postgres::{PostgresEngine, schema};
use ambrosia_storage::StorePlace;
use anyhow::{Context, bail};

use crate::{
    arguments::{InitStore, StoreVerb},
    place::{self, SharedStore},
};

pub(crate) fn store(of: &StorePlace, verb: &StoreVerb, here: place::Here<'_>) -> anyhow::Result<ExitCode> {
    match verb {
        StoreVerb::Init(verb) => init(of, verb, here),
    }
}

fn init(of: &StorePlace, verb: &InitStore, here: place::Here<'_>) -> anyhow::Result<ExitCode> {
    place::need_itself(of, "`store init`")?;
    let StorePlace::Engine(engine) = of else {
        bail!(
            "{of} is a directory, which becomes a store when an instance is registered: for a database give its URL in the \
             variable AMBROSIA_STORE, such as postgres://ambrosia@127.0.0.1/app or etcd://127.0.0.1/app?blobs=s3://BUCKET, or in a file named \
             by --store-file"
        );
    };
    let store = place::shared(engine.url(), here)?.context("it is no database that can be made a store")?;
    let mut out = std::io::stdout();
    match (store, verb.print) {
        (SharedStore::Postgres(store), true) => {
            write!(out, "{}", schema::statements(store.place().schema()))?;
            return Ok(ExitCode::SUCCESS);
        }
        (SharedStore::Etcd(_), true) => bail!("etcd has no tables, so there is nothing to print: leave --print out"),
        (SharedStore::Relay(_), _) => bail!("{of} is reached through hosts, and is a store"),
        (SharedStore::Postgres(store), false) => PostgresEngine::create(store.place())?,
        (SharedStore::Etcd(store), false) => EtcdEngine::create(store.place())?,
    }
    let opened = of.open()?;
    writeln!(out, "{of} is a store")?;
    if let Some(caution) = opened.caution() {
        writeln!(out, "note: {caution}")?;
    }
    writeln!(
        out,
        "register an instance in it with `ambrosia-host register-instance --instance NAME --module FILE.wasm`"
    )?;
    Ok(ExitCode::SUCCESS)
}
