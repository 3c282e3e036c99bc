//! What a registry must do.

use std::{sync::mpsc::channel, thread};

use super::reign::LIMIT;
use crate::{PutError, Registry, RegistryError, Revision};

pub fn a_value_is_read_back_with_its_revision(registry: &dyn Registry) {
    assert_eq!(registry.get("a/b").expect("works"), None);
    let revision = registry.put_if("a/b", None, b"value").expect("works");
    assert_eq!(registry.get("a/b").expect("works"), Some((revision, b"value".to_vec())));
    let later = registry.put_if("a/b", Some(revision), b"").expect("works");
    assert!(later > revision);
    assert_eq!(registry.get("a/b").expect("works"), Some((later, Vec::new())));
}

pub fn a_change_needs_the_current_revision(registry: &dyn Registry) {
    let first = registry.put_if("key", None, b"1").expect("works");
    let second = registry.put_if("key", Some(first), b"2").expect("works");
    for wrong in [None, Some(first), Some(Revision(second.0 + 1))] {
        let refused = registry.put_if("key", wrong, b"3").expect_err("it stands at another revision");
        let PutError::Conflict { current, .. } = refused else { panic!("{refused}") };
        assert_eq!(current, Some(second));
    }
    assert!(matches!(registry.delete_if("key", first), Err(PutError::Conflict { .. })));
    registry.delete_if("key", second).expect("works");
    assert_eq!(registry.get("key").expect("works"), None);
    assert!(matches!(registry.delete_if("key", second), Err(PutError::Conflict { current: None, .. })));
}

pub fn a_revision_is_never_used_again(registry: &dyn Registry) {
    let first = registry.put_if("key", None, b"1").expect("works");
    registry.delete_if("key", first).expect("works");
    let second = registry.put_if("key", None, b"1").expect("works");
    assert!(second > first);
}

pub fn keys_are_listed_by_prefix_in_order(registry: &dyn Registry) {
    for key in ["b/2", "a/1", "b/1", "b"] {
        registry.put_if(key, None, key.as_bytes()).expect("works");
    }
    let keys =
        |prefix| -> Vec<String> { registry.list(prefix).expect("works").into_iter().map(|entry| entry.key).collect() };
    assert_eq!(keys(""), ["a/1", "b", "b/1", "b/2"]);
    assert_eq!(keys("b/"), ["b/1", "b/2"]);
    assert_eq!(registry.list("a").expect("works")[0].value, b"a/1");
    assert_eq!(registry.keys("b/").expect("works"), ["b/1", "b/2"]);
}

pub fn of_many_changes_at_once_one_wins(registry: &dyn Registry) {
    let revision = registry.put_if("key", None, b"").expect("works");
    let won = thread::scope(|scope| {
        let change = |n: u8| move || registry.put_if("key", Some(revision), &[n]).is_ok();
        let changes: Vec<_> = (0..8).map(|n| scope.spawn(change(n))).collect();
        changes.into_iter().map(|change| change.join().expect("no panic")).filter(|won| *won).count()
    });
    assert_eq!(won, 1);
}

pub fn a_change_is_told_to_those_who_have_subscribed(registry: &dyn Registry) {
    let (sender, calls) = channel();
    let call = move || sender.send(()).expect("the check waits for it");
    let subscription = registry.subscribe(Box::new(call)).expect("there are threads").expect("changes are known");
    let mut seen = registry.changes().expect("changes are known");
    let mut revision = None;
    for value in [b"1", b"2"] {
        revision = Some(registry.put_if("key", revision, value).expect("works"));
        calls.recv_timeout(LIMIT).expect("it is told");
        let changes = registry.changes().expect("changes are known");
        assert_ne!(std::mem::replace(&mut seen, changes), changes);
    }
    registry.delete_if("key", revision.expect("it is there")).expect("works");
    calls.recv_timeout(LIMIT).expect("it is told");
    drop(subscription);
    registry.put_if("key", None, b"").expect("works");
    assert!(calls.iter().next().is_none(), "nothing is told any more, and nothing is kept that could");
}

pub fn a_value_as_it_is_kept_can_be_had_and_removed(registry: &dyn Registry) {
    assert_eq!(registry.unchecked_value("key").expect("works"), None);
    let first = registry.put_if("key", None, b"value").expect("works");
    assert_eq!(registry.unchecked_value("key").expect("works"), Some(b"value".to_vec()));
    registry.remove_damaged("key").expect("works");
    assert_eq!(registry.get("key").expect("works"), None);
    let second = registry.put_if("key", None, b"value").expect("it is gone");
    assert!(second > first, "a revision is never used again");
}

pub fn a_bad_key_is_refused(registry: &dyn Registry) {
    for bad in ["", "/", "a/", "/a", "..", "a/../b", "a b", "a:b", "a/.b", &"x".repeat(129)] {
        assert!(matches!(registry.get(bad), Err(RegistryError::Key(_))), "{bad}");
        let refused = registry.put_if(bad, None, b"");
        assert!(matches!(refused, Err(PutError::Registry(RegistryError::Key(_)))), "{bad}");
    }
}
