//! `wasi:io`: streams that never wait.
//!
//! **Architecture Invariant:** a resource is told apart by its number alone, so the host keeps no table of them.

use ambrosia_core::PrintStream;
use wasmtime::component::{ComponentType, Lift, Lower, Resource};

use crate::{
    offers::{Interface, Offers},
    refusal::Refusal,
    state::GuestState,
};

/// Resource `error`: none is ever made.
pub(super) struct IoError;
/// Resource `pollable`: always ready.
pub(super) struct Pollable;
/// Resource `input-stream`: always at its end.
pub(super) struct InputStream;
/// Resource `output-stream`: its number says which of the two.
pub(super) struct OutputStream;

/// Variant `stream-error`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[allow(dead_code, reason = "the type has it, and no operation here fails")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

type Outcome<T> = Result<(Result<T, StreamError>,), Refusal>;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;
/// Number of a resource of which there is only one.
const ONLY: u32 = 0;

/// Bytes that a stream says it takes at once. It takes more; this keeps what is copied at a time small.
const WRITE_BYTES: u64 = 1 << 20;

impl OutputStream {
    pub(super) fn handle(stream: PrintStream) -> Resource<OutputStream> {
        Resource::new_own(match stream {
            PrintStream::Stdout => STDOUT,
            PrintStream::Stderr => STDERR,
        })
    }

    fn stream(handle: &Resource<OutputStream>) -> PrintStream {
        if handle.rep() == STDERR { PrintStream::Stderr } else { PrintStream::Stdout }
    }
}

impl InputStream {
    pub(super) fn handle() -> Resource<InputStream> {
        Resource::new_own(ONLY)
    }
}

pub(super) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let mut error = offers.interface("wasi:io/error@0.2.0")?;
    error.resource::<IoError>("error")?;
    error.function("[method]error.to-debug-string", |_, (_,): (Resource<IoError>,)| Ok((String::new(),)))?;

    let mut poll = offers.interface("wasi:io/poll@0.2.0")?;
    poll.resource::<Pollable>("pollable")?;
    poll.function("[method]pollable.ready", |_, (_,): (Resource<Pollable>,)| Ok((true,)))?;
    poll.function("[method]pollable.block", |_, (_,): (Resource<Pollable>,)| Ok(()))?;
    poll.function("poll", |_, (all,): (Vec<Resource<Pollable>>,)| Ok(((0..all.len() as u32).collect::<Vec<_>>(),)))?;

    let mut streams = offers.interface("wasi:io/streams@0.2.0")?;
    streams.resource::<IoError>("error")?;
    streams.resource::<Pollable>("pollable")?;
    add_input(&mut streams)?;
    add_output(&mut streams)
}

fn add_input(streams: &mut Interface<'_>) -> Result<(), wasmtime::Error> {
    streams.resource::<InputStream>("input-stream")?;
    for name in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        streams.function(name, |_, _: (Resource<InputStream>, u64)| closed::<Vec<u8>>())?;
    }
    for name in ["[method]input-stream.skip", "[method]input-stream.blocking-skip"] {
        streams.function(name, |_, _: (Resource<InputStream>, u64)| closed::<u64>())?;
    }
    streams.function("[method]input-stream.subscribe", |_, _: (Resource<InputStream>,)| ready())
}

fn add_output(streams: &mut Interface<'_>) -> Result<(), wasmtime::Error> {
    streams.resource::<OutputStream>("output-stream")?;
    streams.function("[method]output-stream.check-write", |_, _: (Resource<OutputStream>,)| {
        Ok((Ok::<_, StreamError>(WRITE_BYTES),))
    })?;
    for name in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        streams
            .function(name, |state, (stream, bytes): (Resource<OutputStream>, Vec<u8>)| print(state, &stream, bytes))?;
    }
    for name in ["[method]output-stream.write-zeroes", "[method]output-stream.blocking-write-zeroes-and-flush"] {
        streams
            .function(name, |state, (stream, count): (Resource<OutputStream>, u64)| zeroes(state, &stream, count))?;
    }
    for name in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        streams.function(name, |_, _: (Resource<OutputStream>,)| Ok((Ok::<_, StreamError>(()),)))?;
    }
    for name in ["[method]output-stream.splice", "[method]output-stream.blocking-splice"] {
        streams.function(name, |_, _: (Resource<OutputStream>, Resource<InputStream>, u64)| closed::<u64>())?;
    }
    streams.function("[method]output-stream.subscribe", |_, _: (Resource<OutputStream>,)| ready())
}

fn closed<T>() -> Outcome<T> {
    Ok((Err(StreamError::Closed),))
}

fn ready() -> Result<(Resource<Pollable>,), Refusal> {
    Ok((Resource::new_own(ONLY),))
}

fn print(state: &mut GuestState, stream: &Resource<OutputStream>, bytes: Vec<u8>) -> Outcome<()> {
    state.prints.push(OutputStream::stream(stream), bytes)?;
    Ok((Ok(()),))
}

fn zeroes(state: &mut GuestState, stream: &Resource<OutputStream>, count: u64) -> Outcome<()> {
    if count > WRITE_BYTES {
        return Err(Refusal::PrintLimit);
    }
    print(state, stream, vec![0; count as usize])
}
