//! Instances for agents: the Model Context Protocol, as a client of it speaks.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    door::house,
    support::{Response, cluster, curl},
};

fn say(address: SocketAddr, message: &Value) -> Response {
    let headers = ["-H", "Content-Type: application/json", "-H", "Accept: application/json, text/event-stream"];
    let body = message.to_string();
    curl(address, "/mcp", &[&headers[..], &["--data-raw", &body]].concat())
}

/// Asks, and returns the result or the error.
fn ask(address: SocketAddr, method: &str, parameters: Value) -> Result<Value, Value> {
    let response = say(address, &json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": parameters }));
    let answer = response.json();
    assert_eq!((response.status, &answer["id"], &answer["jsonrpc"]), (200, &json!(7), &json!("2.0")), "{response:?}");
    match answer.get("result") {
        Some(result) => Ok(result.clone()),
        None => Err(answer["error"].clone()),
    }
}

#[test]
fn an_agent_finds_tools_and_resources_and_uses_them() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("counter", "counter"), ("values", "values")]);
    let ask = |method: &str, parameters: Value| ask(address, method, parameters);
    let begun = ask(
        "initialize",
        json!({ "protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } }),
    );
    let begun = begun.expect("it is welcome");
    assert_eq!((&begun["protocolVersion"], &begun["serverInfo"]["name"]), (&json!("2025-03-26"), &json!("ambrosia")));
    let newest = ask("initialize", json!({ "protocolVersion": "1999-01-01" })).expect("it is welcome");
    assert_eq!(newest["protocolVersion"], "2025-06-18");
    let noted = say(address, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    assert_eq!((noted.status, noted.body.as_str()), (202, ""));
    assert_eq!(ask("ping", json!({})), Ok(json!({})));

    let tools = ask("tools/list", json!({})).expect("there are some")["tools"].clone();
    let tool = |name: &str| tools.as_array().and_then(|all| all.iter().find(|tool| tool["name"] == name)).cloned();
    let add = tool("counter__add").expect("it changes something");
    assert_eq!((&add["inputSchema"]["type"], &add["inputSchema"]["required"]), (&json!("object"), &json!(["n"])));
    assert_eq!(tool("values__place"), None, "a query is no tool");
    let call = |name: &str, arguments: Value, key: &str| {
        ask("tools/call", json!({ "name": name, "arguments": arguments, "_meta": { "ambrosia/idempotency-key": key } }))
    };
    for _ in 0..2 {
        let done = call("counter__add", json!({ "n": 5 }), "once").expect("it is a tool");
        assert_eq!(done, json!({ "content": [{ "type": "text", "text": "5" }], "isError": false }));
    }
    let wrong = call("counter__add", json!({ "n": "five" }), "wrong").expect("the agent may do better");
    assert_eq!(wrong["isError"], true);
    assert!(wrong["content"][0]["text"].as_str().is_some_and(|text| text.contains("expected u64")), "{wrong}");
    assert_eq!(call("counter__nothing", json!({}), "k").expect_err("there is none")["code"], -32602);

    let templates = ask("resources/templates/list", json!({})).expect("there are some")["resourceTemplates"].clone();
    assert_eq!(templates[0]["uriTemplate"], "ambrosia://values/place{?order}");
    let resources = ask("resources/list", json!({})).expect("a list");
    assert!(resources["resources"].is_array(), "{resources}");
    let read = |uri: &str| ask("resources/read", json!({ "uri": uri }));
    let placed = read("ambrosia://values/place?order=Nothing").expect("it is a query");
    assert_eq!(placed["contents"][0]["text"], "{\"Ok\":\"Nothing\"}");
    let bought = read("ambrosia://values/place?order=%7B%22Buy%22:%7B%22item%22:%22tea%22,%22price%22:null%7D%7D");
    assert!(bought.expect("it is a query")["contents"][0]["text"].as_str().is_some_and(|text| text.contains("tea")));
    for none in ["ambrosia://counter/add?n=1", "ambrosia://nobody/total", "file:///etc/passwd", "ambrosia://counter"] {
        assert_eq!(read(none).expect_err(none)["code"], -32002, "{none}");
    }
    assert_eq!(ask("prompts/list", json!({})).expect_err("there are none")["code"], -32601);
    assert_eq!(curl(address, "/mcp", &[]).status, 405, "there is no stream");
    assert_eq!(
        curl(address, "/mcp", &["-H", "Content-Type: application/json", "-d", "{"]).json()["error"]["code"],
        -32700
    );
    let other = ["-H", "Content-Type: application/json", "-H", "MCP-Protocol-Version: 3000-01-01", "-d", "{}"];
    assert_eq!(curl(address, "/mcp", &other).status, 400);
    assert_eq!(curl(address, "/mcp", &["-H", "Origin: http://example.com", "-d", "{}"]).status, 403);
    assert_eq!(cluster.send("counter", "total", json!([])), 5);
}
