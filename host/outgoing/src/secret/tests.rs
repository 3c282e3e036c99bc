use super::*;

fn name(text: &str) -> SecretName {
    text.parse().expect("it is a name")
}

/// Secrets in files, and a directory that holds them.
fn secrets(values: &[(&str, &[u8])]) -> (tempfile::TempDir, Secrets) {
    let directory = tempfile::tempdir().expect("there is room");
    let secrets = values.iter().map(|(name_, value)| {
        let path = directory.path().join(name_);
        std::fs::write(&path, value).expect("there is room");
        Secret { name: name(name_), source: SecretSource::File(path) }
    });
    let secrets = secrets.collect();
    (directory, secrets)
}

fn granted(names: &[&str]) -> BTreeSet<SecretName> {
    names.iter().map(|text| name(text)).collect()
}

#[test]
fn the_tag_is_the_published_hash() {
    assert_eq!(tag("", ""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(tag("foo", "bar"), 0x8594_4171_f739_67e8, "FNV-1a 64 of `foobar`");
    assert_eq!(placeholder("foo", &name("bar")), "{{secret:bar:85944171f73967e8}}");
}

#[test]
fn placeholders_are_replaced_and_what_looks_alike_is_not() {
    let (_directory, secrets) = secrets(&[("KEY", b"s3cret value\r\n")]);
    let granted = granted(&["KEY"]);
    let mut filling = Filling::new("shop", &secrets, &granted);
    let own = placeholder("shop", &name("KEY"));
    let of_another = placeholder("bank", &name("KEY"));
    let text = format!("a {own} b {of_another} c {{{{secret:KEY}}}} {own}");
    let filled = filling.fill(text.as_bytes(), Part::Header).expect("it can be filled").expect("there are some");
    let expected = format!("a s3cret value b {of_another} c {{{{secret:KEY}}}} s3cret value");
    assert_eq!(String::from_utf8(filled).expect("it is text"), expected);
    assert_eq!(filling.fill(b"nothing", Part::Body), Ok(None));
}

#[test]
fn in_a_query_values_are_encoded_and_placeholders_may_be() {
    let (_directory, secrets) = secrets(&[("KEY", b"a&b=c/\xff")]);
    let granted = granted(&["KEY"]);
    let own = placeholder("shop", &name("KEY"));
    for text in [own.clone(), percent_encoded(own.as_bytes())] {
        let mut filling = Filling::new("shop", &secrets, &granted);
        let filled = filling.fill(format!("k={text}&z").as_bytes(), Part::Query).expect("it can be filled");
        assert_eq!(filled.as_deref(), Some(&b"k=a%26b%3Dc%2F%FF&z"[..]), "{text}");
    }
}

#[test]
fn a_secret_goes_where_a_grant_lists_it_and_nowhere_else() {
    let (_directory, secrets) = secrets(&[("KEY", b"value")]);
    let fill = |granted: &BTreeSet<SecretName>, wanted: &str| {
        let text = placeholder("shop", &name(wanted));
        Filling::new("shop", &secrets, granted).fill(text.as_bytes(), Part::Body)
    };
    assert_eq!(fill(&granted(&["OTHER"]), "KEY"), Err(FillError::NotGranted(name("KEY"))));
    assert_eq!(fill(&granted(&["OTHER"]), "OTHER"), Err(FillError::Absent(name("OTHER"))));
    assert_eq!(fill(&granted(&["KEY"]), "KEY"), Ok(Some(b"value".to_vec())));
}

#[test]
fn a_file_is_read_anew_and_its_absence_is_told_without_its_value() {
    let (directory, secrets) = secrets(&[("KEY", b"one")]);
    let granted = granted(&["KEY"]);
    let text = placeholder("shop", &name("KEY"));
    let fill = || Filling::new("shop", &secrets, &granted).fill(text.as_bytes(), Part::Body);
    assert_eq!(fill(), Ok(Some(b"one".to_vec())));
    std::fs::write(directory.path().join("KEY"), b"two\n").expect("there is room");
    assert_eq!(fill(), Ok(Some(b"two".to_vec())));
    for unusable in [&b"\n"[..], &[b'x'; SECRET_BYTES_MAX + 1]] {
        std::fs::write(directory.path().join("KEY"), unusable).expect("there is room");
        assert!(matches!(fill(), Err(FillError::Unreadable { .. })));
    }
    std::fs::remove_file(directory.path().join("KEY")).expect("it is there");
    assert!(matches!(fill(), Err(FillError::Unreadable { .. })));
}

#[test]
fn a_header_takes_no_line_ends() {
    let (_directory, secrets) = secrets(&[("KEY", b"a\r\nx-evil: 1")]);
    let granted = granted(&["KEY"]);
    let text = placeholder("shop", &name("KEY"));
    let filled = Filling::new("shop", &secrets, &granted).fill(text.as_bytes(), Part::Header);
    assert_eq!(filled, Err(FillError::NotForHeader(name("KEY"))));
}

#[test]
fn what_a_server_sends_back_is_a_placeholder_again() {
    let (_directory, secrets) = secrets(&[("KEY", b"long enough"), ("SHORT", b"abc")]);
    let granted = granted(&["KEY", "SHORT"]);
    let text = placeholder("shop", &name("KEY"));
    let mut filling = Filling::new("shop", &secrets, &granted);
    let both = format!("{text}{}", placeholder("shop", &name("SHORT")));
    filling.fill(both.as_bytes(), Part::Body).expect("it can be filled");
    let sent = filling.finish();
    let cleaned = sent.take_out(b"long long enough, long enough abc").expect("there are two");
    assert_eq!(String::from_utf8(cleaned).expect("it is text"), format!("long {text}, {text} abc"));
    assert_eq!(sent.take_out(b"long enoug"), None);
}

#[test]
fn a_secret_is_said_by_its_place_and_never_by_its_value() {
    let parsed = |text: &str| text.parse::<Secret>();
    let file = SecretSource::File("/run/key".into());
    assert_eq!(parsed("A_1=file:/run/key"), Ok(Secret { name: name("A_1"), source: file }));
    let environment = SecretSource::Environment("STRIPE_KEY".to_owned());
    assert_eq!(parsed("STRIPE=env:STRIPE_KEY"), Ok(Secret { name: name("STRIPE"), source: environment }));
    for text in ["STRIPE=sk_live_123", "STRIPE", "STRIPE=env:", "STRIPE=file:", "=env:A", "a-b=env:A"] {
        let error = parsed(text).expect_err(text).to_string();
        assert!(!error.contains("sk_live"), "{error}");
    }
}
