//! Tokens: who may do what over HTTP. The store knows a token by its SHA-256 alone, so whoever reads the store can't use it.
//!
//! The value of `tokens/{name}` is text:
//! ```text
//! ambrosia-token 1
//! sha256 {64 hexadecimal digits}
//! deeds {send|query|read, with spaces between}
//! instances {names, or *, with spaces between}
//! made {nanoseconds since 1970}
//! until {nanoseconds since 1970, or -}
//! ```
//!
//! **Architecture Invariant:** what can't be read allows nothing, and is told.

use std::collections::BTreeSet;

use ambrosia_core::{InstanceName, Timestamp};

use crate::{BlobHash, PutError, Registry, RegistryError, Store};

pub(crate) const KEY_PREFIX: &str = "tokens/";
const FORMAT: &str = "ambrosia-token 1";

/// What somebody may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Deed {
    /// Run methods.
    Send,
    /// Run methods that change nothing.
    Query,
    /// See which instances and methods there are.
    Read,
}

impl Deed {
    /// All of them.
    pub const ALL: [Deed; 3] = [Deed::Send, Deed::Query, Deed::Read];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Deed::Send => "send",
            Deed::Query => "query",
            Deed::Read => "read",
        }
    }

    /// The deed of that word.
    pub fn of_word(word: &str) -> Option<Deed> {
        Deed::ALL.into_iter().find(|deed| deed.word() == word)
    }
}

/// A token, without its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// As an operator calls it.
    pub name: InstanceName,
    /// SHA-256 of the text that its holder has.
    pub hash: [u8; 32],
    /// What it allows.
    pub deeds: BTreeSet<Deed>,
    /// With which instances; `None` for all.
    pub instances: Option<BTreeSet<InstanceName>>,
    /// When it was made.
    pub made: Timestamp,
    /// When it ends, if it does.
    pub until: Option<Timestamp>,
}

/// A token that a store has.
#[derive(Debug)]
pub struct FoundToken {
    /// What it is called.
    pub name: String,
    /// The token, or why it can't be read.
    pub token: Result<Token, TokenError>,
}

/// Something can't be done with a token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The name is taken.
    #[error("there is a token {0} already: give the new one another name, or revoke that one first")]
    Known(InstanceName),
    /// There is none.
    #[error("there is no token {0}; `ambrosia-host token list` shows those that there are")]
    Unknown(InstanceName),
    /// It can't be read.
    #[error("the token {0} can't be read, so it allows nothing: revoke it and make another one")]
    Damaged(String),
    /// The registry can't be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry can't be written.
    #[error(transparent)]
    Put(#[from] PutError),
}

impl Token {
    /// The hash of what the holder of a token has.
    pub fn hash_of(text: &str) -> [u8; 32] {
        BlobHash::of(text.as_bytes()).0
    }

    /// Whether it is over.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// Whether it allows that, with that instance or with none in particular.
    pub fn allows(&self, deed: Deed, instance: Option<&InstanceName>) -> bool {
        let is_of_it = |names: &BTreeSet<InstanceName>| instance.is_none_or(|instance| names.contains(instance));
        self.deeds.contains(&deed) && self.instances.as_ref().is_none_or(is_of_it)
    }

    fn encode(&self) -> Vec<u8> {
        let hash: String = self.hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let deeds: Vec<_> = self.deeds.iter().map(|deed| deed.word()).collect();
        let instances: Vec<_> = match &self.instances {
            None => vec!["*"],
            Some(names) => names.iter().map(InstanceName::as_str).collect(),
        };
        let until = self.until.map_or("-".to_owned(), |until| until.0.to_string());
        let (deeds, instances, made) = (deeds.join(" "), instances.join(" "), self.made.0);
        format!("{FORMAT}\nsha256 {hash}\ndeeds {deeds}\ninstances {instances}\nmade {made}\nuntil {until}\n")
            .into_bytes()
    }

