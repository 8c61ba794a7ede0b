//! PNG, WebP and GIF by the `image` crate, BMP without it.

use std::io::Cursor;

use domain::picture::{PictureFormat, PictureHeader, webp::without_extensions};
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use super::{DecodeError, Picture, Warnings, bmp, gif, pixels_error, png};

/// What a decoder may allocate for each pixel: one of 16 bits and four channels, twice over.
const BYTES_PER_PIXEL: u64 = 16;
/// What a decoder may allocate beside the pixels.
const WORKING_BYTES: u64 = 32 * 1024 * 1024;

/// Decodes to `picture` as stored.
///
/// What the `image` crate refuses is tried once more without what is no part of its pixels: where OpenCV or Pillow opens
/// a file with all of them, so does this. `docs/pictures.md` has the cases.
pub(super) fn decode_into(
    bytes: &[u8],
    header: &PictureHeader,
    picture: &mut Picture,
) -> Result<Warnings, DecodeError> {
    match header.format {
        PictureFormat::Bmp => {
            bmp::decode_into(bytes, picture).map_err(|error| pixels_error(header, error))?;
        }
        PictureFormat::Png => by_image(bytes, header, picture).or_else(|error| {
            let max_alloc = usize::try_from(max_alloc(header)).unwrap_or(usize::MAX);
            png::decode_into(bytes, max_alloc, picture).map_err(|_| pixels_error(header, error))
        })?,
        PictureFormat::Gif => gif::decode_into(bytes, header, picture)?,
        PictureFormat::WebP => {
            by_image_without(bytes, header, picture, without_extensions)?;
        }
        PictureFormat::Jpeg => {
            by_image(bytes, header, picture).map_err(|error| pixels_error(header, error))?;
        }
    }
    Ok(Warnings::new())
}

/// Decodes the file, or what `tidied` leaves of one that the decoder refuses.
pub(super) fn by_image_without(
    bytes: &[u8],
    header: &PictureHeader,
    picture: &mut Picture,
    tidied: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Result<(), DecodeError> {
    by_image(bytes, header, picture)
        .or_else(|error| match tidied(bytes) {
            Some(tidied) => by_image(&tidied, header, picture).map_err(|_| error),
            None => Err(error),
        })
        .map_err(|error| pixels_error(header, error))
}

fn by_image(bytes: &[u8], header: &PictureHeader, picture: &mut Picture) -> Result<(), String> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(header.width);
    limits.max_image_height = Some(header.height);
    limits.max_alloc = Some(max_alloc(header));

    let mut reader = ImageReader::with_format(Cursor::new(bytes), image_format(header.format));
    reader.limits(limits);
    let decoded = reader
        .into_decoder()
        .and_then(DynamicImage::from_decoder)
        .map_err(|error| error.to_string())?;
    (picture.width, picture.height) = (decoded.width(), decoded.height());
    if (picture.width, picture.height) != (header.width, header.height) {
        return Err("it has two headers that differ in size".to_owned());
    }
    picture.rgb = to_rgb8(decoded);
    Ok(())
}

fn max_alloc(header: &PictureHeader) -> u64 {
    let pixels = u64::from(header.width) * u64::from(header.height);
    pixels.saturating_mul(BYTES_PER_PIXEL).saturating_add(WORKING_BYTES)
}

fn image_format(format: PictureFormat) -> ImageFormat {
    match format {
        PictureFormat::Jpeg => ImageFormat::Jpeg,
        PictureFormat::Png => ImageFormat::Png,
        PictureFormat::WebP => ImageFormat::WebP,
        PictureFormat::Bmp => ImageFormat::Bmp,
        PictureFormat::Gif => ImageFormat::Gif,
    }
}

/// Drops alpha, repeats grey, and keeps the high byte of 16 bits, as `cv2.imread` does; the
/// `image` crate's own conversion would round to the nearest.
fn to_rgb8(decoded: DynamicImage) -> Vec<u8> {
    match decoded {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => {
            decoded.into_rgb16().into_raw().into_iter().map(|value| (value >> 8) as u8).collect()
        }
        _ => decoded.into_rgb8().into_raw(),
    }
}
