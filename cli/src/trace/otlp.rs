//! A trace as OpenTelemetry has it: `ExportTraceServiceRequest` of its protocol in JSON, on one line.

use std::collections::BTreeMap;

use ambrosia_core::Lsn;
use serde_json::{Value, json};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::span::Span;

/// `SpanKind` of the protocol.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CONSUMER: u8 = 5;

/// `StatusCode` of the protocol.
const STATUS_ERROR: u8 = 2;

/// Ids follow from what the logs say, so a trace that is taken again has the same.
pub(super) fn lines(spans: &[Span]) -> Value {
    let trace = spans.first().map(identity).unwrap_or_default();
    let trace = format!("{:032x}", xxh3_128(&trace).max(1));
    let mut by_instance: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for span in spans {
        by_instance.entry(&span.instance).or_default().push(shown(span, spans, &trace));
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

fn shown(span: &Span, spans: &[Span], trace: &str) -> Value {
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
    if let Some(parent) = span.parent {
        shown["parentSpanId"] = span_id(&spans[parent]).into();
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
