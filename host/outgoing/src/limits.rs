//! What a request, an answer and an instance may take.

use std::time::Duration;

/// Largest body of a request, before secrets are put into it.
pub const REQUEST_BODY_BYTES_MAX: usize = 16 << 20;

/// Largest body of an answer.
pub const ANSWER_BODY_BYTES_MAX: usize = 16 << 20;

/// An answer with a larger body than this is one of [`LARGE_ANSWERS_MAX`].
pub(crate) const LARGE_ANSWER_BYTES: usize = 1 << 20;

/// So many answers of more than [`LARGE_ANSWER_BYTES`] are in memory at once, in a process.
pub(crate) const LARGE_ANSWERS_MAX: usize = 8;

/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 16 << 10;

/// Most headers of a request, and of an answer.
pub const HEADERS_MAX: usize = 128;

/// Most bytes of all headers of a request, names and values.
pub const HEADER_BYTES_MAX: usize = 64 << 10;

/// So many attempts are under way at once, in a process.
pub const ATTEMPTS_MAX: usize = 256;

/// So many of them go to one host name.
pub const ATTEMPTS_PER_HOST_MAX: usize = 32;

/// So many names are looked up at once, in a process: the look-up of one that nobody answers takes long.
pub(crate) const LOOKUPS_MAX: usize = 8;

/// Longest time of an attempt, whatever the guest asks for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Time of an attempt, if the guest says nothing.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Most attempts, whatever the guest asks for.
pub const TRIES_MAX: u32 = 1000;

/// Attempts, if the guest says nothing.
pub const TRIES_DEFAULT: u32 = 5;

/// Longest pause between two attempts that is not asked for by the server.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// First pause, if the guest says nothing.
pub const BACKOFF_DEFAULT: Duration = Duration::from_millis(200);

/// Longest pause that a server may ask for by `Retry-After`.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// Largest file of a secret.
pub const SECRET_BYTES_MAX: usize = 64 << 10;
