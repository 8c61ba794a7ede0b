//! Windows bitmap: a file header, an information header, then rows of pixels or runs of them.

use super::fields::{Fields, Flaw, Parsed, Size};

/// The information header of OS/2 1.x, the only one with 16-bit sides.
const CORE_HEADER_LEN: u32 = 12;
/// The first information header with a compression field.
const INFO_HEADER_LEN: u32 = 40;
const FILE_HEADER_LEN: usize = 14;
/// The place of the three masks: behind an information header of 40 bytes, and within every longer one.
const MASKS_AT: usize = FILE_HEADER_LEN + INFO_HEADER_LEN as usize;

/// How a bitmap's pixels are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// In rows, as they are.
    None,
    /// Runs of bytes.
    Rle8,
    /// Runs of half bytes.
    Rle4,
    /// In rows, each channel where a mask says.
    BitFields,
}

/// What a bitmap's headers say, and where its parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BmpHeader {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Whether the first row that is stored is the upper one.
    pub is_top_down: bool,
    /// Bits of each pixel.
    pub bits: u16,
    /// How the pixels are stored.
    pub compression: Compression,
    /// The bits of red, green and blue, for [`Compression::BitFields`].
    pub masks: [u32; 3],
    /// Where the palette starts.
    pub palette_at: usize,
    /// Bytes of each colour of the palette: blue, green and red, and in most files one more.
    pub colour_len: usize,
    /// How many colours the palette is said to have; 0 for as many as pixels can name.
    pub colours: u32,
    /// Where the pixels start.
    pub pixels_at: usize,
}

/// Reads a bitmap's headers; `None` where they are damaged or cut short.
#[must_use]
pub fn header(bytes: &[u8]) -> Option<BmpHeader> {
    parse(Fields(bytes)).ok()
}

fn parse(fields: Fields<'_>) -> Parsed<BmpHeader> {
    let header_len = fields.u32_le(FILE_HEADER_LEN)?;
    let is_core = header_len == CORE_HEADER_LEN;
    let Size { width, height } = size(fields)?;
    let bits = fields.u16_le(if is_core { 24 } else { 28 })?;
    let has_compression = header_len >= INFO_HEADER_LEN;
    let compression = match if has_compression { fields.u32_le(30)? } else { 0 } {
        0 => Compression::None,
        1 => Compression::Rle8,
        2 => Compression::Rle4,
        // The second of these has a mask for alpha behind the others.
        3 | 6 => Compression::BitFields,
        _ => return Err(Flaw::Damaged("its compression is neither none nor run lengths")),
    };
    let mut masks = [0; 3];
    if compression == Compression::BitFields {
        for (index, mask) in masks.iter_mut().enumerate() {
            *mask = fields.u32_le(MASKS_AT + 4 * index)?;
        }
    }
    let place = |at: u32| usize::try_from(at).map_err(|_| Flaw::Short);
    Ok(BmpHeader {
        width,
        height,
        is_top_down: !is_core && fields.u32_le(22)? > i32::MAX as u32,
        bits,
        compression,
        masks,
        palette_at: FILE_HEADER_LEN.checked_add(place(header_len)?).ok_or(Flaw::Short)?,
        colour_len: if is_core { 3 } else { 4 },
        colours: if has_compression { fields.u32_le(46)? } else { 0 },
        pixels_at: place(fields.u32_le(10)?)?,
    })
}

impl BmpHeader {
    /// The bytes of a row of pixels that is not compressed: whole groups of 32 bits.
    #[must_use]
    pub fn row_len(&self) -> u64 {
        // u64 holds the product of 32 and 16 bits.
        (u64::from(self.width) * u64::from(self.bits)).div_ceil(32) * 4
    }
}

