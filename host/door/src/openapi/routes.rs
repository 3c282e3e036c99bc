//! Routes of instances in the document: at which paths they are, and what is given there.
//!
//! **Architecture Invariant:** what is shown at a path is what is found there: prefixes that an operator has set outweigh names of
//! instances, and the host's own paths all of them.

use std::collections::BTreeMap;

use ambrosia_core::InstanceName;
use ambrosia_methods::{Argument, Method, Methods, Mounts, OWN_SEGMENTS, Prefix, Route, Segment, Type, Verb};
use serde_json::{Map, Value, json};

use super::{arguments_schema, parameter_in_query, query_answers, update_answers, update_parameters};
use crate::schema::{Schemas, Way};

/// What leads to routes: a prefix, or without one the name of the instance.
fn path_below(name: &InstanceName, prefix: Option<&Prefix>, route: &Route) -> Option<String> {
    let path = match (prefix, route.path.segments()) {
        (Some(prefix), _) => prefix.join(&route.path),
        (None, []) => format!("/{name}"),
        (None, _) => format!("/{name}{}", route.path),
    };
    let first = path[1..].split('/').next().unwrap_or_default();
    // The host answers there by itself.
    (!OWN_SEGMENTS.contains(&first)).then_some(path)
}

/// Prefixes below which the routes of an instance are shown; `None` for its name.
fn prefixes<'m>(name: &InstanceName, mounts: &'m Mounts) -> Vec<Option<&'m Prefix>> {
    let set: Vec<_> = mounts.iter().filter(|mount| mount.instance == *name).map(|mount| Some(&mount.prefix)).collect();
    if set.is_empty() { vec![None] } else { set }
}

/// The paths of a method's routes, with what asks for each, as `GET /api/total`.
pub(super) fn shown(name: &InstanceName, method: &Method, mounts: &Mounts) -> Vec<String> {
    let prefixes = prefixes(name, mounts);
    let below = |route: &Route| -> Vec<String> {
        let paths = prefixes.iter().filter_map(|prefix| path_below(name, *prefix, route));
        paths.map(|path| format!("{} {path}", route.verb.name())).collect()
    };
    method.routes.iter().flat_map(below).collect()
}

/// Adds the routes of all instances.
pub(super) fn add_routes(
    instances: &[(InstanceName, Methods)],
    mounts: &Mounts,
    schemas: &mut Schemas,
    paths: &mut Map<String, Value>,
) {
    // In the order in which they are looked for.
    let mounted = mounts.iter().filter_map(|mount| {
        let (name, methods) = instances.iter().find(|(name, _)| *name == mount.instance)?;
        Some((name, methods, Some(&mount.prefix)))
    });
    let named = instances.iter().filter(|(name, _)| prefixes(name, mounts) == [None]);
    let mut shapes = Shapes::default();
    for (name, methods, prefix) in mounted.chain(named.map(|(name, methods)| (name, methods, None))) {
        for method in methods.iter() {
            for route in &method.routes {
                let Some(path) = path_below(name, prefix, route) else { continue };
                let (path, names) = shapes.path(&path);
                let operations = paths.entry(path.clone()).or_insert_with(|| json!({}));
                if operations.get(route.verb.word()).is_none() {
                    let operation = Operation { name, method, route, path: &path, names: &names };
                    operations[route.verb.word()] = operation.json(schemas);
                }
            }
        }
    }
}

/// Paths that only differ in how placeholders are called are one path in OpenAPI: the names of the first hold for all.
#[derive(Default)]
struct Shapes(BTreeMap<String, (String, Vec<String>)>);

impl Shapes {
    /// The path under which one is shown, and the names of its placeholders there.
    fn path(&mut self, path: &str) -> (String, Vec<String>) {
        let placeholder = |segment: &str| segment.strip_prefix('{').map(|name| name.trim_end_matches('}').to_owned());
        let shape: Vec<_> =
            path.split('/').map(|segment| if placeholder(segment).is_some() { "{}" } else { segment }).collect();
        let names = || path.split('/').filter_map(placeholder).collect();
        self.0.entry(shape.join("/")).or_insert_with(|| (path.to_owned(), names())).clone()
    }
}

