//! COCO's format of object detection, <https://cocodataset.org/#format-data>.

use std::collections::BTreeMap;

use serde::Serialize;

use super::input::{Annotations, five_decimals, rounded};
use crate::{ClassId, DetectedObject};

/// The id of the only picture. Ids begin with 1: pycocotools takes an annotation with id 0 for a missing one.
const IMAGE_ID: u32 = 1;

#[derive(Serialize)]
struct Dataset<'a> {
    /// pycocotools copies it and fails without it.
    info: Info,
    images: [Image<'a>; 1],
    annotations: Vec<Annotation>,
    categories: Vec<Category<'a>>,
}

#[derive(Serialize)]
struct Info {
    description: &'static str,
}

#[derive(Serialize)]
struct Image<'a> {
    id: u32,
    file_name: &'a str,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct Annotation {
    id: usize,
    image_id: u32,
    category_id: u64,
    /// Left, top, width and height in pixels.
    bbox: [f64; 4],
    area: f64,
    iscrowd: u8,
    score: f64,
}

#[derive(Serialize)]
struct Category<'a> {
    id: u64,
    name: &'a str,
}

/// Categories are those of the objects. Their ids are the classes' indices and 1, since 0 is the background for many
/// readers, and converters to YOLO subtract 1.
pub(super) fn render(annotations: &Annotations<'_>) -> String {
    let Annotations { picture_name, width, height, objects } = *annotations;
    let category_id = |class_id: ClassId| u64::from(class_id.0) + 1;
    let categories: BTreeMap<u64, &str> = objects
        .iter()
        .map(|object| (category_id(object.detection.class_id), object.label.as_str()))
        .collect();
    let annotation = |(index, object): (usize, &DetectedObject)| {
        let bbox = object.detection.bbox;
        let [left, top, right, bottom] = [bbox.x1, bbox.y1, bbox.x2, bbox.y2].map(five_decimals);
        // Each clamped at 0, so that two negative sides have no area.
        let (width, height) = (rounded((right - left).max(0.0)), rounded((bottom - top).max(0.0)));
        Annotation {
            id: index + 1,
            image_id: IMAGE_ID,
            category_id: category_id(object.detection.class_id),
            bbox: [left, top, width, height],
            area: rounded(width * height),
            iscrowd: 0,
            score: five_decimals(object.detection.confidence),
        }
    };
    let dataset = Dataset {
        info: Info { description: "Objects detected by spotter" },
        images: [Image { id: IMAGE_ID, file_name: picture_name, width, height }],
        annotations: objects.iter().enumerate().map(annotation).collect(),
        categories: categories.into_iter().map(|(id, name)| Category { id, name }).collect(),
    };
    // Numbers and texts, which can always be written.
    serde_json::to_string(&dataset).unwrap_or_default() + "\n"
}
