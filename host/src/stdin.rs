//! Lines of stdin as impulses, read while this replica is primary.

use std::sync::Arc;

use ambrosia_core::{MethodId, limits::ARGUMENTS_BYTES_MAX};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{
    event::Event,
    mailbox::Mailbox,
    values::{ValueError, encode_arguments},
};

/// Which method takes the lines.
#[derive(Clone, Copy)]
pub(crate) struct StdinMethod {
    pub(crate) id: MethodId,
    pub(crate) message_pack: bool,
}

impl StdinMethod {
    /// A line as the one argument. For a raw method its bytes are just what was typed.
    fn arguments(self, line: String) -> Result<Vec<u8>, ValueError> {
        if !self.message_pack {
            return Ok(line.into_bytes());
        }
        encode_arguments(&serde_json::Value::from(vec![line]).to_string(), true)
    }
}

/// Reads to the end. A line that was read and not logged when the process dies is lost, as if it had not been typed.
pub(crate) async fn read_lines(method: StdinMethod, mailbox: Arc<Mailbox<Event>>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        match lines.next_line().await {
            Ok(Some(line)) => match method.arguments(line) {
                Ok(arguments) if arguments.len() > ARGUMENTS_BYTES_MAX => {
                    tracing::error!(
                        bytes = arguments.len(),
                        max = ARGUMENTS_BYTES_MAX,
                        "a line of stdin is too long and is left out"
                    );
                }
                Ok(arguments) => mailbox.push(Event::Line { method: method.id, arguments: arguments.into() }),
                Err(error) => tracing::error!(%error, "a line of stdin can't be encoded"),
            },
            Ok(None) => return,
            Err(error) => return tracing::error!(%error, "stdin can't be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_was_typed() {
        let arguments = |message_pack| {
            StdinMethod { id: MethodId(1), message_pack }.arguments("0x41".to_owned()).expect("text can be encoded")
        };
        assert_eq!(arguments(false), b"0x41", "it may look like bytes, and is a line");
        assert_eq!(arguments(true), b"\x91\xa40x41");
    }
}
