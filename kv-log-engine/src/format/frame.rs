//! One frame: the header and checksums around a batch, a mark or a footer. FORMAT.md, "Frame".
//!
//! The header carries what recovery needs to tell a torn tail from corruption: *chain* (the predecessor's check),
//! *mark* (an offset that was durable when the frame was written), *attempt* (two tries at one place differ) and a
//! *digest* that binds the body. Its own check is keyed by the segment's salt and bound to the frame's offset.

use super::cursor::Cursor;
use super::record::{self, Head, OPTIONS_BYTES_MAX, RECORD_HEADER_BYTES, Record, RecordHeader};
use super::{Defect, Salt, hold_check};
use crate::format::Class;
use crate::format::ids::{EditNumber, Seqno};

/// Bytes before a frame's body.
pub(crate) const FRAME_HEADER_BYTES: usize = 80;
/// Frames begin at multiples of this.
pub(crate) const FRAME_ALIGN: u64 = 8;
/// The longest body: the largest value with its key, or a batch of that size.
pub(crate) const FRAME_BODY_BYTES_MAX: usize = 1 << 30;
/// A frame without a body.
pub(crate) const MARK_FRAME_BYTES: u64 = FRAME_HEADER_BYTES as u64;
/// A mark that names an edit of the manifest.
pub(crate) const CLEAN_MARK_FRAME_BYTES: u64 = (FRAME_HEADER_BYTES + CLEAN_MARK_BODY_BYTES) as u64;
const CLEAN_MARK_BODY_BYTES: usize = 8;
/// The frame that seals a segment.
pub(crate) const FOOTER_FRAME_BYTES: u64 = (FRAME_HEADER_BYTES + FOOTER_BODY_BYTES) as u64;
const FOOTER_BODY_BYTES: usize = 48;
const MAGIC: u32 = 0x4652_564b; // "KVRF" on disk
const MAGIC_BYTES: [u8; 4] = MAGIC.to_le_bytes();
const CHECK_AT: usize = FRAME_HEADER_BYTES - 8;
const TAG_BYTES: usize = 16;

const _: () = assert!((FRAME_HEADER_BYTES as u64).is_multiple_of(FRAME_ALIGN));
const _: () = assert!(FOOTER_FRAME_BYTES.is_multiple_of(FRAME_ALIGN));
const _: () = assert!(CLEAN_MARK_FRAME_BYTES.is_multiple_of(FRAME_ALIGN));
const _: () = assert!(FRAME_BODY_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(
    kv_trait::KEY_BYTES_MAX + kv_trait::VALUE_BYTES_MAX + RECORD_HEADER_BYTES + OPTIONS_BYTES_MAX
        <= FRAME_BODY_BYTES_MAX
);

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// One batch: its records, in order.
    Batch,
    /// Nothing but a mark: proves that everything before it was durable. One with a body ends a store that was closed.
    Mark,
    /// The last frame of a sealed segment.
    Footer,
    /// Entries that are no records of keys, each with a class. This version writes none, and passes over those that it may.
    Control,
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            Self::Batch => 1,
            Self::Mark => 2,
            Self::Footer => 3,
            Self::Control => 4,
        }
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    pub(crate) body_bytes: u32,
    pub(crate) record_count: u32,
    pub(crate) first_seqno: Seqno,
    pub(crate) mark: u64,
    pub(crate) attempt: u64,
    pub(crate) chain: u64,
    pub(crate) digest: u64,
}

impl FrameHeader {
    /// Header, body and padding.
    pub(crate) const fn frame_bytes(&self) -> u64 {
        frame_bytes(self.body_bytes as usize)
    }

