//! What a store remembers about its types, so that it is not read with others.
//!
//! serde has no schema, and postcard reads a stored `u64` 300 as the `i64` 150 without an error. So a store records, as
//! text, the codecs of its keys and values with their versions, the [`Shape`]s of both types where a codec depends on
//! them, and a tag if the user gave one. Opening compares.
//! Fields that this version does not know are kept and written again: a later version records more.

use crate::codec::Codec;
use crate::key::{self, Key};
use crate::{Error, ErrorKind, Result, SHAPE_BYTES_MAX, Shape};
use std::fmt;
use std::str::FromStr;

/// The longest name of a codec, in bytes.
pub const CODEC_NAME_BYTES_MAX: usize = 64;
/// The longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 256;
/// The longest text of a fingerprint, in bytes.
pub const FINGERPRINT_BYTES_MAX: usize = 4096;

/// What this version records of any two types fits; only fields of later versions can make it too long.
const _: () = {
    let codec = CODEC_NAME_BYTES_MAX + "/65535".len();
    let names = "key=\nvalue=\ntag=\nkey_shape=\nvalue_shape=".len();
    assert!(names + 2 * codec + TAG_BYTES_MAX + 2 * SHAPE_BYTES_MAX <= FINGERPRINT_BYTES_MAX);
};

/// A codec by name and version; its text is `name/version`, for example `postcard/1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CodecId {
    name: String,
    version: u16,
}

impl CodecId {
    /// The codec of this name and version.
    ///
    /// # Errors
    /// `InvalidInput`: the name is not 1 to [`CODEC_NAME_BYTES_MAX`] of the characters `a-z`, `0-9`, `.`, `_` and `-`.
    pub fn new(name: &str, version: u16) -> Result<Self> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > CODEC_NAME_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "a codec's name is 1 to {CODEC_NAME_BYTES_MAX} of a-z, 0-9, '.', '_' and '-'"
                ),
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            version,
        })
    }

    /// Bytes as they are.
    #[must_use]
    pub fn raw() -> Self {
        Self::known("raw")
    }

    /// The order-preserving encoding of keys that are more than a bare string or bytes.
    #[must_use]
    pub fn ordered() -> Self {
        Self::known("ordered")
    }

    fn known(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: 1,
        }
    }

    /// The name, for example `postcard`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of the format.
    #[must_use]
    pub const fn version(&self) -> u16 {
        self.version
    }
}

impl fmt::Display for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

impl FromStr for CodecId {
    type Err = Error;

    /// Reads `name/version`. Only what [`fmt::Display`] writes is accepted.
    fn from_str(text: &str) -> Result<Self> {
        let id = text
            .split_once('/')
            .and_then(|(name, version)| Self::new(name, version.parse().ok()?).ok());
        match id {
            Some(id) if id.to_string() == text => Ok(id),
            _ => Err(unreadable("a codec is not written as name/version")),
        }
    }
}

/// The codecs of a store's keys and values, and the user's tag. One word for each thing that must not change.
///
/// Its text is one field a line, `name=value`: `key=ordered/1`, `value=postcard/1`, `tag=...` if there is a tag, and
/// `key_shape=...`, `value_shape=...` if the bytes of the codec do not say themselves what they are.
///
/// ```
/// use kv_trait::{Fingerprint, Postcard};
///
/// let recorded = Fingerprint::of::<(String, u64), u64, Postcard>(None)?;
/// let text = "key=ordered/1\nvalue=postcard/1\nkey_shape=1:(str,u64)\nvalue_shape=1:u64";
/// assert_eq!(recorded.to_text(), text);
/// assert_eq!(Fingerprint::parse(&recorded.to_text())?, recorded);
///
/// let wanted = Fingerprint::of::<String, u64, Postcard>(None)?;
/// let refused = recorded.check(&wanted).unwrap_err();
/// assert_eq!(refused.to_string(), "the store's keys are (str,u64), the caller's are text or bytes");
/// # Ok::<(), kv_trait::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    key: CodecId,
    value: CodecId,
    tag: Option<String>,
    key_shape: Option<Shape>,
    value_shape: Option<Shape>,
    /// Fields of later versions, as they were read.
    unknown: Vec<(String, String)>,
}

