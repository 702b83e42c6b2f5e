use super::*;
use crate::format::record::KEYSPACE_DEFAULT;

fn record<'a>(kind: RecordKind, key: &'a [u8], value: &'a [u8]) -> Record<'a> {
    Record {
        kind,
        seqno: Seqno::new(1),
        keyspace: KEYSPACE_DEFAULT,
        expiry_ms: None,
        key,
        value,
    }
}

fn keys(from: Bound<&[u8]>, to: Bound<&[u8]>) -> Keys {
    let range = KeyRange::encoded(from.map(<[u8]>::to_vec), to.map(<[u8]>::to_vec));
    Keys::new(KEYSPACE_DEFAULT, range)
}

#[test]
fn an_erasure_is_shown_where_a_watched_key_may_lie_in_it() {
    use Bound::{Excluded, Included, Unbounded};
    let watched = [
        (keys(Unbounded, Unbounded), true),
        (keys(Included(b"c"), Excluded(b"f")), true),
        (keys(Included(b"c"), Included(b"d")), true),
        (keys(Included(b"c"), Excluded(b"d")), false),
        (keys(Included(b"e"), Included(b"e")), true),
        (keys(Included(b"f"), Unbounded), false),
        (keys(Unbounded, Excluded(b"d")), false),
        (keys(Unbounded, Included(b"d")), true),
        (keys(Included(b"e"), Excluded(b"d")), false),
    ];
    let erasure = record(RecordKind::Erase, b"d", b"f");
    for (keys, shown) in watched {
        let change = keys.change(&erasure);
        assert_eq!(change.is_some(), shown, "{keys:?}");
        if let Some(EventKind::Erase { keys }) = change {
            assert!(keys.contains(b"d") && keys.contains(b"ezz") && !keys.contains(b"f"));
        }
    }
    // To the last of the keyspace.
    let open = record(RecordKind::Erase, b"d", b"");
    assert!(keys(Included(b"zz"), Unbounded).change(&open).is_some());
    assert!(keys(Unbounded, Excluded(b"d")).change(&open).is_none());
}

#[test]
fn what_is_of_another_keyspace_or_makes_one_is_not_shown() {
    let keys = keys(Bound::Unbounded, Bound::Unbounded);
    for kind in [
        RecordKind::Put,
        RecordKind::Tombstone,
        RecordKind::Erase,
        RecordKind::Drop,
    ] {
        let own = record(kind, b"", b"");
        assert!(keys.change(&own).is_some(), "{kind:?}");
        let foreign = Record { keyspace: 7, ..own };
        assert!(keys.change(&foreign).is_none(), "{kind:?}");
    }
    let made = record(RecordKind::Create, b"name", b"fingerprint");
    assert!(keys.change(&made).is_none());
}
