//! Windows bitmaps, as OpenCV reads them (`grfmt_bmp.cpp`), and some kinds that OpenCV does not read.

use domain::picture::{
    PictureHeader,
    bmp::{BmpHeader, Compression, Run, header, runs},
};

use super::{
    error::{DecodeError, pixels_error},
    picture::{Picture, rgb_len},
};

/// The most colours of a palette: as many as a pixel of 8 bits has values.
const MAX_COLOURS: usize = 256;
/// Five bits for each of red, green and blue.
const MASKS_16: [u32; 3] = [0x7C00, 0x03E0, 0x001F];
const MASKS_32: [u32; 3] = [0x00FF_0000, 0x0000_FF00, 0x0000_00FF];

/// What is wrong with a bitmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum BmpError {
    #[error("its headers are damaged")]
    Headers,
    #[error("its size overflows")]
    Size,
    #[error("its pixels start behind its end")]
    NoPixels,
    #[error("its masks are no masks")]
    Masks,
    #[error("its pixels have a number of bits that its compression does not allow")]
    BitsPerPixel,
    #[error("its palette has more than 256 colours")]
    Palette,
    #[error("its rows are too long")]
    RowLength,
    #[error("its pixels end early")]
    EndsEarly,
}

/// Decodes to `picture` as stored.
pub(super) fn decode_into(
    bytes: &[u8],
    header: &PictureHeader,
    picture: &mut Picture,
) -> Result<(), DecodeError> {
    decode(bytes, picture).map_err(|error| pixels_error(header, error))
}

fn decode(bytes: &[u8], picture: &mut Picture) -> Result<(), BmpError> {
    let header = header(bytes).ok_or(BmpError::Headers)?;
    (picture.width, picture.height) = (header.width, header.height);
    let len = rgb_len(header.width, header.height).ok_or(BmpError::Size)?;
    let pixels = bytes.get(header.pixels_at..).ok_or(BmpError::NoPixels)?;
    picture.rgb.clear();
    picture.rgb.resize(len, 0);
    match (header.compression, header.bits) {
        (Compression::Rle8, 8) | (Compression::Rle4, 4) => {
            let palette = palette(bytes, &header)?;
            paint_runs(&header, pixels, &palette, &mut picture.rgb);
            Ok(())
        }
        (Compression::None, 1 | 2 | 4 | 8) => {
            let palette = palette(bytes, &header)?;
            let bits = usize::from(header.bits);
            paint_rows(&header, pixels, &mut picture.rgb, |row, column| {
                palette[usize::from(index_at(row, column, bits))]
            })
        }
        (Compression::None | Compression::BitFields, 24) => {
            paint_rows(&header, pixels, &mut picture.rgb, |row, column| {
                let [blue, green, red] = array(row, 3 * column);
                [red, green, blue]
            })
        }
        (Compression::None | Compression::BitFields, 16) => {
            let channels = channels(&header, MASKS_16).ok_or(BmpError::Masks)?;
            paint_rows(&header, pixels, &mut picture.rgb, |row, column| {
                let pixel = u32::from(u16::from_le_bytes(array(row, 2 * column)));
                channels.map(|channel| channel.of(pixel))
            })
        }
        (Compression::None | Compression::BitFields, 32) => {
            let channels = channels(&header, MASKS_32).unwrap_or(MASKS_32.map(Channel::of_mask));
            paint_rows(&header, pixels, &mut picture.rgb, |row, column| {
                let pixel = u32::from_le_bytes(array(row, 4 * column));
                channels.map(|channel| channel.of(pixel))
            })
        }
        _ => Err(BmpError::BitsPerPixel),
    }
}

