//! How fast a traveller gets to any record of a long log.

use std::time::{Duration, Instant};

use ambrosia_core::{InstanceName, Lsn};
use ambrosia_host::travel::{Traveller, with_stack_for_guests};
use ambrosia_storage::StorePlace;
use ambrosia_tests::{Cluster, LongMessage, Sample, ms, processor_time, write_long_log};
use serde_json::json;

use super::{at_most, note};

/// Places to which it goes, scattered over the log.
const PLACES: u64 = 100;

/// Journeys through a log of that many records with a message each, without any checkpoint. Of a million the guest gets 2 MiB.
pub(super) fn travel(records: u64) -> anyhow::Result<()> {
    let cluster = Cluster::new();
    let method = |n| if n % 4 == 0 { "see" } else { "add" };
    let messages = (0..records).map(|n| LongMessage { method: method(n), arguments: json!([n]), request: None });
    let began = Instant::now();
    let last = write_long_log(&cluster.store(), "counter", &cluster.guest("counter"), messages)?;
    note("the life of the instance", format!("{:.1} s", began.elapsed().as_secs_f64()));
    let store = StorePlace::from(cluster.store().as_path()).open()?;
    with_stack_for_guests(|| {
        let mut traveller = Traveller::new(&store, &InstanceName::new("counter")?)?;
        let (before, began) = (processor_time(std::process::id())?, Instant::now());
        traveller.seek(last)?;
        at_most("from the beginning to the end", began.elapsed(), Duration::from_secs(1));
        note("CPU of that", format!("{:.0} ms", ms(processor_time(std::process::id())? - before)));
        note("snapshots", format!("{:.1} MiB", traveller.snapshot_bytes() as f64 / f64::from(1 << 20)));
        let places = (1..=PLACES).map(|n| Lsn(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (last.0 - 2) + 2));
        let (mut there, mut back) = (Vec::new(), Vec::new());
        for place in places {
            let began = Instant::now();
            traveller.seek(place)?;
            there.push(began.elapsed());
            let began = Instant::now();
            traveller.back()?;
            back.push(began.elapsed());
        }
        let (there, back) = (Sample::new(there), Sample::new(back));
        note("median there, and of a step back", format!("{:.1} / {:.1} ms", ms(there.median()), ms(back.median())));
        at_most(&format!("to any of {records} records, worst of {PLACES}"), there.worst(), Duration::from_millis(20));
        at_most(&format!("a step back, worst of {PLACES}"), back.worst(), Duration::from_millis(20));
        anyhow::Ok(())
    })?
}
