//! Queries as resources: `ambrosia://INSTANCE/METHOD?argument=JSON`.

use ambrosia_core::InstanceName;
use ambrosia_methods::{Method, MethodKind, Methods};
use serde_json::{Map, Value, json};

use super::{rpc::RpcError, run};
use crate::{
    access::{Bearer, Deed},
    door::House,
    query_string::query_arguments,
};

const SCHEME: &str = "ambrosia://";

type Catalogue = [(InstanceName, Methods)];

fn queries(catalogue: &Catalogue) -> impl Iterator<Item = (&InstanceName, &Method)> {
    let methods = catalogue.iter().flat_map(|(name, methods)| methods.iter().map(move |method| (name, method)));
    methods.filter(|(_, method)| method.kind == MethodKind::Query)
}

/// Those that take nothing.
pub(super) fn list(catalogue: &Catalogue) -> Value {
    let without = queries(catalogue).filter(|(_, method)| method.arguments.is_empty());
    let resources = without.map(|(instance, method)| described("uri", instance, method, String::new()));
    json!({ "resources": resources.collect::<Vec<_>>() })
}

/// Those that take arguments, each as JSON.
pub(super) fn templates(catalogue: &Catalogue) -> Value {
    let with = queries(catalogue).filter(|(_, method)| !method.arguments.is_empty());
    let templates = with.map(|(instance, method)| {
        let names: Vec<_> = method.arguments.iter().map(|argument| argument.name.as_str()).collect();
        described("uriTemplate", instance, method, format!("{{?{}}}", names.join(",")))
    });
    json!({ "resourceTemplates": templates.collect::<Vec<_>>() })
}

fn described(uri: &str, instance: &InstanceName, method: &Method, rest: String) -> Value {
    json!({
        uri: format!("{SCHEME}{instance}/{}{rest}", method.name),
        "name": format!("{instance}.{}", method.name),
        "title": format!("{instance}: {method}"),
        "description": method.docs,
        "mimeType": "application/json",
    })
}

pub(super) async fn read(house: &House, bearer: &Bearer, parameters: &Map<String, Value>) -> Result<Value, RpcError> {
    let uri = parameters.get("uri").and_then(Value::as_str);
    let uri = uri.ok_or_else(|| RpcError::bad_parameters("a resource has a uri"))?;
    let unknown = || RpcError::unknown_resource(uri);
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let (instance, method) = path.strip_prefix(SCHEME).and_then(|path| path.split_once('/')).ok_or_else(unknown)?;
    let name = InstanceName::new(instance).map_err(|_| unknown())?;
    house.check(bearer, Deed::Query, Some(&name)).await?;
    let (instance, method) = house.find(instance, method).await.map_err(|_| unknown())?;
    if method.kind != MethodKind::Query {
        return Err(unknown());
    }
    let arguments = query_arguments(query, &method).map_err(|problem| RpcError::bad_parameters(problem.detail()))?;
    let value = run(house, &instance, &method, arguments, (None, None)).await?;
    Ok(json!({ "contents": [{ "uri": uri, "mimeType": "application/json", "text": value.to_string() }] }))
}
