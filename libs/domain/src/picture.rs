//! Format, size, completeness and orientation of a picture, read from its bytes without decoding it.

pub mod bmp;
mod exif;
mod fields;
mod format;
pub mod gif;
pub mod jpeg;
pub mod png;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
pub mod webp;

pub use exif::ExifOrientation;
use fields::{Fields, Flaw, Parsed, Size};
pub use format::PictureFormat;
use format::SignatureError;

/// The limits of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureLimits {
    /// The most bytes of an encoded picture.
    pub max_bytes: u64,
    /// The most pixels (width × height) its header may claim.
    pub max_pixels: u64,
}

impl Default for PictureLimits {
    /// 20 MiB and 64 Mi pixels, enough for cameras that are sold as 64 megapixels: 9280 × 6944 = 64.4 million.
    fn default() -> Self {
        Self { max_bytes: 20 * 1024 * 1024, max_pixels: 64 * 1024 * 1024 }
    }
}

/// The contents of a picture's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureHeader {
    /// The format its first bytes show, whatever its file name says.
    pub format: PictureFormat,
    /// Width in pixels as stored, before any EXIF rotation.
    pub width: u32,
    /// Height in pixels as stored, before any EXIF rotation.
    pub height: u32,
}

/// Why a picture is refused before it is decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// No bytes at all.
    #[error("the picture is empty (0 bytes)")]
    Empty,
    /// The bytes start with no signature of a supported format.
    #[error("these bytes are no JPEG, PNG, WebP, BMP or GIF picture")]
    Unrecognised,
    /// The header breaks its format's rules.
    #[error("the {format} header is damaged: {detail}")]
    Damaged {
        /// The format the first bytes show.
        format: PictureFormat,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The bytes end before the picture does.
    #[error("the {format} picture is cut short: it ends before its last byte")]
    Truncated {
        /// The format the first bytes show.
        format: PictureFormat,
    },
    /// The file is larger than allowed.
    #[error("the picture has more than the {max_bytes} bytes allowed")]
    TooManyBytes {
        /// The limit that was passed.
        max_bytes: u64,
    },
    /// The header claims more pixels than allowed.
    #[error("the picture claims {width}×{height} pixels, more than the {max_pixels} allowed")]
    TooManyPixels {
        /// Width in pixels that the header claims.
        width: u32,
        /// Height in pixels that the header claims.
        height: u32,
        /// The limit that was passed.
        max_pixels: u64,
    },
}

/// Reads format and size of a whole file, checks them against `limits`, and checks that the file is
/// complete, as far as its container shows that without decoding: the end marker of a JPEG, the `IEND` of a PNG,
/// the length fields of WebP and BMP, the end of a GIF's first frame.
///
/// Time is linear in the file's length, and nothing is allocated.
///
/// # Errors
/// [`PictureError`] with what was found wrong.
pub fn inspect(bytes: &[u8], limits: &PictureLimits) -> Result<PictureHeader, PictureError> {
    if bytes.is_empty() {
        return Err(PictureError::Empty);
    }
    let Some(header) = inspect_header(bytes, limits)? else {
        return Err(match PictureFormat::of_signature(bytes) {
            Ok(format) => PictureError::Truncated { format },
            Err(_) => PictureError::Unrecognised,
        });
    };
    let format = header.format;
    let fields = Fields(bytes);
    match format {
        PictureFormat::Jpeg => jpeg::check_complete(fields),
        PictureFormat::Png => png::check_complete(fields),
        PictureFormat::WebP => webp::check_complete(fields),
        PictureFormat::Bmp => bmp::check_complete(fields),
        PictureFormat::Gif => gif::check_complete(fields),
    }
    .map_err(|flaw| match flaw {
        Flaw::Short => PictureError::Truncated { format },
        Flaw::Damaged(detail) => PictureError::Damaged { format, detail },
    })?;
    Ok(header)
}

/// Reads format and size from the first bytes of a file that has not arrived in full.
///
/// `None` means that more bytes are needed: call it again with a longer prefix. So an upload can be refused
/// long before its last byte.
///
/// # Errors
/// [`PictureError`], though never [`PictureError::Empty`] or [`PictureError::Truncated`].
pub fn inspect_header(
    prefix: &[u8],
    limits: &PictureLimits,
) -> Result<Option<PictureHeader>, PictureError> {
    if prefix.len() as u64 > limits.max_bytes {
        return Err(PictureError::TooManyBytes { max_bytes: limits.max_bytes });
    }
    let format = match PictureFormat::of_signature(prefix) {
        Ok(format) => format,
        Err(SignatureError::TooShort) => return Ok(None),
        Err(SignatureError::Unknown) => return Err(PictureError::Unrecognised),
    };
    match claimed_size(format, prefix) {
        Ok(Size { width, height }) => {
            let max_pixels = limits.max_pixels;
            // Two u32 factors cannot overflow a u64.
            if u64::from(width) * u64::from(height) > max_pixels {
                return Err(PictureError::TooManyPixels { width, height, max_pixels });
            }
            Ok(Some(PictureHeader { format, width, height }))
        }
        Err(Flaw::Short) => Ok(None),
        Err(Flaw::Damaged(detail)) => Err(PictureError::Damaged { format, detail }),
    }
}

/// How a picture of `format` is to be turned upright, as OpenCV reads its EXIF blocks.
///
/// BMP and GIF have none. Damaged blocks are ignored: they are no reason to refuse good pixels.
#[must_use]
pub fn orientation(bytes: &[u8], format: PictureFormat) -> ExifOrientation {
    match format {
        PictureFormat::Jpeg => ExifOrientation::of_first(jpeg::exif_blocks(bytes)),
        PictureFormat::Png => ExifOrientation::of_first(png::exif_blocks(bytes)),
        PictureFormat::WebP => ExifOrientation::of_first(webp::exif_block(bytes)),
        PictureFormat::Bmp | PictureFormat::Gif => ExifOrientation::UPRIGHT,
    }
}

fn claimed_size(format: PictureFormat, bytes: &[u8]) -> Parsed<Size> {
    let fields = Fields(bytes);
    let size = match format {
        PictureFormat::Jpeg => jpeg::size(fields),
        PictureFormat::Png => png::size(fields),
        PictureFormat::WebP => webp::size(fields),
        PictureFormat::Bmp => bmp::size(fields),
        PictureFormat::Gif => gif::size(fields),
    }?;
    if size.width == 0 || size.height == 0 {
        return Err(Flaw::Damaged("it claims a width or a height of 0 pixels"));
    }
    Ok(size)
}
