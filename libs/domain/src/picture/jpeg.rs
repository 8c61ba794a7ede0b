//! JPEG: a chain of marker segments (ITU-T T.81, annex B).

use std::ops::Range;

use memchr::{memchr, memmem};

use super::fields::{Fields, Flaw, Parsed, Size};

/// The first byte of every marker.
pub const MARKER: u8 = 0xFF;
const START_OF_IMAGE: u8 = 0xD8;
/// The marker behind everything else.
pub const END_OF_IMAGE: u8 = 0xD9;
/// The marker before the parameters and the coded pixels of a scan.
pub const START_OF_SCAN: u8 = 0xDA;
const NUMBER_OF_LINES: u8 = 0xDC;
/// The first marker of segments for applications; `JFIF` is one.
pub const APP0: u8 = 0xE0;
const APP1: u8 = 0xE1;
/// The last marker of segments for applications.
pub const APP15: u8 = 0xEF;
/// The marker of a comment.
pub const COMMENT: u8 = 0xFE;
/// More scans than any encoder makes: a progressive JPEG in colour usually has ten. A file of a few kilobytes with
/// hundreds of them over a huge picture only exists to keep a decoder busy.
pub const MAX_SCANS: usize = 100;

const EXIF_NAME: &[u8] = b"Exif\0\0";

/// A marker of a JPEG and the segment that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The marker's second byte, such as 0xDA for the start of a scan.
    pub marker: u8,
    /// Where the marker's 0xFF is.
    pub marker_at: usize,
    /// The payload, behind the two bytes of length; empty, and behind the marker, for one without a segment. It may
    /// reach beyond the end of the file.
    pub payload: Range<usize>,
}

/// The segments of a JPEG, in their order, to the end marker; or as far as they can be followed.
///
/// Coded pixels, and bytes between segments that are no marker, are skipped.
pub fn segments(bytes: &[u8]) -> impl Iterator<Item = Segment> {
    let mut next = Some(2);
    std::iter::from_fn(move || {
        let segment = next_segment(Fields(bytes), next?).ok()?;
        next = (segment.marker != END_OF_IMAGE).then_some(segment.payload.end);
        Some(segment)
    })
}

/// The next marker at or after `at`.
///
/// Bytes that are no marker are skipped, as libjpeg does: before the first scan they are garbage that real files
/// have, after it they are the coded pixels, in which 0xFF is always followed by 0 or a restart marker.
fn next_segment(fields: Fields<'_>, mut at: usize) -> Parsed<Segment> {
    loop {
        let rest = fields.0.get(at..).ok_or(Flaw::Short)?;
        at += memchr(MARKER, rest).ok_or(Flaw::Short)?;
        let marker = fields.u8(at + 1)?;
        match marker {
            // A run of 0xFF is fill before the marker: the next one may be the marker's own.
            MARKER => at += 1,
            0x00 | 0x01 | 0xD0..=START_OF_IMAGE => at += 2,
            END_OF_IMAGE => return Ok(Segment { marker, marker_at: at, payload: at + 2..at + 2 }),
            _ => {
                let len = usize::from(fields.u16_be(at + 2)?);
                let payload_len = match len.checked_sub(2) {
                    Some(payload_len) => payload_len,
                    // As libjpeg does, which ignores their contents.
                    None if matches!(marker, APP0..=APP15 | COMMENT | NUMBER_OF_LINES) => 0,
                    None => {
                        return Err(Flaw::Damaged(
                            "a segment claims fewer than its own 2 bytes of length",
                        ));
                    }
                };
                let payload_at = at + 4;
                let payload = payload_at..payload_at + payload_len;
                return Ok(Segment { marker, marker_at: at, payload });
            }
        }
    }
}

/// Whether a marker starts a frame: all from 0xC0 to 0xCF do but three between them.
#[must_use]
pub fn is_start_of_frame(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF)
}

/// Width and height out of the frame header.
pub(super) fn size(fields: Fields<'_>) -> Parsed<Size> {
    let mut at = 2;
    loop {
        let Segment { marker, payload, .. } = next_segment(fields, at)?;
        match marker {
            _ if is_start_of_frame(marker) => {
                return Ok(Size {
                    height: u32::from(fields.u16_be(payload.start + 1)?),
                    width: u32::from(fields.u16_be(payload.start + 3)?),
                });
            }
            START_OF_SCAN => return Err(Flaw::Damaged("its pixels start before a frame header")),
            END_OF_IMAGE => return Err(Flaw::Damaged("it ends before a frame header")),
            _ => at = payload.end,
        }
    }
}

/// Walks over all scans to the end marker.
///
/// Segments are skipped by their length, so that the end marker of a thumbnail inside one does not count;
/// bytes after the end marker are ignored. Damaged pixels may look like a segment that leads beyond
/// the end marker, or to none: then any end marker behind the last start of a scan will do.
pub(super) fn check_complete(fields: Fields<'_>) -> Parsed<()> {
    let mut at = 2;
    let mut scans = 0_usize;
    let mut pixels_at = None;
    loop {
        let segment = next_segment(fields, at);
        let Segment { marker, payload, .. } = match (segment, pixels_at) {
            (Ok(segment), _) => segment,
            (Err(_), Some(pixels_at)) if has_end_marker(fields, pixels_at) => return Ok(()),
            (Err(flaw), _) => return Err(flaw),
        };
        match marker {
            END_OF_IMAGE if scans == 0 => return Err(Flaw::Damaged("it has no pixels")),
            END_OF_IMAGE => return Ok(()),
            START_OF_SCAN if scans == MAX_SCANS => {
                return Err(Flaw::Damaged("it has more than 100 scans"));
            }
            START_OF_SCAN => {
                scans += 1;
                pixels_at = Some(payload.end);
            }
            _ => {}
        }
        at = payload.end;
    }
}

fn has_end_marker(fields: Fields<'_>, from: usize) -> bool {
    let rest = fields.0.get(from..).unwrap_or_default();
    memmem::find(rest, &[MARKER, END_OF_IMAGE]).is_some()
}

/// The TIFF structures of a JPEG's EXIF segments before its pixels.
pub(super) fn exif_blocks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    segments(bytes)
        .take_while(|segment| segment.marker != START_OF_SCAN)
        .filter(|segment| segment.marker == APP1)
        .filter_map(|segment| bytes.get(segment.payload)?.strip_prefix(EXIF_NAME))
}
