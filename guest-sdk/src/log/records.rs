//! Records of the crate `log` as lines.

use log::{LevelFilter, Log, Metadata, Record, kv};
use serde_json::Value;

use super::{Field, Level, write};
use crate::runtime;

struct Lines;

pub(super) fn adopt() {
    // It fails for every runtime but the first, and where an application has its own.
    if log::set_logger(&Lines).is_ok() {
        set_max_level(Level::Info);
    }
}

pub(super) fn set_max_level(level: Level) {
    log::set_max_level(match level {
        Level::Error => LevelFilter::Error,
        Level::Warn => LevelFilter::Warn,
        Level::Info => LevelFilter::Info,
        Level::Debug => LevelFilter::Debug,
        Level::Trace => LevelFilter::Trace,
    });
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // In native tests there may be threads that no immortal runs in.
        metadata.level() <= log::max_level() && runtime::try_with(|_| ()).is_some()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = match record.level() {
            log::Level::Error => Level::Error,
            log::Level::Warn => Level::Warn,
            log::Level::Info => Level::Info,
            log::Level::Debug => Level::Debug,
            log::Level::Trace => Level::Trace,
        };
        let mut fields = Fields(Vec::new());
        if let Err(error) = record.key_values().visit(&mut fields) {
            fields.0.push(("error".to_string(), Value::from(format!("the other fields can't be read: {error}"))));
        }
        let fields: Vec<_> = fields.0.iter().map(|(name, value)| (name.as_str(), value as &dyn Field)).collect();
        write(level, record.target(), &record.args().to_string(), &fields);
    }

    fn flush(&self) {}
}

struct Fields(Vec<(String, Value)>);

impl<'kvs> kv::VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: kv::Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let shown = (value.to_bool().map(Value::from))
            .or_else(|| value.to_u64().map(Value::from))
            .or_else(|| value.to_i64().map(Value::from))
            .or_else(|| value.to_f64().map(Value::from))
            .unwrap_or_else(|| Value::from(value.to_string()));
        // A map has a key once; the last value counts.
        self.0.retain(|(name, _)| name != key.as_str());
        self.0.push((key.as_str().to_string(), shown));
        Ok(())
    }
}
