//! PNG: a signature and a chain of chunks (W3C PNG specification, 5).

use super::Size;
use super::fields::{Fields, Flaw, Parsed, after};

const FIRST_CHUNK_AT: usize = 8;

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

/// Walks over the chunks to the end of `IEND`.
pub(super) fn check_complete(fields: Fields<'_>) -> Parsed<()> {
    let mut at = FIRST_CHUNK_AT;
    let mut data_chunks = 0_usize;
    loop {
        let len = fields.u32_be(at)?;
        let name = fields.slice(at + 4, 4)?;
        // Length, name and checksum take 12 bytes.
        let next = after(at + 12, len)?;
        if next > fields.0.len() {
            return Err(Flaw::Short);
        }
        match name {
            b"IDAT" => data_chunks += 1,
            b"IEND" if data_chunks == 0 => return Err(Flaw::Damaged("it has no pixels")),
            b"IEND" => return Ok(()),
            _ => {}
        }
        at = next;
    }
}
