//! PNG, WebP, BMP and GIF by the `image` crate.

use std::io::Cursor;

use domain::picture::{PictureFormat, PictureHeader, webp};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, ImageResult, Limits};

use super::{DecodeError, Picture, pixels_error};

/// What a decoder may allocate for each pixel: one of 16 bits and four channels, twice over.
const BYTES_PER_PIXEL: u64 = 16;
/// What a decoder may allocate beside the pixels.
const WORKING_BYTES: u64 = 32 * 1024 * 1024;

/// Decodes to `picture` as stored, and tells how to turn it upright.
pub(super) fn decode_into(
    bytes: &[u8],
    header: &PictureHeader,
    picture: &mut Picture,
) -> Result<Orientation, DecodeError> {
    let (decoded, orientation) =
        decode(bytes, header).map_err(|error| pixels_error(header, error))?;
    (picture.width, picture.height) = (decoded.width(), decoded.height());
    picture.rgb = to_rgb8(decoded);
    Ok(orientation)
}

fn decode(bytes: &[u8], header: &PictureHeader) -> ImageResult<(DynamicImage, Orientation)> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(header.width);
    limits.max_image_height = Some(header.height);
    let pixels = u64::from(header.width) * u64::from(header.height);
    limits.max_alloc = Some(pixels.saturating_mul(BYTES_PER_PIXEL).saturating_add(WORKING_BYTES));

    let mut reader = ImageReader::with_format(Cursor::new(bytes), image_format(header.format));
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    // A damaged EXIF block is no reason to refuse good pixels.
    let orientation = match header.format {
        // This decoder would allocate whatever length an EXIF chunk claims, up to 4 GiB.
        PictureFormat::WebP => webp::exif(bytes).and_then(Orientation::from_exif_chunk),
        _ => decoder.orientation().ok(),
    }
    .unwrap_or(Orientation::NoTransforms);
    Ok((DynamicImage::from_decoder(decoder)?, orientation))
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
