//! JPEGs decoded at a reduced size: positions do not change, and other files are decoded at full size.

use std::f64::consts::TAU;

use detector::decode::{
    DecodeError, Picture, ReducedPicture, decode, decode_into, decode_reduced_into,
};
use detector::preprocess::letterbox::{
    ChannelOrder, LetterboxSpec, Placement, Preprocessing, Resampling, TargetSize, ValueRange,
    letterbox, letterbox_reduced,
};
use detector::tensor::InputTensor;
use domain::picture::{PictureFormat, inspect};

use crate::support::{LIMITS, golden_pictures, jpeg, synthetic};

const SQUARE: LetterboxSpec = LetterboxSpec {
    target: TargetSize::Rect { long_side: 64, multiple_of: 32 },
    preprocessing: CENTRED,
};
const CENTRED: Preprocessing = Preprocessing {
    placement: Placement::Centre,
    resampling: Resampling::Bilinear,
    channels: ChannelOrder::Rgb,
    range: ValueRange::Byte,
};
const WIDE: LetterboxSpec = LetterboxSpec {
    target: TargetSize::Fixed { width: 96, height: 50 },
    preprocessing: Preprocessing { placement: Placement::TopLeft, ..CENTRED },
};
const STRETCHED: LetterboxSpec = LetterboxSpec {
    target: TargetSize::Fixed { width: 64, height: 40 },
    preprocessing: Preprocessing {
        placement: Placement::Stretch,
        resampling: Resampling::Antialiased,
        ..CENTRED
    },
};
const STRETCHED_AS_FLOATS: LetterboxSpec = LetterboxSpec {
    preprocessing: Preprocessing {
        resampling: Resampling::BilinearFloat,
        ..STRETCHED.preprocessing
    },
    ..STRETCHED
};

/// Scales at which a JPEG is decoded at a half and at a quarter of its sides.
const HALVED: f64 = 0.1;
const QUARTERED: f64 = 0.05;

fn reduced(bytes: &[u8], scale: f64) -> Result<ReducedPicture, DecodeError> {
    let mut picture = ReducedPicture::default();
    decode_reduced_into(bytes, &LIMITS, |_, _| scale, &mut picture)?;
    Ok(picture)
}

fn sides(picture: &Picture) -> (u32, u32) {
    (picture.width(), picture.height())
}

/// Waves of other lengths along both axes in each channel, some 16 to 30 pixels long once scaled to 64. They rise by
/// up to 30 levels a pixel, so a shift by a tenth of a pixel shows.
fn waves(width: u32, height: u32) -> Picture {
    let side = f64::from(width.max(height));
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let place = |at: u32| (f64::from(at) + 0.5) / side;
            for (across, down) in [(4.0, 2.2), (2.5, 3.5), (3.1, 2.7)] {
                let wave = (place(x) * across * TAU).sin() + (place(y) * down * TAU).sin();
                rgb.push((127.5 + 60.0 * wave).round() as u8);
            }
        }
    }
    Picture::from_rgb(width, height, rgb).expect("three bytes a pixel")
}

#[test]
fn positions_are_those_of_the_full_size() {
    // Sides that are one more than whole blocks have the most made-up pixels in their last one.
    for (width, height) in [(1601, 1201), (809, 1041), (521, 641), (640, 480), (449, 393)] {
        let stored = waves(width, height);
        for orientation in 1..=8 {
            let file = jpeg(&stored, orientation);
            let full = decode(&file, &LIMITS).expect("a good JPEG");
            for spec in [SQUARE, WIDE, STRETCHED, STRETCHED_AS_FLOATS] {
                let what = format!("{width}×{height}, orientation {orientation}, {spec:?}");
                let mut small = ReducedPicture::default();
                let scale = |width, height| spec.scale(width, height);
                decode_reduced_into(&file, &LIMITS, scale, &mut small).expect("a good JPEG");
                assert_eq!((small.width(), small.height()), sides(&full), "{what}");
                assert!(small.pixels().rgb().len() < full.rgb().len() / 3, "{what}");

                let (mut got, mut expected) = (InputTensor::default(), InputTensor::default());
                let way_back = letterbox_reduced(&small, &spec, &mut got);
                assert_eq!(way_back, letterbox(&full, &spec, &mut expected), "{what}");
                assert_eq!((got.width, got.height), (expected.width, expected.height), "{what}");
                let differences = got.data.iter().zip(&expected.data).map(|(a, b)| (a - b).abs());
                let largest = differences.fold(0.0, f32::max);
                assert!(largest <= 4.0, "{what}: differs by up to {largest}");
            }
        }
    }
}

