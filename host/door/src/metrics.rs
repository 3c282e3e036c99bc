//! `/metrics`: what Prometheus scrapes.
//!
//! **Architecture Invariant:** a request pays for it by a few additions; all else is done when somebody scrapes.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ambrosia_core::InstanceName;
use axum::{
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

use crate::{
    access::{Bearer, Deed},
    door::House,
    figures::{Family, Figure, text_of},
    instances::NoInstance,
    problem::{Problem, ProblemKind},
};

/// Codes are below this.
const CODES: usize = 600;

/// Methods that are told apart, and all others.
const METHODS: [&str; 3] = ["POST", "GET", "other"];

/// The first bucket of times holds those up to this many microseconds, each further one twice as many.
const FIRST_MICROS: u64 = 64;
const BUCKETS: usize = 20;

/// Counts the requests of a door.
pub(crate) struct Counts([OfMethod; METHODS.len()]);

struct OfMethod {
    codes: [AtomicU64; CODES],
    times: [AtomicU64; BUCKETS],
    micros: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        Counts(std::array::from_fn(|_| OfMethod {
            codes: [const { AtomicU64::new(0) }; CODES],
            times: [const { AtomicU64::new(0) }; BUCKETS],
            micros: AtomicU64::new(0),
        }))
    }
}

impl Counts {
    /// A request was answered.
    pub(crate) fn add(&self, method: Kind, status: StatusCode, time: Duration) {
        let counts = &self.0[method.0];
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket =
            (micros.saturating_sub(1) / FIRST_MICROS).checked_ilog2().map_or(0, |doublings| doublings as usize + 1);
        counts.codes[usize::from(status.as_u16()).min(CODES - 1)].fetch_add(1, Ordering::Relaxed);
        counts.times[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        counts.micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn families(&self) -> Vec<Family> {
        let mut requests = Family::counter("ambrosia_http_requests", "HTTP requests answered, by method and status");
        let mut times =
            Family::histogram("ambrosia_http_request_seconds", "Time until a request was answered, by method");
        for (name, counts) in METHODS.into_iter().zip(&self.0) {
            let label = ("method", name.to_owned());
            let mut all = 0;
            for (code, count) in counts.codes.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    all += count;
                    requests.add(vec![label.clone(), ("code", code.to_string())], Figure::Count(count));
                }
            }
            if all == 0 {
                continue;
            }
            let counted = counts.times.iter().map(|count| count.load(Ordering::Relaxed));
            let up_to = (0..BUCKETS as u32 - 1)
                .map(|doublings| (FIRST_MICROS << doublings) as f64 / 1e6)
                .chain([f64::INFINITY]);
            let sum = counts.micros.load(Ordering::Relaxed) as f64 / 1e6;
            times.add(vec![label], Figure::Histogram { sum, buckets: up_to.zip(counted).collect() });
        }
        vec![requests, times]
    }
}

/// What of the method of a request is counted.
#[derive(Clone, Copy)]
pub(crate) struct Kind(usize);

impl Kind {
    pub(crate) fn of(method: &Method) -> Kind {
        Kind(match *method {
            Method::POST => 0,
            Method::GET => 1,
            _ => 2,
        })
    }
}

impl House {
    /// All figures.
    pub(crate) async fn metrics(&self, bearer: &Bearer) -> Result<Response, Problem> {
        self.check(bearer, Deed::Read, None).await?;
        let instances = Arc::clone(&self.instances);
        let mut families = match tokio::task::spawn_blocking(move || instances.figures()).await {
            Ok(Ok(families)) => families,
            Ok(Err(NoInstance::Unreadable(reason))) => return Err(Problem::new(ProblemKind::Store, reason)),
            Ok(Err(NoInstance::Unknown)) | Err(_) => return Err(Problem::new(ProblemKind::Closing, "the host ends")),
        };
        let instances: BTreeSet<String> = families.iter().flat_map(Family::instances).map(str::to_owned).collect();
        for instance in instances {
            let name = InstanceName::new(&instance).ok();
            let is_allowed = match &name {
                Some(name) => self.check(bearer, Deed::Read, Some(name)).await.is_ok(),
                None => false,
            };
            if !is_allowed {
                families.iter_mut().for_each(|family| family.keep(|other| other != instance));
            }
        }
        families.extend(self.counts.families());
        Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text_of(families)).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_counted_by_method_status_and_time() {
        let counts = Counts::default();
        let micros = Duration::from_micros;
        for (method, status, time) in [
            (Method::POST, 200, micros(64)),
            (Method::POST, 200, micros(65)),
            (Method::POST, 409, micros(129)),
            (Method::GET, 200, Duration::from_secs(3600)),
            (Method::DELETE, 405, micros(0)),
        ] {
            counts.add(Kind::of(&method), StatusCode::from_u16(status).expect("a status"), time);
        }
        let text = text_of(counts.families());
        for line in [
            "ambrosia_http_requests_total{method=\"POST\",code=\"200\"} 2",
            "ambrosia_http_requests_total{method=\"POST\",code=\"409\"} 1",
            "ambrosia_http_requests_total{method=\"other\",code=\"405\"} 1",
            "ambrosia_http_request_seconds_bucket{method=\"POST\",le=\"6.4e-05\"} 1",
            "ambrosia_http_request_seconds_bucket{method=\"POST\",le=\"0.000128\"} 2",
            "ambrosia_http_request_seconds_bucket{method=\"POST\",le=\"0.000256\"} 3",
            "ambrosia_http_request_seconds_bucket{method=\"GET\",le=\"+Inf\"} 1",
            "ambrosia_http_request_seconds_sum{method=\"GET\"} 3600.0",
        ] {
            assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
        }
    }
}
