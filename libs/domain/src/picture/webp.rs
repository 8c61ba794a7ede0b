//! WebP: a RIFF file whose first chunk tells the size (RFC 9649).

use super::Size;
use super::fields::{Fields, Flaw, Parsed, after};

const FIRST_CHUNK_AT: usize = 12;
const PAYLOAD_AT: usize = FIRST_CHUNK_AT + 8;

/// Width and height out of the lossy (`VP8 `), lossless (`VP8L`) or extended (`VP8X`) header.
pub(super) fn size(fields: Fields<'_>) -> Parsed<Size> {
    match fields.slice(FIRST_CHUNK_AT, 4)? {
        b"VP8 " => lossy_size(fields),
        b"VP8L" => lossless_size(fields),
        // Four bytes of flags, then both sides less one.
        b"VP8X" => Ok(Size {
            width: fields.u24_le(PAYLOAD_AT + 4)? + 1,
            height: fields.u24_le(PAYLOAD_AT + 7)? + 1,
        }),
        _ => Err(Flaw::Damaged("its first chunk is neither VP8, VP8L nor VP8X")),
    }
}

fn lossy_size(fields: Fields<'_>) -> Parsed<Size> {
    if fields.u8(PAYLOAD_AT)? & 1 != 0 {
        return Err(Flaw::Damaged("its first frame is not a key frame"));
    }
    if fields.slice(PAYLOAD_AT + 3, 3)? != b"\x9D\x01\x2A" {
        return Err(Flaw::Damaged("its VP8 start code is missing"));
    }
    // 14 bits each; the two above them ask for upscaling on the screen.
    Ok(Size {
        width: u32::from(fields.u16_le(PAYLOAD_AT + 6)? & 0x3FFF),
        height: u32::from(fields.u16_le(PAYLOAD_AT + 8)? & 0x3FFF),
    })
}

fn lossless_size(fields: Fields<'_>) -> Parsed<Size> {
    if fields.u8(PAYLOAD_AT)? != 0x2F {
        return Err(Flaw::Damaged("its VP8L signature is missing"));
    }
    let bits = fields.u32_le(PAYLOAD_AT + 1)?;
    Ok(Size { width: (bits & 0x3FFF) + 1, height: ((bits >> 14) & 0x3FFF) + 1 })
}

/// The TIFF structure of a WebP's EXIF chunk, which among other things says how the camera was held.
///
/// `None` where there is none, it is cut short, or the file is no WebP of the extended kind.
#[must_use]
pub fn exif(bytes: &[u8]) -> Option<&[u8]> {
    let fields = Fields(bytes);
    if fields.slice(FIRST_CHUNK_AT, 4) != Ok(b"VP8X") {
        return None;
    }
    let end = after(8, fields.u32_le(4).ok()?).ok()?;
    let mut at = FIRST_CHUNK_AT;
    while at < end {
        let len = fields.u32_le(at + 4).ok()?;
        let next = after(at + 8, len).ok()?;
        if fields.slice(at, 4) == Ok(b"EXIF") {
            let chunk = fields.0.get(at + 8..next)?;
            // Some writers keep the name that leads the segment in a JPEG.
            return Some(chunk.strip_prefix(b"Exif\0\0").unwrap_or(chunk));
        }
        // Chunks are padded to an even length.
        at = next.checked_add(next & 1)?;
    }
    None
}

/// Holds the RIFF header's length against the file's.
pub(super) fn check_complete(fields: Fields<'_>) -> Parsed<()> {
    let end = after(8, fields.u32_le(4)?)?;
    if end > fields.0.len() {
        return Err(Flaw::Short);
    }
    if after(PAYLOAD_AT, fields.u32_le(FIRST_CHUNK_AT + 4)?)? > end {
        return Err(Flaw::Damaged("its first chunk is longer than the file claims to be"));
    }
    Ok(())
}