/// `N` bytes of a row; zeros where it is shorter.
fn array<const N: usize>(row: &[u8], at: usize) -> [u8; N] {
    row.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// The palette index of the pixel at `column`, of 1, 2, 4 or 8 bits; the first pixel is in a byte's highest bits.
fn index_at(row: &[u8], column: usize, bits: usize) -> u8 {
    let per_byte = 8 / bits;
    let byte = row.get(column / per_byte).copied().unwrap_or_default();
    let shift = 8 - bits * (1 + column % per_byte);
    (byte >> shift) & (0xFF_u8 >> (8 - bits))
}

/// All 256 colours: black where the palette has none. The palette ends where the pixels start.
fn palette(bytes: &[u8], header: &BmpHeader) -> Result<[[u8; 3]; MAX_COLOURS], BmpError> {
    let count = match usize::try_from(header.colours) {
        Ok(0) => 1 << header.bits,
        Ok(count @ 1..=MAX_COLOURS) => count,
        _ => return Err(BmpError::Palette),
    };
    let stored = bytes.get(header.palette_at..).unwrap_or_default();
    let stored = match header.pixels_at.checked_sub(header.palette_at) {
        Some(len) if len > 0 => stored.get(..len).unwrap_or(stored),
        _ => stored,
    };
    let mut palette = [[0; 3]; MAX_COLOURS];
    for (colour, stored) in
        palette.iter_mut().zip(stored.chunks_exact(header.colour_len)).take(count)
    {
        *colour = [stored[2], stored[1], stored[0]];
    }
    Ok(palette)
}

/// Decodes uncompressed rows, each pixel by `colour(row, column)`.
fn paint_rows(
    header: &BmpHeader,
    pixels: &[u8],
    rgb: &mut [u8],
    colour: impl Fn(&[u8], usize) -> [u8; 3],
) -> Result<(), BmpError> {
    let row_len = usize::try_from(header.row_len()).map_err(|_| BmpError::RowLength)?;
    let width = header.width as usize;
    let mut rows = pixels.chunks_exact(row_len.max(1));
    for stored in 0..header.height as usize {
        let row = rows.next().ok_or(BmpError::EndsEarly)?;
        for (column, pixel) in row_of(header, stored, rgb).iter_mut().take(width).enumerate() {
            *pixel = colour(row, column);
        }
    }
    Ok(())
}

/// The pixels of the row that is the `stored`th in the file.
fn row_of<'a>(header: &BmpHeader, stored: usize, rgb: &'a mut [u8]) -> &'a mut [[u8; 3]] {
    let (width, height) = (header.width as usize, header.height as usize);
    let row = if header.is_top_down { stored } else { height - 1 - stored };
    rgb.as_chunks_mut::<3>().0.get_mut(row * width..(row + 1) * width).unwrap_or_default()
}

/// Decodes run-length encoded rows; pixels outside all runs get the palette's first colour. A run that is too long for
/// its row is cut.
fn paint_runs(header: &BmpHeader, pixels: &[u8], palette: &[[u8; 3]; MAX_COLOURS], rgb: &mut [u8]) {
    for pixel in rgb.as_chunks_mut::<3>().0 {
        *pixel = palette[0];
    }
    let bits = usize::from(header.bits);
    let (mut stored, mut column) = (0_usize, 0_usize);
    for run in runs(pixels, header.compression) {
        let (count, values, step) = match run {
            Run::EndOfRow => {
                (stored, column) = (stored + 1, 0);
                continue;
            }
            Run::Skip { right, down } => {
                stored += usize::from(down);
                column += usize::from(right);
                continue;
            }
            Run::End => return,
            Run::Repeated { count, value } => (count, &[value][..], 8 / bits),
            Run::Listed { count, values } => (count, values, usize::MAX),
        };
        if stored >= header.height as usize {
            return;
        }
        let row = row_of(header, stored, rgb);
        let free = row.get_mut(column..).unwrap_or_default();
        for (at, pixel) in free.iter_mut().take(usize::from(count)).enumerate() {
            *pixel = palette[usize::from(index_at(values, at % step, bits))];
        }
        column += usize::from(count);
    }
}

/// The bits of one channel in a pixel of 16 or 32 bits.
#[derive(Debug, Clone, Copy)]
struct Channel {
    mask: u32,
    shift: u32,
    bits: u32,
}

impl Channel {
    fn of_mask(mask: u32) -> Self {
        Self { mask, shift: mask.trailing_zeros().min(31), bits: mask.count_ones() }
    }

    /// The channel's value in 8 bits. Like OpenCV, the low bits of a channel of five or six bits are 0.
    fn of(self, pixel: u32) -> u8 {
        let value = (pixel & self.mask) >> self.shift;
        let scaled = match self.bits {
            0 => 0,
            bits @ 1..5 => value * 255 / ((1 << bits) - 1),
            bits @ 5..8 => value << (8 - bits),
            bits => value >> (bits - 8),
        };
        scaled as u8
    }
}

/// The channels of a bitmap with masks, or else of `usual`; `None` where its masks have holes, overlap or are empty.
fn channels(header: &BmpHeader, usual: [u32; 3]) -> Option<[Channel; 3]> {
    let masks = match header.compression {
        Compression::BitFields => header.masks,
        _ => usual,
    };
    let [red, green, blue] = masks;
    let channels = masks.map(Channel::of_mask);
    let has_hole = |channel: &Channel| {
        channel.mask == 0 || (channel.mask >> channel.shift).trailing_ones() != channel.bits
    };
    let overlap = red & green | green & blue | blue & red;
    (overlap == 0 && !channels.iter().any(has_hole)).then_some(channels)
}