    /// Writes the header into the first bytes of `frame` and returns its check, the next frame's chain.
    pub(crate) fn encode(&self, salt: &Salt, offset: u64, frame: &mut [u8]) -> u64 {
        let mut bytes = Vec::with_capacity(FRAME_HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC_BYTES);
        bytes.extend_from_slice(&[self.kind.code(), 0, 0, 0]);
        bytes.extend_from_slice(&self.body_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.record_count.to_le_bytes());
        bytes.extend_from_slice(&self.first_seqno.get().to_le_bytes());
        bytes.extend_from_slice(&self.mark.to_le_bytes());
        bytes.extend_from_slice(&self.attempt.to_le_bytes());
        bytes.extend_from_slice(&self.chain.to_le_bytes());
        bytes.extend_from_slice(&self.digest.to_le_bytes());
        bytes.extend_from_slice(&[0; TAG_BYTES]);
        let check = salt.check(&[&offset.to_le_bytes(), &bytes]);
        bytes.extend_from_slice(&check.to_le_bytes());
        frame[..FRAME_HEADER_BYTES].copy_from_slice(&bytes);
        check
    }

    /// The header at the start of `bytes`, and its check, if it was written at `offset` of the segment with `salt`.
    ///
    /// `Ok(None)`: it was not. Only a header that verifies and is of a later version is an error.
    pub(crate) fn decode(
        bytes: &[u8],
        salt: &Salt,
        offset: u64,
    ) -> Result<Option<(Self, u64)>, Defect> {
        // The magic first: a scan asks this at every eighth byte of a damaged tail.
        if !bytes.starts_with(&MAGIC_BYTES) || bytes.len() < FRAME_HEADER_BYTES {
            return Ok(None);
        }
        let mut cursor = Cursor::new(bytes);
        let covered = cursor.take(CHECK_AT)?;
        let check = cursor.u64()?;
        if salt.check(&[&offset.to_le_bytes(), covered]) != check {
            return Ok(None);
        }
        Self::decode_fields(covered).map(|header| Some((header, check)))
    }

    fn decode_fields(covered: &[u8]) -> Result<Self, Defect> {
        let mut cursor = Cursor::new(covered);
        cursor.take(MAGIC_BYTES.len())?;
        let kind = match cursor.u8()? {
            1 => FrameKind::Batch,
            2 => FrameKind::Mark,
            3 => FrameKind::Footer,
            4 => FrameKind::Control,
            other => {
                return Err(Defect::Unsupported {
                    what: "frame kind",
                    found: other.into(),
                });
            }
        };
        let flags = cursor.u8()?;
        let reserved = cursor.u16()?;
        if flags != 0 || reserved != 0 {
            let found = u64::from(flags) | u64::from(reserved) << 8;
            return Err(Defect::Unsupported {
                what: "frame flags",
                found,
            });
        }
        let header = Self {
            kind,
            body_bytes: cursor.u32()?,
            record_count: cursor.u32()?,
            first_seqno: Seqno::new(cursor.u64()?),
            mark: cursor.u64()?,
            attempt: cursor.u64()?,
            chain: cursor.u64()?,
            digest: cursor.u64()?,
        };
        let tag = cursor.u64()? | cursor.u64()?;
        if tag != 0 {
            return Err(Defect::Unsupported {
                what: "authentication tag",
                found: tag,
            });
        }
        Ok(header)
    }

    /// Whether the lengths are within the limits, and within `room`, the bytes from the frame's start to the
    /// segment's end.
    pub(crate) fn fits(&self, room: u64) -> bool {
        let body = self.body_bytes as usize;
        let records = self.record_count as usize;
        body <= FRAME_BODY_BYTES_MAX
            && self.frame_bytes() <= room
            && match self.kind {
                FrameKind::Batch => records >= 1 && records <= body / RECORD_HEADER_BYTES,
                FrameKind::Mark => records == 0 && (body == 0 || body == CLEAN_MARK_BODY_BYTES),
                FrameKind::Control => body >= 1,
                FrameKind::Footer => records == 0 && body == FOOTER_BODY_BYTES,
            }
    }

    /// The seqno that the frame after this one begins with.
    pub(crate) fn next_seqno(&self) -> Option<Seqno> {
        self.first_seqno.checked_add(u64::from(self.record_count))
    }
}

/// Header, body and padding of a frame with a body of that many bytes.
pub(crate) const fn frame_bytes(body_bytes: usize) -> u64 {
    (FRAME_HEADER_BYTES as u64 + body_bytes as u64).next_multiple_of(FRAME_ALIGN)
}

