//! What can be asked, as OpenAPI 3.1, from what modules describe.

use ambrosia_core::InstanceName;
use ambrosia_methods::{Argument, Method, MethodKind, Methods, Mounts, Type};
use serde_json::{Map, Value, json};

use crate::schema::{Schemas, Way};

mod routes;

/// The document of these instances, whose routes are at those paths, too.
pub(crate) fn openapi(instances: &[(InstanceName, Methods)], mounts: &Mounts) -> Value {
    let mut schemas = Schemas::within("#/components/schemas/");
    let mut paths = Map::new();
    for (name, methods) in instances {
        for method in methods.iter() {
            let path = format!("/v1/{name}/{}", method.name);
            let mut operations = Map::new();
            operations.insert("post".to_owned(), operation(name, method, mounts, &mut schemas));
            if method.kind == MethodKind::Query {
                operations.insert("get".to_owned(), query(name, method, &mut schemas));
            }
            paths.insert(path, operations.into());
        }
        paths.insert(format!("/v1/{name}/requests/{{request}}"), json!({ "get": result(name) }));
        let path = paths.entry(format!("/v1/{name}/events")).or_insert_with(|| json!({}));
        // A method may be called as events are; they are what is got there.
        path["get"] = events(name);
    }
    routes::add_routes(instances, mounts, &mut schemas, &mut paths);
    let mut named = schemas.into_named();
    named.insert("problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Ambrosia", "version": env!("CARGO_PKG_VERSION"), "description": "Methods of the instances of a store." },
        "tags": instances.iter().map(|(name, _)| json!({ "name": name.as_str() })).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": named,
            "parameters": {
                "idempotency-key": {
                    "name": "Idempotency-Key", "in": "header",
                    "description": "The request id: a request that is repeated with it is done once.",
                    "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
                },
                "prefer": {
                    "name": "Prefer", "in": "header",
                    "description": "wait=SECONDS bounds the wait for the answer. respond-async answers 202 as soon as the request is durable, or behind that wait.",
                    "schema": { "type": "string" },
                },
            },
            "responses": {
                "under-way": under_way(),
                "problem": {
                    "description": "It was not done, or it is not known whether it was.",
                    "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/problem" } } },
                },
            },
        },
    })
}

fn operation(instance: &InstanceName, method: &Method, mounts: &Mounts, schemas: &mut Schemas) -> Value {
    let owner = format!("{instance}.{}", method.name);
    let mut operation = Map::new();
    let mut put = |name: &str, value: Value| operation.insert(name.to_owned(), value);
    put("operationId", owner.clone().into());
    put("tags", json!([instance.as_str()]));
    let summary = method.docs.lines().next().unwrap_or_default().trim();
    if !summary.is_empty() {
        put("summary", summary.into());
        put("description", method.docs.clone().into());
    }
    put("x-ambrosia-kind", method.kind.word().into());
    put("x-ambrosia-signature", method.to_string().into());
    put(
        "x-ambrosia-arguments",
        method.arguments.iter().map(|argument| argument.name.as_str()).collect::<Vec<_>>().into(),
    );
    let routes = routes::shown(instance, method, mounts);
    if !routes.is_empty() {
        put("x-ambrosia-routes", routes.into());
    }
    put("parameters", update_parameters().to_vec().into());
    put("requestBody", request_body(method, &owner, schemas));
    put("responses", update_answers(method, &owner, schemas));
    operation.into()
}

/// What each request may have that is not a query.
fn update_parameters() -> [Value; 2] {
    ["idempotency-key", "prefer"].map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }))
}

fn update_answers(method: &Method, owner: &str, schemas: &mut Schemas) -> Value {
    let result = if method.message_pack() {
        schemas.schema(&method.result, owner, Way::Out)
    } else {
        json!({ "type": ["string", "null"], "description": "text, or 0x and hexadecimal digits" })
    };
    json!({
        "200": { "description": "The result.", "content": { "application/json": { "schema": result } } },
        "202": { "$ref": "#/components/responses/under-way" },
        "default": { "$ref": "#/components/responses/problem" },
    })
}

/// The result of a request that nobody has waited for.
fn result(instance: &InstanceName) -> Value {
    let parameter = |name: &str, place: &str, description: &str, schema: Value| json!({ "name": name, "in": place, "required": place == "path", "description": description, "schema": schema });
    json!({
        "operationId": format!("{instance}.requests"),
        "tags": [instance.as_str()],
        "summary": "What has become of a request.",
        "parameters": [
            parameter("request", "path", "The request id.", json!({ "type": "string", "minLength": 1, "maxLength": 128 })),
            parameter("wait", "query", "So many seconds the result is waited for.", json!({ "type": "integer", "minimum": 0 })),
            parameter("method", "query", "The method, where results of methods are not all MessagePack.", json!({ "type": "string" })),
        ],
        "responses": {
            "200": { "description": "The result.", "content": { "application/json": { "schema": {} } } },
            "202": { "$ref": "#/components/responses/under-way" },
            "default": { "$ref": "#/components/responses/problem" },
        },
    })
}

