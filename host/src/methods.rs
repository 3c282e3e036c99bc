//! The methods of a module by name and by id, and how they are written down beside it (`docs/formats.md`).
//!
//! **Architecture Invariant:** whoever only wants to know the methods of a registered module starts no engine for it.

use std::sync::Arc;

use ambrosia_client::{decode_value, show_raw};
use ambrosia_core::MethodId;
use ambrosia_engine::Method;
use ambrosia_storage::{BlobError, BlobHash, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// First word and version of what is written down. The checksum of the rest follows, as eight hexadecimal digits.
const FORMAT: &str = "ambrosia-methods 1 ";

/// What a module's `describe` listed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Methods(Arc<[Method]>);

/// The module has no such method.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no method {name:?}; the module has {}", listed(.known))]
pub struct UnknownMethod {
    /// The name asked for.
    pub name: String,
    /// The names there are.
    pub known: Vec<String>,
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "none at all".to_owned() } else { known.join(", ") }
}

impl Methods {
    /// The methods of a registered module, as they were written down beside it; `None` if they were not, or the file is
    /// damaged.
    ///
    /// # Errors
    /// If the file can't be read.
    pub(crate) fn written_down(store: &dyn Store, module: [u8; 32]) -> Result<Option<Methods>, BlobError> {
        let written = store.blobs().methods(BlobHash(module))?;
        Ok(written.and_then(|contents| Methods::decode(&contents)))
    }

    /// Writes them down beside the module.
    ///
    /// # Errors
    /// If the store can't be written.
    pub fn write_down(&self, store: &dyn Store, module: [u8; 32]) -> Result<(), BlobError> {
        store.blobs().put_methods(BlobHash(module), &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let written: Vec<_> = self.0.iter().map(Written::of).collect();
        let json = serde_json::to_string(&written).expect("names and flags are always JSON");
        format!("{FORMAT}{:08x}\n{json}\n", crc32c::crc32c(json.as_bytes())).into_bytes()
    }

    /// `None` if that is of another version, or not what was written.
    fn decode(contents: &[u8]) -> Option<Methods> {
        let (checksum, json) = std::str::from_utf8(contents).ok()?.strip_prefix(FORMAT)?.split_once('\n')?;
        let json = json.strip_suffix('\n')?;
        if u32::from_str_radix(checksum, 16).ok()? != crc32c::crc32c(json.as_bytes()) {
            return None;
        }
        let written: Vec<Written> = serde_json::from_str(json).ok()?;
        Some(Methods::new(written.into_iter().map(Written::into_method).collect()))
    }

    /// Wraps a list.
    pub fn new(methods: Vec<Method>) -> Self {
        Methods(methods.into())
    }

    /// The method `name`.
    pub fn find(&self, name: &str) -> Result<&Method, UnknownMethod> {
        self.0.iter().find(|method| method.name == name).ok_or_else(|| UnknownMethod {
            name: name.to_owned(),
            known: self.0.iter().map(|method| method.name.clone()).collect(),
        })
    }

    /// The method with that id, if it is one of these.
    pub fn by_id(&self, id: MethodId) -> Option<&Method> {
        self.0.iter().find(|method| method.id == id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        self.0.iter()
    }
}

/// What arguments or the result of a method say, as JSON.
pub fn show_value(method: &Method, bytes: &[u8]) -> Value {
    if method.message_pack { decode_value(bytes) } else { show_raw(bytes) }
}

/// One method as it is written down; its id follows from its name.
#[derive(Serialize, Deserialize)]
struct Written {
    name: String,
    arguments: Vec<String>,
    message_pack: bool,
}

impl Written {
    fn of(method: &Method) -> Written {
        let Method { id: _, name, arguments, message_pack } = method.clone();
        Written { name, arguments, message_pack }
    }

    fn into_method(self) -> Method {
        let Written { name, arguments, message_pack } = self;
        Method { id: MethodId::of(&name), name, arguments, message_pack }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str, arguments: &[&str], message_pack: bool) -> Method {
        let arguments = arguments.iter().map(|&name| name.to_owned()).collect();
        Method { id: MethodId::of(name), name: name.to_owned(), arguments, message_pack }
    }

    #[test]
    fn methods_are_written_down_like_this_and_read_back() {
        let methods = Methods::new(vec![method("add", &["n"], true), method("swallow", &[], false)]);
        let text = "ambrosia-methods 1 f8cee803\n\
                    [{\"name\":\"add\",\"arguments\":[\"n\"],\"message_pack\":true},\
                    {\"name\":\"swallow\",\"arguments\":[],\"message_pack\":false}]\n";
        assert_eq!(String::from_utf8(methods.encode()).expect("text"), text);
        let read = Methods::decode(text.as_bytes()).expect("version 1 stays readable");
        assert_eq!(read.iter().collect::<Vec<_>>(), methods.iter().collect::<Vec<_>>());
        assert!(Methods::decode(&Methods::new(Vec::new()).encode()).is_some_and(|none| none.iter().count() == 0));
    }

    #[test]
    fn what_is_damaged_or_of_another_version_is_not_believed() {
        let written = Methods::new(vec![method("add", &["n"], true)]).encode();
        for bit in 0..written.len() * 8 {
            let mut damaged = written.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // The case of a hexadecimal digit says nothing.
            assert!(damaged.eq_ignore_ascii_case(&written) || Methods::decode(&damaged).is_none(), "bit {bit}");
        }
        for length in 0..written.len() {
            assert!(Methods::decode(&written[..length]).is_none(), "{length} bytes");
        }
    }
}
