//! WebP: a RIFF file whose first chunk has the size (RFC 9649).

use std::ops::Range;

use super::fields::{Fields, Flaw, Parsed, Size, after};

const FIRST_CHUNK_AT: usize = 12;
const PAYLOAD_AT: usize = FIRST_CHUNK_AT + 8;
/// Of the extended header's flags, the one for EXIF.
const EXIF_FLAG: u8 = 0x08;
/// The one for frames.
const ANIMATION_FLAG: u8 = 0x02;

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

/// The TIFF structure of a WebP's EXIF chunk, where its extended header declares one.
///
/// `None` also where the chunk is cut short.
pub(super) fn exif_block(bytes: &[u8]) -> Option<&[u8]> {
    let fields = Fields(bytes);
    if fields.slice(FIRST_CHUNK_AT, 4) != Ok(b"VP8X") {
        return None;
    }
    if fields.u8(PAYLOAD_AT).ok()? & EXIF_FLAG == 0 {
        return None;
    }
    let chunk = chunks(bytes).find(|chunk| &chunk.name == b"EXIF")?;
    let block = bytes.get(chunk.data)?;
    // Some writers keep the name that leads the segment in a JPEG. OpenCV does not expect it; Pillow does.
    Some(block.strip_prefix(b"Exif\0\0").unwrap_or(block))
}

/// A chunk of a WebP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its name, such as `VP8L`.
    pub name: [u8; 4],
    /// Its data, within the file.
    pub data: Range<usize>,
}

/// The chunks of a WebP, as far as they are whole and the RIFF header says.
pub fn chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk> {
    let fields = Fields(bytes);
    let end = fields.u32_le(4).and_then(|len| after(8, len)).unwrap_or(0);
    let mut at = FIRST_CHUNK_AT;
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let name = fields.slice(at, 4).ok()?.try_into().ok()?;
        let next = after(at + 8, fields.u32_le(at + 4).ok()?).ok()?;
        let data = at + 8..next;
        bytes.get(data.clone())?;
        // Chunks are padded to an even length.
        at = next + (next & 1);
        Some(Chunk { name, data })
    })
}

/// A WebP with nothing but the pixels of a still picture: those of an extended one without an alpha channel.
///
/// `None` for all others. Decoders that require what the extended header declares accept it.
#[must_use]
pub fn without_extensions(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut pixels = None;
    let is_extended = Fields(bytes).slice(FIRST_CHUNK_AT, 4) == Ok(b"VP8X");
    if !is_extended || Fields(bytes).u8(PAYLOAD_AT).ok()? & ANIMATION_FLAG != 0 {
        return None;
    }
    for chunk in chunks(bytes) {
        match &chunk.name {
            b"ALPH" | b"ANIM" | b"ANMF" => return None,
            b"VP8 " | b"VP8L" => pixels = pixels.or(Some(chunk)),
            _ => {}
        }
    }
    let Chunk { name, data } = pixels?;
    let len = u32::try_from(data.len()).ok()?;
    let padding = len % 2;
    let mut simple = b"RIFF".to_vec();
    simple.extend(len.checked_add(12 + padding)?.to_le_bytes());
    simple.extend(b"WEBP");
    simple.extend(name);
    simple.extend(len.to_le_bytes());
    simple.extend(bytes.get(data)?);
    simple.resize(simple.len() + padding as usize, 0);
    Some(simple)
}

/// Checks the RIFF header's length against that of the file.
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
