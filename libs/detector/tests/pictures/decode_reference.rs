//! Small files of every kind against the pixels that `cv2.imread` sees.

use detector::decode::{Picture, decode, decode_into};
use domain::picture::{PictureLimits, inspect};

use crate::support::{LIMITS, golden, golden_pictures, read};

/// The most that a value may differ. Only lossy WebP may at all: two decoders round its colours differently.
fn tolerance(name: &str) -> u8 {
    if name == "lossy.webp" { 2 } else { 0 }
}

#[test]
fn every_kind_of_file_as_opencv_sees_it() {
    for (name, bytes) in golden_pictures() {
        let expected = read(&golden("files").join(format!("{name}.expected.png")));
        let expected = decode(&expected, &LIMITS).expect("a good PNG");
        let got = decode(&bytes, &LIMITS).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((got.width(), got.height()), (38, 26), "{name}");
        let differences = got.rgb().iter().zip(expected.rgb()).map(|(a, b)| a.abs_diff(*b));
        let largest = differences.max().expect("pixels");
        assert!(largest <= tolerance(&name), "{name}: differs by up to {largest}");
    }
}

#[test]
fn the_header_agrees_with_the_decoder() {
    for (name, bytes) in golden_pictures() {
        let header = inspect(&bytes, &LIMITS).unwrap_or_else(|error| panic!("{name}: {error}"));
        let by_image = image::load_from_memory(&bytes).expect("the image crate reads it too");
        assert_eq!((header.width, header.height), (by_image.width(), by_image.height()), "{name}");
    }
}

#[test]
fn one_picture_after_another_into_the_same_memory() {
    let mut picture = Picture::default();
    for (name, bytes) in golden_pictures() {
        decode_into(&bytes, &LIMITS, &mut picture).expect("a good picture");
        assert_eq!(picture, decode(&bytes, &LIMITS).expect("a good picture"), "{name}");
    }
}

#[test]
fn limits_are_the_callers() {
    let limits = PictureLimits { max_pixels: 38 * 26 - 1, ..LIMITS };
    for (name, bytes) in golden_pictures() {
        assert!(decode(&bytes, &limits).is_err(), "{name}");
    }
}