#[test]
fn the_scale_decides_how_many_pixels_are_decoded() {
    let file = jpeg(&synthetic(203, 101), 6);
    for (scale, expected) in [
        (1.0, (101, 203)),
        (0.167, (101, 203)),
        (0.166, (51, 102)),
        (0.084, (51, 102)),
        (0.083, (26, 51)),
        (0.042, (26, 51)),
        (0.041, (13, 26)),
        (0.001, (13, 26)),
    ] {
        let picture = reduced(&file, scale).expect("a good JPEG");
        assert_eq!(sides(picture.pixels()), expected, "{scale}");
        assert_eq!((picture.width(), picture.height()), (101, 203), "{scale}");
    }
    // What is asked is the size of the upright picture.
    let mut asked = None;
    let mut ask = |width, height| {
        asked = Some((width, height));
        1.0
    };
    decode_reduced_into(&file, &LIMITS, &mut ask, &mut ReducedPicture::default())
        .expect("a good JPEG");
    assert_eq!(asked, Some((101, 203)));
}

#[test]
fn in_full_size_it_is_the_same_picture_and_the_same_tensor() {
    let mut picture = ReducedPicture::default();
    let (mut got, mut expected) = (InputTensor::default(), InputTensor::default());
    for (name, bytes) in golden_pictures() {
        decode_reduced_into(&bytes, &LIMITS, |_, _| 1.0, &mut picture).expect("a good picture");
        let full = decode(&bytes, &LIMITS).expect("a good picture");
        assert_eq!(*picture.pixels(), full, "{name}");
        let way_back = letterbox_reduced(&picture, &SQUARE, &mut got);
        assert_eq!(way_back, letterbox(&full, &SQUARE, &mut expected), "{name}");
        assert_eq!(got, expected, "{name}");
    }
}

/// The mean of each channel.
fn means(picture: &Picture) -> [f64; 3] {
    let pixels = picture.rgb().as_chunks::<3>().0;
    [0, 1, 2].map(|channel| {
        let sum: f64 = pixels.iter().map(|pixel| f64::from(pixel[channel])).sum();
        sum / pixels.len() as f64
    })
}

/// Grey, CMYK, progressive, colour at half and at full resolution.
#[test]
fn every_kind_of_jpeg_keeps_its_colours() {
    let mut jpegs = 0;
    for (name, bytes) in golden_pictures() {
        let full = decode(&bytes, &LIMITS).expect("a good picture");
        let small = reduced(&bytes, HALVED).expect("a good picture");
        assert_eq!((small.width(), small.height()), sides(&full), "{name}");
        let header = inspect(&bytes, &LIMITS).expect("a good picture");
        if header.format == PictureFormat::Jpeg {
            jpegs += 1;
            assert_eq!(sides(small.pixels()), (19, 13), "{name}");
            for (got, expected) in means(small.pixels()).into_iter().zip(means(&full)) {
                assert!((got - expected).abs() < 2.0, "{name}: {got} {expected}");
            }
        } else {
            assert_eq!(*small.pixels(), full, "{name}");
        }
    }
    assert!(jpegs >= 5);
}

#[test]
fn one_picture_after_another_into_the_same_memory() {
    let mut picture = ReducedPicture::default();
    for (name, bytes) in golden_pictures() {
        for scale in [0.01, 1.0, HALVED] {
            decode_reduced_into(&bytes, &LIMITS, |_, _| scale, &mut picture).expect(&name);
            assert_eq!(picture, reduced(&bytes, scale).expect("a good picture"), "{name}");
        }
    }
}

/// Bytes that do not decode at full size do not decode at a reduced one, and the warnings are the same.
#[test]
fn a_reduced_size_does_not_hide_damage() {
    let mut full = Picture::default();
    let mut small = ReducedPicture::default();
    for (name, bytes) in golden_pictures() {
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            let whole = decode_into(&changed, &LIMITS, &mut full);
            let reduced = decode_reduced_into(&changed, &LIMITS, |_, _| QUARTERED, &mut small);
            assert_eq!(reduced, whole, "{name}: byte {at}");
            if whole.is_ok() {
                assert_eq!((small.width(), small.height()), sides(&full), "{name}: byte {at}");
            }
        }
    }
}
