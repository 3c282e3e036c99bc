use super::*;

fn covers(grant: &str, url: &str) -> bool {
    let grant: Grant = grant.parse().expect("it is a grant");
    assert_eq!(grant.to_string().parse(), Ok(grant.clone()), "it is shown as it can be read");
    grant.covers(&Target::parse(url).expect("it is a URL"))
}

#[test]
fn a_grant_covers_its_origin_and_nothing_else() {
    assert!(covers("https://api.stripe.com/*", "https://api.stripe.com/v1/charges?a=b"));
    assert!(covers("https://api.stripe.com", "https://API.Stripe.com:443/v1"));
    assert!(!covers("https://api.stripe.com/*", "http://api.stripe.com/"));
    assert!(!covers("https://api.stripe.com/*", "https://api.stripe.com:8443/"));
    assert!(!covers("https://api.stripe.com/*", "https://api.stripe.com.evil.example/"));
    assert!(!covers("https://stripe.com/*", "https://evilstripe.com/"));
    assert!(covers("http://127.0.0.1:9000/*", "http://127.0.0.1:9000/x"));
    assert!(covers("http://[::1]:9000/*", "http://[::1]:9000/x"));
    assert!(covers("http://[::1]/*", "http://[::1]/x"));
}

#[test]
fn wildcards_stand_for_what_is_said_of_them() {
    assert!(covers("https://*.example.com/*", "https://a.example.com/"));
    assert!(covers("https://*.example.com/*", "https://a.b.example.com/"));
    assert!(!covers("https://*.example.com/*", "https://example.com/"));
    assert!(!covers("https://*.example.com/*", "https://evilexample.com/"));
    assert!(covers("https://*/*", "https://anything.example/"));
    assert!(covers("https://a.example:*/*", "https://a.example:8443/"));
}

#[test]
fn a_path_is_whole_or_a_beginning() {
    assert!(covers("https://a.example/v1/*", "https://a.example/v1/x?y"));
    assert!(!covers("https://a.example/v1/*", "https://a.example/v2/x"));
    assert!(!covers("https://a.example/v1/*", "https://a.example/v1"));
    assert!(covers("https://a.example/v1", "https://a.example/v1?y"));
    assert!(!covers("https://a.example/v1", "https://a.example/v1/x"));
}

#[test]
fn what_is_no_grant_is_told_by_its_part() {
    let error = |text: &str| text.parse::<Grant>().expect_err("it is no grant");
    assert_eq!(error("api.stripe.com"), GrantError::Scheme("api.stripe.com".to_owned()));
    assert_eq!(error(""), GrantError::Scheme(String::new()));
    assert_eq!(error("https://"), GrantError::Host(String::new()));
    assert_eq!(error("https://a*.com/"), GrantError::Host("a*.com".to_owned()));
    assert_eq!(error("https://me@a.com/"), GrantError::Host("me@a.com".to_owned()));
    assert_eq!(error("https://a.com:0/"), GrantError::Port("0".to_owned()));
    assert_eq!(error("https://a.com:70000/"), GrantError::Port("70000".to_owned()));
    assert_eq!(error("https://a.com/*/b"), GrantError::Path("/*/b".to_owned()));
    assert_eq!(error("https://a.com/?b"), GrantError::Path("/?b".to_owned()));
    assert_eq!(error("https://a.com/ STRIPE"), GrantError::Option("STRIPE".to_owned()));
    assert_eq!(error("https://a.com/ secrets=a-b"), GrantError::Secret("a-b".to_owned()));
}

#[test]
fn secrets_and_names_of_all_grants_that_cover_a_target_count() {
    let grants = ["https://*.a.com/* secrets=A,B", "https://x.a.com/v1/* secrets=C", "https://x.a.com/v2/* secrets=D"];
    let grants = Grants(grants.iter().map(|text| text.parse().expect("it is a grant")).collect());
    let found = |url| {
        let granted = grants.find(&Target::parse(url).expect("it is a URL"))?;
        let secrets: Vec<_> = granted.secrets.iter().map(ToString::to_string).collect();
        Some((secrets.concat(), granted.is_named))
    };
    assert_eq!(found("https://x.a.com/v1/y"), Some(("ABC".to_owned(), true)));
    assert_eq!(found("https://y.a.com/v1/y"), Some(("AB".to_owned(), false)));
    assert_eq!(found("https://b.com/v1/y"), None);
    assert_eq!(Grants::default().find(&Target::parse("http://b.com/").expect("it is a URL")), None);
}
