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
    limits::{BODY_BYTES_MAX, LARGE_BODIES_BYTES, SMALL_BODY_BYTES},
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

impl Room {
    pub(crate) fn new(wait: Duration) -> Room {
        Room { large: Semaphore::new(LARGE_BODIES_BYTES), wait }
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// If it is too large, does not come in time, or is cut short.
    pub(crate) async fn read(&self, body: Body) -> Result<ReadBody<'_>, Problem> {
        if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let reading = async {
            let announced = body.size_hint().upper();
            let is_small = announced.is_some_and(|bytes| bytes <= SMALL_BODY_BYTES as u64);
            let room = announced.map_or(BODY_BYTES_MAX, |bytes| bytes as usize).min(BODY_BYTES_MAX);
            let room = if is_small {
                None
            } else {
                let room = u32::try_from(room).expect("the largest body is well below 4 GiB");
                Some(self.large.acquire_many(room).await.expect("it is never closed"))
            };
            Ok(ReadBody { bytes: collect(body).await?, _room: room })
        };
        timeout(self.wait, reading).await.unwrap_or_else(|_| {
            let detail = format!("the body has not come within {:?}, or there was no room for it", self.wait);
            Err(Problem::new(ProblemKind::BodyTooSlow, detail))
        })
    }
}

async fn collect(body: Body) -> Result<Bytes, Problem> {
    let mut body = std::pin::pin!(Limited::new(body, BODY_BYTES_MAX));
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                return too_large();
            }
            Problem::new(ProblemKind::NotJson, format!("the body can't be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        match first.take() {
            None if all.is_empty() => first = Some(data),
            before => {
                all.extend(before);
                all.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

fn too_large() -> Problem {
    let detail = format!("a body has at most {BODY_BYTES_MAX} bytes; `ambrosia-host send` takes larger arguments");
    Problem::new(ProblemKind::BodyTooLarge, detail).with("bytes_max", BODY_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let room = Room::new(Duration::from_secs(60));
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
        let room = Room::new(Duration::from_secs(60));
        static MIB: [u8; 1 << 20] = [b' '; 1 << 20];
        let announced = Body::from(vec![b' '; BODY_BYTES_MAX + 1]);
        let endless: &'static [&'static [u8]] = Box::leak(vec![&MIB[..]; 17].into_boxed_slice());
        for body in [announced, chunks(endless)] {
            let problem = room.read(body).await.err().expect("it is too large");
            assert_eq!(problem.kind, ProblemKind::BodyTooLarge);
        }
        assert_eq!(room.large.available_permits(), LARGE_BODIES_BYTES);
    }
}
