//! GIF: a logical screen and a chain of blocks (GIF89a specification).

use std::ops::Range;

use super::fields::{Fields, Flaw, Parsed, Size};

const FIRST_BLOCK_AT: usize = 13;
const EXTENSION: u8 = 0x21;
const FRAME: u8 = 0x2C;
const TRAILER: u8 = 0x3B;
const GRAPHIC_CONTROL: u8 = 0xF9;
/// Of a graphic control extension: introducer, label, length, four bytes, end.
const GRAPHIC_CONTROL_LEN: usize = 8;

/// The first frame of a GIF, and what it lies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GifFrame {
    /// Columns of the screen to the left of it.
    pub left: u32,
    /// Rows of the screen above it.
    pub top: u32,
    /// Its width in pixels; it may reach beyond the screen.
    pub width: u32,
    /// Its height in pixels; it may reach beyond the screen.
    pub height: u32,
    /// The colour of the screen where it has no pixel, as OpenCV shows it: the background's in the table of the screen,
    /// the table's first where the background is not in it, black where there is no table.
    pub background: [u8; 3],
    /// Everything before the first block: signature, screen and its table.
    pub screen: Range<usize>,
    /// The last whole graphic control extension before the frame.
    pub graphic_control: Option<Range<usize>>,
    /// The frame's block, with its own table and its data.
    pub block: Range<usize>,
}

/// Finds the first frame; `None` where there is none, or it is cut short.
#[must_use]
pub fn first_frame(bytes: &[u8]) -> Option<GifFrame> {
    parse(Fields(bytes)).ok()
}

/// Width and height of the logical screen, on which the frames are laid.
pub(super) fn size(fields: Fields<'_>) -> Parsed<Size> {
    Ok(Size { width: u32::from(fields.u16_le(6)?), height: u32::from(fields.u16_le(8)?) })
}

/// Walks to the end of the first frame: it is the only one that counts, so the rest may be missing.
pub(super) fn check_complete(fields: Fields<'_>) -> Parsed<()> {
    parse(fields).map(|_| ())
}

fn parse(fields: Fields<'_>) -> Parsed<GifFrame> {
    let screen = 0..FIRST_BLOCK_AT + colour_table_len(fields.u8(10)?);
    let table = fields.slice(FIRST_BLOCK_AT, screen.end - FIRST_BLOCK_AT)?.as_chunks::<3>().0;
    let background = table.get(usize::from(fields.u8(11)?)).or(table.first());
    let mut at = screen.end;
    let mut graphic_control = None;
    loop {
        match fields.u8(at)? {
            EXTENSION => {
                // The label, then data.
                let end = after_data(fields, at + 2)?;
                if fields.u8(at + 1)? == GRAPHIC_CONTROL && end - at == GRAPHIC_CONTROL_LEN {
                    graphic_control = Some(at..end);
                }
                at = end;
            }
            FRAME => {
                // Four numbers and the flags, a colour table of its own, the code size, then data.
                let table_len = colour_table_len(fields.u8(at + 9)?);
                let number = |offset: usize| fields.u16_le(at + offset).map(u32::from);
                return Ok(GifFrame {
                    left: number(1)?,
                    top: number(3)?,
                    width: number(5)?,
                    height: number(7)?,
                    background: background.copied().unwrap_or_default(),
                    screen,
                    graphic_control,
                    block: at..after_data(fields, at + 10 + table_len + 1)?,
                });
            }
            TRAILER => return Err(Flaw::Damaged("it has no frame")),
            // Rubbish between blocks is passed over, as Pillow does.
            _ => at += 1,
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