/// What is asked for at one path by one method of HTTP.
struct Operation<'a> {
    name: &'a InstanceName,
    method: &'a Method,
    route: &'a Route,
    path: &'a str,
    /// Names of placeholders, in order.
    names: &'a [String],
}

impl Operation<'_> {
    fn json(&self, schemas: &mut Schemas) -> Value {
        let Operation { name, method, route, path, .. } = self;
        let owner = format!("{name}.{}:{}:{path}", method.name, route.verb.word());
        let summary = method.docs.lines().next().unwrap_or_default().trim();
        let mut operation = Map::new();
        let mut put = |name: &str, value: Value| operation.insert(name.to_owned(), value);
        put("operationId", owner.clone().into());
        put("tags", json!([name.as_str()]));
        if !summary.is_empty() {
            put("summary", summary.into());
            put("description", method.docs.clone().into());
        }
        put("x-ambrosia-method", method.name.clone().into());
        let mut parameters = self.in_path(&owner, schemas);
        let rest: Vec<_> = method.arguments.iter().filter(|argument| !self.is_in_path(argument)).collect();
        if route.verb == Verb::Get {
            parameters.extend(parameter_in_query(method, &rest, &owner, schemas));
            put("responses", query_answers(method, &owner, schemas));
        } else {
            parameters.extend(update_parameters());
            if let Some(body) = body(&rest, &owner, schemas) {
                put("requestBody", body);
            }
            put("responses", update_answers(method, &owner, schemas));
        }
        put("parameters", parameters.into());
        operation.into()
    }

    fn is_in_path(&self, argument: &Argument) -> bool {
        self.route.path.arguments().any(|name| name == argument.name)
    }

    fn in_path(&self, owner: &str, schemas: &mut Schemas) -> Vec<Value> {
        let arguments = self.route.path.segments().iter().filter_map(|segment| match segment {
            Segment::Argument(name) => self.method.arguments.iter().find(|argument| argument.name == *name),
            Segment::Text(_) => None,
        });
        let parameter = |(name, argument): (&String, &Argument)| {
            let schema = schemas.schema(&argument.ty, owner, Way::In);
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        };
        self.names.iter().zip(arguments).map(parameter).collect()
    }
}

/// The body: what the path has not given.
fn body(rest: &[&Argument], owner: &str, schemas: &mut Schemas) -> Option<Value> {
    let schema = match rest {
        [] => return None,
        [only] => schemas.schema(&only.ty, owner, Way::In),
        several => arguments_schema(several, owner, schemas),
    };
    let is_required = rest.iter().any(|argument| !matches!(argument.ty, Type::Option(_)));
    Some(json!({ "required": is_required, "content": { "application/json": { "schema": schema } } }))
}

#[cfg(test)]
mod tests {
    use ambrosia_methods::{MethodKind, Mount};

    use super::*;
    use crate::openapi::openapi;

    fn method(name: &str, arguments: &[(&str, &str)], routes: &[(Verb, &str)]) -> Method {
        let mut method = Method::without_types(name.to_owned(), Vec::new(), true);
        let argument =
            |(name, ty): &(&str, &str)| Argument { name: (*name).to_owned(), ty: ty.parse().expect("a type") };
        method.arguments = arguments.iter().map(argument).collect();
        let route = |(verb, path): &(Verb, &str)| Route { verb: *verb, path: path.parse().expect("a path") };
        method.routes = routes.iter().map(route).collect();
        if routes.iter().any(|(verb, _)| *verb == Verb::Get) {
            method.kind = MethodKind::Query;
        }
        method
    }

