//! The letterbox against OpenCV's resize in Ultralytics' and YOLOX's geometry, to the last bit, and against Pillow's and
//! torchvision's resize.

use detector::InputBox;
use detector::decode::{Picture, decode};
use detector::preprocess::letterbox::{
    ChannelOrder, LetterboxSpec, Placement, Preprocessing, Resampling, TargetSize, ValueRange,
    letterbox,
};
use detector::tensor::InputTensor;
use domain::BoundingBox;

use crate::support::{LIMITS, golden_lines, sha256, synthetic, test_image};

const ULTRALYTICS: LetterboxSpec = LetterboxSpec {
    target: TargetSize::Rect { long_side: 640, multiple_of: 32 },
    preprocessing: CENTRED,
};

const CENTRED: Preprocessing = Preprocessing {
    placement: Placement::Centre,
    resampling: Resampling::Bilinear,
    channels: ChannelOrder::Rgb,
    range: ValueRange::Byte,
};

const YOLOX: LetterboxSpec = LetterboxSpec {
    target: TargetSize::Fixed { width: 416, height: 416 },
    preprocessing: Preprocessing {
        placement: Placement::TopLeft,
        channels: ChannelOrder::Bgr,
        ..CENTRED
    },
};

/// Stretched to an input that is not square.
fn stretched(resampling: Resampling) -> LetterboxSpec {
    let preprocessing = Preprocessing { placement: Placement::Stretch, resampling, ..CENTRED };
    LetterboxSpec { target: TargetSize::Fixed { width: 416, height: 320 }, preprocessing }
}

/// The planes as the bytes that they hold in the range 0 to 255.
fn planes(tensor: &InputTensor) -> Vec<u8> {
    tensor
        .data
        .iter()
        .map(|value| {
            assert_eq!(value.fract(), 0.0);
            *value as u8
        })
        .collect()
}

#[test]
fn synthetic_pictures_of_all_shapes() {
    // One tensor for all: values of an earlier picture must not remain.
    let mut tensor = InputTensor::default();
    let lines = golden_lines("letterbox.txt");
    assert!(lines.len() > 50);
    for line in lines {
        let [convention, source_width, source_height, width, height, scale, pad_x, pad_y, sha] =
            line.try_into().expect("nine words");
        let spec = if convention == "yolox" { YOLOX } else { ULTRALYTICS };
        let number = |word: &str| word.parse::<f64>().expect("a number");
        let picture = synthetic(number(&source_width) as u32, number(&source_height) as u32);
        let what = format!("{convention} {source_width}×{source_height}");

        let letterbox = letterbox(&picture, &spec, &mut tensor);

        assert_eq!(
            [tensor.width, tensor.height],
            [&width, &height].map(|w| number(w) as usize),
            "{what}"
        );
        assert_eq!(letterbox.scale_x, number(&scale) as f32, "{what}");
        assert_eq!(
            [letterbox.pad_x, letterbox.pad_y],
            [&pad_x, &pad_y].map(|w| number(w) as f32),
            "{what}"
        );
        assert_eq!(sha256(&planes(&tensor)), sha, "{what}");
    }
}

#[test]
fn stretched_pictures_are_opencvs_and_pillows() {
    let mut tensor = InputTensor::default();
    let lines = golden_lines("stretch.txt");
    assert!(lines.len() > 50);
    for line in lines {
        let [resampling, width, height, sha] = line.try_into().expect("four words");
        let spec = stretched(match resampling.as_str() {
            "pillow" => Resampling::Antialiased,
            _ => Resampling::Bilinear,
        });
        let side = |word: &str| word.parse::<u32>().expect("a number");
        let (width, height) = (side(&width), side(&height));
        let letterbox = letterbox(&synthetic(width, height), &spec, &mut tensor);
        assert_eq!((tensor.width, tensor.height), (416, 320));
        assert_eq!(sha256(&planes(&tensor)), sha, "{resampling} {width}×{height}");
        let whole = InputBox { x1: 0.0, y1: 0.0, x2: 416.0, y2: 320.0 };
        let bbox = letterbox.to_source(whole);
        assert!((bbox.x2 - width as f32).abs() < 1e-3 && (bbox.y2 - height as f32).abs() < 1e-3);
    }
}

const IMAGENET: ValueRange =
    ValueRange::Standardised { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] };

#[test]
fn pictures_stretched_as_floats_are_torchvisions() {
    const STEP: usize = 4999;
    let mut spec = stretched(Resampling::BilinearFloat);
    spec.preprocessing.range = IMAGENET;
    let mut tensor = InputTensor::default();
    let lines = golden_lines("stretch_float.txt");
    assert!(lines.len() > 25);
    for line in lines {
        let [width, height, values @ ..] = &line[..] else { panic!("no sides in {line:?}") };
        let side = |word: &str| word.parse::<u32>().expect("a number");
        letterbox(&synthetic(side(width), side(height)), &spec, &mut tensor);
        let found = tensor.data.iter().step_by(STEP);
        assert_eq!(found.len(), values.len());
        for (place, (found, expected)) in found.zip(values).enumerate() {
            let expected: f32 = expected.parse().expect("a number");
            // From −2.2 to 2.7, a float is exact to 2.4e-7.
            assert!(
                (found - expected).abs() < 2e-6,
                "{width}×{height}, value {}: {found} {expected}",
                place * STEP
            );
        }
    }
}

#[test]
fn a_picture_of_the_inputs_size_is_not_changed_by_a_resize_of_floats() {
    let picture = synthetic(416, 320);
    let planes_of = |resampling| {
        let mut tensor = InputTensor::default();
        letterbox(&picture, &stretched(resampling), &mut tensor);
        planes(&tensor)
    };
    assert_eq!(planes_of(Resampling::BilinearFloat), planes_of(Resampling::Bilinear));
}

