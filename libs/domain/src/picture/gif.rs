//! GIF: a logical screen and a chain of blocks (GIF89a specification).

use super::Size;
use super::fields::{Fields, Flaw, Parsed};

const FIRST_BLOCK_AT: usize = 13;
const EXTENSION: u8 = 0x21;
const FRAME: u8 = 0x2C;
const TRAILER: u8 = 0x3B;

/// Width and height of the logical screen, on which the frames are laid.
pub(super) fn size(fields: Fields<'_>) -> Parsed<Size> {
    Ok(Size { width: u32::from(fields.u16_le(6)?), height: u32::from(fields.u16_le(8)?) })
}

/// Walks to the end of the first frame: it is the only one that counts, so the rest may be missing.
pub(super) fn check_complete(fields: Fields<'_>) -> Parsed<()> {
    let mut at = FIRST_BLOCK_AT + colour_table_len(fields.u8(10)?);
    loop {
        match fields.u8(at)? {
            // The label, then data.
            EXTENSION => at = after_data(fields, at + 2)?,
            FRAME => {
                // Four numbers and the flags, a colour table of its own, the code size, then data.
                let table_len = colour_table_len(fields.u8(at + 9)?);
                return after_data(fields, at + 10 + table_len + 1).map(|_| ());
            }
            TRAILER => return Err(Flaw::Damaged("it has no frame")),
            _ => return Err(Flaw::Damaged("a block is neither an extension nor a frame")),
        }
    }
}

/// The bytes of the colour table that `flags` announce: three for each of its 2 to 256 colours.
fn colour_table_len(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 0x07) + 1) }
}

/// The place behind a chain of data blocks, each led by its length and closed by one of length 0.
fn after_data(fields: Fields<'_>, mut at: usize) -> Parsed<usize> {
    loop {
        let len = fields.u8(at)?;
        at += 1 + usize::from(len);
        if len == 0 {
            return Ok(at);
        }
    }
}
