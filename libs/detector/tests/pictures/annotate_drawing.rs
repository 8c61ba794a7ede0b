//! Drawing boxes and labels, and clipping them.

use detector::annotate::{EncodeError, annotate, encode};
use detector::decode::{Picture, decode};
use domain::picture::{PictureFormat, inspect};
use domain::{BoundingBox, ClassId, DetectedObject, Detection};

use crate::support::{LIMITS, synthetic};

const GREY: u8 = 200;

fn grey(width: u32, height: u32) -> Picture {
    let len = 3 * (width * height) as usize;
    Picture::from_rgb(width, height, vec![GREY; len]).expect("three bytes a pixel")
}

fn object([x1, y1, x2, y2]: [f32; 4], label: &str) -> DetectedObject {
    let bbox = BoundingBox { x1, y1, x2, y2 };
    let detection = Detection { bbox, class_id: ClassId(5), confidence: 0.87 };
    DetectedObject { detection, label: label.to_owned() }
}

fn pixel(picture: &Picture, x: u32, y: u32) -> [u8; 3] {
    let at = 3 * (y * picture.width() + x) as usize;
    [0, 1, 2].map(|c| picture.rgb()[at + c])
}

#[test]
fn a_box_has_its_four_sides_and_keeps_its_inside() {
    let mut picture = grey(300, 200);
    annotate(&mut picture, &[object([100.0, 80.0, 200.0, 150.0], "bus")]);
    let line = pixel(&picture, 100, 120);
    assert_ne!(line, [GREY; 3]);
    for (x, y) in [(150, 80), (150, 149), (199, 120)] {
        assert_eq!(pixel(&picture, x, y), line, "({x}, {y}) is on the box");
    }
    for (x, y) in [(150, 120), (98, 120), (202, 120), (150, 152), (10, 10)] {
        assert_eq!(pixel(&picture, x, y), [GREY; 3], "({x}, {y}) is not");
    }
}

#[test]
fn png_and_webp_keep_every_pixel() {
    let mut picture = grey(300, 200);
    annotate(&mut picture, &[object([100.0, 80.0, 200.0, 150.0], "bus")]);
    for format in [PictureFormat::Png, PictureFormat::WebP] {
        let file = encode(&picture, format).unwrap();
        assert_eq!(inspect(&file, &LIMITS).unwrap().format, format);
        assert_eq!(decode(&file, &LIMITS).unwrap(), picture, "{format:?}");
    }
}

#[test]
fn the_label_stands_on_a_tag_of_the_boxs_colour() {
    let mut picture = grey(300, 200);
    annotate(&mut picture, &[object([100.0, 80.0, 200.0, 150.0], "bus")]);
    let line = pixel(&picture, 100, 120);
    let above: Vec<_> = (62..80).flat_map(|y| (100..160).map(move |x| (x, y))).collect();
    let of_tag = above.iter().filter(|(x, y)| pixel(&picture, *x, *y) == line).count();
    let of_text =
        above.iter().filter(|(x, y)| ![line, [GREY; 3]].contains(&pixel(&picture, *x, *y))).count();
    assert!(of_tag > 100 && of_text > 30, "{of_tag} of the tag, {of_text} of the text");
}

#[test]
fn boxes_at_and_beyond_the_edges() {
    let far = f32::MAX;
    let boxes = [
        [0.0, 0.0, 64.0, 48.0],
        [-10.0, -10.0, 5.0, 5.0],
        [60.0, 44.0, 500.0, 500.0],
        [-300.0, -300.0, -200.0, -200.0],
        [900.0, 900.0, 990.0, 990.0],
        [30.0, 20.0, 10.0, 5.0],
        [20.0, 20.0, 20.0, 20.0],
        [-far, -far, far, far],
        [f32::NAN, 0.0, f32::INFINITY, f32::NEG_INFINITY],
    ];
    for (width, height) in [(64, 48), (1, 1), (2, 300), (300, 2)] {
        for corners in boxes {
            let mut picture = grey(width, height);
            annotate(&mut picture, &[object(corners, "a label wider than the picture: ß 車")]);
            assert_eq!(picture.rgb().len(), 3 * (width * height) as usize);
        }
    }
    let mut nothing = Picture::default();
    annotate(&mut nothing, &[object(boxes[0], "bus")]);
    assert_eq!(nothing, Picture::default());
}

#[test]
fn encoded_pictures_come_back() {
    let picture = synthetic(40, 30);
    let png = encode(&picture, PictureFormat::Png).expect("PNG is written");
    assert_eq!(decode(&png, &LIMITS), Ok(picture));

    let smooth = grey(40, 30);
    let jpeg = encode(&smooth, PictureFormat::Jpeg).expect("JPEG is written");
    let back = decode(&jpeg, &LIMITS).expect("a good JPEG");
    assert!(back.rgb().iter().all(|value| value.abs_diff(GREY) <= 2));

    for format in [PictureFormat::Bmp, PictureFormat::Gif] {
        let refused = encode(&smooth, format);
        assert!(matches!(refused, Err(EncodeError::UnsupportedFormat(named)) if named == format));
    }
}
