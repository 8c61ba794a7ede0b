//! JPEG by libjpeg-turbo.
//!
//! The library warns of whatever is odd in a file and decodes it all the same. Its Rust binding gives no picture after a
//! warning about the header, and shows no more than the first warning of a run. So files whose headers are odd are
//! [tidied](tidy) first, and what is known to be harmless is taken out until a run is silent or says what is wrong with
//! the pixels.

mod complaint;
mod tidy;

use std::borrow::Cow;

use domain::picture::{PictureHeader, jpeg};
use turbojpeg::{
    Colorspace, DecompressHeader, Decompressor, Error, Image, PixelFormat, ScalingFactor,
};

use self::complaint::Complaint;
use super::reduced::DctScale;
use super::{DecodeError, Picture, Warnings, other_formats, pixels_error, rgb_len};

/// The most runs over one file that leave something harmless out of it.
const MAX_REPAIRS: usize = 2;
/// The most pixels, each counted once for each scan, of a file that is decoded more than once.
const MAX_REPAIRED_PIXELS: u64 = 1 << 29;

/// Decodes to `picture` as stored, and tells at what scale: as `wanted`, or whole where the file's kind has no other.
///
/// Damaged pixels are decoded as far as they go, as OpenCV does, with a warning.
pub(super) fn decode_into(
    bytes: &[u8],
    header: &PictureHeader,
    wanted: DctScale,
    picture: &mut Picture,
) -> Result<(DctScale, Warnings), DecodeError> {
    let fail = |error: Error| pixels_error(header, error);
    let mut decompressor = Decompressor::new().map_err(fail)?;
    // The header check has counted them; this is for what the two may see differently.
    decompressor.set_scan_limit(jpeg::MAX_SCANS as u32).map_err(fail)?;
    let mut file = tidy::with_sequential_scans(bytes);
    let stored = match read_header(&mut decompressor, &mut file) {
        Ok(stored) => stored,
        // Colours that libjpeg-turbo has no name for.
        Err(Error::BadColorspace(_) | Error::BadSubsamp(_)) => {
            let warnings = other_formats::decode_into(bytes, header, picture)?;
            return Ok((DctScale::Whole, warnings));
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
    let complaint = match stored.colorspace {
        Colorspace::CMYK | Colorspace::YCCK => {
            let mut cmyk = vec![0; len / 3 * 4];
            let inks = image(cmyk.as_mut_slice(), PixelFormat::CMYK);
            let complaint = decompress(&mut decompressor, &mut file, inks, header);
            cmyk_to_rgb(&cmyk, &mut picture.rgb);
            complaint
        }
        _ => {
            let colours = image(picture.rgb.as_mut_slice(), PixelFormat::RGB);
            decompress(&mut decompressor, &mut file, colours, header)
        }
    };
    let warnings = complaint.map_err(fail)?.iter().map(Complaint::to_string).collect();
    Ok((scale, warnings))
}

/// Reads the header of `file`, or of `file` without what is odd in it and does not matter.
fn read_header(
    decompressor: &mut Decompressor,
    file: &mut Cow<'_, [u8]>,
) -> Result<DecompressHeader, Error> {
    match decompressor.read_header(file) {
        Err(error) if Complaint::of(&error).is_some() => {
            *file = Cow::Owned(tidy::tidied(file));
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

/// How often a run over `file` may be repeated without something harmless: never where one is slow enough.
fn allowed_repairs(file: &[u8], header: &PictureHeader) -> usize {
    let scans = jpeg::segments(file).filter(|segment| segment.marker == jpeg::START_OF_SCAN);
    let pixels = u64::from(header.width) * u64::from(header.height);
    // Sizes are limited, and scans too.
    if pixels * scans.count() as u64 > MAX_REPAIRED_PIXELS { 0 } else { MAX_REPAIRS }
}

/// Decodes `file`, and gives what is wrong with its pixels.
fn decompress(
    decompressor: &mut Decompressor,
    file: &mut Cow<'_, [u8]>,
    mut image: Image<&mut [u8]>,
    header: &PictureHeader,
) -> Result<Option<Complaint>, Error> {
    let mut run = |file: &[u8]| {
        // A warning comes back as an error, with all pixels decoded as far as they go.
        match decompressor.decompress(file, image.as_deref_mut()) {
            Ok(()) => Ok(None),
            Err(error) => Complaint::of(&error).map(Some).ok_or(error),
        }
    };
    let mut outcome = run(file);
    if matches!(outcome, Ok(None)) {
        return Ok(None);
    }
    // The file before padding was taken out of it.
    let mut padded = None;
    for _ in 0..allowed_repairs(file, header) {
        let repaired = match &outcome {
            Ok(Some(Complaint::Header)) => Some(tidy::tidied(file)),
            Ok(Some(Complaint::Extraneous { count, marker })) => {
                let unpadded = tidy::without_padding(file, *count, *marker);
                padded = padded.or_else(|| Some(file.clone()));
                unpadded
            }
            Ok(_) => None,
            Err(_) => tidy::ended_after_pixels(file),
        };
        let Some(repaired) = repaired else { break };
        outcome = run(&repaired);
        *file = Cow::Owned(repaired);
    }
    match padded {
        // Something else is wrong, or it was no padding: the file is to be decoded as it is.
        Some(padded) if file.len() < padded.len() && !matches!(outcome, Ok(None)) => run(&padded),
        _ => outcome,
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
