//! The methods of one immortal or interface, which must not clash.

use std::collections::BTreeMap;

use syn::{Error, Result};

use crate::{route, signature::Method};

/// Methods that every proxy has.
const RESERVED: [&str; 6] = ["attach", "fork", "me", "name", "try_attach", "try_fork"];

/// Refuses methods that a message or a proxy could not tell apart.
pub(crate) fn check(methods: &[&Method]) -> Result<()> {
    let mut errors = Vec::new();
    let mut known = BTreeMap::<u32, (&str, &Method)>::new();
    for &method in methods {
        errors.extend(check_name(method));
        let former = method.formerly.iter().map(|(name, id)| (*id, name.as_str()));
        for (id, name) in std::iter::once((method.id, method.name.as_str())).chain(former) {
            if let Some((other_name, other)) = known.insert(id, (name, method))
                // With conditions the compiler decides which of the two there is.
                && method.conditions.is_empty()
                && other.conditions.is_empty()
            {
                errors.push(clash(method, name, other_name, id));
            }
        }
    }
    errors.extend(route::check_all(methods).err());
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

fn clash(method: &Method, name: &str, other: &str, id: u32) -> Error {
    let text = if name == other {
        format!("there are two methods called `{name}` in messages")
    } else {
        format!(
            "the names `{other}` and `{name}` have the same 32-bit hash, {id:#010x}, by which messages name them: choose \
             another"
        )
    };
    Error::new(method.ident.span(), text)
}
