//! What the tests share.

mod apart;
mod bare_host;
mod browser;
mod curl;
mod distant;
mod files;
mod listener;
mod moved;
mod replicas;
mod session;
mod setup;
mod status;
mod stream;
mod waiting;

pub(crate) use apart::way_apart;
pub(crate) use bare_host::BareHost;
pub(crate) use browser::{Browser, chromium};
pub(crate) use curl::{Response, curl, http_address, post, try_post};
pub(crate) use distant::{certify, distant_server, issue, machines};
pub(crate) use files::files;
pub(crate) use listener::{Heard, Listener, shown};
pub(crate) use moved::Moved;
pub(crate) use replicas::Replicas;
pub(crate) use session::Session;
pub(crate) use setup::{cluster, cluster_on, cluster_with, end, fails, lines, register_with, succeeds, wat_module};
pub(crate) use status::{role, roles, wait_for_status};
pub(crate) use stream::Stream;
pub(crate) use waiting::{Pending, begin};
