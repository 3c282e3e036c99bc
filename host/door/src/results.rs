//! Results of requests that nobody waited for: the place where a request is asked for later, and what is said there.

use std::time::Duration;

use ambrosia_client::{decode_value, show_raw};
use ambrosia_core::{Answer, InstanceName, Lsn, RequestId, RequestStatus};
use ambrosia_methods::{Method, Methods};
use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    access::{Bearer, Deed},
    calls::{Call, Given, busy, response_of, unknown_instance, unknown_method},
    door::House,
    limits::{ANSWER_WAIT, ANSWER_WAIT_MAX},
    problem::{Problem, ProblemKind},
    query_string::{pairs, percent_decoded},
    request_id::{REQUEST_ID, header_of},
    wish::Wish,
};

/// As whom a client is told of the record that its answer is of: the one that brought it about, or the last of the state that was asked.
pub(crate) const LSN: HeaderName = HeaderName::from_static("ambrosia-lsn");

/// A result that is not there yet is asked for again after so many seconds.
const ASK_AGAIN_AFTER: &str = "1";

/// Where a request is asked for later. The method is named only where that tells how its result is to be read.
pub(crate) fn place_of(instance: &InstanceName, request: &RequestId, method: &Method) -> String {
    let mut place = format!("/v1/{instance}/requests/");
    put_encoded(request.as_bytes(), &mut place);
    if !method.message_pack() {
        place.push_str("?method=");
        put_encoded(method.name.as_bytes(), &mut place);
    }
    place
}

/// Percent-encodes all that is not unreserved (RFC 3986).
fn put_encoded(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(*byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

/// That a request is durable and has no result yet.
pub(crate) fn under_way(request: &RequestId, accepted: Lsn, place: Option<&str>) -> Response {
    let text = String::from_utf8_lossy(request.as_bytes());
    let body = json!({ "request": text, "status": "under-way", "lsn": accepted.0 });
    let mut response = (StatusCode::ACCEPTED, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static(ASK_AGAIN_AFTER));
    if accepted > Lsn(0) {
        headers.insert(LSN, HeaderValue::from(accepted.0));
    }
    if let Some(place) = place.and_then(|place| HeaderValue::from_str(place).ok()) {
        headers.insert(header::LOCATION, place);
    }
    response
}

/// Says what has become of a request: its result, or that it is under way, or that nothing is known of it.
pub(crate) async fn result(house: &House, request: Request) -> Response {
    let Ok(_permit) = house.known.requests.try_acquire() else { return busy().into_response() };
    let bearer = Bearer::of(&request);
    // Of a body nothing is read.
    let (parts, _) = request.into_parts();
    let (instance, id) = match named(parts.uri.path()) {
        Ok(named) => named,
        Err(problem) => return problem.into_response(),
    };
    let told = tell(house, &instance, &id, &bearer, &parts).await;
    let mut response = told.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    // What is not known now may be known in a moment.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(id) = header_of(&id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

async fn tell(
    house: &House,
    instance: &str,
    id: &RequestId,
    bearer: &Bearer,
    request: &Parts,
) -> Result<Response, Problem> {
    let name = InstanceName::new(instance).map_err(|_| unknown_instance(instance))?;
    house.check(bearer, Deed::Send, Some(&name)).await?;
    let known = match house.instances.known(&name) {
        Some(known) => known,
        None => house.look_up(&name).await?,
    };
    let Asked { wait, method } = Asked::of(request, &name, known.methods())?;
    match (Call { house, id: Some(id), trace: None }).inquire(&name, id, wait).await? {
        RequestStatus::Unknown => {
            let detail = "nothing is known of a request of that id: it was never asked, is not in the log yet, or has been answered \
                          and forgotten since (docs/http.md says how long results are kept)";
            Err(Problem::new(ProblemKind::UnknownRequest, detail)
                .with("request", String::from_utf8_lossy(id.as_bytes())))
        }
        RequestStatus::UnderWay { accepted } => Ok(under_way(id, accepted, None)),
        RequestStatus::Answered { lsn, answer: Answer { success: true, value }, .. } => {
            Ok(response_of(&Given { value: shown(&value, method, known.methods()), lsn }))
        }
        RequestStatus::Answered { lsn, answer: Answer { success: false, value }, .. } => {
            let reason = decode_value(&value);
            let reason = reason.as_str().map_or_else(|| reason.to_string(), str::to_owned);
            let problem = Problem::new(ProblemKind::Failed, reason);
            let mut response = problem.with("request", String::from_utf8_lossy(id.as_bytes())).into_response();
            response.headers_mut().insert(LSN, HeaderValue::from(lsn.0));
            Ok(response)
        }
    }
}

/// Instance and request that a path names: `/v1/INSTANCE/requests/ID`. An id may have bytes that are no text.
fn named(path: &str) -> Result<(String, RequestId), Problem> {
    let nothing = || Problem::new(ProblemKind::NotFound, "there is nothing here: a path of that kind names a request");
    let mut parts = path.split('/').skip(2);
    let (instance, id) = (parts.next().ok_or_else(nothing)?, parts.nth(1).ok_or_else(nothing)?);
    let decoded = |text: &str| percent_decoded(text).ok_or_else(nothing);
    let instance = String::from_utf8(decoded(instance)?).map_err(|_| nothing())?;
    let id = RequestId::new(decoded(id)?);
    Ok((instance, id.map_err(|error| Problem::new(ProblemKind::BadKey, error.to_string()))?))
}

/// How a result is asked for.
struct Asked<'a> {
    wait: Duration,
    /// The method that it is of, if that is said.
    method: Option<&'a Method>,
}

impl Asked<'_> {
    fn of<'a>(request: &Parts, name: &InstanceName, methods: &'a Methods) -> Result<Asked<'a>, Problem> {
        let wish = Wish::of(&request.headers);
        let mut asked = Asked { wait: wish.wait_if_given.unwrap_or_default(), method: None };
        for (parameter, value) in pairs(request.uri.query().unwrap_or_default())? {
            match parameter.as_str() {
                "wait" => {
                    let seconds = value.parse().map_err(|_| wrong("wait", "wait is a whole number of seconds"))?;
                    asked.wait = Duration::from_secs(seconds).min(ANSWER_WAIT_MAX);
                }
                "method" => {
                    let found = methods.find(&value).map_err(|unknown| unknown_method(name, unknown))?;
                    asked.method = Some(found);
                }
                other => {
                    return Err(wrong(
                        other,
                        "a result is asked for with wait=SECONDS and method=NAME, and nothing else",
                    ));
                }
            }
        }
        Ok(asked)
    }
}

