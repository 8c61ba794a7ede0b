//! The header before each entry, and what follows an entry whose size the header does not have.

/// The signatures that begin each record.
pub(super) const ENTRY: [u8; 4] = *b"PK\x03\x04";
pub(super) const DIRECTORY: [u8; 4] = *b"PK\x01\x02";
pub(super) const END: [u8; 4] = *b"PK\x05\x06";
pub(super) const ZIP64_END: [u8; 4] = *b"PK\x06\x06";
pub(super) const EXTRA_DATA: [u8; 4] = *b"PK\x06\x08";
/// Before the sizes behind an entry, and at the start of an archive that might have had several files.
pub(super) const SIZES: [u8; 4] = *b"PK\x07\x08";
/// At the start of an archive that might have had several files, and has one.
pub(super) const ONE_FILE: [u8; 4] = *b"PK00";

/// The length of an entry's header without its name and extra fields, in bytes.
pub(super) const FIXED_BYTES: usize = 30;
/// The longest name of an entry, in bytes.
const MAX_NAME_BYTES: usize = 4096;

const ENCRYPTED: u16 = 1 << 0;
const SIZES_BEHIND: u16 = 1 << 3;
const PATCH: u16 = 1 << 5;
const STRONGLY_ENCRYPTED: u16 = 1 << 6;
const MASKED: u16 = 1 << 13;

/// The id of the extra field with 64-bit sizes.
const ZIP64: u16 = 1;
/// A size that is in that field.
const IN_ZIP64: u32 = u32::MAX;

/// How the content of an entry is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Stored,
    Deflated,
    /// Not read.
    Other(u16),
}

/// The header of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) method: Method,
    pub(super) is_encrypted: bool,
    /// A patch of another file.
    pub(super) is_patch: bool,
    /// `None`: it is found by the end of the content.
    pub(super) compressed: Option<u64>,
    /// `None`: as `crc` and `size`, it is behind the content.
    pub(super) crc: Option<u32>,
    pub(super) size: Option<u64>,
    /// Whether sizes are behind the content.
    pub(super) has_sizes_behind: bool,
}

/// How long the header is that begins with these [`FIXED_BYTES`]; `None` if its name is too long.
pub(super) fn length(fixed: &[u8; FIXED_BYTES]) -> Option<usize> {
    let (name, extra) = (usize::from(u16_at(fixed, 26)), usize::from(u16_at(fixed, 28)));
    (name <= MAX_NAME_BYTES).then_some(FIXED_BYTES + name + extra)
}

impl Header {
    /// Parses a header of the length that [`length`] says.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let flags = u16_at(bytes, 6);
        let method = match u16_at(bytes, 8) {
            0 => Method::Stored,
            8 => Method::Deflated,
            other => Method::Other(other),
        };
        let name_end = FIXED_BYTES + usize::from(u16_at(bytes, 26));
        let name = bytes[FIXED_BYTES..name_end].to_vec();
        let (short_compressed, short_size) = (u32_at(bytes, 18), u32_at(bytes, 22));
        let zip64 = extra_field(&bytes[name_end..], ZIP64).unwrap_or_default();
        // The field has the sizes that do not fit, in this order.
        let mut wide = zip64.chunks_exact(8).map(|bytes| u64_at(bytes, 0));
        let mut widen = |short: u32| match short {
            IN_ZIP64 => wide.next().unwrap_or(u64::from(short)),
            short => u64::from(short),
        };
        let size = widen(short_size);
        let compressed = widen(short_compressed);
        let has_sizes_behind = flags & SIZES_BEHIND != 0;
        // Where sizes are behind the content, those in the header are zero, or a guess, except for some writers of stored
        // entries.
        let is_known = !has_sizes_behind || method == Method::Stored && compressed > 0;
        Self {
            name,
            method,
            is_encrypted: flags & (ENCRYPTED | STRONGLY_ENCRYPTED | MASKED) != 0,
            is_patch: flags & PATCH != 0,
            compressed: is_known.then_some(compressed),
            crc: (!has_sizes_behind).then(|| u32_at(bytes, 14)),
            size: (!has_sizes_behind).then_some(size),
            has_sizes_behind,
        }
    }
}

/// What is behind the content of an entry: its digest, and its sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Behind {
    pub(super) crc: u32,
    /// How many bytes it takes.
    pub(super) length: usize,
}

impl Behind {
    /// The longest, in bytes.
    pub(super) const LONGEST: usize = 24;

    /// Parses it after content of these sizes; `bytes` are [`Self::LONGEST`], or all that are left. It has a signature or not,
    /// and sizes of 32 or 64 bits. `None` if its sizes are others.
    pub(super) fn parse(bytes: &[u8], compressed: u64, size: u64) -> Option<Self> {
        let start = if bytes.starts_with(&SIZES) { 4 } else { 0 };
        // Without a signature, the digest may look like one.
        [start, 0].into_iter().find_map(|start| {
            let crc = bytes.get(start..start + 4).map(|bytes| u32_at(bytes, 0))?;
            let wide = bytes
                .get(start + 4..start + 20)
                .filter(|bytes| (u64_at(bytes, 0), u64_at(bytes, 8)) == (compressed, size));
            if wide.is_some() {
                return Some(Self { crc, length: start + 20 });
            }
            let short = bytes.get(start + 4..start + 12).filter(|bytes| {
                let short = |size: u64| (size & u64::from(u32::MAX)) as u32;
                (u32_at(bytes, 0), u32_at(bytes, 4)) == (short(compressed), short(size))
            });
            short.map(|_| Self { crc, length: start + 12 })
        })
    }
}

/// The extra field of this id.
fn extra_field(mut extra: &[u8], id: u16) -> Option<&[u8]> {
    while extra.len() >= 4 {
        let (found, length) = (u16_at(extra, 0), usize::from(u16_at(extra, 2)));
        let field = extra.get(4..4 + length)?;
        if found == id {
            return Some(field);
        }
        extra = &extra[4 + length..];
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
