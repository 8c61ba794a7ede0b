//! JPEG: a chain of marker segments (ITU-T T.81, annex B).

use super::Size;
use super::fields::{Fields, Flaw, Parsed};

const MARKER: u8 = 0xFF;
const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;
const APP1: u8 = 0xE1;
/// More scans than any encoder makes: a progressive JPEG in colour usually has ten. A file of a few kilobytes with
/// hundreds of them over a huge picture only exists to keep a decoder busy.
pub const MAX_SCANS: usize = 100;

const EXIF_NAME: &[u8] = b"Exif\0\0";

/// A marker and where its segment's payload lies.
struct Segment {
    marker: u8,
    /// Behind the two bytes of length, or behind the marker for one without a segment.
    payload_at: usize,
    payload_len: usize,
}

/// The next marker at or after `at`.
///
/// Bytes that are no marker are skipped, as libjpeg does: before the first scan they are rubbish that real files
/// have, after it they are the coded pixels, in which 0xFF is always followed by 0 or a restart marker.
fn next_segment(fields: Fields<'_>, mut at: usize) -> Parsed<Segment> {
    loop {
        let rest = fields.0.get(at..).ok_or(Flaw::Short)?;
        at += rest.iter().position(|byte| *byte == MARKER).ok_or(Flaw::Short)?;
        let marker = fields.u8(at + 1)?;
        match marker {
            // A run of 0xFF is fill before the marker: the next one may be the marker's own.
            MARKER => at += 1,
            0x00 | 0x01 | 0xD0..=START_OF_IMAGE => at += 2,
            END_OF_IMAGE => return Ok(Segment { marker, payload_at: at + 2, payload_len: 0 }),
            _ => {
                let len = usize::from(fields.u16_be(at + 2)?);
                let payload_len = len.checked_sub(2).ok_or(Flaw::Damaged(
                    "a segment claims fewer than its own 2 bytes of length",
                ))?;
                return Ok(Segment { marker, payload_at: at + 4, payload_len });
            }
        }
    }
}

/// Width and height out of the frame header.
pub(super) fn size(fields: Fields<'_>) -> Parsed<Size> {
    let mut at = 2;
    loop {
        let Segment { marker, payload_at, payload_len } = next_segment(fields, at)?;
        match marker {
            // Every start of frame, which 0xC4, 0xC8 and 0xCC between them are not.
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return Ok(Size {
                    height: u32::from(fields.u16_be(payload_at + 1)?),
                    width: u32::from(fields.u16_be(payload_at + 3)?),
                });
            }
            START_OF_SCAN => return Err(Flaw::Damaged("its pixels start before a frame header")),
            END_OF_IMAGE => return Err(Flaw::Damaged("it ends before a frame header")),
            _ => at = payload_at + payload_len,
        }
    }
}

/// Walks over all scans to the end marker.
///
/// Segments are skipped by their length, so that the end marker of a thumbnail inside one does not count;
/// whatever follows the end marker is nobody's business.
pub(super) fn check_complete(fields: Fields<'_>) -> Parsed<()> {
    let mut at = 2;
    let mut scans = 0_usize;
    loop {
        let Segment { marker, payload_at, payload_len } = next_segment(fields, at)?;
        match marker {
            END_OF_IMAGE if scans == 0 => return Err(Flaw::Damaged("it has no pixels")),
            END_OF_IMAGE => return Ok(()),
            START_OF_SCAN if scans == MAX_SCANS => {
                return Err(Flaw::Damaged("it has more than 100 scans"));
            }
            START_OF_SCAN => scans += 1,
            _ => {}
        }
        at = payload_at + payload_len;
    }
}

/// The TIFF structure of a JPEG's EXIF segment, which among other things says how the camera was held.
///
/// `None` where there is none, or the file is no JPEG.
#[must_use]
pub fn exif(bytes: &[u8]) -> Option<&[u8]> {
    let fields = Fields(bytes);
    let mut at = 2;
    loop {
        let Segment { marker, payload_at, payload_len } = next_segment(fields, at).ok()?;
        if matches!(marker, START_OF_SCAN | END_OF_IMAGE) {
            return None;
        }
        if marker == APP1 {
            let payload = fields.slice(payload_at, payload_len).ok()?;
            if let Some(tiff) = payload.strip_prefix(EXIF_NAME) {
                return Some(tiff);
            }
        }
        at = payload_at + payload_len;
    }
}
