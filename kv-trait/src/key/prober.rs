//! The probe: can a key type be decoded back at all?
//!
//! serde has no schema, so the only way to learn what a type will ask of a deserializer is to let it ask. The probe
//! answers every request with a made-up value, takes each enum's variants in turn over repeated runs, and refuses a
//! type that asks for what the encoding cannot answer, or whose made-up values do not come back. A type that does
//! not like a made-up value is *opaque*: nothing is known about it, and it is not refused.
//! Every dimension is bounded (levels, steps, runs), and a panic in the type's own code is caught: also opaque.

use super::failure::Failure;
use super::{Key, decoder, encoder};
use crate::shape::Shape;
use crate::shape::tracer::{Trace, Tracer};
use crate::{Error, ErrorKind, Result};

/// What the probe learned about how a key type encodes. More may be learned in later versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyShape {
    bare: bool,
    shape: Shape,
}

impl KeyShape {
    /// Whether the encoding is a string or bytes stored as themselves, possibly through newtypes.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.bare
    }

    /// What the type asks of a deserializer.
    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }
}

/// Finds out, before a key is written, whether keys of type `K` can be read again.
///
/// Runs `K`'s `Deserialize`, `Serialize` and `Ord` on made-up values, up to some thousand times. A panic in them is
/// caught (the panic hook still reports it).
///
/// ```
/// use kv_trait::key;
/// assert!(key::probe::<String>()?.is_bare());
/// assert!(!key::probe::<(String, u64)>()?.is_bare());
/// assert!(key::probe::<std::collections::BTreeMap<String, u64>>().is_err());
/// # Ok::<(), kv_trait::Error>(())
/// ```
///
/// # Errors
/// `InvalidInput`: the type uses a map, `#[serde(flatten)]`, `untagged`, an internally or adjacently tagged enum, or a field that is
/// sometimes skipped, or its values do not decode back to themselves. The message names the cause.
pub fn probe<K: Key>() -> Result<KeyShape> {
    let mut trace = Trace::default();
    let mut cause = None;
    trace.run_all(|trace| {
        let found = one_run::<K>(trace);
        cause = trace.refused.map(str::to_owned).or(found);
        cause.is_none()
    });
    // A panic may have hidden what the run before it asked for.
    if let Some(cause) = cause.or_else(|| trace.refused.map(str::to_owned)) {
        return Err(refusal::<K>(&cause));
    }
    Ok(KeyShape {
        bare: trace.bare,
        shape: trace.shape(),
    })
}

/// Makes up one value and sends it there and back. Returns what speaks against the type.
fn one_run<K: Key>(trace: &mut Trace) -> Option<String> {
    let key = K::deserialize(Tracer::new(trace)).ok()?;
    let mut bytes = Vec::new();
    match encoder::append(&key, &mut bytes) {
        Ok(()) => {}
        Err(Failure::Unsupported(cause)) => return Some(cause.to_owned()),
        Err(_) => return None,
    }
    match decoder::whole::<K>(&bytes) {
        Ok(back) if back.cmp(&key).is_eq() => None,
        Ok(_) => Some("a value decodes as another one".to_owned()),
        Err(failure) => Some(failure.to_string()),
    }
}

fn refusal<K>(cause: &str) -> Error {
    let name = std::any::type_name::<K>();
    Error::new(
        ErrorKind::InvalidInput,
        format!("`{name}` cannot be a key, because it could not be decoded again: {cause}"),
    )
}