/// What the leader knows about a frame when it writes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) salt: Salt,
    pub(crate) offset: u64,
    pub(crate) mark: u64,
    pub(crate) attempt: u64,
    pub(crate) chain: u64,
    pub(crate) first_seqno: Seqno,
}

/// A batch's frame without its place: room for the header, records, padding.
#[derive(Clone, Debug)]
pub(crate) struct FrameBuffer {
    bytes: Vec<u8>,
    body_bytes: u32,
    record_count: u32,
}

impl FrameBuffer {
    /// An empty frame.
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; FRAME_HEADER_BYTES],
            body_bytes: 0,
            record_count: 0,
        }
    }

    /// Whether one more record of this size stays within the limit of a body, whatever its fields.
    pub(crate) const fn has_room(&self, key_bytes: usize, value_bytes: usize) -> bool {
        let head_bytes = RECORD_HEADER_BYTES + OPTIONS_BYTES_MAX;
        self.body_bytes as usize + head_bytes + key_bytes + value_bytes <= FRAME_BODY_BYTES_MAX
    }

    /// Appends a record. The caller has checked its lengths and [`FrameBuffer::has_room`].
    pub(crate) fn push(&mut self, head: impl Into<Head>, keyspace: u32, key: &[u8], value: &[u8]) {
        self.unpad();
        record::encode(&mut self.bytes, head, keyspace, key, value);
        self.count_record();
    }

    /// Appends a record whose value `encode` appends, in its place at once. `check` is told the value's length before the
    /// record counts. After an error the frame is as it was.
    ///
    /// # Errors
    /// Those of `encode` and `check`.
    pub(crate) fn push_with<E>(
        &mut self,
        head: impl Into<Head>,
        (keyspace, key): (u32, &[u8]),
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        check: impl FnOnce(&Self, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.unpad();
        let head = head.into();
        let start = self.bytes.len();
        record::begin(&mut self.bytes, head, key);
        let value_at = self.bytes.len();
        let encoded = encode(&mut self.bytes).and_then(|()| {
            // Whoever encodes has no business in front of its value.
            check(self, self.bytes.len().saturating_sub(value_at))
        });
        if self.bytes.len() < value_at {
            self.bytes.resize(value_at, 0);
        }
        match encoded {
            Ok(()) => {
                record::end(&mut self.bytes[start..], head, keyspace, key);
                self.count_record();
            }
            Err(_) => {
                self.bytes.truncate(start);
                self.pad();
            }
        }
        encoded
    }

    fn count_record(&mut self) {
        let body = self.bytes.len() - FRAME_HEADER_BYTES;
        self.body_bytes = u32::try_from(body).expect("bodies are bounded by has_room");
        self.record_count += 1;
        self.pad();
    }

    fn unpad(&mut self) {
        self.bytes
            .truncate(FRAME_HEADER_BYTES + self.body_bytes as usize);
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(padded, 0);
    }

    pub(crate) const fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Header, records and padding, in bytes.
    pub(crate) const fn frame_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The records, in order, with their offsets from the start of the frame.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, Record<'_>, u32)> {
        let mut at = FRAME_HEADER_BYTES;
        (0..self.record_count).map(move |_| {
            let (header, record) =
                record::split(&self.bytes[at..]).expect("this buffer encoded the records itself");
            let found = (at as u64, record, record_bytes_field(&header));
            at += header.record_bytes();
            found
        })
    }

    /// Gives every record its seqno and the frame its header; returns the frame's check.
    pub(crate) fn finish(&mut self, place: &Place) -> u64 {
        let mut sums = Vec::with_capacity(self.record_count as usize * 4);
        let mut at = FRAME_HEADER_BYTES;
        let mut seqno = place.first_seqno;
        for _ in 0..self.record_count {
            let header = RecordHeader::decode(&self.bytes[at..])
                .expect("this buffer encoded the records itself");
            let record = &mut self.bytes[at..at + header.record_bytes()];
            let sum = record::finish(record, &place.salt, place.offset + at as u64, seqno);
            sums.extend_from_slice(&sum.to_le_bytes());
            at += header.record_bytes();
            seqno = seqno.next();
        }
        let digest = place.salt.check(&[&sums]);
        let header = header(
            FrameKind::Batch,
            place,
            self.body_bytes,
            self.record_count,
            digest,
        );
        header.encode(&place.salt, place.offset, &mut self.bytes)
    }

    /// Takes back what [`FrameBuffer::finish`] did: a frame that was not written may be finished for another place.
    pub(crate) fn unfinish(&mut self) {
        let mut at = FRAME_HEADER_BYTES;
        for _ in 0..self.record_count {
            let header = RecordHeader::decode(&self.bytes[at..])
                .expect("this buffer encoded the records itself");
            record::unfinish(&mut self.bytes[at..at + header.record_bytes()]);
            at += header.record_bytes();
        }
    }
}

