//! Errors as text.

use ambrosia_host::{ClientError, RunError};
use ambrosia_storage::{InstanceError, TokenError};

/// An error with its causes, each said once: many errors tell their cause in their own text.
pub(crate) fn said(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

/// The same error, which says in which store it was, where that may be the cause and is not said: another store may have what
/// is missing in this one.
pub(crate) fn within(error: anyhow::Error, store: &str) -> anyhow::Error {
    let is_of_store = error.chain().any(|cause| {
        // Its text is that of the store's error, which it does not give as its cause.
        let hidden = matches!(cause.downcast_ref(), Some(RunError::Instance(_) | RunError::Token(_)));
        hidden
            || cause.is::<InstanceError>()
            || cause.is::<TokenError>()
            || cause.is::<ClientError>()
            || cause.is::<NotRunning>()
    });
    let text = said(&error);
    if is_of_store && !text.contains(store) {
        return error.context(format!("{text} (in the store {store})"));
    }
    error
}

/// Nothing runs that could be asked.
#[derive(Debug)]
pub(crate) struct NotRunning(pub(crate) String);

impl std::fmt::Display for NotRunning {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for NotRunning {}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::*;

    #[test]
    fn each_cause_is_said_once() {
        let refused = io::Error::from_raw_os_error(13);
        let cause = refused.to_string();
        let named = anyhow::Error::new(refused).context(format!("cannot read /x: {cause}"));
        assert_eq!(said(&named), format!("cannot read /x: {cause}"));
        let plain: Result<(), _> = Err(io::Error::other("no room"));
        let plain = plain.context("cannot write").context("the answer is lost").expect_err("made above");
        assert_eq!(said(&plain), "the answer is lost: cannot write: no room");
    }

    #[test]
    fn an_error_that_the_store_may_be_the_cause_of_names_it_once() {
        let unknown = || anyhow::Error::new(NotRunning("nobody runs".to_owned())).context("can't be asked");
        let named = said(&within(unknown(), "./ambrosia-data"));
        assert_eq!(named, "can't be asked: nobody runs (in the store ./ambrosia-data)");
        let has_it = unknown().context("in /srv/a");
        assert_eq!(said(&within(has_it, "/srv/a")), "in /srv/a: can't be asked: nobody runs");
        assert_eq!(said(&within(anyhow::anyhow!("no JSON"), "/srv/a")), "no JSON");
    }
}
