//! Errors as text.

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
}
