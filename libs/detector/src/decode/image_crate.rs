//! Decoding by the `image` crate.

use std::io::Cursor;

use domain::picture::{PictureFormat, PictureHeader};
use image::{DynamicImage, ImageError, ImageFormat, ImageReader, Limits};

use super::{
    error::{DecodeError, pixels_error},
    picture::Picture,
};

/// What a decoder may allocate for each pixel: one of 16 bits and four channels, twice over.
const BYTES_PER_PIXEL: u64 = 16;
/// What a decoder may allocate in addition to the pixels.
const WORKING_BYTES: u64 = 32 * 1024 * 1024;

/// Why the `image` crate gives no picture.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImageCrateError {
    #[error(transparent)]
    Decoder(#[from] ImageError),
    #[error("it has two headers that differ in size")]
    TwoSizes,
}

/// Decodes the file. Where the decoder rejects it, `repaired` may give another file to try.
pub(super) fn decode_or_repaired(
    bytes: &[u8],
    header: &PictureHeader,
    picture: &mut Picture,
    repaired: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Result<(), DecodeError> {
    decode_into(bytes, header, picture)
        .or_else(|error| match repaired(bytes) {
            Some(repaired) => decode_into(&repaired, header, picture).map_err(|_| error),
            None => Err(error),
        })
        .map_err(|error| pixels_error(header, error))
}

/// Decodes to `picture` as stored.
pub(super) fn decode_into(
    bytes: &[u8],
    header: &PictureHeader,
    picture: &mut Picture,
) -> Result<(), ImageCrateError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(header.width);
    limits.max_image_height = Some(header.height);
    limits.max_alloc = Some(max_alloc(header));

    let mut reader = ImageReader::with_format(Cursor::new(bytes), image_format(header.format));
    reader.limits(limits);
    let decoded = reader.into_decoder().and_then(DynamicImage::from_decoder)?;
    (picture.width, picture.height) = (decoded.width(), decoded.height());
    if (picture.width, picture.height) != (header.width, header.height) {
        return Err(ImageCrateError::TwoSizes);
    }
    picture.rgb = to_rgb8(decoded);
    Ok(())
}

/// What the decoder of a picture may allocate, in bytes.
pub(super) fn max_alloc(header: &PictureHeader) -> u64 {
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

/// Drops alpha, repeats grey, and keeps the high byte of 16 bits, as `cv2.imread` does. The `image`
/// crate's own conversion would round to the nearest.
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
