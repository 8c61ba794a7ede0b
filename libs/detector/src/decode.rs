//! Picture bytes to pixels.
//!
//! JPEG goes through libjpeg-turbo, whose pixels are the ones that OpenCV and Pillow see; the other formats go
//! through the `image` crate. Whatever a file holds, the result is what `cv2.imread` makes of it: three channels of
//! 8 bits, alpha dropped, turned the way the camera was held.
//!
//! A large JPEG that is going to be scaled down may be decoded at a part of its size ([`decode_reduced_into`]).

mod bmp;
mod gif;
mod jpeg;
mod other_formats;
mod png;
mod reduced;

use domain::picture::{
    self, PictureError, PictureFormat, PictureHeader, PictureLimits, orientation,
};
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

pub(crate) use reduced::Extent;
pub use reduced::ReducedPicture;
use reduced::{DctScale, upright};

/// A decoded picture: RGB, 8 bits, row-major, the right way up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Picture {
    width: u32,
    height: u32,
    /// Always `3 · width · height` bytes.
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture from `rgb`, three bytes for each pixel, row by row; `None` if it has not just as many bytes.
    #[must_use]
    pub fn from_rgb(width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        let len = rgb_len(width, height)?;
        (rgb.len() == len).then_some(Self { width, height, rgb })
    }

    /// Width in pixels; 0 for [`Picture::default`] only.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels; 0 for [`Picture::default`] only.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The pixels, `[height, width, 3]`.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The pixels, `[height, width, 3]`, to be painted on.
    pub fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }

    /// Turns the picture upright.
    fn orient(&mut self, orientation: Orientation) {
        if orientation == Orientation::NoTransforms {
            return;
        }
        let Self { width, height, rgb } = std::mem::take(self);
        if let Some(stored) = RgbImage::from_raw(width, height, rgb) {
            let mut turned = DynamicImage::ImageRgb8(stored);
            turned.apply_orientation(orientation);
            let turned = turned.into_rgb8();
            (self.width, self.height) = turned.dimensions();
            self.rgb = turned.into_raw();
        }
    }
}

/// The bytes of an RGB picture, or `None` where they cannot be counted.
fn rgb_len(width: u32, height: u32) -> Option<usize> {
    (width as usize).checked_mul(height as usize)?.checked_mul(3)
}

/// What is wrong with the pixels of a picture that decodes all the same, for people. Empty where all of them are as they
/// were coded.
pub type Warnings = Vec<String>;

/// Why bytes did not become a picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The file was refused before any pixel was decoded.
    #[error(transparent)]
    Refused(#[from] PictureError),
    /// The header is good, and the pixels are not.
    #[error("the pixels of this {format} picture do not decode: {detail}")]
    Pixels {
        /// The format of the file.
        format: PictureFormat,
        /// What the decoder said.
        detail: String,
    },
}

/// Decodes a JPEG, PNG, WebP, BMP or GIF (the first frame of an animation), whatever [`decode_into`] warns of.
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
/// Where coded pixels are damaged, or end early within a file that has an end, the picture is what `cv2.imread` makes
/// of them, and the warnings say so. After an error, `picture` is some picture or other.
///
/// # Errors
/// As [`decode`].
pub fn decode_into(
    bytes: &[u8],
    limits: &PictureLimits,
    picture: &mut Picture,
) -> Result<Warnings, DecodeError> {
    let header = picture::inspect(bytes, limits)?;
    let warnings = match header.format {
        PictureFormat::Jpeg => jpeg::decode_into(bytes, &header, DctScale::Whole, picture)?.1,
        _ => other_formats::decode_into(bytes, &header, picture)?,
    };
    picture.orient(way_upright(bytes, &header));
    Ok(warnings)
}

/// Decodes for a reader that scales the picture by `scale(width, height)`, a function of its upright size.
///
/// A JPEG that is to become a sixth of its sides or less is decoded at 1/2, 1/4 or 1/8 of them: the smallest that
/// leaves at least three times as many pixels along a side as are needed. This takes less time, and is as good for a
/// detector. Everything else is decoded as by [`decode_into`]. After an error, `picture` is some picture or other.
///
/// # Errors
/// As [`decode`].
pub fn decode_reduced_into(
    bytes: &[u8],
    limits: &PictureLimits,
    scale: impl FnOnce(u32, u32) -> f64,
    picture: &mut ReducedPicture,
) -> Result<Warnings, DecodeError> {
    let header = picture::inspect(bytes, limits)?;
    let orientation = way_upright(bytes, &header);
    let stored = (header.width, header.height);
    let pixels = &mut picture.pixels;
    let (decoded_at, warnings) = match header.format {
        PictureFormat::Jpeg => {
            let (width, height) = upright(stored, orientation);
            let wanted = DctScale::for_scale(scale(width, height));
            jpeg::decode_into(bytes, &header, wanted, pixels)?
        }
        _ => (DctScale::Whole, other_formats::decode_into(bytes, &header, pixels)?),
    };
    picture.orient(stored, decoded_at, orientation);
    Ok(warnings)
}

/// How the stored picture is turned upright, as its EXIF block says.
fn way_upright(bytes: &[u8], header: &PictureHeader) -> Orientation {
    Orientation::from_exif(orientation(bytes, header.format).get())
        .unwrap_or(Orientation::NoTransforms)
}

fn pixels_error(header: &PictureHeader, detail: impl ToString) -> DecodeError {
    DecodeError::Pixels { format: header.format, detail: detail.to_string() }
}