    fn document(mounts: &[(&str, &str)]) -> Value {
        let arguments = [("item", "string"), ("count", "u32"), ("note", "option<string>")];
        let shop = [
            method(
                "find",
                &[("item", "string"), ("page", "option<u32>")],
                &[(Verb::Get, "/items/{item}"), (Verb::Get, "/")],
            ),
            method("order", &arguments, &[(Verb::Post, "/orders"), (Verb::Put, "/items/{item}/orders")]),
            method("count", &arguments[..2], &[(Verb::Put, "/items/{item}")]),
            method("drop", &[("what", "string")], &[(Verb::Delete, "/items/{what}")]),
        ];
        let name = |text: &str| InstanceName::new(text).expect("plain");
        let docs = method("total", &[], &[(Verb::Get, "/total")]);
        let instances = [(name("docs"), Methods::new(vec![docs])), (name("shop"), Methods::new(shop.to_vec()))];
        let mount =
            |(prefix, name_): &(&str, &str)| Mount { prefix: prefix.parse().expect("a prefix"), instance: name(name_) };
        openapi(&instances, &Mounts::new(mounts.iter().map(mount).collect()).expect("all different"))
    }

    fn paths(document: &Value) -> Vec<&str> {
        let paths = document["paths"].as_object().expect("an object");
        paths.keys().map(String::as_str).filter(|path| !path.starts_with("/v1/")).collect()
    }

    #[test]
    fn routes_are_shown_where_they_are_found() {
        let by_name = ["/shop", "/shop/items/{item}", "/shop/items/{item}/orders", "/shop/orders"];
        assert_eq!(paths(&document(&[])), by_name, "below its name `docs` has none");
        let both = document(&[("/", "docs"), ("/api", "shop"), ("/api/2", "shop")]);
        let mounted = [
            "/api",
            "/api/2",
            "/api/2/items/{item}",
            "/api/2/items/{item}/orders",
            "/api/2/orders",
            "/api/items/{item}",
            "/api/items/{item}/orders",
            "/api/orders",
            "/total",
        ];
        assert_eq!(paths(&both), mounted);
        let order = &both["paths"]["/v1/shop/count"]["post"]["x-ambrosia-routes"];
        assert_eq!(*order, json!(["PUT /api/2/items/{item}", "PUT /api/items/{item}"]));
        // The longer prefix is looked at first.
        let twice = document(&[("/", "docs"), ("/total", "shop")]);
        assert_eq!(twice["paths"]["/total"]["get"]["tags"], json!(["shop"]));
    }

    #[test]
    fn what_the_path_does_not_give_is_in_the_query_or_the_body() {
        let document = document(&[]);
        let names = |operation: &Value| -> Vec<String> {
            let all = operation["parameters"].as_array().expect("a list").iter();
            let said = all.filter_map(|one| Some(format!("{} {}", one["in"].as_str()?, one["name"].as_str()?)));
            said.collect()
        };
        let item = &document["paths"]["/shop/items/{item}"];
        assert_eq!(names(&item["get"]), ["path item", "query page", "query at_least", "query replica"]);
        assert_eq!(names(&document["paths"]["/shop"]["get"])[..2], ["query item", "query page"]);
        assert_eq!(item["put"]["requestBody"]["content"]["application/json"]["schema"]["maximum"], u32::MAX);
        assert_eq!(names(&item["delete"]), ["path item"], "it is called as the path says that is shown");
        assert_eq!(item["delete"]["requestBody"], Value::Null);
        let orders = &document["paths"]["/shop/items/{item}/orders"]["put"]["requestBody"]["content"]["application/json"]
            ["schema"];
        assert_eq!(orders["oneOf"][0]["required"], json!(["count"]));
        assert_eq!(orders["oneOf"][1]["minItems"], 2);
        let answers = &document["paths"]["/shop/orders"]["post"]["responses"];
        assert_eq!(answers["202"]["$ref"], "#/components/responses/under-way");
    }
}