impl Fingerprint {
    /// The fingerprint of a store with these types. `tag` names the schema in the user's own words; it is worth
    /// changing when a type changes in a way that the codecs cannot see. Runs [`key::probe`].
    ///
    /// # Errors
    /// `InvalidInput`: `K` cannot be decoded again ([`key::probe`] has the causes); the codec's name is not one; the
    /// tag is empty, longer than [`TAG_BYTES_MAX`], or holds control characters.
    pub fn of<K: Key, V, C: Codec<V>>(tag: Option<&str>) -> Result<Self> {
        let probed = key::probe::<K>()?;
        // A bare key is its own bytes: text and bytes read each other's.
        let (key, key_shape) = if probed.is_bare() {
            (CodecId::raw(), None)
        } else {
            (CodecId::ordered(), Some(probed.shape().clone()))
        };
        let tag = tag.map(checked_tag).transpose()?;
        Ok(Self {
            key,
            value: CodecId::new(C::ID, C::VERSION)?,
            tag,
            key_shape,
            value_shape: C::shape(),
            unknown: Vec::new(),
        })
    }

    /// The fingerprint of a store of plain bytes.
    #[must_use]
    pub fn raw() -> Self {
        Self {
            key: CodecId::raw(),
            value: CodecId::raw(),
            tag: None,
            key_shape: None,
            value_shape: None,
            unknown: Vec::new(),
        }
    }

    /// How keys are encoded.
    #[must_use]
    pub const fn key(&self) -> &CodecId {
        &self.key
    }

    /// How values are encoded.
    #[must_use]
    pub const fn value(&self) -> &CodecId {
        &self.value
    }

    /// What the keys are, for people: the shape of their type without its version, or `text or bytes`.
    #[must_use]
    pub fn key_type(&self) -> String {
        type_words(&self.key, self.key_shape.as_ref(), "text or bytes")
    }

    /// What the values are, for people: the shape of their type without its version, or `bytes`; where the codec has no
    /// shape, the codec's name.
    #[must_use]
    pub fn value_type(&self) -> String {
        type_words(&self.value, self.value_shape.as_ref(), "bytes")
    }

    /// The user's name for the schema, if one was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Whether a store that recorded `self` may be used with the types of `wanted`: both codecs are the same; a tag
    /// that both give is the same, and then decides alone; otherwise the shapes are the same where both are known.
    ///
    /// # Errors
    /// `UnsupportedFormat`: they are not; the message names both sides.
    pub fn check(&self, wanted: &Self) -> Result<()> {
        if self.key != wanted.key {
            let words = [self.key_type(), wanted.key_type()];
            return Err(codec_mismatch("keys", words, [&self.key, &wanted.key]));
        }
        if self.value != wanted.value {
            let words = [self.value_type(), wanted.value_type()];
            return Err(codec_mismatch(
                "values",
                words,
                [&self.value, &wanted.value],
            ));
        }
        match (&self.tag, &wanted.tag) {
            (Some(ours), Some(theirs)) if ours == theirs => return Ok(()),
            (Some(ours), Some(theirs)) => {
                let [ours, theirs] = [ours, theirs].map(|tag| format!("tagged {tag:?}"));
                return Err(mismatch("types", &ours, &theirs));
            }
            _ => {}
        }
        for (what, ours, theirs) in [
            ("keys", &self.key_shape, &wanted.key_shape),
            ("values", &self.value_shape, &wanted.value_shape),
        ] {
            if let (Some(ours), Some(theirs)) = (ours, theirs)
                && !ours.agrees(theirs)
            {
                return Err(mismatch(what, &shown(ours), &shown(theirs)));
            }
        }
        Ok(())
    }

