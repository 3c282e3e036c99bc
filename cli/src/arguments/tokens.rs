//! Who may ask over HTTP: `token`.

use ambrosia_core::{InstanceName, Timestamp};
use ambrosia_storage::Deed;
use clap::{Args, Subcommand};

/// Tokens for HTTP, and for clients without a certificate
#[derive(Args, Debug)]
pub(crate) struct Token {
    #[command(subcommand)]
    pub(crate) verb: TokenVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum TokenVerb {
    /// Make a token, and show it: nobody can show it again
    New(NewToken),
    /// List tokens
    List,
    /// Make a token useless
    Revoke {
        /// Name of the token
        #[arg(long, value_name = "NAME")]
        name: InstanceName,
    },
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:
  ambrosia-host token new --name shop --deed send --deed read --instance orders
  ambrosia-host token new --name admin --until 2027-01-01
  curl -H 'Authorization: Bearer ambrosia_…' …

While a store has a token, HTTP is answered for nobody without one. The store has its SHA-256 only.")]
pub(crate) struct NewToken {
    /// What it is called, to be revoked by
    #[arg(long, value_name = "NAME")]
    pub(crate) name: InstanceName,
    /// What it allows: send (run methods), query (those that change nothing), read (see what there is); may be given several times. All by
    /// default
    #[arg(long, value_name = "DEED", value_parser = deed)]
    pub(crate) deed: Vec<Deed>,
    /// Name of an instance that it is for; may be given several times. All by default, also those to come
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Vec<InstanceName>,
    /// When it ends: a day such as 2027-01-01, which is not in it any more, or a time such as 2027-01-01T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = end_of_token)]
    pub(crate) until: Option<Timestamp>,
}

fn deed(text: &str) -> Result<Deed, String> {
    Deed::of_word(text).ok_or_else(|| "a deed is send, query or read".to_owned())
}

fn end_of_token(text: &str) -> Result<Timestamp, String> {
    let time = text.parse::<jiff::Timestamp>().or_else(|_| {
        let day = text.parse::<jiff::civil::Date>()?;
        Ok(day.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp())
    });
    let time =
        time.map_err(|error: jiff::Error| format!("a day such as 2027-01-01 or a time with its zone: {error}"))?;
    let nanoseconds =
        u64::try_from(time.as_nanosecond()).map_err(|_| "that is no time from 1970 to 2554".to_owned())?;
    Ok(Timestamp(nanoseconds))
}