/// Width and height out of the information header; a negative height stands for rows from the top down.
pub(super) fn size(fields: Fields<'_>) -> Parsed<Size> {
    match fields.u32_le(FILE_HEADER_LEN)? {
        CORE_HEADER_LEN => {
            Ok(Size { width: u32::from(fields.u16_le(18)?), height: u32::from(fields.u16_le(20)?) })
        }
        16.. => {
            let width = i32::from_ne_bytes(fields.u32_le(18)?.to_ne_bytes());
            let height = i32::from_ne_bytes(fields.u32_le(22)?.to_ne_bytes());
            let width =
                u32::try_from(width).map_err(|_| Flaw::Damaged("it claims a negative width"))?;
            Ok(Size { width, height: height.unsigned_abs() })
        }
        _ => Err(Flaw::Damaged("its information header is shorter than any known one")),
    }
}

/// Checks the pixels against the file's length: rows by their position and number, runs by following them.
///
/// What the header says about the length of runs is often 0, and sometimes wrong.
pub(super) fn check_complete(fields: Fields<'_>) -> Parsed<()> {
    let header = parse(fields)?;
    let pixels = fields.0.get(header.pixels_at..).ok_or(Flaw::Short)?;
    let is_whole = match header.compression {
        Compression::None | Compression::BitFields => {
            // The product may not fit, and then no file is that long.
            let len = header.row_len().checked_mul(u64::from(header.height));
            len.is_some_and(|len| len <= pixels.len() as u64)
        }
        Compression::Rle8 | Compression::Rle4 => are_whole(&header, pixels),
    };
    if is_whole { Ok(()) } else { Err(Flaw::Short) }
}

/// Whether the runs reach their end mark, or the last pixel without one.
fn are_whole(header: &BmpHeader, pixels: &[u8]) -> bool {
    let (mut row, mut column) = (0_u64, 0_u64);
    let is_behind = |row: u64, column: u64| {
        row >= u64::from(header.height)
            || (row + 1 == u64::from(header.height) && column >= u64::from(header.width))
    };
    for run in runs(pixels, header.compression) {
        match run {
            Run::Repeated { count, .. } | Run::Listed { count, .. } => column += u64::from(count),
            Run::EndOfRow => (row, column) = (row + 1, 0),
            Run::Skip { right, down } => {
                (row, column) = (row + u64::from(down), column + u64::from(right));
            }
            Run::End => return true,
        }
        if is_behind(row, column) {
            return true;
        }
    }
    false
}

/// A step of a bitmap's run lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run<'a> {
    /// `count` pixels of one colour, or of two by turns: those of the half bytes of `value`.
    Repeated {
        /// How many.
        count: u8,
        /// The byte that names the colour or colours.
        value: u8,
    },
    /// `count` pixels, one by one.
    Listed {
        /// How many.
        count: u8,
        /// A byte or half a byte for each.
        values: &'a [u8],
    },
    /// The next pixel is the first of the next row.
    EndOfRow,
    /// The next pixel is that far away; those between have the palette's first colour.
    Skip {
        /// Columns to the right.
        right: u8,
        /// Rows onward.
        down: u8,
    },
    /// All that follow have the palette's first colour.
    End,
}

/// The steps of `pixels`, as far as they are whole.
pub fn runs(pixels: &[u8], compression: Compression) -> impl Iterator<Item = Run<'_>> {
    let mut rest = pixels;
    std::iter::from_fn(move || {
        let (run, behind) = match rest {
            [0, 0, behind @ ..] => (Run::EndOfRow, behind),
            [0, 1, behind @ ..] => (Run::End, behind),
            [0, 2, right, down, behind @ ..] => (Run::Skip { right: *right, down: *down }, behind),
            [0, 2, ..] => return None,
            [0, count, behind @ ..] => {
                let len = match compression {
                    Compression::Rle4 => usize::from(*count).div_ceil(2),
                    _ => usize::from(*count),
                };
                let values = behind.get(..len)?;
                // Lists are padded to an even length, which the last one may lack.
                let behind = behind.get(len.next_multiple_of(2)..).unwrap_or_default();
                (Run::Listed { count: *count, values }, behind)
            }
            [count, value, behind @ ..] => (Run::Repeated { count: *count, value: *value }, behind),
            _ => return None,
        };
        rest = behind;
        Some(run)
    })
}