    /// What [`Fingerprint::check`] compares is taken from `wanted` where the codecs are the same. For an owner who knows
    /// that the stored bytes are values of the new types too, as after a variant was added at the end of an enum.
    ///
    /// # Errors
    /// `UnsupportedFormat`: the codecs differ, or beside what a later version recorded there is no room for the new types.
    /// Nothing was taken then.
    pub fn adopt(&mut self, wanted: &Self) -> Result<()> {
        let codecs_only = |fingerprint: &Self| Self {
            tag: None,
            key_shape: None,
            value_shape: None,
            unknown: Vec::new(),
            ..fingerprint.clone()
        };
        codecs_only(self).check(&codecs_only(wanted))?;
        let adopted = Self {
            tag: wanted.tag.clone().or_else(|| self.tag.clone()),
            key_shape: wanted.key_shape.clone(),
            value_shape: wanted.value_shape.clone(),
            ..self.clone()
        };
        let bytes = adopted.to_text().len();
        if bytes > FINGERPRINT_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::UnsupportedFormat,
                format!(
                    "with these types and the fields of a later version the store's fingerprint would have {bytes} \
                     bytes of at most {FINGERPRINT_BYTES_MAX}"
                ),
            ));
        }
        *self = adopted;
        Ok(())
    }

    /// The text that a store records, at most [`FINGERPRINT_BYTES_MAX`] bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("key={}\nvalue={}", self.key, self.value);
        let shape = |shape: &Option<Shape>| shape.as_ref().map(Shape::to_string);
        let known = [
            ("tag", self.tag.clone()),
            ("key_shape", shape(&self.key_shape)),
            ("value_shape", shape(&self.value_shape)),
        ];
        for (name, value) in known {
            if let Some(value) = value {
                text.extend(["\n", name, "=", &value]);
            }
        }
        for (name, value) in &self.unknown {
            text.extend(["\n", name, "=", value]);
        }
        text
    }

    /// Reads what [`Fingerprint::to_text`] writes. Fields of later versions are kept.
    ///
    /// # Errors
    /// `UnsupportedFormat`: the text is too long, or is no fingerprint.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > FINGERPRINT_BYTES_MAX {
            return Err(unreadable("it is too long"));
        }
        let mut fields = Vec::new();
        for line in text.split('\n') {
            let field = line.split_once('=');
            let (name, value) = field.ok_or_else(|| unreadable("a line is not name=value"))?;
            if name.is_empty() || fields.iter().any(|(other, _)| *other == name) {
                return Err(unreadable("a field has no name, or stands there twice"));
            }
            fields.push((name, value));
        }
        let mut take = |wanted: &str| {
            let at = fields.iter().position(|(name, _)| *name == wanted)?;
            Some(fields.remove(at).1)
        };
        let missing = || unreadable("the codec of keys or values is missing");
        Ok(Self {
            key: take("key").ok_or_else(missing)?.parse()?,
            value: take("value").ok_or_else(missing)?.parse()?,
            tag: take("tag")
                .map(checked_tag)
                .transpose()
                .map_err(|_invalid| {
                    unreadable("its tag is empty, too long, or holds control characters")
                })?,
            key_shape: take("key_shape").map(Shape::recorded),
            value_shape: take("value_shape").map(Shape::recorded),
            unknown: fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }
}

/// `key raw/1, value postcard/1, tag "orders-2"`: for messages.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}, value {}", self.key, self.value)?;
        match &self.tag {
            Some(tag) => write!(f, ", tag {tag:?}"),
            None => Ok(()),
        }
    }
}

fn checked_tag(tag: &str) -> Result<String> {
    if tag.is_empty() || tag.len() > TAG_BYTES_MAX || tag.chars().any(char::is_control) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("a tag is 1 to {TAG_BYTES_MAX} bytes without control characters"),
        ));
    }
    Ok(tag.to_owned())
}

fn type_words(codec: &CodecId, shape: Option<&Shape>, raw: &str) -> String {
    match shape {
        Some(shape) => shown(shape),
        None if *codec == CodecId::raw() => raw.to_owned(),
        None => codec.to_string(),
    }
}

/// A shape may be long: messages show its beginning. Its version is for comparing.
fn shown(shape: &Shape) -> String {
    const SHOWN_MAX: usize = 160;
    let text = shape.to_string();
    let text = text
        .split_once(':')
        .map_or(&*text, |(_version, shape)| shape);
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Raw bytes beside a type say enough; two other codecs are named, for their types may look the same.
fn codec_mismatch(what: &str, types: [String; 2], codecs: [&CodecId; 2]) -> Error {
    let raw = codecs.contains(&&CodecId::raw());
    let words = |at: usize| match types[at].as_str() {
        words if raw || words == codecs[at].to_string() => words.to_owned(),
        words => format!("{words} in {}", codecs[at]),
    };
    mismatch(what, &words(0), &words(1))
}

fn mismatch(what: &str, recorded: &str, wanted: &str) -> Error {
    Error::new(
        ErrorKind::UnsupportedFormat,
        format!("the store's {what} are {recorded}, the caller's are {wanted}"),
    )
}

fn unreadable(why: &str) -> Error {
    Error::new(
        ErrorKind::UnsupportedFormat,
        format!("the fingerprint of the store's types cannot be read: {why}"),
    )
}
