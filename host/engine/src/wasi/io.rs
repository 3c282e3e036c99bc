//! `wasi:io`: streams that never wait.
//!
//! The handles have the types that `wasmtime-wasi` gives them, and no value of these types is ever made.
//!
//! **Architecture Invariant:** a resource is told apart by its number alone; the host keeps which there are
//! ([`Handles`](crate::handles::Handles)), and nothing that one of them could have in it.

use ambrosia_core::PrintStream;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{
    StreamError, StreamResult,
    bindings::sync::io::{
        error::{self, Error as IoError},
        poll::{self, Pollable},
        streams::{self, InputStream, OutputStream},
    },
};

use super::Whole;
use crate::{
    handles::{self, HandleKind},
    offers::Offers,
    state::GuestState,
};

/// Bytes that a stream says it takes at once. It takes more; this keeps what is copied at a time small.
const WRITE_BYTES: u64 = 1 << 20;

const OF_STREAMS: &[&str] = &[
    "input-stream",
    "[method]input-stream.read",
    "[method]input-stream.blocking-read",
    "[method]input-stream.skip",
    "[method]input-stream.blocking-skip",
    "[method]input-stream.subscribe",
    "output-stream",
    "[method]output-stream.check-write",
    "[method]output-stream.write",
    "[method]output-stream.blocking-write-and-flush",
    "[method]output-stream.flush",
    "[method]output-stream.blocking-flush",
    "[method]output-stream.subscribe",
    "[method]output-stream.write-zeroes",
    "[method]output-stream.blocking-write-zeroes-and-flush",
    "[method]output-stream.splice",
    "[method]output-stream.blocking-splice",
];

pub(super) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let of_error = &["error", "[method]error.to-debug-string"];
    offers.wasi("io/error", of_error, error::add_to_linker::<_, Whole>)?;
    let of_poll = &["pollable", "[method]pollable.ready", "[method]pollable.block", "poll"];
    offers.wasi("io/poll", of_poll, poll::add_to_linker::<_, Whole>)?;
    offers.wasi("io/streams", OF_STREAMS, streams::add_to_linker::<_, Whole>)
}

fn print_stream(handle: &Resource<OutputStream>) -> PrintStream {
    if handles::kind(handle.rep()) == Some(HandleKind::Stderr) { PrintStream::Stderr } else { PrintStream::Stdout }
}

impl error::Host for GuestState {}

/// None is ever made.
impl error::HostError for GuestState {
    fn to_debug_string(&mut self, _: Resource<IoError>) -> Result<String, wasmtime::Error> {
        Ok(String::new())
    }

    fn drop(&mut self, _: Resource<IoError>) -> Result<(), wasmtime::Error> {
        Ok(())
    }
}

impl poll::Host for GuestState {
    fn poll(&mut self, all: Vec<Resource<Pollable>>) -> Result<Vec<u32>, wasmtime::Error> {
        Ok((0..all.len() as u32).collect())
    }
}

/// Always ready, whatever it was subscribed for: so it is nothing but its handle.
impl poll::HostPollable for GuestState {
    fn ready(&mut self, _: Resource<Pollable>) -> Result<bool, wasmtime::Error> {
        Ok(true)
    }

    fn block(&mut self, _: Resource<Pollable>) -> Result<(), wasmtime::Error> {
        Ok(())
    }

    fn drop(&mut self, handle: Resource<Pollable>) -> Result<(), wasmtime::Error> {
        self.handles.close(handle.rep());
        Ok(())
    }
}

impl streams::Host for GuestState {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError, wasmtime::Error> {
        match error {
            StreamError::Closed => Ok(streams::StreamError::Closed),
            StreamError::LastOperationFailed(error) | StreamError::Trap(error) => Err(error),
        }
    }
}

/// Always at its end.
impl streams::HostInputStream for GuestState {
    fn read(&mut self, _: Resource<InputStream>, _: u64) -> StreamResult<Vec<u8>> {
        Err(StreamError::Closed)
    }

    fn blocking_read(&mut self, _: Resource<InputStream>, _: u64) -> StreamResult<Vec<u8>> {
        Err(StreamError::Closed)
    }

    fn skip(&mut self, _: Resource<InputStream>, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn blocking_skip(&mut self, _: Resource<InputStream>, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn subscribe(&mut self, _: Resource<InputStream>) -> Result<Resource<Pollable>, wasmtime::Error> {
        Ok(self.open(HandleKind::InputPollable))
    }

    fn drop(&mut self, handle: Resource<InputStream>) -> Result<(), wasmtime::Error> {
        self.handles.close(handle.rep());
        Ok(())
    }
}

/// Its number says which of the two it is.
impl streams::HostOutputStream for GuestState {
    fn check_write(&mut self, _: Resource<OutputStream>) -> StreamResult<u64> {
        Ok(WRITE_BYTES)
    }

    fn write(&mut self, stream: Resource<OutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        print(self, &stream, &bytes)
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<OutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        print(self, &stream, &bytes)
    }

    fn flush(&mut self, _: Resource<OutputStream>) -> StreamResult<()> {
        Ok(())
    }

    fn blocking_flush(&mut self, _: Resource<OutputStream>) -> StreamResult<()> {
        Ok(())
    }

    fn subscribe(&mut self, _: Resource<OutputStream>) -> Result<Resource<Pollable>, wasmtime::Error> {
        Ok(self.open(HandleKind::OutputPollable))
    }

    fn write_zeroes(&mut self, stream: Resource<OutputStream>, count: u64) -> StreamResult<()> {
        print_zeroes(self, &stream, count)
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<OutputStream>, count: u64) -> StreamResult<()> {
        print_zeroes(self, &stream, count)
    }

    fn splice(&mut self, _: Resource<OutputStream>, _: Resource<InputStream>, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn blocking_splice(&mut self, _: Resource<OutputStream>, _: Resource<InputStream>, _: u64) -> StreamResult<u64> {
        Err(StreamError::Closed)
    }

    fn drop(&mut self, handle: Resource<OutputStream>) -> Result<(), wasmtime::Error> {
        self.handles.close(handle.rep());
        Ok(())
    }
}

fn print(state: &mut GuestState, stream: &Resource<OutputStream>, bytes: &[u8]) -> StreamResult<()> {
    state.prints.push(print_stream(stream), bytes);
    Ok(())
}

fn print_zeroes(state: &mut GuestState, stream: &Resource<OutputStream>, count: u64) -> StreamResult<()> {
    state.prints.push_zeroes(print_stream(stream), count);
    Ok(())
}
