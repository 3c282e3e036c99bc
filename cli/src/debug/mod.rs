//! `debug`: travels through the life of an instance, by commands.
//!
//! **Architecture Invariant:** it only looks: nothing is written but the answers, the state into the file that is named, and a script
//! for gdb in the temporary directory.

mod answers;
mod changes;
mod command;
mod condition;
mod moment;
mod native;
mod other;
mod path;
mod place;
mod serve;
mod session;
mod state;
mod watch;

pub(crate) use self::moment::{ShownEffect, ShownMoment, Viewer};

use std::{
    io::{BufRead, BufReader, IsTerminal, Write},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
};

use ambrosia_core::Lsn;
use ambrosia_engine::{NATIVE_THREAD_STACK_BYTES_MIN, THREAD_STACK_BYTES_MIN};
use ambrosia_host::{
    Diagnostics,
    travel::{Traveller, with_stack},
};
use ambrosia_storage::{Instances, Store, StorePlace};
use anyhow::{Context, anyhow};
use serde_json::json;

use self::{answers::Answers, command::Command, place::Place, session::Session};
use crate::{
    arguments::Debug,
    said::said,
    style::{Colours, Style},
};

pub(crate) fn debug(store: &StorePlace, verb: &Debug, colours: Colours) -> anyhow::Result<ExitCode> {
    let begin = Place::parse(&verb.at).map_err(|reason| anyhow!("--at: {reason}"))?;
    let stack_bytes = if verb.native { NATIVE_THREAD_STACK_BYTES_MIN } else { THREAD_STACK_BYTES_MIN };
    let style = if verb.plain || verb.json { Style::plain() } else { Style::of_stdout(colours) };
    with_stack(stack_bytes, || journey(store, verb, &begin, style))?
}

fn journey(place: &StorePlace, verb: &Debug, begin: &Place, style: Style) -> anyhow::Result<ExitCode> {
    let store = place.open()?;
    if let Some(address) = verb.serve {
        return serve_journey(store, verb, begin, address);
    }
    let mut commands = Commands::open(verb)?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let mut session = set_out(Arc::clone(&store), verb, begin, &mut out, (style, verb.json))?;
    if let Some(module) = &verb.module {
        let (_, from) = session.into_traveller(begin)?;
        return other::compare(&store, verb, module, from);
    }
    if verb.native {
        let (traveller, lsn) = session.into_traveller(begin)?;
        return native::native(place, verb, traveller, lsn);
    }
    if let Some(file) = &verb.save_state {
        session.save_state_at(begin, file)?;
        return Ok(ExitCode::SUCCESS);
    }
    if commands.is_typed && !verb.json {
        session = session.showing_changes();
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

/// A journey that is to begin at that place.
fn set_out<'a>(
    store: Arc<dyn Store>,
    verb: &Debug,
    begin: &Place,
    out: &'a mut dyn Write,
    how: (Style, bool),
) -> anyhow::Result<Session<'a>> {
    let entry = store.instance(&verb.instance)?;
    let mut traveller = Traveller::new(&store, &verb.instance)?;
    if matches!(begin, Place::AtTime(_)) {
        // Of the last day that the log has.
        let (_, last) = traveller.range();
        traveller.seek(last)?;
    }
    Ok(Session::new(store, traveller, entry, verb.to.map(Lsn), out, how))
}

/// The same for a browser, which sends the commands.
fn serve_journey(store: Arc<dyn Store>, verb: &Debug, begin: &Place, address: SocketAddr) -> anyhow::Result<ExitCode> {
    let answers = Answers::default();
    let mut out = answers.clone();
    let mut session = set_out(store, verb, begin, &mut out, (Style::plain(), true))?;
    session.begin(begin)?;
    let _of_the_beginning = answers.take();
    let told = |address| {
        Diagnostics::say(format_args!(
            "ambrosia-host: http://{address}/ shows the journey of instance {}; Ctrl-C ends it, and nothing is changed",
            verb.instance
        ));
    };
    serve::serve(address, told, |line| {
        let done = match line.trim() {
            "journey" => session.journey(),
            line => Command::parse(line).map_err(|reason| anyhow!(reason)).and_then(|command| match command {
                Some(Command::Quit) => Err(anyhow!("close the page, and end the journey by Ctrl-C where it was begun")),
                Some(command) => session.carry_out(command).map(|_| ()),
                None => Ok(()),
            }),
        };
        let mut answer = json!({ "answers": answers.take() });
        if let Err(error) = done {
            answer["error"] = json!(said(&error));
        }
        answer
    })?;
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
