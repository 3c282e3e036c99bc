//! Lines for the log of the application, with a level and fields.
//!
//! ```
//! # fn example(order: String, cents: u64) {
//! ambrosia::log::info!("the daily report is late");
//! ambrosia::log::warn!(order = order, cents = cents; "paid twice, {} times too often", 1);
//! # }
//! ```
//!
//! Lines leave the instance once what led to them is durable, as its messages do, and each at least once, with an id by which a line that
//! comes again is known. Where they go is the operator's to say (`run --guest-log`). A field is any value that serde can encode.
//!
//! With the features `log` and `tracing` of this crate, what is written by the crates of these names, by the application or by what it
//! links, is such a line as well, from [`Level::Info`] on; [`set_max_level`] says otherwise. The fields of a `tracing` span are those of
//! each line within it.

#[cfg(feature = "tracing")]
mod events;
#[cfg(feature = "log")]
mod records;

#[cfg(any(feature = "log", feature = "tracing"))]
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;

use crate::{
    codec,
    layout::{MessageKind, OUTSIDE},
    runtime,
};

pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace, __log_warn as warn,
};

/// Bytes of a message, at most: the rest is cut.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// How much a line matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Level {
    /// Something has failed.
    Error,
    /// Something may fail, or is not as it should be.
    Warn,
    /// What is going on.
    Info,
    /// For who looks for a fault.
    Debug,
    /// Every step.
    Trace,
}

impl Level {
    /// As it is written: `error`, `warn`, `info`, `debug`, `trace`.
    pub const fn word(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

/// The lines that are taken from the crates `log` and `tracing`: up to this [`Level`].
#[cfg(any(feature = "log", feature = "tracing"))]
static MAX_LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Has lines of the crates `log` and `tracing` written up to `level`: [`Level::Info`] where nothing is said. The macros of this module
/// do not ask for it. New code has forgotten it, so set it in `on_first_start` and in `on_upgrade`.
#[cfg(any(feature = "log", feature = "tracing"))]
pub fn set_max_level(level: Level) {
    MAX_LEVEL.store(level as u8, Ordering::Relaxed);
    #[cfg(feature = "log")]
    records::set_max_level(level);
    #[cfg(feature = "tracing")]
    events::set_max_level();
}

#[cfg(feature = "tracing")]
fn max_level() -> u8 {
    MAX_LEVEL.load(Ordering::Relaxed)
}

/// Has what the crates `log` and `tracing` are given come here, as far as there is nobody else for it.
pub(crate) fn adopt() {
    #[cfg(feature = "log")]
    records::adopt();
    #[cfg(feature = "tracing")]
    events::adopt();
}

/// What a field may hold: any value that serde can encode.
#[doc(hidden)]
pub trait Field {
    /// Appends it, or says why it can't be.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), String>;
}

impl<T: Serialize> Field for T {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), String> {
        codec::encode_value(out, self)
    }
}

/// Writes a line. The macros of this module call it.
#[doc(hidden)]
pub fn write(level: Level, target: &str, message: &str, fields: &[(&str, &dyn Field)]) {
    const MAP_OF_FOUR: u8 = 0x84;
    const MAP_32: u8 = 0xdf;
    let message = &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)];
    let encode = |out: &mut Vec<u8>| {
        out.push(MAP_OF_FOUR);
        for (key, text) in [("level", level.word()), ("target", target), ("message", message)] {
            codec::encode_value(out, key)?;
            codec::encode_value(out, text)?;
        }
        codec::encode_value(out, "fields")?;
        out.push(MAP_32);
        out.extend((fields.len() as u32).to_be_bytes());
        for (name, field) in fields {
            codec::encode_value(out, name)?;
            let at = out.len();
            if let Err(reason) = field.encode(out) {
                out.truncate(at);
                codec::encode_value(out, &format!("it can't be encoded: {reason}"))?;
            }
        }
        Ok(())
    };
    let written = runtime::with(|runtime| runtime.push_encoded(OUTSIDE, MessageKind::Log, 0, 0, encode));
    if let Err(reason) = written {
        eprintln!("ambrosia: a line of the log is left out: {reason}");
    }
}

/// Not for applications.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_line {
    ($level:ident, $($name:ident = $value:expr),+ $(,)?; $($text:tt)+) => {
        $crate::log::write(
            $crate::log::Level::$level,
            ::core::module_path!(),
            &::std::format!($($text)+),
            &[$((::core::stringify!($name), &$value as &dyn $crate::log::Field)),+],
        )
    };
    ($level:ident, $($text:tt)+) => {
        $crate::log::write($crate::log::Level::$level, ::core::module_path!(), &::std::format!($($text)+), &[])
    };
}

/// Writes a line that something has failed.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error { ($($line:tt)+) => { $crate::__log_line!(Error, $($line)+) }; }

/// Writes a line that something may fail.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn { ($($line:tt)+) => { $crate::__log_line!(Warn, $($line)+) }; }

/// Writes a line of what is going on.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info { ($($line:tt)+) => { $crate::__log_line!(Info, $($line)+) }; }

/// Writes a line for who looks for a fault.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug { ($($line:tt)+) => { $crate::__log_line!(Debug, $($line)+) }; }

/// Writes a line of a step.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace { ($($line:tt)+) => { $crate::__log_line!(Trace, $($line)+) }; }
