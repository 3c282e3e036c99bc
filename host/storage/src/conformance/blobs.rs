//! What a store of blobs must do. That damaged contents are told is checked beside each store, which knows how to
//! damage them.

use crate::{BlobError, BlobHash, BlobStore};

pub fn a_blob_is_named_by_its_hash(blobs: &dyn BlobStore) {
    let hash = blobs.put(b"contents").expect("works");
    assert_eq!(hash, BlobHash::of(b"contents"));
    assert_eq!(hash.to_string(), "d1b2a59fbea7e20077af9f91b27e95e865061b270be03ff539ab3b73587882e8");
    assert_eq!(blobs.put(b"contents").expect("works"), hash);
    assert_eq!(blobs.get(hash).expect("works"), b"contents");
}

pub fn blobs_are_listed_and_deleted(blobs: &dyn BlobStore) {
    let mut hashes = [blobs.put(b"one").expect("works"), blobs.put(b"two").expect("works")];
    hashes.sort_unstable();
    assert_eq!(blobs.list().expect("works"), hashes);
    blobs.delete(hashes[0]).expect("works");
    blobs.delete(hashes[0]).expect("it is no error twice");
    assert_eq!(blobs.list().expect("works"), hashes[1..]);
    let missing = blobs.get(hashes[0]).expect_err("it was deleted");
    assert!(matches!(missing, BlobError::Missing { .. }), "{missing}");
}

pub fn what_is_written_down_of_a_module_goes_with_it(blobs: &dyn BlobStore) {
    let [module, other] = [blobs.put(b"module").expect("works"), blobs.put(b"other").expect("works")];
    assert_eq!(blobs.methods(module).expect("works"), None);
    blobs.put_methods(module, b"one").expect("works");
    blobs.put_methods(module, b"both").expect("works");
    assert_eq!(blobs.methods(module).expect("works"), Some(b"both".to_vec()));
    assert_eq!(blobs.methods(other).expect("works"), None);
    assert_eq!(blobs.list().expect("works").len(), 2, "it is no blob of its own");
    blobs.delete(module).expect("works");
    assert_eq!(blobs.methods(module).expect("works"), None);
}
