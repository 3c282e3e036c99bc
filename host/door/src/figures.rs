//! What is counted and measured, as Prometheus reads it.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, prometheus_text},
    metrics::MetricType,
    registry::Registry,
};

/// One thing that is counted or measured, of several that have it.
#[derive(Clone, Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<(Vec<(&'static str, String)>, Figure)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// How much.
#[derive(Clone, Debug)]
pub enum Figure {
    /// Of a counter.
    Count(u64),
    /// Of a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram {
        /// Of all that was measured.
        sum: f64,
        /// Up to which value, and how many that are above the bucket before. The last one has no end.
        buckets: Vec<(f64, u64)>,
    },
}

impl Family {
    /// A count that only rises. Prometheus knows it by that name and `_total`.
    pub fn counter(name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind: Kind::Counter, samples: Vec::new() }
    }

    /// A number that rises and falls.
    pub fn gauge(name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind: Kind::Gauge, samples: Vec::new() }
    }

    /// How often what was measured was how much.
    pub fn histogram(name: &'static str, help: &'static str) -> Family {
        Family { name, help, kind: Kind::Histogram, samples: Vec::new() }
    }

    /// Adds the figure of whoever has these labels.
    pub fn add(&mut self, labels: Vec<(&'static str, String)>, figure: Figure) {
        self.samples.push((labels, figure));
    }

    /// The instances that figures are of.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &str> {
        self.samples.iter().filter_map(|(labels, _)| instance_of(labels))
    }

    /// Keeps what is of no instance in particular, and what is of those.
    pub(crate) fn keep(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.samples.retain(|(labels, _)| instance_of(labels).is_none_or(&is_kept));
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let mut described = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for (labels, figure) in &self.samples {
            let mut sample = described.encode_family(labels)?;
            match figure {
                Figure::Count(count) => sample.encode_counter::<NoLabelSet, u64, u64>(count, None)?,
                Figure::Number(number) => sample.encode_gauge(number)?,
                Figure::Histogram { sum, buckets } => {
                    let count = buckets.iter().map(|(_, count)| count).sum();
                    sample.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)?;
                }
            }
        }
        Ok(())
    }
}

fn instance_of<'a>(labels: &'a [(&'static str, String)]) -> Option<&'a str> {
    labels.iter().find(|(name, _)| *name == "instance").map(|(_, instance)| instance.as_str())
}

#[derive(Debug)]
struct All(Vec<Family>);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().filter(|family| !family.samples.is_empty()).try_for_each(|family| family.encode(&mut encoder))
    }
}

/// The text that says so.
pub(crate) fn text_of(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All(families)));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("a string takes all");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_said_as_prometheus_reads_them() {
        let mut count = Family::counter("ambrosia_things", "Things seen");
        count.add(vec![("instance", "a\"b\\".to_owned())], Figure::Count(7));
        let mut time = Family::histogram("ambrosia_time_seconds", "Time taken");
        time.add(Vec::new(), Figure::Histogram { sum: 1.5, buckets: vec![(0.5, 2), (1.0, 1), (f64::INFINITY, 1)] });
        let text = text_of(vec![count, Family::gauge("ambrosia_none", "Nothing"), time]);
        assert_eq!(
            text,
            "# HELP ambrosia_things_total Things seen\n# TYPE ambrosia_things_total counter\n\
             ambrosia_things_total{instance=\"a\\\"b\\\\\"} 7\n\
             # HELP ambrosia_time_seconds Time taken\n# TYPE ambrosia_time_seconds histogram\n\
             ambrosia_time_seconds_bucket{le=\"0.5\"} 2\nambrosia_time_seconds_bucket{le=\"1\"} 3\n\
             ambrosia_time_seconds_bucket{le=\"+Inf\"} 4\nambrosia_time_seconds_sum 1.5\nambrosia_time_seconds_count 4\n"
        );
    }
}
