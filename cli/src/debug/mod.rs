//! `debug`: travels through the life of an instance, by commands.
//!
//! **Architecture Invariant:** it only looks: nothing is written but the answers, and a script for gdb in the temporary directory.

mod command;
mod condition;
mod moment;
mod native;
mod other;
mod place;
mod session;
mod style;

use std::{
    io::{BufRead, BufReader, IsTerminal, Write},
    process::ExitCode,
    sync::Arc,
};

use ambrosia_core::Lsn;
use ambrosia_engine::{NATIVE_THREAD_STACK_BYTES_MIN, THREAD_STACK_BYTES_MIN};
use ambrosia_host::travel::{Traveller, with_stack};
use ambrosia_storage::{Instances, StorePlace};
use anyhow::{Context, anyhow};
use serde_json::json;

use self::{command::Command, place::Place, session::Session, style::Style};
use crate::{arguments::Debug, said::said};

pub(crate) fn debug(store: &StorePlace, verb: &Debug) -> anyhow::Result<ExitCode> {
    let begin = Place::parse(&verb.at).map_err(|reason| anyhow!("--at: {reason}"))?;
    let stack_bytes = if verb.native { NATIVE_THREAD_STACK_BYTES_MIN } else { THREAD_STACK_BYTES_MIN };
    with_stack(stack_bytes, || journey(store, verb, &begin))?
}

fn journey(place: &StorePlace, verb: &Debug, begin: &Place) -> anyhow::Result<ExitCode> {
    let store = place.open()?;
    let entry = store.instance(&verb.instance)?;
    let mut commands = Commands::open(verb)?;
    let mut traveller = Traveller::new(&store, &verb.instance)?;
    if matches!(begin, Place::AtTime(_)) {
        // Of the last day that the log has.
        let (_, last) = traveller.range();
        traveller.seek(last)?;
    }
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let style = Style::of_stdout(verb.plain || verb.json);
    let mut session =
        Session::new(Arc::clone(&store), traveller, entry, verb.to.map(Lsn), &mut out, (style, verb.json));
    if let Some(module) = &verb.module {
        let (_, from) = session.into_traveller(begin)?;
        return other::compare(&store, verb, module, from);
    }
    if verb.native {
        let (traveller, lsn) = session.into_traveller(begin)?;
        return native::native(place, verb, traveller, lsn);
    }
    session.begin(begin)?;
    while let Some(line) = commands.next(session.lsn())? {
        let done = Command::parse(&line).map_err(|reason| anyhow!(reason)).and_then(|command| match command {
            Some(command) => session.carry_out(command),
            None => Ok(true),
        });
        match done {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => commands.tell(error, verb.json)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where commands come from.
struct Commands {
    source: Box<dyn BufRead>,
    /// What the source is called, and the lines read.
    name: String,
    lines: usize,
    /// Whether a person types them.
    is_typed: bool,
    prompts: bool,
}

impl Commands {
    fn open(verb: &Debug) -> anyhow::Result<Commands> {
        let (source, name): (Box<dyn BufRead>, _) = match &verb.script {
            Some(script) => {
                let file = std::fs::File::open(script).with_context(|| format!("cannot read {}", script.display()))?;
                (Box::new(BufReader::new(file)), script.display().to_string())
            }
            None => (Box::new(BufReader::new(std::io::stdin())), "stdin".to_owned()),
        };
        let is_typed = verb.script.is_none() && std::io::stdin().is_terminal();
        Ok(Commands { source, name, lines: 0, is_typed, prompts: is_typed && !verb.plain && !verb.json })
    }

    /// The next line; `None` at the end.
    fn next(&mut self, here: Lsn) -> anyhow::Result<Option<String>> {
        if self.prompts {
            let mut out = std::io::stdout();
            write!(out, "{here}> ")?;
            out.flush()?;
        }
        let mut line = String::new();
        self.lines += 1;
        let read = self.source.read_line(&mut line).with_context(|| format!("cannot read {}", self.name))?;
        Ok((read > 0).then_some(line))
    }

    /// Whoever types can try again; a script ends.
    fn tell(&self, error: anyhow::Error, is_json: bool) -> anyhow::Result<()> {
        if error.downcast_ref::<std::io::Error>().is_some() {
            return Err(error);
        }
        if !self.is_typed {
            return Err(error.context(format!("{}, line {}", self.name, self.lines)));
        }
        let mut out = std::io::stdout();
        if is_json {
            writeln!(out, "{}", json!({ "error": said(&error) }))?;
        } else {
            writeln!(out, "{}", said(&error))?;
        }
        Ok(())
    }
}