    /// `None` if the bytes are no token, or one of a later version.
    fn decode(name: InstanceName, bytes: &[u8]) -> Option<Token> {
        let mut lines = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.split('\n');
        if lines.next()? != FORMAT {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let digits = field("sha256")?;
        let deeds = field("deeds")?.split(' ').map(Deed::of_word).collect::<Option<_>>()?;
        let instances = match field("instances")? {
            "*" => None,
            names => Some(names.split(' ').map(|name| InstanceName::new(name).ok()).collect::<Option<_>>()?),
        };
        let made = Timestamp(field("made")?.parse().ok()?);
        let until = match field("until")? {
            "-" => None,
            until => Some(Timestamp(until.parse().ok()?)),
        };
        let token = Token { name, hash: hash_in(digits)?, deeds, instances, made, until };
        // There is one way to write it.
        (lines.next().is_none() && token.encode() == bytes).then_some(token)
    }
}

fn hash_in(digits: &str) -> Option<[u8; 32]> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

/// The tokens of a store. Every store has them.
pub trait Tokens: Store {
    /// Adds a token.
    ///
    /// # Errors
    /// If there is one of that name, or the registry can't be written.
    fn add_token(&self, token: &Token) -> Result<(), TokenError> {
        match self.registry().put_if(&key_of(&token.name), None, &token.encode()) {
            Ok(_) => Ok(()),
            Err(PutError::Conflict { .. }) => Err(TokenError::Known(token.name.clone())),
            Err(error) => Err(error.into()),
        }
    }

    /// All tokens by name, each as it is or why it can't be read.
    ///
    /// # Errors
    /// If it can't be read which there are.
    fn tokens(&self) -> Result<Vec<FoundToken>, TokenError> {
        tokens_in(self.registry())
    }

    /// Removes a token, readable or not.
    ///
    /// # Errors
    /// If there is none, or the registry can't be written.
    fn revoke_token(&self, name: &InstanceName) -> Result<(), TokenError> {
        let key = key_of(name);
        match self.registry().get(&key) {
            Ok(None) => Err(TokenError::Unknown(name.clone())),
            Ok(Some((revision, _))) => match self.registry().delete_if(&key, revision) {
                // Somebody else has just done it.
                Ok(()) | Err(PutError::Conflict { current: None, .. }) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Err(RegistryError::Damaged { .. }) => Ok(self.registry().remove_damaged(&key)?),
            Err(error) => Err(error.into()),
        }
    }
}

impl<S: Store + ?Sized> Tokens for S {}

fn tokens_in(registry: &dyn Registry) -> Result<Vec<FoundToken>, TokenError> {
    let read = |key: String| {
        let name = key.strip_prefix(KEY_PREFIX).unwrap_or_default().to_owned();
        let token = match registry.get(&key) {
            Ok(None) => return None,
            Ok(Some((_, value))) => {
                let token = InstanceName::new(&name).ok().and_then(|name| Token::decode(name, &value));
                token.ok_or_else(|| TokenError::Damaged(name.clone()))
            }
            Err(RegistryError::Damaged { .. }) => Err(TokenError::Damaged(name.clone())),
            Err(error) => Err(error.into()),
        };
        Some(FoundToken { name, token })
    };
    loop {
        let keys = registry.keys(KEY_PREFIX)?;
        // If one was revoked meanwhile, another may have been added before: without that one there would seem to be none, and a store
        // without tokens is open.
        if let Some(found) = keys.into_iter().map(&read).collect() {
            return Ok(found);
        }
    }
}

fn key_of(name: &InstanceName) -> String {
    format!("{KEY_PREFIX}{name}")
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::{Callback, MemoryStore, RegistryEntry, Revision, Subscription};

    fn name(text: &str) -> InstanceName {
        InstanceName::new(text).expect("plain")
    }

    fn shop() -> Token {
        Token {
            name: name("shop"),
            hash: Token::hash_of("secret"),
            deeds: [Deed::Send, Deed::Read].into(),
            instances: Some([name("orders"), name("stock")].into()),
            made: Timestamp(7),
            until: Some(Timestamp(9)),
        }
    }

    #[test]
    fn a_token_is_written_down_like_this_and_read_back() {
        let text = "ambrosia-token 1\n\
                    sha256 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n\
                    deeds send read\ninstances orders stock\nmade 7\nuntil 9\n";
        assert_eq!(String::from_utf8(shop().encode()).expect("text"), text);
        assert_eq!(Token::decode(name("shop"), text.as_bytes()), Some(shop()));
        let all = Token { instances: None, until: None, ..shop() };
        assert_eq!(Token::decode(name("shop"), &all.encode()), Some(all));
        for end in 0..text.len() {
            assert_eq!(Token::decode(name("shop"), &text.as_bytes()[..end]), None, "{end} bytes");
        }
        for (from, to) in
            [("token 1", "token 2"), ("send", "sing"), ("stock", "st/ck"), ("2bb8", "2BB8"), ("until 9", "until 09")]
        {
            assert_eq!(Token::decode(name("shop"), text.replace(from, to).as_bytes()), None, "{to}");
        }
    }

    #[test]
    fn a_token_allows_what_it_says() {
        let token = shop();
        let allows = |deed, instance: &str| token.allows(deed, Some(&name(instance)));
        assert!(allows(Deed::Send, "orders") && allows(Deed::Read, "stock") && token.allows(Deed::Read, None));
        assert!(!allows(Deed::Query, "orders") && !allows(Deed::Send, "bank") && !token.allows(Deed::Query, None));
        assert!(!token.has_ended(Timestamp(8)) && token.has_ended(Timestamp(9)));
    }

    #[test]
    fn a_store_keeps_tokens_until_they_are_revoked() {
        let store = MemoryStore::default();
        store.add_token(&shop()).expect("it is new");
        assert!(matches!(store.add_token(&shop()), Err(TokenError::Known(_))));
        store.registry().put_if("tokens/broken", None, b"x").expect("a key");
        let found = store.tokens().expect("they can be read");
        assert!(
            matches!(&found[0], FoundToken { name, token: Err(TokenError::Damaged(_)) } if name == "broken"),
            "{found:?}"
        );
        assert!(matches!(&found[1].token, Ok(token) if *token == shop()), "{found:?}");
        for one in ["broken", "shop"] {
            store.revoke_token(&name(one)).expect("it is there");
            assert!(matches!(store.revoke_token(&name(one)), Err(TokenError::Unknown(_))));
        }
        assert!(store.tokens().expect("they can be read").is_empty());
    }

    /// A registry in which one token takes the place of another one between the list of names and the first of them.
    struct Rotated<'a> {
        store: &'a MemoryStore,
        other: Token,
        is_done: AtomicBool,
    }

