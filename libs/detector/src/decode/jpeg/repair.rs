//! Repaired copies of JPEG files, without what libjpeg-turbo warns of or stops at although no pixel depends on it.
//!
//! A copy differs from its file only in bytes that no pixel depends on. It decodes to what libjpeg decodes the file to.

use std::borrow::Cow;

use domain::picture::jpeg::{
    APP0, APP15, COMMENT, END_OF_IMAGE, MARKER, START_OF_SCAN, Segment, is_start_of_frame, segments,
};

const START_OF_IMAGE: [u8; 2] = [MARKER, 0xD8];
const APP14: u8 = 0xEE;
const RESTART_INTERVAL: u8 = 0xDD;
/// Of `JFIF` segments: name, version, density and the size of a thumbnail.
const JFIF_LEN: usize = 14;
const JFIF_MAJOR_VERSION_AT: usize = 5;
/// Of `Adobe` segments: name, version, flags and the transform of the colours.
const ADOBE_LEN: usize = 12;
const ADOBE_TRANSFORM_AT: usize = 11;

/// The parameters that a scan of a sequential JPEG must have: all coefficients, in full precision. Some phones write
/// others; decoders ignore them, except for a warning.
const SEQUENTIAL_PARAMETERS: [u8; 3] = [0, 63, 0];

/// The frame header.
#[derive(Default)]
struct Frame {
    /// Baseline or extended, by Huffman or arithmetic codes.
    is_sequential: bool,
    components: u8,
}

impl Frame {
    fn of(bytes: &[u8]) -> Self {
        let Some(segment) = segments(bytes).find(|segment| is_start_of_frame(segment.marker))
        else {
            return Self::default();
        };
        Self {
            is_sequential: is_sequential(segment.marker),
            components: bytes.get(segment.payload.start + 5).copied().unwrap_or_default(),
        }
    }

    /// The colour transform that libjpeg assumes for an unknown one.
    fn known_transform(&self, named: u8) -> u8 {
        match (self.components, named) {
            (3, 0 | 1) | (4, 0 | 2) => named,
            (3, _) => 1,
            (4, _) => 2,
            _ => named,
        }
    }
}

/// The file, with corrected scan parameters if it is sequential and those of the first scan are wrong.
pub(super) fn with_sequential_scans(bytes: &[u8]) -> Cow<'_, [u8]> {
    let of_interest =
        |segment: &Segment| segment.marker == START_OF_SCAN || is_sequential(segment.marker);
    let mut found = segments(bytes).filter(of_interest);
    let is_odd = found
        .next()
        .filter(|first| first.marker != START_OF_SCAN)
        .and_then(|_| found.next())
        .and_then(|scan| scan_parameters(bytes, &scan))
        .is_some_and(|parameters| parameters != SEQUENTIAL_PARAMETERS);
    if is_odd { Cow::Owned(sanitized(bytes)) } else { Cow::Borrowed(bytes) }
}

/// Whether a marker starts a sequential frame: baseline or extended, by Huffman or arithmetic codes.
fn is_sequential(marker: u8) -> bool {
    matches!(marker, 0xC0 | 0xC1 | 0xC9)
}

/// The three bytes behind the list of a scan's components; `None` for a header of the wrong length.
fn scan_parameters<'a>(bytes: &'a [u8], segment: &Segment) -> Option<&'a [u8]> {
    let payload = bytes.get(segment.payload.clone())?;
    let list = 1 + 2 * usize::from(*payload.first()?);
    (payload.len() == list + SEQUENTIAL_PARAMETERS.len()).then_some(payload.get(list..)?)
}

/// The file without bytes between its segments and without segments that no pixel depends on, and with the JFIF version,
/// colour transform and scan parameters that libjpeg assumes.
pub(super) fn sanitized(bytes: &[u8]) -> Vec<u8> {
    let frame = Frame::of(bytes);
    let mut sanitized = bytes.get(..2).unwrap_or_default().to_vec();
    let (mut is_header, mut is_behind_pixels) = (true, false);
    // How much of the file has been copied or dropped.
    let mut done = 2;
    for segment in segments(bytes) {
        // A second start of image is kept: libjpeg rejects such a file.
        if !is_behind_pixels && !has_start_of_image(bytes.get(done..segment.marker_at)) {
            done = segment.marker_at;
        }
        let end = segment.payload.end.min(bytes.len());
        if is_header && is_irrelevant(bytes, &segment) {
            done = end;
            continue;
        }
        // Coded pixels, and bytes between segments that are kept.
        sanitized.extend(bytes.get(done..segment.payload.start).unwrap_or_default());
        let payload_at = sanitized.len();
        sanitized.extend(bytes.get(segment.payload.start..end).unwrap_or_default());
        correct(&mut sanitized[payload_at..], &segment, &frame);
        done = end;
        // From here on a marker may be due to damaged pixels. It is kept, since it ends them.
        is_behind_pixels = segment.marker == START_OF_SCAN;
        is_header &= !is_behind_pixels;
    }
    sanitized.extend(bytes.get(done..).unwrap_or_default());
    sanitized
}

