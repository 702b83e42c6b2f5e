//! The bound that an owner sets to what a store takes of the disk. Plain numbers.

use kv_trait::{Error, ErrorKind, Result};

/// Refuses a put of `added` bytes where the files of the store, its reserve included, would then take more than `bound`
/// bytes. Deletes are not asked: they lead back below it.
///
/// # Errors
/// `StorageFull`, with the bound in the message; nothing happened.
pub(crate) fn admit_put(stored_bytes: u64, added: u64, bound: Option<u64>) -> Result<()> {
    let Some(bound) = bound else { return Ok(()) };
    if stored_bytes
        .checked_add(added)
        .is_some_and(|after| after <= bound)
    {
        return Ok(());
    }
    let message = format!(
        "the store takes {stored_bytes} bytes of the {bound} that it may take, and this write needs {added} more; \
         delete something, or raise the bound"
    );
    Err(Error::new(ErrorKind::StorageFull, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv_trait::Effect;

    #[test]
    fn a_put_beyond_the_bound_is_refused_by_name_and_one_up_to_it_is_not() {
        admit_put(u64::MAX, u64::MAX, None).unwrap();
        admit_put(900, 100, Some(1_000)).unwrap();
        let refused = admit_put(900, 101, Some(1_000)).unwrap_err();
        assert_eq!(
            (refused.kind(), refused.effect()),
            (ErrorKind::StorageFull, Effect::Nothing)
        );
        let message = refused.to_string();
        assert!(
            message.contains("1000") && message.contains("101"),
            "{message}"
        );
        admit_put(u64::MAX, 1, Some(u64::MAX)).unwrap_err();
    }
}