#[test]
fn standardised_values_are_the_formulas() {
    let (mean, deviation) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let picture = synthetic(123, 77);
    let tensor = |spec: LetterboxSpec, preprocessing: Preprocessing| {
        let mut tensor = InputTensor::default();
        letterbox(&picture, &LetterboxSpec { preprocessing, ..spec }, &mut tensor);
        tensor
    };
    // The letterbox has padding, which is standardised as well.
    let resized = [Resampling::Antialiased, Resampling::BilinearFloat].map(stretched);
    for spec in [ULTRALYTICS, YOLOX].into_iter().chain(resized) {
        for channels in [ChannelOrder::Rgb, ChannelOrder::Bgr] {
            let as_bytes = Preprocessing { channels, ..spec.preprocessing };
            let range = ValueRange::Standardised { mean, deviation };
            let bytes = tensor(spec, as_bytes);
            let found = tensor(spec, Preprocessing { range, ..as_bytes });
            let plane_len = bytes.width * bytes.height;
            for (place, (byte, found)) in bytes.data.iter().zip(&found.data).enumerate() {
                let plane = place / plane_len;
                let channel = if channels == ChannelOrder::Rgb { plane } else { 2 - plane };
                let expected = (byte / 255.0 - mean[channel]) / deviation[channel];
                assert!((found - expected).abs() < 1e-6, "{place}: {found} {expected}");
            }
        }
    }
}

#[test]
fn sample_pictures_decoded_and_letterboxed() {
    for line in golden_lines("test_images.txt") {
        let [name, width, height, rgb_sha, planes_sha] = line.try_into().expect("five words");
        let picture = decode(&test_image(&name), &LIMITS).expect("a good picture");
        assert_eq!([picture.width().to_string(), picture.height().to_string()], [width, height]);
        assert_eq!(sha256(picture.rgb()), rgb_sha, "{name}: pixels");
        let mut tensor = InputTensor::default();
        letterbox(&picture, &ULTRALYTICS, &mut tensor);
        assert_eq!(sha256(&planes(&tensor)), planes_sha, "{name}: planes");
    }
}

#[test]
fn unit_range_and_channel_order() {
    let picture = synthetic(123, 77);
    let tensor = |preprocessing: Preprocessing| {
        let mut tensor = InputTensor::default();
        let spec = LetterboxSpec { preprocessing, ..ULTRALYTICS };
        letterbox(&picture, &spec, &mut tensor);
        tensor
    };
    let bytes = tensor(CENTRED);
    let units = tensor(Preprocessing { range: ValueRange::Unit, ..CENTRED });
    assert!(bytes.data.iter().zip(&units.data).all(|(byte, unit)| byte / 255.0 == *unit));

    let swapped = tensor(Preprocessing { channels: ChannelOrder::Bgr, ..CENTRED });
    let plane_len = bytes.width * bytes.height;
    let (red, blue) = (&bytes.data[..plane_len], &bytes.data[2 * plane_len..]);
    assert_eq!(&swapped.data[..plane_len], blue);
    assert_eq!(&swapped.data[2 * plane_len..], red);
    assert_ne!(red, blue);
}

#[test]
fn boxes_come_back_to_the_source() {
    // 1280 × 720 becomes 640 × 360 with 12 rows of padding above.
    let letterbox = letterbox(&synthetic(1280, 720), &ULTRALYTICS, &mut InputTensor::default());
    let found = InputBox { x1: 0.0, y1: 12.0, x2: 320.0, y2: 192.0 };
    let expected = BoundingBox { x1: 0.0, y1: 0.0, x2: 640.0, y2: 360.0 };
    assert_eq!(letterbox.to_source(found), expected);
}

#[test]
fn the_tensors_memory_is_kept() {
    let mut tensor = InputTensor::default();
    letterbox(&synthetic(640, 640), &ULTRALYTICS, &mut tensor);
    let memory = tensor.data.as_ptr();
    for (width, height) in [(640, 320), (320, 640), (640, 640)] {
        letterbox(&synthetic(width, height), &ULTRALYTICS, &mut tensor);
        assert_eq!(tensor.data.as_ptr(), memory);
    }
}

#[test]
fn strange_targets_do_not_panic() {
    let mut tensor = InputTensor::default();
    let targets = [
        TargetSize::Fixed { width: 0, height: 0 },
        TargetSize::Fixed { width: 1, height: 300 },
        TargetSize::Rect { long_side: 0, multiple_of: 0 },
        TargetSize::Rect { long_side: 33, multiple_of: 32 },
        TargetSize::Rect { long_side: 7, multiple_of: 5 },
    ];
    for target in targets {
        for (placement, resampling) in [
            (Placement::Centre, Resampling::Bilinear),
            (Placement::TopLeft, Resampling::Bilinear),
            (Placement::Stretch, Resampling::Antialiased),
            (Placement::Stretch, Resampling::BilinearFloat),
        ] {
            for picture in [
                Picture::default(),
                synthetic(1, 1),
                synthetic(1, 3),
                synthetic(200, 3),
                synthetic(3, 200),
            ] {
                let preprocessing = Preprocessing { placement, resampling, ..CENTRED };
                let spec = LetterboxSpec { target, preprocessing };
                let letterbox = letterbox(&picture, &spec, &mut tensor);
                for scale in [letterbox.scale_x, letterbox.scale_y] {
                    assert!(scale.is_finite() && scale > 0.0);
                }
                assert_eq!(tensor.data.len(), 3 * tensor.width * tensor.height);
                if let TargetSize::Rect { multiple_of, .. } = target {
                    assert_eq!(tensor.width % multiple_of.max(1) as usize, 0, "{spec:?}");
                }
            }
        }
    }
}
