//! Messages of JSON-RPC 2.0.

use serde_json::{Map, Value, json};

use crate::problem::Problem;

/// A message of a client.
#[derive(Debug)]
pub(super) struct Message {
    /// `None` for one that wants no answer.
    pub(super) id: Option<Value>,
    pub(super) method: String,
    pub(super) parameters: Map<String, Value>,
}

/// Why there is no result.
#[derive(Debug)]
pub(super) struct RpcError {
    code: i32,
    text: String,
    data: Option<Value>,
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn read(bytes: &[u8]) -> Result<Message, RpcError> {
        let not_json = |error: serde_json::Error| RpcError::new(-32700, format!("the body is not JSON: {error}"));
        let no_message = |what: &str| RpcError::new(-32600, what.to_owned());
        let value: Value = serde_json::from_slice(bytes).map_err(not_json)?;
        let Value::Object(mut members) = value else {
            return Err(no_message("a message is an object; several at once are not taken"));
        };
        if members.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(no_message("a message says jsonrpc 2.0"));
        }
        let id = match members.remove("id") {
            id @ (None | Some(Value::String(_) | Value::Number(_))) => id,
            Some(_) => return Err(no_message("an id is a string or a number")),
        };
        let method = match members.remove("method") {
            Some(Value::String(method)) => method,
            None if members.contains_key("result") || members.contains_key("error") => {
                return Ok(Message { id: None, method: String::new(), parameters: Map::new() });
            }
            _ => return Err(no_message("a message names a method")),
        };
        let parameters = match members.remove("params") {
            None => Map::new(),
            Some(Value::Object(parameters)) => parameters,
            Some(_) => return Err(RpcError::bad_parameters("parameters are an object")),
        };
        Ok(Message { id, method, parameters })
    }
}

impl RpcError {
    fn new(code: i32, text: String) -> RpcError {
        RpcError { code, text, data: None }
    }

    pub(super) fn unknown_method(name: &str) -> RpcError {
        RpcError::new(-32601, format!("there is no method {name:?}"))
    }

    pub(super) fn bad_parameters(what: impl Into<String>) -> RpcError {
        RpcError::new(-32602, what.into())
    }

    pub(super) fn unknown_resource(uri: &str) -> RpcError {
        RpcError { data: Some(json!({ "uri": uri })), ..RpcError::new(-32002, "there is no such resource".to_owned()) }
    }

    /// What the client is told.
    pub(super) fn response(&self, id: &Value) -> Value {
        let mut error = json!({ "code": self.code, "message": self.text });
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        json!({ "jsonrpc": "2.0", "id": id, "error": error })
    }
}

impl From<Problem> for RpcError {
    fn from(problem: Problem) -> RpcError {
        RpcError { data: Some(problem.json()), ..RpcError::new(-32603, problem.detail().to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_an_object_that_names_a_method() {
        let read = |text: &str| Message::read(text.as_bytes());
        let message = read(r#"{"jsonrpc": "2.0", "id": 1, "method": "ping"}"#).expect("it is one");
        assert_eq!((message.id, message.method.as_str()), (Some(json!(1)), "ping"));
        let notification = read(r#"{"jsonrpc": "2.0", "method": "notifications/initialized"}"#).expect("it is one");
        assert_eq!(notification.id, None);
        assert_eq!(read(r#"{"jsonrpc": "2.0", "id": 1, "result": {}}"#).expect("an answer").id, None);
        for (text, code) in [
            ("{", -32700),
            ("[]", -32600),
            (r#"{"id": 1, "method": "ping"}"#, -32600),
            (r#"{"jsonrpc": "2.0", "id": 1}"#, -32600),
            (r#"{"jsonrpc": "2.0", "id": null, "method": "ping"}"#, -32600),
            (r#"{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}"#, -32602),
        ] {
            assert_eq!(read(text).expect_err(text).code, code, "{text}");
        }
    }
}
