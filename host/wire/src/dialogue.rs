//! A connection that one task has for itself: it says something, and waits for what is said in return. No other task drives the
//! socket, no queue lies between, and what is heard while nobody listens waits in the socket.
//!
//! **Architecture Invariant:** whoever stops to listen in the middle loses nothing: what was said and not yet written is
//! written when somebody listens again, and what has come in part is kept.

use crate::{
    connection::{Connection, ConnectionError, FrameReader, WRITE_BYTES_FULL},
    frame::{self, Frame},
    halves::WriteHalf,
    request,
};

/// See the head of the file.
pub struct Dialogue {
    reader: FrameReader,
    writer: WriteHalf,
    /// Frames as bytes, of which the first `written` have gone.
    said: Vec<u8>,
    written: usize,
    /// Version of the protocol that the other side speaks.
    version: u16,
}

impl Dialogue {
    /// Of a connection that was greeted, and that nobody has the sending end of any more.
    pub fn of(connection: Connection) -> Dialogue {
        let Connection { reader, writer, version, .. } = connection;
        Dialogue { reader, writer, said: Vec::new(), written: 0, version }
    }

    /// Says a frame. It is written by [`Dialogue::hear`], at the latest.
    pub fn say(&mut self, frame: &Frame) {
        if request::is_said_as_it_is(self.version, frame) {
            frame::encode(frame, &mut self.said);
        } else {
            frame::encode(&request::to_version(self.version, frame.clone()), &mut self.said);
        }
    }

    /// Writes what was said, and waits for the next frame of the other side. It can be dropped at any time.
    ///
    /// # Errors
    /// If the connection has ended, or what comes is no frame: nothing more is to be heard then.
    pub async fn hear(&mut self) -> Result<Frame, ConnectionError> {
        loop {
            let frame = if self.written == self.said.len() && self.writer.try_flush()? {
                self.reader.next().await
            } else {
                let Dialogue { reader, writer, said, written, .. } = self;
                tokio::select! {
                    biased;
                    wrote = writer.write(&said[*written..]) => {
                        match wrote? {
                            0 if said.len() == *written => {} // what was taken before has gone
                            0 => return Err(std::io::Error::from(std::io::ErrorKind::WriteZero).into()),
                            bytes => *written += bytes,
                        }
                        self.forget_written();
                        continue;
                    }
                    // Why the other side takes no more, it may have said.
                    frame = reader.next() => frame,
                }
            };
            return Ok(request::of_version_1(frame?)?);
        }
    }

    fn forget_written(&mut self) {
        assert!(self.written <= self.said.len(), "no more is written than was said");
        if self.written == self.said.len() {
            self.said.clear();
            self.said.shrink_to(WRITE_BYTES_FULL);
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests;
