//! `curl`, the client that everybody has.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use ambrosia_tests::Host;
use serde_json::Value;

/// How a body is posted, which follows.
const POSTED: &[&str] = &["--request", "POST", "--header", "Content-Type: application/json", "--data-raw"];

/// What came back.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in small letters.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// The header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body, as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Where a host takes HTTP.
pub(crate) fn http_address(host: &Host) -> SocketAddr {
    host.wait_for_word("HTTP at http://");
    let said = host.said();
    let address = said.split("HTTP at http://").nth(1).and_then(|rest| rest.split('/').next());
    address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("it says no address: {said}"))
}

/// Asks for a path with these arguments of `curl`.
pub(crate) fn curl(address: SocketAddr, path: &str, arguments: &[&str]) -> Response {
    try_curl(address, path, arguments).unwrap_or_else(|said| panic!("{arguments:?}: {said}"))
}

/// The same; if there is no response, what `curl` says.
fn try_curl(address: SocketAddr, path: &str, arguments: &[&str]) -> Result<Response, String> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "120"])
        .args(arguments)
        .arg(format!("http://{address}{path}"))
        .stdin(Stdio::null())
        .output()
        .expect("curl is there");
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("{}\n{text}", String::from_utf8_lossy(&output.stderr)));
    }
    // Before a large body it is asked whether it is wanted.
    let text = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&text);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Ok(Response { status: status.expect("a status"), headers, body: body.to_owned() })
}

/// Posts a body.
pub(crate) fn post(address: SocketAddr, path: &str, key: Option<&str>, body: &str) -> Response {
    let key = key.map(|key| format!("Idempotency-Key: {key}"));
    let mut arguments = POSTED.to_vec();
    arguments.push(body);
    arguments.extend(key.iter().flat_map(|key| ["--header", key.as_str()]));
    curl(address, path, &arguments)
}

/// Posts a body. `None` if nobody answers there, or whoever does ends, or is ending.
pub(crate) fn try_post(address: SocketAddr, path: &str, key: &str, body: &str) -> Option<Response> {
    let key = format!("Idempotency-Key: {key}");
    let arguments = [POSTED, &[body, "--header", &key]].concat();
    try_curl(address, path, &arguments).ok().filter(|response| response.status != 503)
}
