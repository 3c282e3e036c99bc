//! What an object store says of an error, as one line for people.

use std::error::Error;

/// No more of what a server says is shown.
const SAID_MAX: usize = 300;

/// An error without the address that was asked, which is long, and may be signed.
pub(crate) fn said(error: &object_store::Error) -> String {
    let text = error.to_string();
    if let Some(status) = status(&text) {
        let mut said = format!("it answers {status}");
        for tag in ["Code", "Message"] {
            if let Some(value) = element(&text, tag) {
                said = format!("{said}: {value}");
            }
        }
        return cut(&said);
    }
    let mut innermost: &dyn Error = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    let mut said = cut(&innermost.to_string());
    // Where credentials are had if the environment has none.
    if text.contains("169.254.") || text.contains("metadata.google.internal") {
        said = format!(
            "credentials are not in the environment, and the service of this machine that would have them does not answer ({said})"
        );
    }
    said
}

/// Whether access was denied, whatever kind of error the client makes of it.
pub(crate) fn is_denied(error: &object_store::Error) -> bool {
    let text = error.to_string();
    status(&text).is_some_and(|status| status.starts_with("401") || status.starts_with("403"))
}

/// The code of an error, as S3, Google and Azure write it.
pub(crate) fn code(error: &object_store::Error) -> Option<String> {
    element(&error.to_string(), "Code").map(str::to_owned)
}

/// The status that was answered, if one was.
fn status(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.split([':', '\n']).next().map(str::trim)
}

fn element<'a>(text: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{tag}>"))?;
    rest.split_once(&format!("</{tag}>")).map(|(value, _)| value.lines().next().unwrap_or_default())
}

fn cut(text: &str) -> String {
    let mut cut: String = text.chars().take(SAID_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: std::io::Error::other(text.to_owned()).into() }
    }

    #[test]
    fn of_an_answer_its_status_code_and_message_are_shown_and_not_the_address() {
        let text = "Error performing PUT https://h/b?sig=s3cret in 1s - Server returned non-2xx status code: 403 Forbidden: \
                    <Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>";
        assert_eq!(said(&generic(text)), "it answers 403 Forbidden: AccessDenied: Access Denied.");
        assert_eq!((code(&generic(text)).as_deref(), is_denied(&generic(text))), (Some("AccessDenied"), true));
        assert_eq!(said(&generic("connection refused")), "connection refused");
        assert!(!is_denied(&generic("status code: 503 Slow Down: 403")));
        assert!(said(&generic(&"x".repeat(1000))).len() < 310);
    }
}
