//! JPEG by libjpeg-turbo.

use domain::picture::{PictureHeader, jpeg};
use image::metadata::Orientation;
use turbojpeg::{Colorspace, Decompressor, Error, Image, PixelFormat, ScalingFactor};

use super::reduced::DctScale;
use super::{DecodeError, Picture, other_formats, pixels_error, rgb_len};

/// Warnings of libjpeg after which all pixels are still right, by a part of their text: it gives no other name.
const HARMLESS_WARNINGS: [&str; 4] = [
    "extraneous bytes before marker",
    "bad ICC marker",
    "unknown JFIF revision number",
    "Unknown Adobe color transform code",
];

/// Decodes to `picture` as stored, and tells how to turn it upright and at what scale it was decoded: as `wanted`, or
/// whole where the file's kind has no other.
pub(super) fn decode_into(
    bytes: &[u8],
    header: &PictureHeader,
    wanted: DctScale,
    picture: &mut Picture,
) -> Result<(Orientation, DctScale), DecodeError> {
    let fail = |error: Error| pixels_error(header, error);
    let mut decompressor = Decompressor::new().map_err(fail)?;
    // The header check has counted them; this is for what the two may see differently.
    decompressor.set_scan_limit(jpeg::MAX_SCANS as u32).map_err(fail)?;
    let stored = match decompressor.read_header(bytes) {
        Ok(stored) => stored,
        // Colours that libjpeg-turbo has no name for.
        Err(Error::BadColorspace(_) | Error::BadSubsamp(_)) => {
            let orientation = other_formats::decode_into(bytes, header, picture)?;
            return Ok((orientation, DctScale::Whole));
        }
        Err(error) => return Err(fail(error)),
    };
    if (stored.width, stored.height) != (header.width as usize, header.height as usize) {
        return Err(pixels_error(header, "it has two headers that differ in size"));
    }
    // A lossless JPEG has no frequencies to choose from.
    let scale = if stored.is_lossless { DctScale::Whole } else { wanted };
    let factor = scaling_factor(scale);
    decompressor.set_scaling_factor(factor).map_err(fail)?;
    picture.width = factor.scale(stored.width) as u32;
    picture.height = factor.scale(stored.height) as u32;
    let len = rgb_len(picture.width, picture.height)
        .ok_or_else(|| pixels_error(header, "its size overflows"))?;
    picture.rgb.resize(len, 0);
    let size = (picture.width as usize, picture.height as usize);
    match stored.colorspace {
        Colorspace::CMYK | Colorspace::YCCK => {
            let mut cmyk = vec![0; len / 3 * 4];
            decompress(&mut decompressor, bytes, size, (&mut cmyk, PixelFormat::CMYK))
                .map_err(fail)?;
            cmyk_to_rgb(&cmyk, &mut picture.rgb);
        }
        _ => {
            let pixels = (picture.rgb.as_mut_slice(), PixelFormat::RGB);
            decompress(&mut decompressor, bytes, size, pixels).map_err(fail)?;
        }
    }
    Ok((orientation(bytes), scale))
}

/// How the stored picture is turned upright, as its EXIF block says.
pub(super) fn orientation(bytes: &[u8]) -> Orientation {
    jpeg::exif(bytes).and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms)
}

fn scaling_factor(scale: DctScale) -> ScalingFactor {
    match scale {
        DctScale::Eighth => ScalingFactor::ONE_EIGHTH,
        DctScale::Quarter => ScalingFactor::ONE_QUARTER,
        DctScale::Half => ScalingFactor::ONE_HALF,
        DctScale::Whole => ScalingFactor::ONE,
    }
}

fn decompress(
    decompressor: &mut Decompressor,
    bytes: &[u8],
    (width, height): (usize, usize),
    (pixels, format): (&mut [u8], PixelFormat),
) -> Result<(), Error> {
    let pitch = width * format.size();
    match decompressor.decompress(bytes, Image { pixels, width, pitch, height, format }) {
        // A warning comes back as an error, with all pixels decoded as far as they go.
        Err(Error::TurboJpegError(message))
            if HARMLESS_WARNINGS.iter().any(|harmless| message.contains(harmless)) =>
        {
            Ok(())
        }
        result => result,
    }
}

/// OpenCV's conversion (`icvCvt_CMYK2BGR_8u_C4C3R`). The four inks are stored upside down, as all
/// programs have done since Photoshop did.
fn cmyk_to_rgb(cmyk: &[u8], rgb: &mut [u8]) {
    let pixels = cmyk.as_chunks::<4>().0.iter().zip(rgb.as_chunks_mut::<3>().0);
    for ([cyan, magenta, yellow, key], out) in pixels {
        let key = u32::from(*key);
        let colour = |ink: &u8| (key - (((255 - u32::from(*ink)) * key) >> 8)) as u8;
        *out = [colour(cyan), colour(magenta), colour(yellow)];
    }
}
