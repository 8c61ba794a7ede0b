//! The eight EXIF orientations.

use detector::decode::{Picture, decode};
use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

use crate::support::{LIMITS, exif, jpeg, synthetic};

fn by_image_crate(stored: &Picture, mut encoder: impl ImageEncoder, orientation: u8) {
    encoder.set_exif_metadata(exif(orientation)).expect("the format holds EXIF");
    encoder
        .write_image(stored.rgb(), stored.width(), stored.height(), ExtendedColorType::Rgb8)
        .expect("a small picture");
}

/// The picture that a viewer shows, pixel by pixel from the table of the EXIF specification.
fn upright(stored: &Picture, orientation: u8) -> Picture {
    let (w, h) = (stored.width(), stored.height());
    let (width, height) = if orientation < 5 { (w, h) } else { (h, w) };
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (sx, sy) = match orientation {
                1 => (x, y),
                2 => (w - 1 - x, y),
                3 => (w - 1 - x, h - 1 - y),
                4 => (x, h - 1 - y),
                5 => (y, x),
                6 => (y, h - 1 - x),
                7 => (w - 1 - y, h - 1 - x),
                8 => (w - 1 - y, x),
                _ => panic!("there are eight"),
            };
            let at = 3 * (sy * w + sx) as usize;
            rgb.extend(&stored.rgb()[at..at + 3]);
        }
    }
    Picture::from_rgb(width, height, rgb).expect("three bytes a pixel")
}

#[test]
fn all_eight_in_three_formats() {
    let stored = synthetic(19, 11);
    for orientation in 1..=8 {
        let plain = decode(&jpeg(&stored, 1), &LIMITS).expect("a good JPEG");
        let turned = decode(&jpeg(&stored, orientation), &LIMITS).expect("a good JPEG");
        assert_eq!(turned, upright(&plain, orientation), "JPEG, orientation {orientation}");

        let mut png = Vec::new();
        by_image_crate(&stored, PngEncoder::new(&mut png), orientation);
        let turned = decode(&png, &LIMITS).expect("a good PNG");
        assert_eq!(turned, upright(&stored, orientation), "PNG, orientation {orientation}");

        let mut webp = Vec::new();
        by_image_crate(&stored, WebPEncoder::new_lossless(&mut webp), orientation);
        let turned = decode(&webp, &LIMITS).expect("a good WebP");
        assert_eq!(turned, upright(&stored, orientation), "WebP, orientation {orientation}");
    }
}

#[test]
fn nonsense_orientations_change_nothing() {
    let stored = synthetic(19, 11);
    let plain = decode(&jpeg(&stored, 1), &LIMITS).expect("a good JPEG");
    for orientation in [0, 9, 255] {
        assert_eq!(decode(&jpeg(&stored, orientation), &LIMITS), Ok(plain.clone()));
    }
}