/// That a request is durable, and where its result will be.
fn under_way() -> Value {
    let header = |description: &str, kind: &str| json!({ "description": description, "schema": { "type": kind } });
    json!({
        "description": "The request is durable, and has no result yet.",
        "headers": {
            "Location": header("Where the result will be.", "string"),
            "Ambrosia-Request-Id": header("The request id.", "string"),
            "Ambrosia-Lsn": header("The record that holds the request.", "integer"),
            "Retry-After": header("When to ask for the result, in seconds.", "integer"),
        },
        "content": { "application/json": { "schema": {
            "type": "object",
            "properties": {
                "request": { "type": "string" },
                "status": { "type": "string", "const": "under-way" },
                "lsn": { "type": "integer" },
            },
            "required": ["request", "status", "lsn"],
        } } },
    })
}

/// The same method, asked without a record.
fn query(instance: &InstanceName, method: &Method, schemas: &mut Schemas) -> Value {
    let owner = format!("{instance}.{}.get", method.name);
    let all: Vec<_> = method.arguments.iter().collect();
    json!({
        "operationId": owner,
        "tags": [instance.as_str()],
        "summary": method.docs.lines().next().unwrap_or_default().trim(),
        "parameters": parameter_in_query(method, &all, &owner, schemas),
        "responses": query_answers(method, &owner, schemas),
    })
}

/// These arguments of a query in its URL, and what else that may say.
fn parameter_in_query(method: &Method, arguments: &[&Argument], owner: &str, schemas: &mut Schemas) -> Vec<Value> {
    let parameter = |name: &str, is_required: bool, schema: Value| json!({ "name": name, "in": "query", "required": is_required, "content": { "application/json": { "schema": schema } } });
    let mut parameters: Vec<_> = arguments
        .iter()
        .map(|argument| {
            let is_required = !matches!(argument.ty, Type::Option(_));
            parameter(&argument.name, is_required, schemas.schema(&argument.ty, owner, Way::In))
        })
        .collect();
    for name in ["at_least", "replica"] {
        if method.arguments.iter().all(|argument| argument.name != name) {
            parameters.push(parameter(name, false, json!({ "type": "integer", "minimum": 0 })));
        }
    }
    parameters
}

fn query_answers(method: &Method, owner: &str, schemas: &mut Schemas) -> Value {
    let result = schemas.schema(&method.result, owner, Way::Out);
    let lsn = json!({ "description": "The last record of the state that was asked.", "schema": { "type": "integer" } });
    json!({
        "200": {
            "description": "The result.",
            "headers": { "Ambrosia-Lsn": lsn },
            "content": { "application/json": { "schema": result } },
        },
        "default": { "$ref": "#/components/responses/problem" },
    })
}

/// What the instance emits.
fn events(instance: &InstanceName) -> Value {
    let parameter = |name: &str, place: &str, description: &str, schema: Value| json!({ "name": name, "in": place, "description": description, "schema": schema });
    let id = json!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$" });
    json!({
        "operationId": format!("{instance}.events.listen"),
        "tags": [instance.as_str()],
        "summary": "Listens to what the instance emits.",
        "parameters": [
            parameter("Last-Event-ID", "header", "Those behind this one; what a client says that comes again.", id.clone()),
            parameter("after", "query", "The same; 0 is all that are kept. By default from now on.", id),
            parameter("topic", "query", "Those of this topic only; may be given several times.", json!({ "type": "string" })),
            parameter("replica", "query", "Listen to that replica in place of the primary.", json!({ "type": "integer", "minimum": 0 })),
        ],
        "responses": {
            "200": {
                "description": "Server-sent events: id is LSN.INDEX, event is the topic, data is JSON.",
                "content": { "text/event-stream": { "schema": { "type": "string" } } },
            },
            "default": { "$ref": "#/components/responses/problem" },
        },
    })
}

fn request_body(method: &Method, owner: &str, schemas: &mut Schemas) -> Value {
    if !method.message_pack() {
        let bytes = json!({ "type": "string", "description": "text, or 0x and hexadecimal digits" });
        let schema = json!({ "type": "array", "items": bytes, "maxItems": 1 });
        return json!({ "content": { "application/json": { "schema": schema } } });
    }
    let all: Vec<_> = method.arguments.iter().collect();
    let is_required = all.iter().any(|argument| !matches!(argument.ty, Type::Option(_)));
    json!({ "required": is_required, "content": { "application/json": { "schema": arguments_schema(&all, owner, schemas) } } })
}

