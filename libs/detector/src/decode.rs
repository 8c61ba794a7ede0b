//! Picture bytes to pixels.
//!
//! JPEG goes through libjpeg-turbo, whose pixels are the ones that OpenCV and Pillow see; the other formats go
//! through the `image` crate. The result is that of `cv2.imread`: three channels of 8 bits, alpha dropped, EXIF
//! orientation applied.
//!
//! A large JPEG that will be scaled down may be decoded at a reduced size ([`decode_reduced_into`]).

mod bmp;
mod error;
mod gif;
mod image_crate;
mod jpeg;
mod picture;
mod png;
mod reduced;

use domain::picture::{
    PictureFormat, PictureHeader, PictureLimits, inspect, orientation, webp::without_extensions,
};
use image::metadata::Orientation;

pub use error::{DecodeError, Warnings};
pub use picture::Picture;
pub(crate) use reduced::Extent;
pub use reduced::ReducedPicture;
use reduced::{DctScale, upright};

/// Decodes a JPEG, PNG, WebP, BMP or GIF (the first frame of an animation). Warnings are dropped; see [`decode_into`].
///
/// # Errors
/// [`DecodeError::Refused`] before anything is allocated, when the header claims too much or the file is cut
/// short; [`DecodeError::Pixels`] when its coded pixels do not decode.
pub fn decode(bytes: &[u8], limits: &PictureLimits) -> Result<Picture, DecodeError> {
    let mut picture = Picture::default();
    decode_into(bytes, limits, &mut picture)?;
    Ok(picture)
}

/// [`decode`] into the memory of an earlier picture, which saves the allocation where many are decoded.
///
/// Coded pixels that are damaged, or that end early in a file with an end marker, are decoded as by `cv2.imread`, with
/// a warning. After an error, the content of `picture` is unspecified.
///
/// # Errors
/// As [`decode`].
pub fn decode_into(
    bytes: &[u8],
    limits: &PictureLimits,
    picture: &mut Picture,
) -> Result<Warnings, DecodeError> {
    let header = inspect(bytes, limits)?;
    let (_, warnings) = decode_stored(bytes, &header, DctScale::Whole, picture)?;
    picture.orient(exif_orientation(bytes, &header));
    Ok(warnings)
}

/// Decodes a picture that will be scaled by `scale(width, height)`, a function of its upright size.
///
/// A JPEG that will be scaled to a sixth of its sides or less is decoded at 1/2, 1/4 or 1/8 of them: the smallest that
/// leaves at least three times the pixels that are needed along a side. This takes less time, and detections are as
/// accurate. Everything else is decoded as by [`decode_into`]. After an error, the content of `picture` is unspecified.
///
/// # Errors
/// As [`decode`].
pub fn decode_reduced_into(
    bytes: &[u8],
    limits: &PictureLimits,
    scale: impl FnOnce(u32, u32) -> f64,
    picture: &mut ReducedPicture,
) -> Result<Warnings, DecodeError> {
    let header = inspect(bytes, limits)?;
    let orientation = exif_orientation(bytes, &header);
    let stored = (header.width, header.height);
    let (width, height) = upright(stored, orientation);
    let wanted = DctScale::for_scale(scale(width, height));
    let (decoded_at, warnings) = decode_stored(bytes, &header, wanted, &mut picture.pixels)?;
    picture.orient(stored, decoded_at, orientation);
    Ok(warnings)
}

/// Decodes a picture as stored: a JPEG at the scale `wanted` if it can be scaled, all else whole. Returns the scale.
///
/// A file that the `image` crate rejects is decoded once more without the parts that no pixel depends on: a file that
/// OpenCV or Pillow opens with all its pixels decodes. `docs/pictures.md` has the cases.
fn decode_stored(
    bytes: &[u8],
    header: &PictureHeader,
    wanted: DctScale,
    picture: &mut Picture,
) -> Result<(DctScale, Warnings), DecodeError> {
    match header.format {
        PictureFormat::Jpeg => return jpeg::decode_into(bytes, header, wanted, picture),
        PictureFormat::Bmp => bmp::decode_into(bytes, header, picture),
        PictureFormat::Png => png::decode_into(bytes, header, picture),
        PictureFormat::Gif => gif::decode_into(bytes, header, picture),
        PictureFormat::WebP => {
            image_crate::decode_or_repaired(bytes, header, picture, without_extensions)
        }
    }?;
    Ok((DctScale::Whole, Warnings::new()))
}

/// The picture's EXIF orientation.
fn exif_orientation(bytes: &[u8], header: &PictureHeader) -> Orientation {
    Orientation::from_exif(orientation(bytes, header.format).get())
        .unwrap_or(Orientation::NoTransforms)
}
