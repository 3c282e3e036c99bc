//! A client that shows a token where others show a certificate.
//!
//! **Architecture Invariant:** it may do what the token says, with the instance that it has asked for, as long as the token is there;
//! what can only be done by a host, or is an operator's, it may not do whatever the token says.

use std::{sync::Arc, time::Duration};

use ambrosia_core::InstanceName;
use ambrosia_door::{Access, Deed};
use ambrosia_wire::{Control, Frame};

use crate::known_tokens::{KnownTokens, of_store};

/// A token that was revoked, or has ended, opens nothing any more after so long.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What is told to whoever shows neither.
pub(crate) const NEITHER: &str =
    "show a certificate, by --tls-cert and --tls-key, or a token of this store, by --token-file";

/// Whoever has connected with a token.
pub(crate) struct Bearer {
    tokens: Arc<KnownTokens>,
    token: String,
    of: Of,
}

/// What somebody with a token has asked for.
enum Of {
    Instance(InstanceName),
    /// All that the store has.
    Store,
}

/// What a frame needs.
enum Needs {
    /// To be let in.
    Nothing,
    /// That the token allows it.
    Deed(Deed),
    /// A certificate.
    Certificate,
}

impl Bearer {
    pub(crate) fn new(tokens: Arc<KnownTokens>, token: String, name: InstanceName) -> Bearer {
        Bearer { tokens, token, of: Of::Instance(name) }
    }

    /// Whoever has asked for the whole store.
    pub(crate) fn of_store(tokens: Arc<KnownTokens>, token: String) -> Bearer {
        Bearer { tokens, token, of: Of::Store }
    }

    /// Sees whether the token is for anything here, for which it may have to be read.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn look(&self) -> Result<(), String> {
        if self.tokens.are_fresh()
            && let Some(verdict) = self.verdict()
        {
            return verdict;
        }
        let tokens = Arc::clone(&self.tokens);
        match tokio::task::spawn_blocking(move || tokens.read()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the tokens of the store can't be read: {error:?}"),
            Err(_) => return Err("the host ends".to_owned()),
        }
        // What was read just now counts, even if it has changed since; and what was read before if it can't be read.
        self.verdict().unwrap_or_else(|| Err("the tokens of the store can't be read".to_owned()))
    }

    /// The same, by the tokens as they were read last.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn as_read(&self) -> Result<(), String> {
        self.verdict().unwrap_or_else(|| Err("the tokens of the store were not read yet".to_owned()))
    }

    /// Waits until the token is for nothing any more; returns why.
    pub(crate) async fn over(&self) -> String {
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            if let Err(reason) = self.look().await {
                return reason;
            }
        }
    }

    /// By the tokens as they were read; `None` if they never were.
    fn verdict(&self) -> Option<Result<(), String>> {
        let mut verdict = Access::Unknown;
        match &self.of {
            Of::Store => verdict = self.tokens.access_to_store(&self.token)?,
            Of::Instance(name) => {
                for deed in [Deed::Send, Deed::Query, Deed::Read] {
                    verdict = self.tokens.access_as_read(Some(&self.token), deed, Some(name))?;
                    if verdict == Access::Granted {
                        break;
                    }
                }
            }
        }
        if verdict == Access::Granted {
            return Some(Ok(()));
        }
        Some(Err(match (verdict, &self.of) {
            (Access::Ended, _) => "the token has ended: ask for another one".to_owned(),
            (Access::Denied, Of::Instance(name)) => format!("the token is not for instance {name}"),
            (Access::Denied, Of::Store) => {
                "the store is read with a token for every deed and every instance, and this one is not: make one by `ambrosia-host token \
                 new` without --deed and --instance, or show a certificate"
                    .to_owned()
            }
            (Access::Unknown | Access::Open | Access::Granted, _) => "the token is not known here".to_owned(),
        }))
    }

    /// Why that may not be done; `None` if it may.
    pub(crate) fn why_not(&self, frame: &Frame) -> Option<String> {
        match needs(frame) {
            Needs::Nothing => None,
            Needs::Certificate => Some("a token does not allow this: it needs a certificate".to_owned()),
            Needs::Deed(deed) => {
                let Of::Instance(name) = &self.of else { return Some("the token is shown for the store".to_owned()) };
                let access = self.tokens.access_as_read(Some(&self.token), deed, Some(name));
                let word = of_store(deed).word();
                (access != Some(Access::Granted)).then(|| format!("the token does not allow this: it needs `{word}`"))
            }
        }
    }
}

