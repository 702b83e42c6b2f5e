//! Bytes of a file, and what stands in them: every access says where it went wrong.

use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;
use std::path::PathBuf;

/// Why a store cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, offset, what } = self;
        write!(f, "{} at offset {offset}: {what}", path.display())
    }
}

pub(super) type Read<T> = Result<T, Unreadable>;

pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

impl File {
    pub(super) fn open(path: PathBuf) -> Read<Self> {
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(error) => Err(Unreadable {
                path,
                offset: 0,
                what: error.to_string(),
            }),
        }
    }

    pub(super) fn wrong<T>(&self, offset: usize, what: &str) -> Read<T> {
        Err(Unreadable {
            path: self.path.clone(),
            offset: offset as u64,
            what: what.to_owned(),
        })
    }

    pub(super) fn array<const N: usize>(&self, at: usize) -> Read<[u8; N]> {
        let bytes = at.checked_add(N).and_then(|end| self.bytes.get(at..end));
        match bytes.and_then(|bytes| bytes.try_into().ok()) {
            Some(array) => Ok(array),
            None => self.wrong(at, "the file ends here"),
        }
    }

    pub(super) fn u16(&self, at: usize) -> Read<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&self, at: usize) -> Read<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&self, at: usize) -> Read<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    pub(super) fn size(&self, at: usize) -> Read<usize> {
        self.u32(at).map(|size| size as usize)
    }

    /// A number of bytes, or an offset, in 64 bits.
    pub(super) fn long(&self, at: usize) -> Read<usize> {
        let number = self.u64(at)?;
        usize::try_from(number).or_else(|_| self.wrong(at, "too long for this machine"))
    }

    pub(super) fn range(&self, start: usize, length: usize) -> Read<&[u8]> {
        let end = start.checked_add(length);
        match end.and_then(|end| self.bytes.get(start..end)) {
            Some(bytes) => Ok(bytes),
            None => self.wrong(start, "the file ends here"),
        }
    }
}

pub(super) fn siphash(key: &[u8; 16], parts: &[&[u8]]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(key);
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

/// CRC32C of the parts, one after the other.
pub(super) fn crc(parts: &[&[u8]]) -> u32 {
    let sums = parts.iter();
    sums.fold(0, |sum, part| crc32c::crc32c_append(sum, part))
}

/// Takes what stands in bytes, from front to back.
pub(super) struct Fields<'f> {
    pub(super) file: &'f File,
    pub(super) at: usize,
    pub(super) end: usize,
}

impl<'f> Fields<'f> {
    pub(super) fn all(file: &'f File) -> Self {
        let end = file.bytes.len();
        Self { file, at: 0, end }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.at >= self.end
    }

    pub(super) fn wrong<T>(&self, what: &str) -> Read<T> {
        self.file.wrong(self.at, what)
    }

    pub(super) fn take(&mut self, length: usize) -> Read<&'f [u8]> {
        if length > self.end.saturating_sub(self.at) {
            return self.wrong("what is read ends here");
        }
        let taken = self.file.range(self.at, length)?;
        self.at += length;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let at = self.at;
        self.take(N)?;
        self.file.array(at)
    }

    pub(super) fn u8(&mut self) -> Read<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn size(&mut self) -> Read<usize> {
        self.u32().map(|size| size as usize)
    }

    pub(super) fn long(&mut self) -> Read<usize> {
        let number = self.u64()?;
        usize::try_from(number).or_else(|_| self.wrong("too long for this machine"))
    }

    /// Bytes with their length in front.
    pub(super) fn bytes(&mut self, longest: usize) -> Read<Vec<u8>> {
        let length = self.size()?;
        if length > longest {
            return self.wrong("longer than it may be");
        }
        self.take(length).map(<[u8]>::to_vec)
    }

    /// In the shortest form, and of at most 64 bits.
    pub(super) fn varint(&mut self) -> Read<u64> {
        let (mut number, mut shift) = (0_u128, 0);
        loop {
            let byte = self.u8()?;
            number |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return self.wrong("a number that is not in its shortest form");
                }
                return u64::try_from(number).or_else(|_| self.wrong("a number beyond 64 bits"));
            }
            shift += 7;
            if shift > 63 {
                return self.wrong("a number beyond 64 bits");
            }
        }
    }

    pub(super) fn varsize(&mut self) -> Read<usize> {
        let number = self.varint()?;
        usize::try_from(number).or_else(|_| self.wrong("too long for this machine"))
    }
}