    impl Registry for Rotated<'_> {
        fn get(&self, key: &str) -> Result<Option<(Revision, Vec<u8>)>, RegistryError> {
            if !self.is_done.swap(true, Ordering::Relaxed) {
                self.store.add_token(&self.other).expect("it is new");
                self.store.revoke_token(&shop().name).expect("it is there");
            }
            self.store.registry().get(key)
        }

        fn put_if(&self, _: &str, _: Option<Revision>, _: &[u8]) -> Result<Revision, PutError> {
            unreachable!("it is only read")
        }

        fn delete_if(&self, _: &str, _: Revision) -> Result<(), PutError> {
            unreachable!("it is only read")
        }

        fn list(&self, prefix: &str) -> Result<Vec<RegistryEntry>, RegistryError> {
            self.store.registry().list(prefix)
        }

        fn keys(&self, prefix: &str) -> Result<Vec<String>, RegistryError> {
            self.store.registry().keys(prefix)
        }

        fn unchecked_value(&self, key: &str) -> Result<Option<Vec<u8>>, RegistryError> {
            self.store.registry().unchecked_value(key)
        }

        fn remove_damaged(&self, _: &str) -> Result<(), RegistryError> {
            unreachable!("it is only read")
        }

        fn changes(&self) -> Option<u64> {
            self.store.registry().changes()
        }

        fn subscribe(&self, call: Callback) -> io::Result<Option<Subscription>> {
            self.store.registry().subscribe(call)
        }
    }

    #[test]
    fn a_store_in_which_tokens_are_rotated_never_seems_to_have_none() {
        let store = MemoryStore::default();
        store.add_token(&shop()).expect("it is new");
        let other = Token { name: name("other"), ..shop() };
        let rotated = Rotated { store: &store, other: other.clone(), is_done: AtomicBool::new(false) };
        let found = tokens_in(&rotated).expect("they can be read");
        assert!(matches!(found.as_slice(), [FoundToken { token: Ok(token), .. }] if *token == other), "{found:?}");
    }
}
