//! Windows bitmap: a file header, an information header, then rows of pixels.

use super::Size;
use super::fields::{Fields, Flaw, Parsed, after};

/// The information header of OS/2 1.x, the only one with 16-bit sides.
const CORE_HEADER_LEN: u32 = 12;
/// The first information header with a compression field.
const INFO_HEADER_LEN: u32 = 40;

const RGB: u32 = 0;
const RLE8: u32 = 1;
const RLE4: u32 = 2;
const BITFIELDS: u32 = 3;
const ALPHA_BITFIELDS: u32 = 6;

/// Width and height out of the information header; a negative height stands for rows from the top down.
pub(super) fn size(fields: Fields<'_>) -> Parsed<Size> {
    match fields.u32_le(14)? {
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

/// Holds the place and length of the pixels against the file's length.
pub(super) fn check_complete(fields: Fields<'_>) -> Parsed<()> {
    let pixels_at = usize::try_from(fields.u32_le(10)?).map_err(|_| Flaw::Short)?;
    let header_len = fields.u32_le(14)?;
    let (bits, compression) = if header_len == CORE_HEADER_LEN {
        (fields.u16_le(24)?, RGB)
    } else if header_len < INFO_HEADER_LEN {
        (fields.u16_le(28)?, RGB)
    } else {
        (fields.u16_le(28)?, fields.u32_le(30)?)
    };
    let pixels_len = match compression {
        RGB | BITFIELDS | ALPHA_BITFIELDS => {
            let Size { width, height } = size(fields)?;
            // Rows are padded to whole groups of 32 bits. u64 holds the product of 16 and 32 bits; the one
            // with the height may not fit, and then no file is that long.
            let row_len = (u64::from(width) * u64::from(bits)).div_ceil(32) * 4;
            row_len.checked_mul(u64::from(height)).ok_or(Flaw::Short)?
        }
        RLE8 | RLE4 => u64::from(fields.u32_le(34)?),
        _ => return Err(Flaw::Damaged("its compression is neither none nor run lengths")),
    };
    let pixels_len = u32::try_from(pixels_len).map_err(|_| Flaw::Short)?;
    if after(pixels_at, pixels_len)? > fields.0.len() {
        return Err(Flaw::Short);
    }
    Ok(())
}
