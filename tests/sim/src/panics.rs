//! Panics of simulations: they are how checks, and asserts of what is simulated, report.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    panic::{self, AssertUnwindSafe, PanicHookInfo, catch_unwind},
    sync::Once,
};

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
}

/// Runs what may panic. Returns text and place of the panic, which is not printed.
pub(crate) fn caught(run: impl FnOnce()) -> Result<(), (String, String)> {
    keep_panics();
    IS_CAUGHT.set(true);
    let done = catch_unwind(AssertUnwindSafe(run));
    IS_CAUGHT.set(false);
    done.map_err(|panic| LAST_PANIC.take().unwrap_or_else(|| (text(&*panic), String::new())))
}

fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if !IS_CAUGHT.get() {
                return before(info);
            }
            let place = info.location().map_or_else(String::new, ToString::to_string);
            LAST_PANIC.set(Some((text(info.payload()), place)));
        }));
    });
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without a text".to_owned())
}
