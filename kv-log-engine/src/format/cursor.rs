//! Reading fixed-width little-endian fields from a slice without ever indexing past its end.

use super::Defect;

/// The rest of a slice that is being decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Defect> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            return Err(Defect::Truncated {
                needed: count as u64,
                found: self.rest.len() as u64,
            });
        };
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Defect> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(Defect::Truncated {
                needed: N as u64,
                found: self.rest.len() as u64,
            });
        };
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Defect> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Defect> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Defect> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Defect> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// An unsigned number, seven bits a byte, the lowest first, in the shortest form. FORMAT.md, "Run".
    #[inline]
    pub(super) fn varint(&mut self, what: &'static str) -> Result<u64, Defect> {
        // Most are of one byte: lengths of keys, and what they share.
        match self.rest.split_first() {
            Some((byte, rest)) if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(what),
        }
    }

    fn long_varint(&mut self, what: &'static str) -> Result<u64, Defect> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                let fits = shift == 0 || (bits != 0 && (shift < 63 || bits == 1));
                return if fits {
                    Ok(value | bits << shift)
                } else {
                    Err(Defect::Field { what, found: bits })
                };
            }
            value |= bits << shift;
        }
        Err(Defect::Field { what, found: value })
    }

    /// Text with a length of two bytes in front.
    pub(super) fn text(&mut self, what: &'static str) -> Result<String, Defect> {
        let length = usize::from(self.u16()?);
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|error| Defect::Field {
            what,
            found: error.utf8_error().valid_up_to() as u64,
        })
    }

    pub(super) const fn remaining(&self) -> usize {
        self.rest.len()
    }
}