/// These arguments by name, or in their order.
fn arguments_schema(arguments: &[&Argument], owner: &str, schemas: &mut Schemas) -> Value {
    let required: Vec<_> = arguments.iter().filter(|argument| !matches!(argument.ty, Type::Option(_))).collect();
    let required: Vec<_> = required.into_iter().map(|argument| argument.name.as_str()).collect();
    let in_order: Vec<_> = arguments.iter().map(|argument| schemas.schema(&argument.ty, owner, Way::In)).collect();
    let names = arguments.iter().map(|argument| argument.name.clone());
    let by_name: Map<_, _> = names.zip(in_order.iter().cloned()).collect();
    let count = in_order.len();
    json!({ "oneOf": [
        { "type": "object", "properties": by_name, "required": required, "additionalProperties": false },
        { "type": "array", "prefixItems": in_order, "minItems": count, "maxItems": count },
    ] })
}

/// RFC 9457.
fn problem() -> Value {
    json!({
        "type": "object",
        "properties": {
            "type": { "type": "string" },
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "request": { "type": "string", "description": "the request id, to ask again with" },
        },
        "required": ["type", "title", "status", "detail"],
    })
}

#[cfg(test)]
mod tests {
    use ambrosia_methods::Argument;

    use super::*;

    fn document() -> Value {
        let mut order = Method::without_types("order".to_owned(), Vec::new(), true);
        let argument = |name: &str, ty: &str| Argument { name: name.to_owned(), ty: ty.parse().expect("a type") };
        order.arguments = vec![argument("item", "string"), argument("note", "option<string>")];
        order.result = "record %node { next: option<%node> }".parse().expect("a type");
        order.docs = "Orders.\n\nAt once.".to_owned();
        let raw = Method::without_types("swallow".to_owned(), Vec::new(), false);
        let mut find = Method::without_types("find".to_owned(), Vec::new(), true);
        find.kind = MethodKind::Query;
        find.arguments = vec![argument("replica", "record %tree { next: option<%tree> }")];
        openapi(
            &[(InstanceName::new("shop").expect("plain"), Methods::new(vec![order, raw, find]))],
            &Mounts::default(),
        )
    }

    /// Every `$ref` in it.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn a_method_is_an_operation() {
        let document = document();
        let order = &document["paths"]["/v1/shop/order"]["post"];
        assert_eq!((&order["operationId"], &order["summary"]), (&json!("shop.order"), &json!("Orders.")));
        let body = &order["requestBody"]["content"]["application/json"]["schema"]["oneOf"];
        assert_eq!((&body[0]["required"], &body[1]["minItems"]), (&json!(["item"]), &json!(2)));
        assert_eq!(body[0]["properties"]["item"], json!({ "type": "string" }));
        let raw =
            &document["paths"]["/v1/shop/swallow"]["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(raw["maxItems"], 1);
    }

    #[test]
    fn a_query_is_asked_with_what_is_no_argument_of_its_own() {
        let document = document();
        let find = &document["paths"]["/v1/shop/find"]["get"];
        let names: Vec<_> =
            find["parameters"].as_array().expect("a list").iter().map(|one| one["name"].clone()).collect();
        assert_eq!(names, ["replica", "at_least"]);
        assert_eq!(document["paths"]["/v1/shop/order"]["get"], Value::Null);
    }

    #[test]
    fn a_result_can_be_asked_for_later() {
        let document = document();
        let responses = &document["paths"]["/v1/shop/order"]["post"]["responses"];
        assert_eq!(responses["202"]["$ref"], "#/components/responses/under-way");
        let result = &document["paths"]["/v1/shop/requests/{request}"]["get"];
        assert_eq!(result["operationId"], "shop.requests");
        assert_eq!(result["parameters"][0]["in"], "path");
    }

    #[test]
    fn events_are_listed_beside_a_method_of_their_name() {
        let events = Method::without_types("events".to_owned(), Vec::new(), true);
        let document =
            openapi(&[(InstanceName::new("shop").expect("plain"), Methods::new(vec![events]))], &Mounts::default());
        let path = &document["paths"]["/v1/shop/events"];
        assert_eq!(path["post"]["operationId"], "shop.events");
        assert_eq!(path["get"]["responses"]["200"]["content"]["text/event-stream"]["schema"]["type"], "string");
        assert_eq!(path["get"]["parameters"][0]["name"], "Last-Event-ID");
    }

    #[test]
    fn whatever_is_referred_to_is_there() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() >= 6, "{found:?}");
        for reference in found {
            let pointer = reference.strip_prefix('#').expect("within the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
