//! What a panic says: one line that names the message which was being handled.

use crate::{
    host,
    layout::{MessageKind, OUTSIDE},
    request::a,
    runtime::{self, Runtime},
};

/// From now on a panic prints one line on stderr. It traps after that.
#[cfg(target_arch = "wasm32")]
pub(crate) fn install() {
    std::panic::set_hook(Box::new(|info| eprintln!("{}", line(info))));
}

/// The line that a panic prints.
#[cfg(target_arch = "wasm32")]
fn line(info: &std::panic::PanicHookInfo<'_>) -> String {
    let handling = handling();
    let text = info.payload_as_str().unwrap_or("(no text)").replace('\n', "\\n");
    let place = info.location().map(|place| format!(", at {place}")).unwrap_or_default();
    format!("ambrosia: panic {handling}: {text}{place}")
}

/// Which message is being handled, in words.
pub(crate) fn handling() -> String {
    runtime::try_with(handling_in).unwrap_or_else(|| "outside of any message".to_string())
}

fn handling_in(runtime: &Runtime) -> String {
    let current = runtime.current.get();
    let method = match (current.kind, runtime.method_name(current.method)) {
        (MessageKind::Fork | MessageKind::Call | MessageKind::Impulse, Some(name)) => format!(" of `{name}`"),
        (MessageKind::Fork | MessageKind::Call | MessageKind::Impulse, None) => {
            format!(" of unknown method {:#010x}", current.method)
        }
        _ => String::new(),
    };
    let from = match current.peer {
        OUTSIDE => String::new(),
        peer => format!(" from {:?}", host::peer_name(peer)),
    };
    let task = runtime.executor.running().map(|name| format!(", in `{name}`")).unwrap_or_default();
    match (current.upgrading, current.method) {
        (true, 0) => return format!("in the upgrade{task}"),
        (true, _) => return format!("in the upgrade, as it begins {}{method}{from} again{task}", a(current.kind)),
        (false, _) => {}
    }
    format!("in message {} of the delivery ({}{method}{from}{task})", current.index, a(current.kind))
}
