//! Truncated files are an error. Damaged files are an error, or decode as far as possible with a warning. None panics.

use detector::decode::{DecodeError, Picture, Warnings, decode, decode_into};
use domain::picture::{PictureError, inspect};

use crate::support::{LIMITS, golden, golden_pictures, read};

#[test]
fn a_file_cut_anywhere() {
    for (name, bytes) in golden_pictures() {
        let whole = decode(&bytes, &LIMITS).expect("a good picture");
        for len in 0..bytes.len() {
            match decode(&bytes[..len], &LIMITS) {
                Err(DecodeError::Refused(_)) => {}
                // Only bytes behind the first frame may be missing, and a PNG's end mark.
                Ok(picture) => {
                    let is_end_mark = name.ends_with(".png") && len + 12 == bytes.len();
                    assert!(name.ends_with(".gif") || is_end_mark, "{name} cut to {len}");
                    assert_eq!(picture, whole, "{name} cut to {len}");
                }
                Err(other) => panic!("{name} cut to {len}: inspect took it, {other}"),
            }
        }
    }
}

#[test]
fn a_changed_byte_does_not_panic() {
    for (name, bytes) in golden_pictures() {
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xFF] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                // A size that is inspected is also the size that is decoded.
                if let Ok(picture) = decode(&changed, &LIMITS) {
                    let header = inspect(&changed, &LIMITS).expect("decode inspects first");
                    let sides = (picture.width(), picture.height());
                    assert_eq!(sides, (header.width, header.height), "{name}: byte {at}");
                }
            }
        }
    }
}

/// The picture, and what is warned of.
fn with_warnings(bytes: &[u8]) -> (Picture, Warnings) {
    let mut picture = Picture::default();
    let warnings = decode_into(bytes, &LIMITS, &mut picture).expect("it decodes");
    (picture, warnings)
}

#[test]
fn a_jpeg_with_a_hole_in_its_pixels() {
    let bytes = read(&golden("files/baseline.jpg"));
    let (whole, none) = with_warnings(&bytes);
    assert_eq!(none, Warnings::new());
    let mut holed = bytes.clone();
    holed.drain(bytes.len() - 120..bytes.len() - 20);
    let (picture, warnings) = with_warnings(&holed);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    // The pixels before the hole are unchanged.
    let first_pixels = ..3 * 24;
    assert!(picture.rgb()[first_pixels] == whole.rgb()[first_pixels]);
    assert!(picture != whole);
}

#[test]
fn bytes_between_a_jpegs_segments_are_harmless() {
    let bytes = read(&golden("files/baseline.jpg"));
    let whole = (decode(&bytes, &LIMITS).expect("a good picture"), Warnings::new());
    let scan = bytes.windows(2).position(|pair| pair == [0xFF, 0xDA]).expect("a scan");
    for (at, rubbish) in [
        (bytes.len() - 2, &[0; 7][..]),
        (bytes.len() - 2, &[0; 40]),
        (20, b"junk"),
        (scan, b"\0\0\0"),
        (scan, b"\xFF\0\xFF\x01\xFF\xD3\xFF\xFF"),
    ] {
        let mut padded = bytes.clone();
        padded.splice(at..at, rubbish.iter().copied());
        assert_eq!(with_warnings(&padded), whole, "{rubbish:?} at {at}");
    }
}

#[test]
fn faults_in_a_jpegs_header_are_harmless() {
    let bytes = read(&golden("files/baseline.jpg"));
    let whole = (decode(&bytes, &LIMITS).expect("a good picture"), Warnings::new());
    let scan = bytes.windows(2).position(|pair| pair == [0xFF, 0xDA]).expect("a scan");
    let parameters = scan + 2 + usize::from(bytes[scan + 3]) - 3;
    let jfif = bytes.windows(5).position(|name| name == b"JFIF\0").expect("a version of JFIF") + 5;
    let with = |at: usize, replaced: usize, by: &[u8]| {
        let mut changed = bytes.clone();
        changed.splice(at..at + replaced, by.iter().copied());
        with_warnings(&changed)
    };
    // As some phones write them, and others.
    for odd in [[0, 0, 0], [0, 63, 0x10], [1, 5, 0xFF], [255, 255, 255]] {
        assert_eq!(with(parameters, 3, &odd), whole, "{odd:?}");
    }
    for version in [0, 2, 255] {
        assert_eq!(with(jfif, 1, &[version]), whole, "JFIF {version}");
    }
    for transform in [2, 3, 255] {
        let adobe = [b"\xFF\xEE\0\x0EAdobe\0\x64\0\0\0\0", &[transform][..]].concat();
        assert_eq!(with(2, 0, &adobe), whole, "Adobe {transform}");
        // Without JFIF, only the Adobe segment defines the colours.
        let alone = [&bytes[..2], &adobe, &bytes[20..]].concat();
        assert_eq!(with_warnings(&alone), whole, "only Adobe {transform}");
    }
    // One of two chunks of a profile, and one that is not of those announced.
    for number in [1, 2, 3] {
        let profile = [b"\xFF\xE2\0\x14ICC_PROFILE\0", &[number, 2][..], b"abcd"].concat();
        assert_eq!(with(2, 0, &profile), whole, "chunk {number} of 2");
    }
    // Segments that claim not even the length of their own length.
    for marker in [0xE0, 0xE5, 0xFE] {
        for len in [0, 1] {
            assert_eq!(with(2, 0, &[0xFF, marker, 0, len]), whole, "{marker:#x} of {len}");
        }
    }
    // Bytes between the last pixel and the end.
    let end = bytes.len() - 2;
    for odd in [&b"\xFF\xE7\0\x04ab"[..], b"\xFF\x45", b"\xFF\xF3\0\x02", b"\xFF\xC4\0\x02"] {
        assert_eq!(with(end, 0, odd), whole, "{odd:?} before the end");
    }
}

/// A harmless fault, of which libjpeg warns first, must not hide damaged pixels.
#[test]
fn a_harmless_fault_does_not_hide_damaged_pixels() {
    let bytes = read(&golden("files/baseline.jpg"));
    let mut holed = bytes.clone();
    holed.drain(bytes.len() - 120..bytes.len() - 20);
    let (picture, warnings) = with_warnings(&holed);
    let scan = bytes.windows(2).position(|pair| pair == [0xFF, 0xDA]).expect("a scan");
    let parameters = scan + 2 + usize::from(bytes[scan + 3]) - 3;
    let mut odd = holed;
    odd.splice(parameters..parameters + 3, [0, 0, 0]);
    odd.splice(scan..scan, *b"junk");
    odd.splice(2..2, *b"\xFF\xE2\0\x14ICC_PROFILE\0\x01\x02abcd");
    assert_eq!(with_warnings(&odd), (picture, warnings));
}

#[test]
fn a_bomb_is_refused_by_its_header() {
    let mut bomb = b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR".to_vec();
    bomb.extend(60_000_u32.to_be_bytes());
    bomb.extend(50_000_u32.to_be_bytes());
    bomb.extend([8, 2, 0, 0, 0, 0, 0, 0, 0]);
    let expected = PictureError::TooManyPixels {
        width: 60_000,
        height: 50_000,
        max_pixels: LIMITS.max_pixels,
    };
    assert_eq!(decode(&bomb, &LIMITS), Err(DecodeError::Refused(expected)));
}
