//! The methods of one immortal or interface, which must not clash.

use std::collections::BTreeMap;

use syn::{Error, Result};

use crate::signature::Method;

/// Methods that every proxy has.
const RESERVED: [&str; 6] = ["attach", "fork", "me", "name", "try_attach", "try_fork"];

/// Refuses methods that a message or a proxy could not tell apart.
pub(crate) fn check(methods: &[&Method]) -> Result<()> {
    let mut errors = Vec::new();
    let mut known = BTreeMap::<u32, &Method>::new();
    for &method in methods {
        errors.extend(check_name(method));
        if let Some(other) = known.insert(method.id, method)
            // With conditions the compiler decides which of the two there is.
            && method.conditions.is_empty()
            && other.conditions.is_empty()
        {
            errors.push(clash(method, other));
        }
    }
    errors.into_iter().reduce(combined).map_or(Ok(()), Err)
}

/// Both of them, to be shown together.
pub(crate) fn combined(mut first: Error, second: Error) -> Error {
    first.combine(second);
    first
}

fn check_name(method: &Method) -> Option<Error> {
    let ident = &method.ident;
    if RESERVED.iter().any(|reserved| ident == reserved) {
        let text = format!(
            "`{ident}` is reserved: every proxy has a method of that name; to keep it in messages, write \
             `#[ambrosia(name = \"{ident}\")]` on a method with another name"
        );
        return Some(Error::new(ident.span(), text));
    }
    (method.id == 0)
        .then(|| Error::new(ident.span(), format!("the hash of `{}` is 0: choose another name", method.name)))
}

fn clash(method: &Method, other: &Method) -> Error {
    let text = if method.name == other.name {
        format!("there are two methods called `{}` in messages", method.name)
    } else {
        format!(
            "the names `{}` and `{}` have the same 32-bit hash, {:#010x}, by which messages name them: choose another",
            other.name, method.name, method.id
        )
    };
    Error::new(method.ident.span(), text)
}
