//! What there is to be asked over HTTP, for tools, and for people in a browser.

use serde_json::{Value, json};

use crate::{
    door::house,
    support::{Browser, chromium, cluster, curl},
};

#[test]
fn all_methods_of_all_instances_are_described() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("counter", "counter"), ("values", "values")]);
    cluster.register("later", "ticker", 1);
    let answer = curl(address, "/openapi.json", &[]);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    let schema = |path: &str| {
        document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["oneOf"][0].clone()
    };
    assert_eq!(schema("/v1/counter/add")["required"], json!(["n"]));
    assert_eq!(schema("/v1/later/every")["required"], json!(["ms", "count"]), "nobody runs it yet");
    let place = &document["paths"]["/v1/values/place"]["post"];
    assert_eq!(place["summary"], "Gives back an order as it was placed.");
    assert_eq!(place["x-ambrosia-kind"], "query");
    assert_eq!(curl(address, "/healthz", &[]).json()["status"], "alive");
    assert_eq!(curl(address, "/readyz", &[]).json(), json!({ "status": "ready", "instances": 3 }));
    assert_eq!(curl(address, "/docs", &["-X", "POST"]).status, 405);
}

#[test]
fn a_person_sends_a_form_in_a_browser() {
    let cluster = cluster();
    let (_host, address) = house(&cluster, &[("counter", "counter"), ("values", "values")]);
    let page = curl(address, "/docs", &[]);
    assert!(page.header("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'self'")));
    let Some(chromium) = chromium() else {
        return println!("SKIPPED: there is no Chromium on this machine, so the page was not seen in a browser");
    };
    let mut browser = Browser::open(chromium, &format!("http://{address}/docs#counter.add"));
    assert_eq!(browser.evaluate("document.getElementById(\"counter.add\").open"), true, "a link leads to a method");
    let send = |browser: &mut Browser, id: &str, values: &[(&str, &str)]| -> Value {
        for (name, value) in values {
            let field =
                format!("document.getElementById({id:?}).querySelector({:?})", format!("[aria-label=\"{name}\"]"));
            browser.evaluate(&format!("{field}.value = {}", json!(value)));
        }
        let output = format!("document.getElementById({id:?}).querySelector(\"output\")");
        browser.evaluate(&format!(
            "delete {output}.dataset.ready; document.getElementById({id:?}).querySelector(\"button\").click()"
        ));
        browser.wait_until(&format!("{output}.dataset.ready === \"true\""));
        browser.evaluate(&format!("{output}.textContent"))
    };
    for _ in 0..2 {
        assert_eq!(send(&mut browser, "counter.add", &[("n", "2"), ("Idempotency-Key", "form")]), "200 form\n2");
    }
    assert_eq!(cluster.send("counter", "total", json!([])), 2);
    let wrong = send(&mut browser, "counter.add", &[("n", "\"two\""), ("Idempotency-Key", "")]);
    assert!(wrong.as_str().is_some_and(|text| text.starts_with("400 ") && text.contains("expected u64")), "{wrong}");
    let text = send(&mut browser, "values.text", &[("text", "<b>&</b>"), ("Idempotency-Key", "t")]);
    assert_eq!(text, "200 t\n\"<b>&</b>\"", "a text needs no quotes, and is no markup");
    let raw = send(&mut browser, "values.raw", &[("bytes", "0x00ff"), ("Idempotency-Key", "r")]);
    assert_eq!(raw, "200 r\n\"0x00ff\"");
    let asked = send(&mut browser, "values.place", &[("order", "\"Nothing\"")]);
    assert!(asked.as_str().is_some_and(|text| text.starts_with("200 lsn ")), "a query makes no request: {asked}");
    browser.evaluate("document.getElementById(\"filter\").value = \"counter.to\"; document.getElementById(\"filter\").dispatchEvent(new Event(\"input\"))");
    let shown = browser.evaluate(
        "[...document.querySelectorAll(\"details\")].filter((block) => !block.hidden).map((block) => block.id).join()",
    );
    assert_eq!(shown, "counter.total");
}
