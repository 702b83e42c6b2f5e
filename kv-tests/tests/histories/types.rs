//! What a store records of its types.

use super::*;
use kv_trait::fingerprint::FINGERPRINT_BYTES_MAX;
use kv_trait::{Fingerprint, Postcard};

// D12
#[test]
fn types_that_cannot_be_recorded_are_not_adopted_and_the_store_stays() {
    let disk = SimDisk::new();
    let known = "key=raw/1\nvalue=postcard/1\nlater=";
    let text = format!("{known}{}", "x".repeat(FINGERPRINT_BYTES_MAX - known.len()));
    let later = Fingerprint::parse(&text).unwrap();
    let store = Engine::open(STORE, options(&disk, 1, 65536).fingerprint(later)).unwrap();
    store.put(b"k", b"v").unwrap();
    store.close().unwrap();
    let wanted = Fingerprint::of::<String, u64, Postcard>(None).unwrap();
    let adopting = options(&disk, 2, 65536).fingerprint(wanted).adopt_types();
    let error = Engine::open(STORE, adopting).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::UnsupportedFormat, Effect::Nothing)
    );
    let store = open(&disk, 3);
    assert_eq!(store.fingerprint().to_text(), text);
    assert_eq!(store.get(b"k").unwrap().as_deref(), Some(&b"v"[..]));
}
