//! Files cut short, files damaged: an error, never grey pixels and never a panic.

use detector::decode::{DecodeError, decode};
use domain::picture::{PictureError, PictureFormat, inspect};

use crate::support::{LIMITS, golden, golden_pictures, read};

#[test]
fn a_file_cut_anywhere() {
    for (name, bytes) in golden_pictures() {
        let whole = decode(&bytes, &LIMITS).expect("a good picture");
        for len in 0..bytes.len() {
            match decode(&bytes[..len], &LIMITS) {
                Err(DecodeError::Refused(_)) => {}
                // Only bytes behind the first frame may be missing.
                Ok(picture) => {
                    assert!(name.ends_with(".gif"), "{name} cut to {len}");
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

#[test]
fn a_jpeg_with_a_hole_in_its_pixels() {
    let bytes = read(&golden("files/baseline.jpg"));
    let mut holed = bytes.clone();
    holed.drain(bytes.len() - 120..bytes.len() - 20);
    assert!(inspect(&holed, &LIMITS).is_ok(), "its end marker is there");
    let got = decode(&holed, &LIMITS);
    assert!(matches!(got, Err(DecodeError::Pixels { format: PictureFormat::Jpeg, .. })), "{got:?}");
}

#[test]
fn rubbish_between_a_jpegs_segments_is_harmless() {
    let bytes = read(&golden("files/baseline.jpg"));
    let whole = decode(&bytes, &LIMITS).expect("a good picture");
    let mut padded = bytes.clone();
    let end = padded.len() - 2;
    padded.splice(end..end, [0; 7]);
    assert_eq!(decode(&padded, &LIMITS), Ok(whole));
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
