//! The names of COCO's classes.

use domain::LabelMap;

/// The 80 classes of COCO 2017 in the order of detectors' class scores. Published YOLOX files do not
/// contain them.
const COCO: [&str; 80] = [
    "person",
    "bicycle",
    "car",
    "motorcycle",
    "airplane",
    "bus",
    "train",
    "truck",
    "boat",
    "traffic light",
    "fire hydrant",
    "stop sign",
    "parking meter",
    "bench",
    "bird",
    "cat",
    "dog",
    "horse",
    "sheep",
    "cow",
    "elephant",
    "bear",
    "zebra",
    "giraffe",
    "backpack",
    "umbrella",
    "handbag",
    "tie",
    "suitcase",
    "frisbee",
    "skis",
    "snowboard",
    "sports ball",
    "kite",
    "baseball bat",
    "baseball glove",
    "skateboard",
    "surfboard",
    "tennis racket",
    "bottle",
    "wine glass",
    "cup",
    "fork",
    "knife",
    "spoon",
    "bowl",
    "banana",
    "apple",
    "sandwich",
    "orange",
    "broccoli",
    "carrot",
    "hot dog",
    "pizza",
    "donut",
    "cake",
    "chair",
    "couch",
    "potted plant",
    "bed",
    "dining table",
    "toilet",
    "tv",
    "laptop",
    "mouse",
    "remote",
    "keyboard",
    "cell phone",
    "microwave",
    "oven",
    "toaster",
    "sink",
    "refrigerator",
    "book",
    "clock",
    "vase",
    "scissors",
    "teddy bear",
    "hair drier",
    "toothbrush",
];

/// The labels of the 80 COCO classes.
#[must_use]
pub fn coco() -> LabelMap {
    LabelMap::new(COCO.map(str::to_owned).to_vec())
}

/// The identifiers that COCO's 80 categories leave out, from 0 to 90.
const GAPS: [u8; 11] = [0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83];

/// The labels of models whose classes are the identifiers of COCO's categories, 0 to 90. Identifiers without a category
/// have their number as name.
#[must_use]
pub fn coco_categories() -> LabelMap {
    let mut names = COCO.iter();
    let name = |id: u8| {
        let name = if GAPS.contains(&id) { None } else { names.next() };
        name.map_or_else(|| id.to_string(), |name| (*name).to_owned())
    };
    LabelMap::new((0..=90).map(name).collect())
}

#[cfg(test)]
mod tests {
    use domain::ClassId;

    use super::*;

    #[test]
    fn a_category_is_where_its_identifier_is() {
        let labels = coco_categories();
        let expected =
            [(0, "0"), (1, "person"), (13, "stop sign"), (67, "dining table"), (90, "toothbrush")];
        for (id, name) in expected {
            assert_eq!(labels.get(ClassId(id)), Some(name));
        }
        assert_eq!(labels.len(), 91);
    }

    #[test]
    fn a_class_is_where_it_should_be() {
        assert_eq!(coco().get(ClassId(11)), Some("stop sign"));
        assert_eq!(coco().get(ClassId(79)), Some("toothbrush"));
    }
}