fn has_start_of_image(between: Option<&[u8]>) -> bool {
    between.is_some_and(|bytes| bytes.windows(2).any(|pair| pair == START_OF_IMAGE))
}

/// Whether no pixel depends on a segment of the header: so for all application segments but those that define the
/// colours.
fn is_irrelevant(bytes: &[u8], segment: &Segment) -> bool {
    let payload = bytes.get(segment.payload.clone()).unwrap_or_default();
    match segment.marker {
        APP0 => !is_jfif(payload),
        APP14 => !is_adobe(payload),
        APP0..=APP15 | COMMENT => true,
        _ => false,
    }
}

fn is_jfif(payload: &[u8]) -> bool {
    payload.starts_with(b"JFIF\0") && payload.len() >= JFIF_LEN
}

fn is_adobe(payload: &[u8]) -> bool {
    payload.starts_with(b"Adobe") && payload.len() >= ADOBE_LEN
}

fn correct(payload: &mut [u8], segment: &Segment, frame: &Frame) {
    match segment.marker {
        APP0 if is_jfif(payload) => payload[JFIF_MAJOR_VERSION_AT] = 1,
        APP14 if is_adobe(payload) => {
            payload[ADOBE_TRANSFORM_AT] = frame.known_transform(payload[ADOBE_TRANSFORM_AT]);
        }
        START_OF_SCAN if frame.is_sequential => {
            let list = payload.first().map_or(0, |components| 1 + 2 * usize::from(*components));
            if let Some(parameters) = payload.get_mut(list..)
                && parameters.len() == SEQUENTIAL_PARAMETERS.len()
            {
                parameters.copy_from_slice(&SEQUENTIAL_PARAMETERS);
            }
        }
        _ => {}
    }
}

/// The file without runs of `count` zero bytes between coded pixels and `marker`; `None` where there are none.
pub(super) fn without_padding(bytes: &[u8], count: usize, marker: u8) -> Option<Vec<u8>> {
    let pixels_at = segments(bytes).find(|segment| segment.marker == START_OF_SCAN)?.payload.end;
    let mut kept = bytes.get(..pixels_at)?.to_vec();
    let mut zeros = 0;
    let mut rest = bytes.get(pixels_at..)?;
    while let [byte, behind @ ..] = rest {
        let unit = match (byte, behind) {
            // 0xFF 0x00 is one stuffed byte.
            (&MARKER, [0, ..]) => 2,
            _ => 1,
        };
        let (unit, behind) = rest.split_at(unit);
        if zeros >= count && rest.starts_with(&[MARKER, marker]) {
            kept.truncate(kept.len() - count);
        }
        zeros = if unit == [0] { zeros + 1 } else { 0 };
        kept.extend(unit);
        rest = behind;
    }
    (kept.len() < bytes.len()).then_some(kept)
}

/// The file with its end marker right behind the pixels of its first scan, which must hold all components.
///
/// OpenCV stops after the last row. libjpeg-turbo reads on to the end marker, and returns no pixels if it meets an
/// unknown marker before. `None` where the file already ends there.
pub(super) fn ended_after_pixels(bytes: &[u8]) -> Option<Vec<u8>> {
    let frame = Frame::of(bytes);
    let scan = segments(bytes).find(|segment| segment.marker == START_OF_SCAN)?;
    let components = *bytes.get(scan.payload.start)?;
    if !frame.is_sequential || components != frame.components {
        return None;
    }
    let pixels = bytes.get(scan.payload.end..)?;
    let len = pixels_len(pixels, has_restarts(bytes));
    let mut ended = bytes.get(..scan.payload.end + len)?.to_vec();
    ended.extend([MARKER, END_OF_IMAGE]);
    (!bytes.starts_with(&ended)).then_some(ended)
}

/// Whether the header defines a restart interval.
fn has_restarts(bytes: &[u8]) -> bool {
    segments(bytes)
        .take_while(|segment| segment.marker != START_OF_SCAN)
        .filter(|segment| segment.marker == RESTART_INTERVAL)
        .last()
        .is_some_and(|segment| {
            bytes.get(segment.payload).is_some_and(|interval| interval != [0, 0])
        })
}

/// The length of the coded pixels: up to the first marker, or with restart markers, the first behind the last of them.
///
/// libjpeg skips markers below 0xC0, which do not exist, when it looks for a restart marker, and only then.
fn pixels_len(pixels: &[u8], has_restarts: bool) -> usize {
    let mut end = None;
    for (at, pair) in pixels.windows(2).enumerate() {
        match pair {
            [MARKER, 0x00 | MARKER] => {}
            [MARKER, 0xD0..=0xD7] if has_restarts => end = None,
            [MARKER, 0x01..=0xBF] => end = end.or(Some(at)),
            [MARKER, _] => return end.unwrap_or(at),
            _ => {}
        }
    }
    end.unwrap_or(pixels.len())
}
