//! Methods that change something, as tools.

use std::collections::BTreeSet;

use ambrosia_core::{InstanceName, RequestId};
use ambrosia_methods::{Method, MethodKind, Methods, Type};
use serde_json::{Map, Value, json};

use super::{KEY_IN_META, TRACE_IN_META, rpc::RpcError, run};
use crate::{
    access::{Bearer, Deed},
    door::House,
    problem::ProblemKind,
    schema::{Schemas, Way},
};

/// Longest name of a tool that all clients take.
const NAME_CHARS_MAX: usize = 64;

type Catalogue = [(InstanceName, Methods)];

/// All tools, by names that are theirs as long as the instances are the same.
fn all(catalogue: &Catalogue) -> Vec<(String, &InstanceName, &Method)> {
    let mut taken = BTreeSet::new();
    let methods = catalogue.iter().flat_map(|(name, methods)| methods.iter().map(move |method| (name, method)));
    let tools = methods.filter(|(_, method)| method.kind != MethodKind::Query);
    tools.map(|(instance, method)| (fresh_name(instance, method, &mut taken), instance, method)).collect()
}

/// Instance and method in letters, digits, `_` and `-`; a number behind it if that is taken.
fn fresh_name(instance: &InstanceName, method: &Method, taken: &mut BTreeSet<String>) -> String {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
    };
    let mut name = format!("{}__{}", plain(instance.as_str()), plain(&method.name));
    name.truncate(NAME_CHARS_MAX);
    let whole = name.clone();
    for number in 2.. {
        if taken.insert(name.clone()) {
            break;
        }
        let suffix = format!("_{number}");
        name = format!("{}{suffix}", &whole[..whole.len().min(NAME_CHARS_MAX - suffix.len())]);
    }
    name
}

pub(super) fn list(catalogue: &Catalogue) -> Value {
    let tools: Vec<_> =
        all(catalogue).into_iter().map(|(name, instance, method)| tool(&name, instance, method)).collect();
    json!({ "tools": tools })
}

fn tool(name: &str, instance: &InstanceName, method: &Method) -> Value {
    let mut schemas = Schemas::within("#/$defs/");
    let mut properties = Map::new();
    for argument in &method.arguments {
        let schema = if method.message_pack() {
            schemas.schema(&argument.ty, name, Way::In)
        } else {
            json!({ "type": "string", "description": "text, or 0x and hexadecimal digits" })
        };
        properties.insert(argument.name.clone(), schema);
    }
    let needed = method.arguments.iter().filter(|argument| !matches!(argument.ty, Type::Option(_)));
    let required: Vec<_> = needed.map(|argument| argument.name.as_str()).collect();
    let mut input = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    let named = schemas.into_named();
    if !named.is_empty() {
        input["$defs"] = named.into();
    }
    let docs = if method.docs.is_empty() { String::new() } else { format!("{}\n\n", method.docs.trim()) };
    json!({
        "name": name,
        "title": format!("{instance}: {}", method.name),
        "description": format!("{docs}Runs {method} on instance {instance}."),
        "inputSchema": input,
    })
}

pub(super) async fn call(house: &House, bearer: &Bearer, parameters: &Map<String, Value>) -> Result<Value, RpcError> {
    let wanted = parameters.get("name").and_then(Value::as_str);
    let wanted = wanted.ok_or_else(|| RpcError::bad_parameters("a call names a tool"))?;
    let catalogue = house.catalogue(bearer).await?;
    let tools = all(&catalogue);
    let found = tools.iter().find(|(name, _, _)| name == wanted);
    let (_, instance, method) =
        found.ok_or_else(|| RpcError::bad_parameters(format!("there is no tool {wanted:?}")))?;
    house.check(bearer, Deed::Send, Some(instance)).await?;
    let arguments = match parameters.get("arguments") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(arguments)) => arguments.clone(),
        Some(_) => return Err(RpcError::bad_parameters("arguments are an object")),
    };
    let key = key_of(parameters)?;
    // As with the header, one that is none is passed over.
    let trace = parameters.get("_meta").and_then(|meta| meta.get(TRACE_IN_META)?.as_str()?.parse().ok());
    match run(house, instance, method, arguments, (key, trace)).await {
        Ok(value) => Ok(json!({ "content": [{ "type": "text", "text": value.to_string() }], "isError": false })),
        Err(problem) if problem.kind == ProblemKind::Busy => Err(problem.into()),
        // What the agent can see, and do better.
        Err(problem) => {
            let text = problem.json().to_string();
            Ok(json!({ "content": [{ "type": "text", "text": text }], "isError": true }))
        }
    }
}

fn key_of(parameters: &Map<String, Value>) -> Result<Option<RequestId>, RpcError> {
    match parameters.get("_meta").and_then(|meta| meta.get(KEY_IN_META)) {
        None => Ok(None),
        Some(Value::String(key)) => {
            RequestId::new(key).map(Some).map_err(|error| RpcError::bad_parameters(error.to_string()))
        }
        Some(_) => Err(RpcError::bad_parameters(format!("{KEY_IN_META} is a string"))),
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_methods::Argument;

    use super::*;

    #[test]
    fn each_tool_has_a_name_of_its_own_that_all_clients_take() {
        let method = |name: &str| Method::without_types(name.to_owned(), Vec::new(), true);
        let long = "x".repeat(60);
        let instances = ["a.b", "a_b", long.as_str()].map(|name| InstanceName::new(name).expect("plain"));
        let catalogue: Vec<_> =
            instances.into_iter().map(|name| (name, Methods::new(vec![method("add"), method("add2")]))).collect();
        let names: Vec<_> = all(&catalogue).into_iter().map(|(name, _, _)| name).collect();
        assert_eq!(names[..4], ["a_b__add", "a_b__add2", "a_b__add_2", "a_b__add2_2"]);
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        assert!(names.iter().all(|name| name.len() <= 64 && name.chars().all(is_plain)), "{names:?}");
    }

    #[test]
    fn a_tool_says_what_it_takes_and_a_query_is_none() {
        let mut order = Method::without_types("order".to_owned(), Vec::new(), true);
        let tree = "record %tree { next: option<%tree> }".parse().expect("a type");
        order.arguments = vec![Argument { name: "tree".to_owned(), ty: tree }];
        order.docs = "Orders.".to_owned();
        let query = Method { kind: MethodKind::Query, ..Method::without_types("total".to_owned(), Vec::new(), true) };
        let listed = list(&[(InstanceName::new("shop").expect("plain"), Methods::new(vec![order, query]))]);
        assert_eq!(listed["tools"].as_array().map(Vec::len), Some(1), "{listed}");
        let tool = &listed["tools"][0];
        assert_eq!(tool["name"], "shop__order");
        assert_eq!(tool["inputSchema"]["properties"]["tree"]["$ref"], "#/$defs/shop__order.tree");
        assert!(tool["inputSchema"]["$defs"]["shop__order.tree"].is_object(), "{tool}");
        assert!(tool["description"].as_str().is_some_and(|text| text.starts_with("Orders.")), "{tool}");
    }
}
