//! Events of the crate `tracing` as lines, with the fields of the spans around them.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;
use tracing::{
    Event, Metadata, Subscriber,
    field::Visit,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use super::{Field, Level, max_level, write};
use crate::runtime;

/// The field that names the spans around an event, from the outermost, unless one has a field of this name.
const SPAN: &str = "span";

struct Lines;

pub(super) fn adopt() {
    // It fails for every runtime but the first, and where an application has its own.
    let _others = tracing::subscriber::set_global_default(Registry::default().with(Lines));
}

/// Has each place where an event is made ask again whether it is wanted.
pub(super) fn set_max_level() {
    tracing::callsite::rebuild_interest_cache();
}

fn level_of(level: tracing::Level) -> Level {
    match level {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        tracing::Level::DEBUG => Level::Debug,
        tracing::Level::TRACE => Level::Trace,
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        level_of(*metadata.level()) as u8 <= max_level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match max_level() {
            level if level == Level::Error as u8 => LevelFilter::ERROR,
            level if level == Level::Warn as u8 => LevelFilter::WARN,
            level if level == Level::Info as u8 => LevelFilter::INFO,
            level if level == Level::Debug as u8 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        // In native tests there may be threads that no immortal runs in.
        if runtime::try_with(|_| ()).is_none() {
            return;
        }
        let (mut fields, mut names) = (BTreeMap::new(), Vec::new());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            names.push(span.name());
            if let Some(Fields(of_span)) = span.extensions().get::<Fields>() {
                fields.extend(of_span.clone());
            }
        }
        let mut own = Fields::default();
        event.record(&mut own);
        let message = own.0.remove("message");
        fields.extend(own.0);
        if !names.is_empty() {
            fields.entry(SPAN.to_string()).or_insert_with(|| Value::from(names.join(":")));
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value as &dyn Field)).collect();
        let message = message.as_ref().and_then(Value::as_str).unwrap_or_default();
        write(level_of(*event.metadata().level()), event.metadata().target(), message, &fields);
    }
}

/// Fields by their names; one that is recorded again has its last value.
#[derive(Default)]
struct Fields(BTreeMap<String, Value>);

impl Fields {
    fn put(&mut self, field: &tracing::field::Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_string(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &tracing::field::Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &tracing::field::Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &tracing::field::Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &tracing::field::Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &tracing::field::Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string());
    }

    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}