fn record_bytes_field(header: &RecordHeader) -> u32 {
    u32::try_from(header.record_bytes()).expect("the limits of a record fit 32 bits")
}

fn header(
    kind: FrameKind,
    place: &Place,
    body_bytes: u32,
    record_count: u32,
    digest: u64,
) -> FrameHeader {
    FrameHeader {
        kind,
        body_bytes,
        record_count,
        first_seqno: place.first_seqno,
        mark: place.mark,
        attempt: place.attempt,
        chain: place.chain,
        digest,
    }
}

/// A mark frame and its check.
pub(crate) fn mark_frame(place: &Place) -> (Vec<u8>, u64) {
    mark_with(place, &[])
}

/// The mark that ends a closed store, and its check: both copies of the manifest end at `edit`, and everything before the
/// mark is durable.
pub(crate) fn clean_mark_frame(place: &Place, edit: EditNumber) -> (Vec<u8>, u64) {
    mark_with(place, &edit.get().to_le_bytes())
}

fn mark_with(place: &Place, body: &[u8]) -> (Vec<u8>, u64) {
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    bytes.extend_from_slice(body);
    let digest = place.salt.check(&[body]);
    let length = u32::try_from(body.len()).expect("a mark is short");
    let check = header(FrameKind::Mark, place, length, 0, digest).encode(
        &place.salt,
        place.offset,
        &mut bytes,
    );
    (bytes, check)
}

/// What a footer says about its segment. FORMAT.md, "Footer".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    /// The lowest seqno in the segment; one above [`Footer::max_seqno`] if it holds no record.
    pub(crate) min_seqno: Seqno,
    /// The highest seqno in the segment.
    pub(crate) max_seqno: Seqno,
    /// Batches in the segment.
    pub(crate) frames: u64,
    /// Records in the segment.
    pub(crate) records: u64,
}

/// A footer frame and its check.
pub(crate) fn footer_frame(place: &Place, footer: &Footer) -> (Vec<u8>, u64) {
    let mut bytes = vec![0; FRAME_HEADER_BYTES];
    bytes.extend_from_slice(&footer.min_seqno.get().to_le_bytes());
    bytes.extend_from_slice(&footer.max_seqno.get().to_le_bytes());
    bytes.extend_from_slice(&footer.frames.to_le_bytes());
    bytes.extend_from_slice(&footer.records.to_le_bytes());
    bytes.extend_from_slice(&[0; 16]); // room for a key filter: its offset and length
    let digest = place.salt.check(&[&bytes[FRAME_HEADER_BYTES..]]);
    let body = u32::try_from(FOOTER_BODY_BYTES).expect("a footer is short");
    let check = header(FrameKind::Footer, place, body, 0, digest).encode(
        &place.salt,
        place.offset,
        &mut bytes,
    );
    (bytes, check)
}

/// What a frame's body says besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing.
    None,
    /// A store that was closed when both copies of its manifest ended at this edit.
    Clean(EditNumber),
    /// The segment is sealed.
    Footer(Footer),
}

