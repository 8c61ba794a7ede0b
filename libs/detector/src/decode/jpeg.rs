//! JPEG by libjpeg-turbo.
//!
//! The library warns of whatever breaks the format's rules and decodes the file all the same. Its Rust binding gives no
//! picture after a warning about the header, and reports only the first warning of a run. So files with such headers are
//! [repaired](repair) first, and parts that are known to be harmless are removed until a run gives no warning, or one
//! about the pixels.

mod repair;
mod warning;

use std::borrow::Cow;

use domain::picture::{PictureHeader, jpeg};
use turbojpeg::{
    Colorspace, DecompressHeader, Decompressor, Error, Image, PixelFormat, ScalingFactor,
};

use self::warning::LibjpegWarning;
use super::{
    error::{DecodeError, Warnings, pixels_error},
    image_crate,
    picture::{Picture, rgb_len},
    reduced::DctScale,
};

/// The most times that a file is decoded again with a harmless part removed.
const MAX_REPAIRS: usize = 2;
/// The most pixels, counted once per scan, of a file that is decoded more than once.
const MAX_REPAIRED_PIXELS: u64 = 1 << 29;

/// Decodes to `picture` as stored, and returns the scale: `wanted`, or whole for kinds of JPEG that cannot be scaled.
///
/// Damaged pixels are decoded as far as possible, as by OpenCV, with a warning.
pub(super) fn decode_into(
    bytes: &[u8],
    header: &PictureHeader,
    wanted: DctScale,
    picture: &mut Picture,
) -> Result<(DctScale, Warnings), DecodeError> {
    let fail = |error: Error| pixels_error(header, error);
    let mut decompressor = Decompressor::new().map_err(fail)?;
    // The header check has counted the scans; libjpeg-turbo may count others.
    decompressor.set_scan_limit(jpeg::MAX_SCANS as u32).map_err(fail)?;
    let mut file = repair::with_sequential_scans(bytes);
    let stored = match read_header(&mut decompressor, &mut file) {
        Ok(stored) => stored,
        // Colours that libjpeg-turbo has no name for.
        Err(Error::BadColorspace(_) | Error::BadSubsamp(_)) => {
            image_crate::decode_into(bytes, header, picture)
                .map_err(|error| pixels_error(header, error))?;
            return Ok((DctScale::Whole, Warnings::new()));
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
    let (width, height) = (picture.width as usize, picture.height as usize);
    let image = |pixels, format: PixelFormat| Image {
        pixels,
        width,
        pitch: width * format.size(),
        height,
        format,
    };
    let warning = match stored.colorspace {
        Colorspace::CMYK | Colorspace::YCCK => {
            let mut cmyk = vec![0; len / 3 * 4];
            let inks = image(cmyk.as_mut_slice(), PixelFormat::CMYK);
            let warning = decompress(&mut decompressor, &mut file, inks, header);
            cmyk_to_rgb(&cmyk, &mut picture.rgb);
            warning
        }
        _ => {
            let colours = image(picture.rgb.as_mut_slice(), PixelFormat::RGB);
            decompress(&mut decompressor, &mut file, colours, header)
        }
    };
    let warnings = warning.map_err(fail)?.iter().map(LibjpegWarning::to_string).collect();
    Ok((scale, warnings))
}

/// Reads the header of `file`, repaired where libjpeg-turbo warns of it.
fn read_header(
    decompressor: &mut Decompressor,
    file: &mut Cow<'_, [u8]>,
) -> Result<DecompressHeader, Error> {
    match decompressor.read_header(file) {
        Err(error) if LibjpegWarning::of(&error).is_some() => {
            *file = Cow::Owned(repair::sanitized(file));
            decompressor.read_header(file)
        }
        result => result,
    }
}

fn scaling_factor(scale: DctScale) -> ScalingFactor {
    match scale {
        DctScale::Eighth => ScalingFactor::ONE_EIGHTH,
        DctScale::Quarter => ScalingFactor::ONE_QUARTER,
        DctScale::Half => ScalingFactor::ONE_HALF,
        DctScale::Whole => ScalingFactor::ONE,
    }
}

/// How often `file` may be decoded again: never where one time takes long.
fn allowed_repairs(file: &[u8], header: &PictureHeader) -> usize {
    let scans = jpeg::segments(file).filter(|segment| segment.marker == jpeg::START_OF_SCAN);
    let pixels = u64::from(header.width) * u64::from(header.height);
    // Cannot overflow: sizes and scans are limited.
    if pixels * scans.count() as u64 > MAX_REPAIRED_PIXELS { 0 } else { MAX_REPAIRS }
}

/// Decodes `file`, and returns the warning about its pixels.
fn decompress(
    decompressor: &mut Decompressor,
    file: &mut Cow<'_, [u8]>,
    mut image: Image<&mut [u8]>,
    header: &PictureHeader,
) -> Result<Option<LibjpegWarning>, Error> {
    let mut run = |file: &[u8]| {
        // A warning is returned as an error, with all pixels decoded as far as possible.
        match decompressor.decompress(file, image.as_deref_mut()) {
            Ok(()) => Ok(None),
            Err(error) => LibjpegWarning::of(&error).map(Some).ok_or(error),
        }
    };
    let mut outcome = run(file);
    if matches!(outcome, Ok(None)) {
        return Ok(None);
    }
    // The file before its padding was removed.
    let mut padded = None;
    for _ in 0..allowed_repairs(file, header) {
        let repaired = match &outcome {
            Ok(Some(LibjpegWarning::Header)) => Some(repair::sanitized(file)),
            Ok(Some(LibjpegWarning::Extraneous { count, marker })) => {
                let unpadded = repair::without_padding(file, *count, *marker);
                padded = padded.or_else(|| Some(file.clone()));
                unpadded
            }
            Ok(_) => None,
            Err(_) => repair::ended_after_pixels(file),
        };
        let Some(repaired) = repaired else { break };
        outcome = run(&repaired);
        *file = Cow::Owned(repaired);
    }
    match padded {
        // The file is damaged in another way, or these bytes were no padding: it is decoded as it is.
        Some(padded) if file.len() < padded.len() && !matches!(outcome, Ok(None)) => run(&padded),
        _ => outcome,
    }
}

/// OpenCV's conversion (`icvCvt_CMYK2BGR_8u_C4C3R`). The four inks are stored inverted, as Photoshop
/// does and all programs have adopted.
fn cmyk_to_rgb(cmyk: &[u8], rgb: &mut [u8]) {
    let pixels = cmyk.as_chunks::<4>().0.iter().zip(rgb.as_chunks_mut::<3>().0);
    for ([cyan, magenta, yellow, key], out) in pixels {
        let key = u32::from(*key);
        let colour = |ink: &u8| (key - (((255 - u32::from(*ink)) * key) >> 8)) as u8;
        *out = [colour(cyan), colour(magenta), colour(yellow)];
    }
}