fn wrong(argument: &str, detail: &str) -> Problem {
    Problem::new(ProblemKind::BadArguments, detail).with("argument", argument)
}

/// A result as JSON. Of which method it is the log alone knows: where that is not said it is read as what all methods of the
/// instance give, and if these differ as MessagePack, if it is that.
fn shown(value: &[u8], method: Option<&Method>, methods: &Methods) -> Value {
    let is_raw = match method {
        Some(method) => !method.message_pack(),
        None => methods.iter().all(|method| !method.message_pack()),
    };
    if is_raw { show_raw(value) } else { decode_value(value) }
}

impl Call<'_> {
    /// Asks the primary what has become of a request.
    async fn inquire(&self, name: &InstanceName, id: &RequestId, wait: Duration) -> Result<RequestStatus, Problem> {
        let client = self.house.instances.client(name);
        let inquired = tokio::select! {
            inquired = client.inquire(id, wait, ANSWER_WAIT) => inquired,
            () = self.house.has_closed() => {
                let detail = "the host ends: ask again, here or at another host";
                return Err(Problem::new(ProblemKind::Closing, detail));
            }
        };
        match inquired {
            Ok(status) => Ok(status),
            Err(error) => Err(self.problem(name, None, error).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str, message_pack: bool) -> Method {
        Method::without_types(name.to_owned(), Vec::new(), message_pack)
    }

    #[test]
    fn a_place_leads_back_to_its_request_whatever_the_bytes_of_the_id_are() {
        let instance = InstanceName::new("shop").expect("plain");
        let all: Vec<u8> = (0..=255).collect();
        for id in [&b"order-1"[..], b"a/b?c=d#e%2F ", "\u{e4}".as_bytes(), &all[..128], &all[128..]] {
            let request = RequestId::new(id).expect("not too long");
            let place = place_of(&instance, &request, &method("add", true));
            assert!(place.is_ascii() && HeaderValue::from_str(&place).is_ok(), "{place}");
            assert_eq!(named(&place).ok(), Some(("shop".to_owned(), request)));
        }
        let request = RequestId::new("order-1").expect("short");
        assert_eq!(place_of(&instance, &request, &method("add", true)), "/v1/shop/requests/order-1");
        assert_eq!(place_of(&instance, &request, &method("a&b", false)), "/v1/shop/requests/order-1?method=a%26b");
        for bad in ["/v1/shop/requests/%f", "/v1/%ff/requests/a", "/v1/shop/requests/", "/v1/shop"] {
            assert!(named(bad).is_err(), "{bad}");
        }
        assert!(named(&format!("/v1/shop/requests/{}", "x".repeat(129))).is_err());
    }

    #[test]
    fn a_result_is_read_as_its_method_gives_it() {
        let (packed, raw) = (method("packed", true), method("raw", false));
        let both = Methods::new(vec![packed.clone(), raw.clone()]);
        // The number 97, and the text "a".
        assert_eq!(shown(b"a", Some(&packed), &both), json!(97));
        assert_eq!(shown(b"a", Some(&raw), &both), json!("a"));
        assert_eq!(shown(b"a", None, &both), json!(97));
        assert_eq!(shown(b"no value", None, &both), json!("no value"));
        assert_eq!(shown(b"a", None, &Methods::new(vec![raw])), json!("a"));
    }
}
