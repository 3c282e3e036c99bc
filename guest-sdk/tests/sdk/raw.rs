//! Methods that take bytes.

use ambrosia::{Immortal, MethodKind, This, testing::Harness};

#[ambrosia::state]
struct Store {
    bytes: Vec<u8>,
}

#[ambrosia::interface]
trait Backup {
    #[ambrosia(raw)]
    fn keep(bytes: &[u8]) -> Vec<u8>;
}

#[ambrosia::immortal]
impl Store {
    #[ambrosia(raw)]
    fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    #[ambrosia(raw)]
    fn swap(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        std::mem::replace(&mut self.bytes, bytes)
    }

    #[ambrosia(raw)]
    async fn back_up(this: This<Self>, bytes: Vec<u8>) -> Vec<u8> {
        Backup::attach("backup").fork().keep(&bytes);
        let kept = Backup::attach("backup").keep(bytes).await.unwrap_or_default();
        this.with(|store| store.bytes = kept.clone());
        kept
    }
}

#[test]
fn bytes_go_as_they_are() {
    let mut store = Harness::<Store>::start("store");
    assert!(Store::METHODS.iter().all(|method| method.kind == MethodKind::Raw));
    store.send("client", |store| {
        store.fork().append([0xc1, 2]);
        store.fork().append(vec![3]);
    });
    assert_eq!(store.ask(|store| store.swap(b"new")), Ok(vec![0xc1, 2, 3]));
    assert_eq!(store.ask(|store| store.append(b"")), Ok(vec![]));
    assert_eq!(store.state(|store| store.bytes.clone()), b"new");
}

#[test]
fn bytes_can_be_awaited() {
    let mut store = Harness::<Store>::start("store");
    let answer = store.call("client", |store| store.back_up(b"abc"));
    let [fork, call] = &store.take_sent()[..] else { panic!("it sends a fork and a call") };
    assert_eq!((fork.bytes(), call.bytes()), (&b"abc"[..], &b"abc"[..]));
    assert_eq!(fork.open_call(), None);
    store.reply_raw(call.open_call().expect("it is a call"), b"kept");
    assert_eq!(store.answer(&answer), Some(Ok(b"kept".to_vec())));
}
