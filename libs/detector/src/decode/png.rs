//! PNG, including files that strict decoders reject although all pixels are there.

use std::io::Cursor;

use domain::picture::{
    PictureHeader,
    png::{Chunk, chunks},
};
use png::{Decoder, DecodingError, Limits, Transformations};

use super::{
    error::{DecodeError, pixels_error},
    image_crate,
    picture::{Picture, rgb_len},
};

/// Decodes to `picture` as stored.
pub(super) fn decode_into(
    bytes: &[u8],
    header: &PictureHeader,
    picture: &mut Picture,
) -> Result<(), DecodeError> {
    image_crate::decode_into(bytes, header, picture).or_else(|error| {
        let max_alloc = usize::try_from(image_crate::max_alloc(header)).unwrap_or(usize::MAX);
        decode_leniently(bytes, max_alloc, picture).map_err(|_| pixels_error(header, error))
    })
}

/// Decodes the pixels of a PNG by the checksum of their compressed stream, and ignores all that no pixel depends on.
///
/// Like Pillow, this ignores the checksums of the chunks that hold pixels, skips unknown chunks and needs no end
/// marker.
///
/// # Errors
/// What the decoder reports.
fn decode_leniently(
    bytes: &[u8],
    max_alloc: usize,
    picture: &mut Picture,
) -> Result<(), DecodingError> {
    let only_pixels = only_pixels(bytes);
    let mut decoder =
        Decoder::new_with_limits(Cursor::new(only_pixels), Limits { bytes: max_alloc });
    decoder.ignore_checksums(false);
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info()?;
    let len = reader.output_buffer_size().ok_or(DecodingError::LimitsExceeded)?;
    let mut samples = vec![0; len];
    let frame = reader.next_frame(&mut samples)?;
    reader.finish()?;
    let rgb_len = rgb_len(frame.width, frame.height).ok_or(DecodingError::LimitsExceeded)?;
    (picture.width, picture.height) = (frame.width, frame.height);
    picture.rgb.clear();
    picture.rgb.reserve_exact(rgb_len);
    let channels = frame.color_type.samples();
    for pixel in samples.chunks_exact(channels).take(rgb_len / 3) {
        match pixel {
            [grey] | [grey, _] => picture.rgb.extend([*grey; 3]),
            [red, green, blue, ..] => picture.rgb.extend([*red, *green, *blue]),
            [] => {}
        }
    }
    Ok(())
}

/// The file with only the chunks that pixels depend on, with corrected checksums.
fn only_pixels(bytes: &[u8]) -> Vec<u8> {
    let mut kept = bytes.get(..8).unwrap_or_default().to_vec();
    let mut header = None;
    for chunk in chunks(bytes) {
        let is_kept = match &chunk.name {
            b"IHDR" => {
                header.replace(chunk.clone()).is_none_or(|first| !is_same(bytes, &first, &chunk))
            }
            b"PLTE" => is_palette(bytes, header.as_ref()),
            b"IDAT" => {
                kept.extend(chunk.intact(bytes));
                false
            }
            _ => false,
        };
        if is_kept {
            kept.extend(bytes.get(chunk.range()).unwrap_or_default());
        }
    }
    kept.extend(b"\0\0\0\0IEND\xAE\x42\x60\x82");
    kept
}

fn is_same(bytes: &[u8], one: &Chunk, other: &Chunk) -> bool {
    bytes.get(one.data.clone()) == bytes.get(other.data.clone())
}

/// Whether pixels are indices of a palette. Other kinds ignore a palette, which may be damaged.
fn is_palette(bytes: &[u8], header: Option<&Chunk>) -> bool {
    const COLOUR_TYPE_AT: usize = 9;
    const INDEXED: u8 = 3;
    header.is_some_and(|header| bytes.get(header.data.start + COLOUR_TYPE_AT) == Some(&INDEXED))
}
