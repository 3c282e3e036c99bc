//! Bodies of requests, which strangers send: in time, and not too large, each alone and all together.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as _;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{
    limits::{BODY_BYTES_MAX, SMALL_BODY_BYTES},
    problem::{Problem, ProblemKind},
};

/// Room for bodies that are not small.
pub(crate) struct Room {
    large: Semaphore,
    /// A body has to be there within this.
    wait: Duration,
}

/// A body that was read. It holds its room until it is dropped.
pub(crate) struct ReadBody<'a> {
    pub(crate) bytes: Bytes,
    _room: Option<SemaphorePermit<'a>>,
}

impl ReadBody<'_> {
    /// Has something made of it, of a large one where nobody else waits.
    ///
    /// # Errors
    /// If the host ends.
    pub(crate) async fn made_into<T: Send + 'static>(
        &self,
        make: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        if self.bytes.len() <= SMALL_BODY_BYTES {
            return Ok(make(&self.bytes));
        }
        let bytes = self.bytes.clone();
        let made = tokio::task::spawn_blocking(move || make(&bytes)).await;
        made.map_err(|_| Problem::new(ProblemKind::Closing, "the host ends"))
    }
}

impl Room {
    pub(crate) fn new(bytes: usize, wait: Duration) -> Room {
        Room { large: Semaphore::new(bytes), wait }
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// If it is too large, does not come in time, or is cut short.
    pub(crate) async fn read(&self, body: Body) -> Result<ReadBody<'_>, Problem> {
        if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
            return Err(too_large());
        }
        timeout(self.wait, self.collect(body)).await.unwrap_or_else(|_| {
            let detail = format!("the body has not come within {:?}, or there was no room for it", self.wait);
            Err(Problem::new(ProblemKind::BodyTooSlow, detail))
        })
    }

    async fn collect(&self, body: Body) -> Result<ReadBody<'_>, Problem> {
        let announced = body.size_hint().upper().map_or(BODY_BYTES_MAX, |bytes| bytes as usize).min(BODY_BYTES_MAX);
        let mut body = std::pin::pin!(Limited::new(body, BODY_BYTES_MAX));
        let mut first: Option<Bytes> = None;
        let mut all = BytesMut::new();
        let (mut read, mut room) = (0, None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    return too_large();
                }
                Problem::new(ProblemKind::NotJson, format!("the body can't be read: {error}"))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            read += data.len();
            // Not before that: who announces much and sends nothing takes no room from others.
            if read > SMALL_BODY_BYTES && room.is_none() {
                let bytes = u32::try_from(announced.max(read)).expect("the largest body is well below 4 GiB");
                room = Some(self.large.acquire_many(bytes).await.expect("it is never closed"));
            }
            match first.take() {
                None if all.is_empty() => first = Some(data),
                before => {
                    all.extend(before);
                    all.extend_from_slice(&data);
                }
            }
        }
        Ok(ReadBody { bytes: first.unwrap_or_else(|| all.freeze()), _room: room })
    }
}

fn too_large() -> Problem {
    let detail = format!("a body has at most {BODY_BYTES_MAX} bytes; `ambrosia-host send` takes larger arguments");
    Problem::new(ProblemKind::BodyTooLarge, detail).with("bytes_max", BODY_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::limits::LARGE_BODIES_BYTES;

    fn chunks(parts: &'static [&'static [u8]]) -> Body {
        Body::from_stream(Chunks(parts.iter()))
    }

    struct Chunks(std::slice::Iter<'static, &'static [u8]>);

    impl futures_core::Stream for Chunks {
        type Item = Result<Bytes, std::convert::Infallible>;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            std::task::Poll::Ready(self.0.next().map(|part| Ok(Bytes::from_static(part))))
        }
    }

    #[tokio::test]
    async fn a_body_is_read_whole_and_gives_its_room_back() {
        let room = Room::new(LARGE_BODIES_BYTES, Duration::from_secs(60));
        for (body, expected) in
            [(Body::empty(), &b""[..]), (Body::from("[2]"), b"[2]"), (chunks(&[b"[", b"", b"2", b"]"]), b"[2]")]
        {
            assert_eq!(room.read(body).await.expect("it is short").bytes, expected);
        }
        let large = room.read(Body::from(vec![b' '; BODY_BYTES_MAX])).await.expect("it may be so large");
        assert_eq!(room.large.available_permits(), LARGE_BODIES_BYTES - BODY_BYTES_MAX);
        drop(large);
        assert_eq!(room.large.available_permits(), LARGE_BODIES_BYTES);
    }

    #[tokio::test]
    async fn a_body_beyond_the_limit_is_refused_whether_it_says_so_or_not() {
        let room = Room::new(LARGE_BODIES_BYTES, Duration::from_secs(60));
        static MIB: [u8; 1 << 20] = [b' '; 1 << 20];
        let announced = Body::from(vec![b' '; BODY_BYTES_MAX + 1]);
        let endless: &'static [&'static [u8]] = Box::leak(vec![&MIB[..]; 17].into_boxed_slice());
        for body in [announced, chunks(endless)] {
            let problem = room.read(body).await.err().expect("it is too large");
            assert_eq!(problem.kind, ProblemKind::BodyTooLarge);
        }
        assert_eq!(room.large.available_permits(), LARGE_BODIES_BYTES);
    }

    /// What comes as somebody sends it, without having said how much it is.
    struct Sent(mpsc::UnboundedReceiver<Bytes>);

    impl futures_core::Stream for Sent {
        type Item = Result<Bytes, std::convert::Infallible>;

        fn poll_next(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Self::Item>> {
            self.0.poll_recv(context).map(|part| part.map(Ok))
        }
    }

    #[tokio::test]
    async fn who_sends_little_takes_no_room_whatever_they_announce() {
        let room = Room::new(BODY_BYTES_MAX, Duration::from_secs(60));
        let begin = || {
            let (sender, parts) = mpsc::unbounded_channel();
            (sender, Box::pin(room.read(Body::from_stream(Sent(parts)))))
        };
        let (slow, mut slow_reading) = begin();
        slow.send(Bytes::from(vec![b' '; SMALL_BODY_BYTES])).expect("it is read");
        assert!(futures_now(&mut slow_reading).await.is_none(), "more may come");
        assert_eq!(room.large.available_permits(), BODY_BYTES_MAX);
        let (large, mut large_reading) = begin();
        large.send(Bytes::from(vec![b' '; SMALL_BODY_BYTES + 1])).expect("it is read");
        assert!(futures_now(&mut large_reading).await.is_none(), "more may come");
        assert_eq!(room.large.available_permits(), 0, "it may become as large as there is room");
        drop(slow);
        let read = futures_now(&mut slow_reading).await.expect("it needs no room").expect("it is small");
        assert_eq!(read.bytes.len(), SMALL_BODY_BYTES);
        drop(large);
        let read = futures_now(&mut large_reading).await.expect("it has its room").expect("it is not too large");
        assert_eq!(read.bytes.len(), SMALL_BODY_BYTES + 1);
        drop(read);
        assert_eq!(room.large.available_permits(), BODY_BYTES_MAX);
    }

    /// What a future has come to when it has done all that it can do now.
    async fn futures_now<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }
}
