//! A trace as OpenTelemetry has it: `ExportTraceServiceRequest` of its protocol in JSON, on one line.

use std::collections::BTreeMap;

use ambrosia_core::{Lsn, TraceContext};
use ambrosia_host::traceparent_of;
use serde_json::{Value, json};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::span::Span;

/// `SpanKind` of the protocol.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CONSUMER: u8 = 5;

/// `StatusCode` of the protocol.
const STATUS_ERROR: u8 = 2;

/// Ids follow from what the logs say, so a trace that is taken again has the same. If the client of the request that it begins with has said
/// to which trace that belongs, it is a part of that one.
pub(super) fn lines(spans: &[Span]) -> Value {
    let root = spans.first();
    let caller = root.and_then(|root| root.traceparent.as_ref()?.parse::<TraceContext>().ok());
    let of_root = || xxh3_128(&root.map(identity).unwrap_or_default()).max(1);
    let trace = format!("{:032x}", caller.map_or_else(of_root, |caller| caller.trace_id()));
    let mut by_instance: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for span in spans {
        let parent = match span.parent {
            Some(parent) => Some(span_id(&spans[parent])),
            None => caller.map(|caller| format!("{:016x}", caller.span_id())),
        };
        by_instance.entry(&span.instance).or_default().push(shown(span, parent, &trace));
    }
    let resources = by_instance.into_iter().map(|(instance, shown)| {
        let uuid = spans.iter().find(|span| span.instance == instance).and_then(|span| span.uuid);
        let uuid = uuid.map(|uuid| text("service.instance.id", &uuid.to_string()));
        let attributes: Vec<_> = [text("service.name", instance)].into_iter().chain(uuid).collect();
        let scope = json!({"name": "ambrosia-host", "version": env!("CARGO_PKG_VERSION")});
        json!({"resource": {"attributes": attributes}, "scopeSpans": [{"scope": scope, "spans": shown}]})
    });
    json!({"resourceSpans": resources.collect::<Vec<_>>()})
}

fn shown(span: &Span, parent: Option<String>, trace: &str) -> Value {
    let end = span.answer.as_ref().map_or(span.time, |answer| answer.time.max(span.time));
    let kind = match span.kind.as_str() {
        "impulse" | "call" => SERVER,
        "fork" => CONSUMER,
        _ => INTERNAL,
    };
    let lsn = span.place.map(|place| number("ambrosia.lsn", place.lsn));
    let place = span.place.map(|place| number("ambrosia.message", Lsn(place.index.into())));
    let attributes = [text("ambrosia.kind", &span.kind), text("ambrosia.source", &span.source)].into_iter();
    let attributes = attributes.chain(lsn).chain(place);
    let attributes = attributes.chain(span.request.iter().map(|request| text("ambrosia.request", request)));
    let attributes = attributes.chain(span.note.iter().map(|note| text("ambrosia.note", note)));
    let mut shown = json!({
        "traceId": trace,
        "spanId": span_id(span),
        "name": span.title(),
        "kind": kind,
        "startTimeUnixNano": span.time.0.to_string(),
        "endTimeUnixNano": end.0.to_string(),
        "attributes": attributes.collect::<Vec<_>>(),
    });
    // What was asked outside is a trace of its own there: that it began here only the logs say.
    if let (Some(uuid), Some(id), "outcome" | "request") = (span.uuid, span.call_id, span.kind.as_str()) {
        let theirs: TraceContext = traceparent_of(&format!("{uuid}-{id}")).parse().expect("as the standard has it");
        let (trace_id, span_id) = (theirs.trace_id(), theirs.span_id());
        let attributes = [text("ambrosia.kind", "request")];
        shown["links"] = json!([{
            "traceId": format!("{trace_id:032x}"), "spanId": format!("{span_id:016x}"), "attributes": attributes,
        }]);
    }
    if let Some(parent) = parent {
        shown["parentSpanId"] = parent.into();
    }
    if let Some(answer) = span.answer.as_ref().filter(|answer| !answer.success) {
        shown["status"] = json!({"code": STATUS_ERROR, "message": answer.value.to_string()});
    }
    shown
}

fn span_id(span: &Span) -> String {
    format!("{:016x}", xxh3_64(&identity(span)).max(1))
}

/// What tells a message from all others: where it was delivered, or which of the trace it is if it was not.
fn identity(span: &Span) -> Vec<u8> {
    let place = span.place.map_or((0, span.number as u32), |place| (place.lsn.0, place.index));
    format!("{:?} {} {place:?}", span.uuid, span.instance).into_bytes()
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: Lsn) -> Value {
    json!({"key": key, "value": {"intValue": value.0.to_string()}})
}

#[cfg(test)]
mod tests {
    use ambrosia_core::{InstanceUuid, Timestamp};

    use super::*;

    #[test]
    fn what_a_caller_has_said_a_trace_for_is_a_part_of_that() {
        let root =
            Span { traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()), ..span() };
        let told = [root.clone(), Span { number: 1, parent: Some(0), traceparent: None, ..root }];
        let shown = lines(&told);
        let [one, two] = [0, 1].map(|number| &shown["resourceSpans"][0]["scopeSpans"][0]["spans"][number]);
        assert_eq!(
            (one["traceId"].as_str(), one["parentSpanId"].as_str()),
            (Some("4bf92f3577b34da6a3ce929d0e0e4736"), Some("00f067aa0ba902b7"))
        );
        assert_eq!((&two["traceId"], &two["parentSpanId"]), (&one["traceId"], &one["spanId"]));
        let alone = lines(&[span()]);
        let alone = &alone["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(alone["parentSpanId"], Value::Null, "nobody has said who is above it");
        assert_ne!(alone["traceId"], one["traceId"]);
    }

    #[test]
    fn what_came_of_a_request_outside_has_a_link_to_the_trace_that_it_carried() {
        let (uuid, span) = (UUID, span());
        let links = |spans: &[Span]| lines(spans)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["links"].clone();
        let header = traceparent_of(&format!("{uuid}-12"));
        let links_of_it = links(std::slice::from_ref(&span));
        let shown = |key: &str| links_of_it[0][key].as_str().expect("text").to_owned();
        assert_eq!(header, format!("00-{}-{}-01", shown("traceId"), shown("spanId")));
        assert_eq!(links(&[Span { kind: "reply".to_owned(), ..span }]), Value::Null);
    }

    const UUID: InstanceUuid = InstanceUuid([7; 16]);

    fn span() -> Span {
        Span {
            number: 0,
            parent: None,
            instance: "shop".to_owned(),
            uuid: Some(UUID),
            place: None,
            time: Timestamp(5),
            kind: "outcome".to_owned(),
            source: "outside".to_owned(),
            method: None,
            call_id: Some(12),
            request: None,
            traceparent: None,
            arguments: Value::Null,
            answer: None,
            note: None,
        }
    }
}
