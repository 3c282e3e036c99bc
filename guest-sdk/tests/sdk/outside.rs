//! HTTP requests, promises, events, lines of the log, configured values, secrets.

use std::time::Duration;

use ambrosia::{
    Retry, This,
    http::{HttpError, Response},
    testing::Harness,
};

#[derive(Debug, PartialEq, ambrosia::serde::Serialize, ambrosia::serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
struct Charge {
    cents: u64,
}

#[ambrosia::state]
struct Shop {
    url: String,
}

#[ambrosia::immortal]
impl Shop {
    async fn pay(_this: This<Self>, cents: u64) -> Result<u64, HttpError> {
        let response = ambrosia::http::post("https://pay.example/charges")
            .header("authorization", &format!("Bearer {}", ambrosia::secret("PAY")))
            .json(&Charge { cents })
            .idempotent()
            .timeout(Duration::from_secs(3))
            .send()
            .await?;
        Ok(response.json::<Charge>()?.cents)
    }

    async fn look(_this: This<Self>, often: u32) -> String {
        let request = ambrosia::http::get("https://pay.example/");
        let request = if often > 0 { request.retry(Retry::times(often)) } else { request.once() };
        match ambrosia::timeout(Duration::from_secs(1), request.send()).await {
            Ok(Ok(response)) => format!("{} {} {:?}", response.status, response.text(), response.header("X-Of")),
            Ok(Err(error)) => error.to_string(),
            Err(late) => late.to_string(),
        }
    }

    async fn wait(this: This<Self>) -> Result<bool, String> {
        let (url, paid) = ambrosia::promise::<bool>();
        this.with(|shop| shop.url = url.to_string());
        let paid = ambrosia::timeout(Duration::from_secs(1), paid).await;
        paid.map_err(|late| late.to_string())?.map_err(|error| error.to_string())
    }

    fn tell(&mut self, order: String) -> Result<u64, String> {
        ambrosia::emit("order", &(&order, 7));
        ambrosia::log::info!("plain");
        ambrosia::log::warn!(order = order, twice = 2 * 7; "order {} is late", order);
        let limit = ambrosia::config::<u64>("limit").map_err(|error| error.to_string())?;
        Ok(limit.unwrap_or(100))
    }
}

#[test]
fn a_request_goes_out_and_its_response_comes_back() {
    let mut shop = Harness::<Shop>::start("shop");
    let paid = shop.call("alice", |shop| shop.pay(20));
    let [request] = shop.requests() else { panic!("one request") };
    let request = request.clone();
    assert_eq!((request.method.as_str(), request.url.as_str()), ("POST", "https://pay.example/charges"));
    assert_eq!(request.json::<Charge>(), Charge { cents: 20 });
    let authorization = "Bearer {{secret:PAY:".to_string();
    assert!(request.headers[0].1.starts_with(&authorization), "{:?}", request.headers);
    assert_eq!((request.tries, request.once, request.idempotent), (5, false, true));
    assert!(shop.answer(&paid).is_none());
    shop.respond_json(request.id, 200, &Charge { cents: 21 });
    assert_eq!(shop.answer(&paid), Some(Ok(Ok(21))));
    assert_eq!(shop.requests(), []);

    let paid = shop.call("alice", |shop| shop.pay(20));
    shop.respond(shop.requests()[0].id, Response { status: 502, headers: Vec::new(), body: b"oh".to_vec() });
    let Some(Ok(Err(HttpError::Body(reason)))) = shop.answer(&paid) else { panic!("no JSON") };
    assert!(reason.contains("status 502"), "{reason}");
}

/// The host makes the same of the name of the instance and of the secret.
#[test]
fn a_secret_is_a_placeholder() {
    #[ambrosia::state]
    struct Holder;

    #[ambrosia::immortal(no_exports)]
    impl Holder {
        fn key(&mut self) -> String {
            ambrosia::secret("KEY").to_string()
        }
    }
    let mut holder = Harness::<Holder>::start("shop");
    assert_eq!(holder.ask(|holder| holder.key()), Ok("{{secret:KEY:925b5d3c1d2a1720}}".to_string()));
}

