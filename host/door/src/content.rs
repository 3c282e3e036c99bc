//! What a body says that it is.
//!
//! **Architecture Invariant:** what is read is JSON, whatever it is called; who calls it something else is told so, and not
//! guessed at.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::problem::{Problem, ProblemKind};

/// Sees that a body claims to be JSON, or nothing: a form is what `curl -d` says of everything, and browsers send one to other
/// sites only with their origin, which is looked at before.
///
/// # Errors
/// If it claims to be something else, or several things.
pub(crate) fn check_content(headers: &HeaderMap) -> Result<(), Problem> {
    let mut types = headers.get_all(header::CONTENT_TYPE).into_iter();
    let refused = |detail: String| Problem::new(ProblemKind::UnsupportedType, detail);
    match (types.next(), types.next()) {
        (None, _) => {}
        (Some(only), None) if is_json(only) => {}
        (Some(only), None) => {
            let only = String::from_utf8_lossy(only.as_bytes());
            return Err(refused(format!("the Content-Type is {only:?}: send application/json, in UTF-8")));
        }
        (Some(_), Some(_)) => return Err(refused("there is more than one Content-Type: send application/json".into())),
    }
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(refused("the body has a Content-Encoding: send it as it is".into()))
        }
        _ => Ok(()),
    }
}

fn is_json(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let is_json = matches!(kind.as_str(), "" | "application/json" | "application/x-www-form-urlencoded" | "text/json")
        || kind.strip_prefix("application/").is_some_and(|kind| kind.ends_with("+json"));
    is_json
        && parts.all(|parameter| match parameter.to_ascii_lowercase().split_once('=') {
            Some(("charset", set)) => matches!(set.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"),
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(types: &[&str]) -> Result<(), Problem> {
        let mut headers = HeaderMap::new();
        for kind in types {
            headers.append(header::CONTENT_TYPE, kind.parse().expect("a value"));
        }
        check_content(&headers)
    }

    #[test]
    fn json_is_called_json_or_nothing_or_what_curl_says() {
        for kind in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/x+json",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(check(&[kind]), Ok(()), "{kind}");
        }
        assert_eq!(check(&[]), Ok(()));
        for kinds in
            [&["text/plain"][..], &["application/json; charset=latin1"], &["text/html"], &["application/json"; 2]]
        {
            assert_eq!(check(kinds).expect_err("no JSON").kind, ProblemKind::UnsupportedType, "{kinds:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().expect("a value"));
        assert_eq!(check_content(&headers).expect_err("packed").kind, ProblemKind::UnsupportedType);
    }
}
