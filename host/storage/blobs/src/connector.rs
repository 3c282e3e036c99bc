//! The requests of an object store's client, by connections of our own making: TLS by ring with the roots of the system, no redirect that is
//! followed, and a bound for each step.

use std::{
    error::Error,
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use ambrosia_storage_tls::TlsFiles;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    ClientConfigKey, ClientOptions,
    client::{
        HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody, HttpService,
    },
};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// A connection comes about in that time, or not at all.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// A request is answered in that time, and what it takes to send it …
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// … with so many bytes a second.
const SLOWEST_BYTES: u64 = 512 << 10;

/// The next bytes of an answer come in that time.
const NEXT_TIME: Duration = Duration::from_secs(10);

/// Connections that nothing goes over are closed behind that time.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// Makes clients, each with connections of its own.
#[derive(Debug)]
pub(crate) struct Connector(pub(crate) TlsFiles);

impl object_store::client::HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let generic = |source: Box<dyn Error + Send + Sync>| object_store::Error::Generic { store: "client", source };
        let config = self.0.read(b"http/1.1").map_err(|fault| generic(fault.into()))?;
        let mut config = Arc::unwrap_or_clone(config);
        // The builder says it itself.
        config.alpn_protocols.clear();
        let mut sockets = HttpConnector::new();
        sockets.enforce_http(false);
        sockets.set_nodelay(true);
        sockets.set_connect_timeout(Some(CONNECT_TIME));
        let https =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().wrap_connector(sockets);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_timer(TokioTimer::new())
            .build(https);
        let in_clear_text = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        Ok(HttpClient::new(Requests { client, in_clear_text }))
    }
}

struct Requests {
    client: Client<HttpsConnector<HttpConnector>, HttpRequestBody>,
    /// Whether that is to be done.
    in_clear_text: bool,
}

impl fmt::Debug for Requests {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Requests")
    }
}

impl HttpService for Requests {
    // As the trait is written by `async_trait`.
    fn call<'a, 'out>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'out>>
    where
        'a: 'out,
        Self: 'out,
    {
        Box::pin(self.request(request))
    }
}

impl Requests {
    async fn request(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if !self.in_clear_text && request.uri().scheme_str() != Some("https") {
            return Err(HttpError::new(HttpErrorKind::Unknown, io::Error::other("in clear text nobody is asked")));
        }
        let time = ANSWER_TIME + Duration::from_secs(request.body().content_length() as u64 / SLOWEST_BYTES);
        let answer = timeout(time, self.client.request(request)).await;
        let late = |_| HttpError::new(HttpErrorKind::Timeout, io::Error::other(format!("no answer within {time:?}")));
        let answer = answer.map_err(late)?.map_err(|error| fault(error.is_connect(), error))?;
        let (parts, body) = answer.into_parts();
        let body = Patient { body, late: Box::pin(sleep(NEXT_TIME)) };
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body)))
    }
}

/// An error, so that the client knows whether to ask again.
fn fault(is_connect: bool, error: impl Error + Send + Sync + 'static) -> HttpError {
    let mut kind = if is_connect { HttpErrorKind::Connect } else { HttpErrorKind::Unknown };
    let mut source: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(inner) = source.filter(|_| kind == HttpErrorKind::Unknown) {
        if let Some(hyper) = inner.downcast_ref::<hyper::Error>() {
            if hyper.is_closed() || hyper.is_incomplete_message() || hyper.is_body_write_aborted() {
                kind = HttpErrorKind::Request;
            } else if hyper.is_timeout() {
                kind = HttpErrorKind::Timeout;
            }
        } else if inner.is::<io::Error>() {
            kind = HttpErrorKind::Interrupted;
        }
        source = inner.source();
    }
    HttpError::new(kind, error)
}

/// The body of an answer, which is given up where nothing comes.
struct Patient {
    body: Incoming,
    late: Pin<Box<Sleep>>,
}

impl Body for Patient {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.late.as_mut().reset(Instant::now() + NEXT_TIME);
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| fault(false, error))));
        }
        let late = || HttpError::new(HttpErrorKind::Timeout, io::Error::other(format!("no more within {NEXT_TIME:?}")));
        self.late.as_mut().poll(context).map(|()| Some(Err(late())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
