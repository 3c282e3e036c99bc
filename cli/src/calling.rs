//! A method of an instance with its arguments, and the way there: what `send` and `query` have in common.

use std::time::{Duration, Instant};

use ambrosia_core::limits::ARGUMENTS_BYTES_MAX;
use ambrosia_host::{Client, Method, Security, encode_arguments_of};
use ambrosia_storage::StorePlace;
use anyhow::{Context, bail};
use tokio::runtime::{Builder, Runtime};

use crate::{arguments::Called, reach::reach_methods};

/// A call that can be made.
pub(crate) struct Calling {
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    pub(crate) method: Method,
    /// The method as it was named, which may be how it was called before.
    pub(crate) name: String,
    /// As the method takes them.
    pub(crate) arguments: Vec<u8>,
    /// Since when the limit counts; what a store takes does not.
    began: Option<Instant>,
    limit: Duration,
}

impl Calling {
    /// Finds the method, reads its arguments, and finds out where it is asked: at the hosts `at`, or in the store if there are none.
    pub(crate) fn begin(
        store: StorePlace,
        what: &Called,
        at: &[String],
        timeout: f64,
        security: Security,
    ) -> anyhow::Result<Calling> {
        if !(timeout > 0.0 && timeout <= 1e9) {
            bail!("--timeout must be a number of seconds above 0");
        }
        let (began, limit) = (Instant::now(), Duration::from_secs_f64(timeout));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (client, methods) = runtime.block_on(reach_methods(store, &what.instance, at, limit, security))?;
        let method = methods.find(&what.method)?.clone();
        let place = what.args.place();
        let arguments = what.args.read().and_then(|json| Ok(encode_arguments_of(&json, &method)?));
        let arguments = arguments.with_context(|| format!("--args{place}"))?;
        if arguments.len() > ARGUMENTS_BYTES_MAX {
            let bytes = arguments.len();
            bail!("--args{place}: arguments of {bytes} bytes exceed the limit of {ARGUMENTS_BYTES_MAX} bytes");
        }
        let began = (!at.is_empty()).then_some(began);
        Ok(Calling { runtime, client, method, name: what.method.clone(), arguments, began, limit })
    }

    /// How long the answer may take now.
    pub(crate) fn left(&self) -> Duration {
        self.began.map_or(self.limit, |began| self.limit.saturating_sub(began.elapsed()))
    }
}