/// Checks everything behind the header of the frame that fills `frame`, and hands each record to `visit` with its
/// offset in the segment. Nothing is visited before the whole frame has verified.
pub(crate) fn verify_body<'a>(
    header: &FrameHeader,
    frame: &'a [u8],
    salt: &Salt,
    offset: u64,
    mut visit: impl FnMut(u64, Record<'a>, u32),
) -> Result<Ending, Defect> {
    let mut cursor = Cursor::new(frame);
    cursor.take(FRAME_HEADER_BYTES)?;
    let body = cursor.take(header.body_bytes as usize)?;
    let padding = cursor.take(cursor.remaining())?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(Defect::Field {
            what: "frame padding",
            found: 1,
        });
    }
    match header.kind {
        FrameKind::Batch => {
            let records = verify_records(header, body, salt, offset)?;
            records
                .into_iter()
                .for_each(|(at, record, bytes)| visit(at, record, bytes));
            Ok(Ending::None)
        }
        FrameKind::Mark => {
            check_digest(header, salt, body)?;
            if body.is_empty() {
                return Ok(Ending::None);
            }
            let edit = Cursor::new(body).u64()?;
            Ok(Ending::Clean(EditNumber::new(edit)))
        }
        FrameKind::Footer => {
            check_digest(header, salt, body)?;
            decode_footer(body).map(Ending::Footer)
        }
        FrameKind::Control => {
            check_digest(header, salt, body)?;
            pass_over_control(body).map(|()| Ending::None)
        }
    }
}

/// Passes over the entries of a control frame that whoever does not know them may pass over.
fn pass_over_control(body: &[u8]) -> Result<(), Defect> {
    let mut cursor = Cursor::new(body);
    while cursor.remaining() > 0 {
        let kind = cursor.u16()?;
        let class = cursor.u16()?;
        let bytes = cursor.u32()?;
        cursor.take(bytes as usize)?;
        if Class::of(class) != Class::Compatible {
            return Err(Defect::Unsupported {
                what: "control entry",
                found: kind.into(),
            });
        }
    }
    Ok(())
}

fn verify_records<'a>(
    header: &FrameHeader,
    body: &'a [u8],
    salt: &Salt,
    offset: u64,
) -> Result<Vec<(u64, Record<'a>, u32)>, Defect> {
    // `fits` bounded the count by the body's length, so this allocation is bounded by the input.
    let mut records = Vec::with_capacity(header.record_count as usize);
    let mut sums = Vec::with_capacity(header.record_count as usize * 4);
    let mut rest = body;
    let mut at = offset + FRAME_HEADER_BYTES as u64;
    let mut seqno = header.first_seqno;
    for _ in 0..header.record_count {
        let record_header = RecordHeader::decode(rest)?;
        let Some((bytes, behind)) = rest.split_at_checked(record_header.record_bytes()) else {
            return Err(Defect::Truncated {
                needed: record_header.record_bytes() as u64,
                found: rest.len() as u64,
            });
        };
        let record = match record::verify(bytes, salt, at, seqno) {
            Err(_torn) if planted!(HalfBatch) && !records.is_empty() => return Ok(records),
            verified => verified?,
        };
        sums.extend_from_slice(&record_header.crc.to_le_bytes());
        records.push((at, record, record_bytes_field(&record_header)));
        rest = behind;
        at += bytes.len() as u64;
        seqno = seqno.checked_add(1).ok_or_else(|| Defect::Field {
            what: "seqno",
            found: seqno.get(),
        })?;
    }
    if !rest.is_empty() {
        return Err(Defect::Field {
            what: "bytes behind the last record",
            found: rest.len() as u64,
        });
    }
    check_digest(header, salt, &sums)?;
    Ok(records)
}

fn check_digest(header: &FrameHeader, salt: &Salt, digested: &[u8]) -> Result<(), Defect> {
    if planted!(NoChecksumCheck) {
        return Ok(());
    }
    hold_check("frame digest", salt.check(&[digested]), header.digest)
}

fn decode_footer(body: &[u8]) -> Result<Footer, Defect> {
    let mut cursor = Cursor::new(body);
    let footer = Footer {
        min_seqno: Seqno::new(cursor.u64()?),
        max_seqno: Seqno::new(cursor.u64()?),
        frames: cursor.u64()?,
        records: cursor.u64()?,
    };
    let filter = cursor.u64()? | cursor.u64()?;
    if filter != 0 {
        return Err(Defect::Unsupported {
            what: "key filter",
            found: filter,
        });
    }
    Ok(footer)
}