/// As over HTTP: results and sessions are those of requests, and events of the state.
fn needs(frame: &Frame) -> Needs {
    match frame {
        Frame::Request { .. }
        | Frame::SessionRequest { .. }
        | Frame::Inquiry { .. }
        | Frame::Control(Control::OpenSession { .. } | Control::SessionConfirmed { .. }) => Needs::Deed(Deed::Send),
        Frame::Query { .. } | Frame::Listened { .. } | Frame::Control(Control::Listen { .. }) => {
            Needs::Deed(Deed::Query)
        }
        // Who may do anything with methods sees which there are; who fulfils a promise shows by its own token that they may.
        Frame::Control(Control::Methods | Control::Resolve { .. }) => Needs::Nothing,
        Frame::Control(
            Control::Peers
            | Control::Outgoing
            | Control::Remembered
            | Control::Schedules
            | Control::Sessions
            | Control::Stall,
        ) => Needs::Deed(Deed::Read),
        _ => Needs::Certificate,
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_core::{RequestId, Timestamp};
    use ambrosia_storage::{FileStore, Store, Token, Tokens};

    use super::*;

    fn query() -> Frame {
        Frame::Query {
            number: 1,
            method: "m".to_owned(),
            arguments: Default::default(),
            at_least: Default::default(),
            wait_ms: 0,
        }
    }

    fn request() -> Frame {
        let request = RequestId::new(*b"r").expect("short");
        Frame::Request { request, method: "m".to_owned(), arguments: Default::default(), wait: true, trace: None }
    }

    #[tokio::test]
    async fn a_token_is_for_what_it_says_and_a_stranger_with_none_does_nothing() {
        let directory = tempfile::tempdir().expect("there is room");
        let store: Arc<dyn Store> = Arc::new(FileStore::create_or_open(directory.path()).expect("a store"));
        let name = |text: &str| InstanceName::new(text).expect("plain");
        let bearer = |token: &str, instance: &str| {
            Bearer::new(Arc::new(KnownTokens::new(Arc::clone(&store))), token.to_owned(), name(instance))
        };
        assert!(bearer("secret", "orders").look().await.is_err(), "a store without tokens is not open to strangers");
        let token = Token {
            name: name("shop"),
            hash: Token::hash_of("secret"),
            deeds: [ambrosia_storage::Deed::Query].into(),
            instances: Some([name("orders")].into()),
            made: Timestamp(0),
            until: None,
        };
        store.add_token(&token).expect("it is new");
        for (token, instance, word) in [("Secret", "orders", "not known"), ("secret", "bank", "not for instance bank")]
        {
            let refused = bearer(token, instance).look().await.expect_err(word);
            assert!(refused.contains(word), "{refused}");
        }
        let shop = bearer("secret", "orders");
        assert_eq!(shop.look().await, Ok(()));
        assert_eq!((shop.why_not(&query()), shop.why_not(&Frame::Control(Control::Methods))), (None, None));
        for (frame, word) in [
            (request(), "`send`"),
            (Frame::Control(Control::Peers), "`read`"),
            (Frame::Control(Control::Checkpoint), "certificate"),
        ] {
            let refused = shop.why_not(&frame).expect(word);
            assert!(refused.contains(word), "{refused}");
        }
        let whole = |token: &str| Bearer::of_store(Arc::new(KnownTokens::new(Arc::clone(&store))), token.to_owned());
        let refused = whole("secret").look().await.expect_err("it is for one instance");
        assert!(refused.contains("every deed and every instance"), "{refused}");
        use ambrosia_storage::Deed as D;
        for (number, deeds, instances) in
            [(0, &D::ALL[..], Some([name("orders")].into())), (1, &[D::Read][..], None), (2, &D::ALL[..], None)]
        {
            let (text, deeds) = (format!("secret-{number}"), deeds.iter().copied().collect());
            let name = name(&format!("token-{number}"));
            let hash = Token::hash_of(&text);
            store.add_token(&Token { name, hash, deeds, instances, ..token.clone() }).expect("it is new");
            assert_eq!(whole(&text).look().await.is_ok(), number == 2, "{text}");
        }
        store.revoke_token(&name("token-2")).expect("it is there");
        assert!(whole("secret-2").over().await.contains("not known"));
        store.revoke_token(&token.name).expect("it is there");
        assert!(shop.over().await.contains("not known"));
        assert!(shop.why_not(&query()).is_some());
    }
}
