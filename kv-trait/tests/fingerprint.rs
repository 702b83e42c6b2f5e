//! Fingerprints: what they say of a type, which stores they refuse, and hostile text.

use kv_trait::fingerprint::{CODEC_NAME_BYTES_MAX, FINGERPRINT_BYTES_MAX, TAG_BYTES_MAX};
use kv_trait::{
    ByteKey, Codec, CodecId, Effect, ErrorKind, Fingerprint, Postcard, Raw, Result as StoreResult,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

struct Named;

impl Codec<u64> for Named {
    const ID: &'static str = "Not a name";
    const VERSION: u16 = 1;

    fn encode(_: &u64, _: &mut Vec<u8>) -> StoreResult<()> {
        Ok(())
    }

    fn decode(_: &[u8]) -> StoreResult<u64> {
        Ok(0)
    }
}

#[test]
fn a_bare_key_is_raw_and_any_other_is_ordered() {
    let key = |fingerprint: StoreResult<Fingerprint>| fingerprint.unwrap().key().to_string();
    assert_eq!(key(Fingerprint::of::<String, u64, Postcard>(None)), "raw/1");
    assert_eq!(
        key(Fingerprint::of::<ByteKey, u64, Postcard>(None)),
        "raw/1"
    );
    assert_eq!(
        key(Fingerprint::of::<u64, u64, Postcard>(None)),
        "ordered/1"
    );
    assert_eq!(
        key(Fingerprint::of::<(String,), u64, Postcard>(None)),
        "ordered/1"
    );
}

#[test]
fn a_raw_store_may_be_opened_as_text_and_bytes() {
    let raw = Fingerprint::raw();
    raw.check(&Fingerprint::of::<String, String, Raw>(None).unwrap())
        .unwrap();
    raw.check(&Fingerprint::of::<ByteKey, Vec<u8>, Raw>(Some("mine")).unwrap())
        .unwrap();
}

#[test]
fn another_codec_or_version_is_refused_and_both_are_named() {
    let recorded = Fingerprint::parse("key=raw/1\nvalue=postcard/2").unwrap();
    let wanted = Fingerprint::of::<String, u64, Postcard>(None).unwrap();
    let error = recorded.check(&wanted).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
    assert!(error.to_string().contains("postcard/2"), "{error}");
    assert!(error.to_string().contains("postcard/1"), "{error}");
}

#[test]
fn a_tag_counts_only_where_both_sides_give_one() {
    let with = |tag| Fingerprint::of::<String, u64, Postcard>(tag).unwrap();
    with(Some("a")).check(&with(None)).unwrap();
    with(None).check(&with(Some("a"))).unwrap();
    with(Some("a")).check(&with(Some("a"))).unwrap();
    let error = with(Some("a")).check(&with(Some("b"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
    assert!(error.to_string().contains("\"a\""), "{error}");
    assert!(error.to_string().contains("\"b\""), "{error}");
}

#[test]
fn keys_that_cannot_be_decoded_again_have_no_fingerprint() {
    let error = Fingerprint::of::<BTreeMap<u8, u8>, u64, Postcard>(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn names_and_tags_are_bounded() {
    assert!(CodecId::new(&"x".repeat(CODEC_NAME_BYTES_MAX), 1).is_ok());
    for name in [
        "",
        "A",
        "a/b",
        "a b",
        "a\n",
        &"x".repeat(CODEC_NAME_BYTES_MAX + 1),
    ] {
        assert_eq!(
            CodecId::new(name, 1).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
    let tagged = |tag: &str| Fingerprint::of::<String, u64, Postcard>(Some(tag));
    assert!(tagged(&"x".repeat(TAG_BYTES_MAX)).is_ok());
    for tag in ["", "a\nb", "\0", &"x".repeat(TAG_BYTES_MAX + 1)] {
        assert_eq!(tagged(tag).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    let error = Fingerprint::of::<String, u64, Named>(None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn text_that_is_no_fingerprint_is_refused() {
    let long = format!(
        "key=raw/1\nvalue=raw/1\nx={}",
        "x".repeat(FINGERPRINT_BYTES_MAX)
    );
    for text in [
        "",
        "key=raw/1",
        "value=raw/1",
        "key=raw\nvalue=raw/1",
        "key=raw/01\nvalue=raw/1",
        "key=raw/+1\nvalue=raw/1",
        "key=raw/65536\nvalue=raw/1",
        "key=/1\nvalue=raw/1",
        "key=raw/1\nkey=raw/1\nvalue=raw/1",
        "key=raw/1\nvalue=raw/1\n",
        "key=raw/1\nvalue=raw/1\ntag=",
        "key=raw/1\nvalue=raw/1\n=x",
        &long,
    ] {
        let error = Fingerprint::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{text:?}");
    }
}

#[test]
fn fields_of_a_later_version_are_kept_and_do_not_count() {
    let text = "key=raw/1\nvalue=postcard/1\ntag=t\nvalue-shape=u64";
    let recorded = Fingerprint::parse(text).unwrap();
    assert_eq!(recorded.to_text(), text);
    assert_eq!(
        recorded.to_string(),
        "key raw/1, value postcard/1, tag \"t\""
    );
    recorded
        .check(&Fingerprint::of::<String, u64, Postcard>(None).unwrap())
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_tag_that_is_accepted_comes_back(tag in any::<String>()) {
        if let Ok(fingerprint) = Fingerprint::of::<String, u64, Postcard>(Some(&tag)) {
            prop_assert_eq!(Fingerprint::parse(&fingerprint.to_text()).unwrap(), fingerprint);
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in "(key=|value=|tag=|[a-z=]|raw/1|/|\n|[0-9]|.){0,12}") {
        if let Ok(fingerprint) = Fingerprint::parse(&text) {
            prop_assert!(fingerprint.to_text().len() <= FINGERPRINT_BYTES_MAX);
        }
    }
}

#[test]
fn types_of_another_shape_are_refused_and_both_shapes_are_named() {
    let recorded = Fingerprint::of::<(u8, String), u64, Postcard>(None).unwrap();
    let check = |wanted: StoreResult<Fingerprint>| recorded.check(&wanted.unwrap());
    check(Fingerprint::of::<
        (u8, Box<str>),
        std::num::Wrapping<u64>,
        Postcard,
    >(None))
    .unwrap();
    let error = check(Fingerprint::of::<(u8, String), i64, Postcard>(None)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat);
    assert_eq!(
        error.to_string(),
        "the store's values are u64, the caller's are i64"
    );
    let error = check(Fingerprint::of::<(u16, String), u64, Postcard>(None)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store's keys are (u8,str), the caller's are (u16,str)"
    );
    let error = check(Fingerprint::of::<String, u64, Postcard>(None)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store's keys are (u8,str), the caller's are text or bytes"
    );
    let bytes = Fingerprint::parse("key=ordered/1\nvalue=raw/1");
    let error = check(bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store's values are u64, the caller's are bytes"
    );
    let later = "key=ordered/2\nvalue=postcard/1\nkey_shape=1:(u8,str)";
    let error = check(Fingerprint::parse(later)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the store's keys are (u8,str) in ordered/1, the caller's are (u8,str) in ordered/2"
    );
}

#[test]
fn a_tag_that_both_give_decides_about_shapes_alone() {
    let number = Fingerprint::of::<String, u64, Postcard>(Some("n")).unwrap();
    let other = |tag| Fingerprint::of::<String, i64, Postcard>(tag).unwrap();
    number.check(&other(Some("n"))).unwrap();
    assert!(number.check(&other(None)).is_err());
    assert!(number.check(&other(Some("m"))).is_err());
}

#[test]
fn an_owner_may_adopt_other_shapes_but_no_other_codec() {
    let mut recorded = Fingerprint::of::<String, u64, Postcard>(Some("one")).unwrap();
    let wanted = Fingerprint::of::<String, (u64,), Postcard>(Some("two")).unwrap();
    assert!(recorded.check(&wanted).is_err());
    recorded.adopt(&wanted).unwrap();
    recorded.check(&wanted).unwrap();
    assert_eq!(recorded.tag(), Some("two"));
    assert!(recorded.adopt(&Fingerprint::raw()).is_err());
}

/// The text that was recorded could not be read by the next open.
#[test]
fn types_that_do_not_fit_beside_fields_of_a_later_version_are_not_adopted() {
    let known = "key=raw/1\nvalue=postcard/1\nlater=";
    let recorded = |bytes: usize| {
        let text = format!("{known}{}", "x".repeat(bytes - known.len()));
        Fingerprint::parse(&text).unwrap()
    };
    let wanted = Fingerprint::of::<String, u64, Postcard>(Some("tag")).unwrap();
    let added = "\ntag=tag\nvalue_shape=1:u64".len();

    let mut fits = recorded(FINGERPRINT_BYTES_MAX - added);
    fits.adopt(&wanted).unwrap();
    assert_eq!(fits.to_text().len(), FINGERPRINT_BYTES_MAX);
    assert_eq!(Fingerprint::parse(&fits.to_text()).unwrap(), fits);

    let before = recorded(FINGERPRINT_BYTES_MAX - added + 1);
    let mut same = before.clone();
    let error = same.adopt(&wanted).unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::UnsupportedFormat, Effect::Nothing)
    );
    assert_eq!(same, before);
}

#[test]
fn a_shape_of_a_later_version_is_kept_and_not_compared() {
    let text = "key=raw/1\nvalue=postcard/1\nvalue_shape=2:anything";
    let recorded = Fingerprint::parse(text).unwrap();
    recorded
        .check(&Fingerprint::of::<String, u64, Postcard>(None).unwrap())
        .unwrap();
    assert_eq!(recorded.to_text(), text);
}
