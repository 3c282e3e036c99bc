//! What Prometheus reads, and the board and the page that speak of it.

use std::{collections::BTreeSet, net::SocketAddr, path::Path};

use ambrosia_host::{Doorway, Mounts, Security};
use ambrosia_storage::StorePlace;
use ambrosia_tests::{Cluster, Host};
use serde_json::Value;

use crate::{
    door::check_problem,
    serving::serve,
    support::{cluster, curl, http_address, post, role, wait_for_status},
};

/// A host of replica 0 of an instance that has been asked something.
fn watched(cluster: &Cluster) -> Host {
    cluster.register("counter", "asked", 2);
    let host = serve(cluster, &["--all", "--http", "127.0.0.1:0"]);
    wait_for_status(cluster, "counter", |status| role(status, 0) == "primary");
    let door = http_address(&host);
    assert_eq!(post(door, "/v1/counter/add", None, "[2]").body, "2");
    assert_eq!(post(door, "/v1/counter/nothing", None, "[2]").status, 404);
    assert_eq!(curl(door, "/v1/counter/total", &[]).body, "2");
    assert_eq!(curl(door, "/v1/counter/fails", &[]).status, 422);
    host
}

fn scrape(door: SocketAddr) -> String {
    let scraped = curl(door, "/metrics", &[]);
    assert_eq!(scraped.status, 200, "{scraped:?}");
    assert!(
        scraped.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")),
        "{scraped:?}"
    );
    scraped.body
}

/// The value of one sample.
fn value(text: &str, sample: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("{sample} is not in\n{text}"));
    found.parse().expect("a number")
}

#[test]
fn figures_tell_what_was_done() {
    let cluster = cluster();
    let host = watched(&cluster);
    let text = scrape(http_address(&host));
    let of = |name: &str| value(&text, &format!("{name}{{instance=\"counter\",replica=\"0\"}}"));
    assert_eq!(
        (of("ambrosia_member_answers"), of("ambrosia_replica_primary"), of("ambrosia_reigns_total")),
        (1.0, 1.0, 1.0)
    );
    assert!(of("ambrosia_log_records_total") >= 1.0 && of("ambrosia_log_bytes_total") > 0.0, "{text}");
    assert!(of("ambrosia_log_flush_seconds_count") >= 1.0 && of("ambrosia_log_flush_seconds_sum") > 0.0, "{text}");
    assert_eq!((of("ambrosia_held_outputs"), of("ambrosia_replica_lag_records")), (0.0, 0.0));
    assert!(of("ambrosia_replica_applied_lsn") >= 3.0, "{text}");
    let queries = |result: &str| {
        value(&text, &format!("ambrosia_queries_total{{instance=\"counter\",replica=\"0\",result=\"{result}\"}}"))
    };
    assert_eq!((queries("value"), queries("error")), (1.0, 1.0));
    let requests = |method: &str, code: u16| {
        value(&text, &format!("ambrosia_http_requests_total{{method=\"{method}\",code=\"{code}\"}}"))
    };
    assert_eq!((requests("POST", 200), requests("POST", 404), requests("GET", 422)), (1.0, 1.0, 1.0));
    // And goes on counting.
    assert_eq!(post(http_address(&host), "/v1/counter/add", None, "[2]").body, "4");
    let later = scrape(http_address(&host));
    let records = "ambrosia_log_records_total{instance=\"counter\",replica=\"0\"}";
    assert!(value(&later, records) > value(&text, records), "{later}");
}

#[test]
fn a_host_tells_of_its_own_instances_and_a_process_without_replicas_of_all() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    cluster.register("porter", "counter", 1);
    let counter = cluster.start("counter", 0);
    counter.wait_until_primary();
    let host = serve(&cluster, &["--instance", "porter", "--http", "127.0.0.1:0"]);
    wait_for_status(&cluster, "porter", |status| role(status, 0) == "primary");
    let text = scrape(http_address(&host));
    assert!(text.contains("ambrosia_durable_lsn{instance=\"porter\"}"), "{text}");
    assert!(!text.contains("instance=\"counter\""), "whose host tells of it itself:\n{text}");
    let store = StorePlace::from(cluster.store()).open().expect("it was made");
    let doorway =
        Doorway::open(store, ([127, 0, 0, 1], 0).into(), Mounts::default(), Security::Plain).expect("there is a port");
    let text = scrape(doorway.address());
    for instance in ["counter", "porter"] {
        let primary = format!("ambrosia_replica_primary{{instance=\"{instance}\",replica=\"0\"}}");
        assert_eq!(value(&text, &primary), 1.0);
    }
    assert!(!text.contains("ambrosia_member_answers"), "nobody lives here:\n{text}");
    doorway.close();
}

#[test]
fn with_tokens_whoever_scrapes_needs_one_that_may_read() {
    let cluster = cluster();
    let host = watched(&cluster);
    cluster.register("other", "counter", 1);
    let make =
        |name: &str, more: &[&str]| cluster.must(&[&["token", "new", "--name", name], more].concat()).trim().to_owned();
    let (reader, sender) = (make("reader", &["--deed", "read"]), make("sender", &["--deed", "send"]));
    let stranger = make("stranger", &["--deed", "read", "--instance", "other"]);
    let door = http_address(&host);
    check_problem(&curl(door, "/metrics", &[]), 401, "unauthorized");
    let with = |token: &str| curl(door, "/metrics", &["-H", &format!("Authorization: Bearer {token}")]);
    check_problem(&with(&sender), 403, "forbidden");
    let (all, none) = (with(&reader), with(&stranger));
    assert_eq!((all.status, none.status), (200, 200));
    assert!(all.body.contains("instance=\"counter\""), "{all:?}");
    assert!(
        !none.body.contains("instance=\"counter\"") && none.body.contains("ambrosia_http_requests_total"),
        "{none:?}"
    );
}

/// All names that begin as ours do.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("ambrosia_")).map(str::to_owned).collect()
}

#[test]
fn the_board_and_the_page_speak_of_metrics_that_there_are() {
    let cluster = cluster();
    cluster.register("caller", "server", 1);
    let host = watched(&cluster);
    let text = scrape(http_address(&host));
    let mut there = names(&text);
    // Only while a call waits.
    there.insert("ambrosia_oldest_call_seconds".to_owned());
    let families: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|rest| rest.split(' ').next())
        .map(str::to_owned)
        .collect();
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it lies in the repository").join("docs");
    let board = std::fs::read_to_string(documents.join("grafana.json")).expect("it is there");
    let parsed: Value = serde_json::from_str(&board).expect("it is JSON");
    assert!(parsed["panels"].as_array().is_some_and(|panels| !panels.is_empty()));
    let unknown: Vec<_> = names(&board).difference(&there).cloned().collect();
    assert!(unknown.is_empty(), "the board speaks of {unknown:?}");
    let page = names(&std::fs::read_to_string(documents.join("metrics.md")).expect("it is there"));
    let unknown: Vec<_> = page.difference(&there).filter(|name| !families.contains(*name)).collect();
    assert!(unknown.is_empty(), "the page speaks of {unknown:?}");
    let untold: Vec<_> = families.difference(&page).collect();
    assert!(untold.is_empty(), "the page says nothing of {untold:?}");
}