#[test]
fn a_request_fails_in_words_and_one_that_is_dropped_is_cancelled() {
    let mut shop = Harness::<Shop>::start("shop");
    let looked = |shop: &mut Harness<Shop>, often, error: &HttpError| {
        let answer = shop.call("alice", |shop| shop.look(often));
        let request = shop.requests()[0].clone();
        shop.fail(request.id, error);
        (request.tries, request.once, shop.answer(&answer).expect("it has ended").expect("it is a text"))
    };
    let (tries, once, text) = looked(&mut shop, 0, &HttpError::Unknown("the host ended".to_string()));
    assert_eq!((tries, once), (1, true));
    assert_eq!(text, "the request may have been done, or not: the host ended");
    let error = HttpError::Failed { reason: "no route".to_string(), tries: 3 };
    let (tries, once, text) = looked(&mut shop, 3, &error);
    assert_eq!((tries, once, text), (3, false, error.to_string()));
    let error = HttpError::TimedOut { tries: 3 };
    assert_eq!(looked(&mut shop, 3, &error).2, error.to_string());
    let error = HttpError::Refused("not granted".to_string());
    assert_eq!(looked(&mut shop, 3, &error).2, error.to_string());

    let answer = shop.call("alice", |shop| shop.look(1));
    assert_eq!(shop.requests().len(), 1);
    shop.advance(Duration::from_secs(1));
    assert_eq!(shop.answer(&answer), Some(Ok("the time is up".to_string())));
    assert_eq!(shop.requests(), []);
    let answer = shop.call("alice", |shop| shop.look(1));
    let headers = vec![("x-of".to_string(), "pay".to_string())];
    shop.respond(shop.requests()[0].id, Response { status: 404, headers, body: b"no".to_vec() });
    assert_eq!(shop.answer(&answer), Some(Ok("404 no Some(\"pay\")".to_string())));
    assert_eq!(shop.next_timer(), None);
}

#[test]
fn a_promise_is_fulfilled_by_its_url() {
    let mut shop = Harness::<Shop>::start("shop");
    let waited = shop.call("alice", |shop| shop.wait());
    let url = shop.state(|shop| shop.url.clone());
    assert_eq!(shop.promises(), std::slice::from_ref(&url));
    assert!(!shop.resolve("/v1/shop/promises/1.guessed", &true));
    assert!(shop.resolve(&url, &true));
    assert_eq!(shop.answer(&waited), Some(Ok(Ok(true))));
    assert!(!shop.resolve(&url, &true), "nobody waits any more");

    shop.configure("ambrosia.public-url", "https://shop.example/");
    let waited = shop.call("alice", |shop| shop.wait());
    let url = shop.state(|shop| shop.url.clone());
    assert!(url.starts_with("https://shop.example/v1/shop/promises/"), "{url}");
    assert!(shop.resolve(&url, "yes"));
    let Some(Ok(Err(error))) = shop.answer(&waited) else { panic!("a text is no bool") };
    assert!(error.contains("doesn't decode"), "{error}");
    let waited = shop.call("alice", |shop| shop.wait());
    shop.advance(Duration::from_secs(1));
    assert_eq!(shop.answer(&waited), Some(Ok(Err("the time is up".to_string()))));
    assert_eq!(shop.promises(), Vec::<String>::new(), "it is taken back");
}

#[test]
fn events_lines_and_configured_values() {
    let mut shop = Harness::<Shop>::start("shop");
    assert_eq!(shop.ask(|shop| shop.tell("a")), Ok(Ok(100)));
    assert_eq!(shop.events()[0].topic, "order");
    assert_eq!(shop.events()[0].value::<(String, u64)>(), ("a".to_string(), 7));
    assert!(ambrosia::try_emit("ambrosia.lost", &1).is_err(), "it is the host's own");
    assert_eq!(shop.log_lines(), ["info plain", "warn order a is late order=\"a\" twice=14"]);
    shop.configure("limit", &5);
    assert_eq!(shop.ask(|shop| shop.tell("b")), Ok(Ok(5)));
    shop.configure("limit", "five");
    let Ok(Err(error)) = shop.ask(|shop| shop.tell("c")) else { panic!("a text is no number") };
    assert!(error.contains("configured value of `limit`"), "{error}");
}

#[test]
fn what_is_asked_of_the_world_outside_is_taken_back_by_an_upgrade_that_ends_who_waits() {
    let mut shop = Harness::<Shop>::start("shop");
    shop.call("alice", |shop| shop.pay(20));
    shop.call("alice", |shop| shop.wait());
    let awaits: Vec<_> = shop.waiting().into_iter().map(|waiting| waiting.awaits).collect();
    assert_eq!(awaits, ["an HTTP request", "a promise"]);
    let shop = shop.upgrade_ending_waiting::<Shop>();
    assert_eq!((shop.requests().len(), shop.promises().len()), (0, 0));
}
