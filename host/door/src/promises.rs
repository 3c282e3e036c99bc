//! Promises, which somebody outside fulfils who was given the URL.

use ambrosia_client::{ClientError, encode_value};
use ambrosia_core::{CallId, InstanceName, PromiseToken};
use axum::{
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::{
    access::is_stranger,
    calls::busy,
    content::check_content,
    door::House,
    problem::{Problem, ProblemKind},
    wish::Wish,
};

/// Fulfils the promise of that name with the value in the body. Once it is fulfilled, a repetition says the same.
pub(crate) async fn fulfil(
    house: &House,
    instance: &str,
    promise: &str,
    request: Request,
) -> Result<Response, Problem> {
    // Whoever was given the URL needs no token, so it may be anybody.
    let is_stranger = is_stranger(&request);
    let crowd = if is_stranger { &house.strangers } else { &house.known };
    let _permit = crowd.requests.try_acquire().map_err(|_| busy())?;
    let unknown = || Problem::new(ProblemKind::NotFound, "there is no such promise");
    let name = InstanceName::new(instance).map_err(|_| unknown())?;
    let (id, token) = named(promise).ok_or_else(unknown)?;
    let (parts, body) = request.into_parts();
    check_content(&parts.headers)?;
    let wait = Wish::of(&parts.headers).wait;
    // Before it is looked whether there is such an instance: what is wrong with a body is said of any.
    let value = crowd.room.read(body).await?.made_into(value_of).await??;
    if house.instances.known(&name).is_none() {
        let looked_up = if is_stranger { house.look_up_for_stranger(&name).await } else { house.look_up(&name).await };
        looked_up.map_err(|problem| {
            // Who does not know the token learns nothing of what instances there are.
            if problem.kind == ProblemKind::UnknownInstance { unknown() } else { problem }
        })?;
    }
    let mut client = house.instances.client_of_replicas(&name);
    match client.resolve(id, token, value, wait).await {
        Ok(true) => Ok(StatusCode::NO_CONTENT.into_response()),
        Ok(false) => Err(unknown()),
        Err(ClientError::NoAnswer(waited)) => {
            let detail = format!("no answer within {waited:?}. Repeat it: a promise is fulfilled once");
            Err(Problem::new(ProblemKind::Timeout, detail))
        }
        Err(error @ ClientError::Rejected(_)) => Err(Problem::new(ProblemKind::BodyTooLarge, error.to_string())),
        Err(error) => Err(Problem::new(ProblemKind::NoPrimary, error.to_string())),
    }
}

/// What a body says, encoded; nothing is null.
fn value_of(body: &[u8]) -> Result<Vec<u8>, Problem> {
    let value = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
    let value = value.map_err(|error| {
        let problem = Problem::new(ProblemKind::NotJson, format!("the body is not JSON: {error}"));
        problem.with("line", error.line()).with("column", error.column())
    })?;
    encode_value(&value).map_err(|error| Problem::new(ProblemKind::NotJson, error.to_string()))
}

/// The number of a promise and its token: `17.` and 32 hexadecimal digits.
fn named(text: &str) -> Option<(CallId, PromiseToken)> {
    let (id, token) = text.split_once('.')?;
    let digits = |text: &str, digit: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|byte| digit(&byte));
    if !digits(id, u8::is_ascii_digit) || token.len() != 32 || !digits(token, u8::is_ascii_hexdigit) {
        return None;
    }
    let token = u128::from_str_radix(token, 16).ok()?;
    Some((CallId(id.parse().ok()?), token.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_named_by_its_number_and_its_token() {
        let token = "000102030405060708090a0b0c0d0e0f";
        let expected: PromiseToken = std::array::from_fn(|at| at as u8);
        assert_eq!(named(&format!("17.{token}")), Some((CallId(17), expected)));
        assert_eq!(named(&format!("{}.{token}", u64::MAX)), Some((CallId(u64::MAX), expected)));
        for wrong in ["", "17", "17.", ".", "17.00", "+17.000102030405060708090a0b0c0d0e0f", "99999999999999999999.0"] {
            assert_eq!(named(wrong), None, "{wrong}");
        }
        assert_eq!(named(&format!("17.{}", &token[1..])), None);
        assert_eq!(named(&format!("17.+{}", &token[1..])), None);
        assert_eq!(named(&format!("18446744073709551616.{token}")), None);
    }
}
