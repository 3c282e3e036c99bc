//! Has to do with the world outside: requests, promises, events, lines of the log, configured values.

use std::time::Duration;

use ambrosia::{This, http::HttpError};

#[ambrosia::state]
struct Outside {
    url: String,
    outcomes: Vec<String>,
}

#[ambrosia::immortal]
impl Outside {
    /// Posts `text` to `url`, and gives the status and the body of the answer, or what went wrong.
    async fn post(this: This<Self>, url: String, text: String, tries: u32, once: bool) -> String {
        let retry = ambrosia::Retry::times(tries).pause(Duration::from_millis(10));
        let request = ambrosia::http::post(url).body(text).retry(retry).timeout(Duration::from_secs(10));
        let request = if once { request.once() } else { request.idempotent() };
        let outcome = shown(request.send().await);
        this.with(|outside| outside.outcomes.push(outcome.clone()));
        outcome
    }

    /// Gets `url` with a secret in a header.
    async fn get_with_secret(_this: This<Self>, url: String, secret: String) -> String {
        let header = format!("Bearer {}", ambrosia::secret(&secret));
        shown(ambrosia::http::get(url).header("authorization", &header).send().await)
    }

    /// Waits for somebody to fulfil a promise, whose URL [`url`](Self::url) gives.
    async fn promise(this: This<Self>) -> String {
        let (url, value) = ambrosia::promise::<String>();
        this.with(|outside| outside.url = url.to_string());
        value.await.unwrap_or_else(|error| error.to_string())
    }

    #[ambrosia(query)]
    fn url(&self) -> String {
        self.url.clone()
    }

    #[ambrosia(query)]
    fn outcomes(&self) -> Vec<String> {
        self.outcomes.clone()
    }

    fn emit(&mut self, topic: String, value: u64) {
        ambrosia::emit(&topic, &value);
        ambrosia::log::info!(topic = topic, value = value; "emitted");
    }

    /// Emits 0 to `count`, and as many bytes with each.
    fn emit_many(&mut self, topic: String, count: u64, bytes: u64) {
        let ballast = "x".repeat(bytes as usize);
        (0..count).for_each(|value| ambrosia::emit(&topic, &(value, &ballast)));
    }

    fn configured(&mut self, name: String) -> Result<Option<String>, String> {
        ambrosia::config(&name).map_err(|error| error.to_string())
    }
}

fn shown(outcome: Result<ambrosia::http::Response, HttpError>) -> String {
    match outcome {
        Ok(response) => format!("{} {}", response.status, response.text()),
        Err(error) => error.to_string(),
    }
}
