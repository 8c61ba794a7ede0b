//! PNG: a signature and a chain of chunks (W3C PNG specification, 5).

use std::ops::Range;

use super::fields::{Fields, Flaw, Parsed, Size, after};

const FIRST_CHUNK_AT: usize = 8;

/// A chunk of a PNG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its name, such as `IDAT`.
    pub name: [u8; 4],
    /// Its data; within the file, and followed by four bytes of checksum.
    pub data: Range<usize>,
}

impl Chunk {
    /// The whole chunk, from its length to its checksum.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.data.start - 8..self.data.end + 4
    }

    /// Whether its checksum is that of its name and data. `bytes` are those of the whole file.
    #[must_use]
    pub fn is_intact(&self, bytes: &[u8]) -> bool {
        let covered = bytes.get(self.data.start - 4..self.data.end);
        let stored = Fields(bytes).u32_be(self.data.end);
        covered.is_some_and(|covered| stored == Ok(crc32(covered)))
    }

    /// The whole chunk, with the checksum that its name and data have.
    #[must_use]
    pub fn intact(&self, bytes: &[u8]) -> Vec<u8> {
        let mut chunk = bytes.get(self.data.start - 8..self.data.end).unwrap_or_default().to_vec();
        let covered = chunk.get(4..).unwrap_or_default();
        chunk.extend(crc32(covered).to_be_bytes());
        chunk
    }
}

/// The chunks of a PNG to its `IEND`, or as far as they are whole.
pub fn chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk> {
    let mut next = Some(FIRST_CHUNK_AT);
    std::iter::from_fn(move || {
        let chunk = chunk(Fields(bytes), next?).ok()?;
        next = (&chunk.name != b"IEND").then_some(chunk.range().end);
        Some(chunk)
    })
}

fn chunk(fields: Fields<'_>, at: usize) -> Parsed<Chunk> {
    let len = fields.u32_be(at)?;
    let name = fields.slice(at + 4, 4)?.try_into().map_err(|_| Flaw::Short)?;
    let end = after(at + 8, len)?;
    fields.slice(end, 4)?;
    Ok(Chunk { name, data: at + 8..end })
}

/// Width and height out of `IHDR`, which always comes first.
pub(super) fn size(fields: Fields<'_>) -> Parsed<Size> {
    if fields.slice(FIRST_CHUNK_AT + 4, 4)? != b"IHDR" {
        return Err(Flaw::Damaged("its first chunk is not IHDR"));
    }
    let size = Size { width: fields.u32_be(16)?, height: fields.u32_be(20)? };
    if size.width > i32::MAX as u32 || size.height > i32::MAX as u32 {
        return Err(Flaw::Damaged("it claims a side of 2³¹ pixels or more"));
    }
    Ok(size)
}

/// Walks over the chunks to the end of `IEND`, or of the last one: a file that ends between two chunks behind its pixels
/// is complete as a picture, as is one with garbage there. One that ends within a chunk was cut.
pub(super) fn check_complete(fields: Fields<'_>) -> Parsed<()> {
    let mut at = FIRST_CHUNK_AT;
    let mut has_pixels = false;
    while !(has_pixels && is_behind_chunks(fields, at)) {
        let chunk = chunk(fields, at)?;
        match &chunk.name {
            b"IDAT" => has_pixels = true,
            b"IEND" if !has_pixels => return Err(Flaw::Damaged("it has no pixels")),
            b"IEND" => return Ok(()),
            _ => {}
        }
        at = chunk.range().end;
    }
    Ok(())
}

/// Whether nothing follows at `at`, or something whose name is none of a chunk.
fn is_behind_chunks(fields: Fields<'_>, at: usize) -> bool {
    let is_name = |name: &[u8]| name.iter().all(u8::is_ascii_alphabetic);
    at == fields.0.len() || fields.slice(at + 4, 4).is_ok_and(|name| !is_name(name))
}

/// The TIFF structures of the EXIF chunks whose checksum is right.
pub(super) fn exif_blocks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    chunks(bytes)
        .filter(|chunk| &chunk.name == b"eXIf" && chunk.is_intact(bytes))
        .filter_map(|chunk| bytes.get(chunk.data))
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = remainder & 1;
            remainder >>= 1;
            if carry == 1 {
                remainder ^= 0xEDB8_8320;
            }
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};

/// The checksum of PNG's chunks (PNG specification, annex D).
fn crc32(bytes: &[u8]) -> u32 {
    let step =
        |crc: u32, byte: &u8| CRC_TABLE[((crc ^ u32::from(*byte)) & 0xFF) as usize] ^ (crc >> 8);
    !bytes.iter().fold(u32::MAX, step)
}
