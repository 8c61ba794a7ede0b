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

#[cfg(test)]
mod tests {
    use domain::ClassId;

    use super::*;

    #[test]
    fn a_class_is_where_it_should_be() {
        assert_eq!(coco().get(ClassId(11)), Some("stop sign"));
        assert_eq!(coco().get(ClassId(79)), Some("toothbrush"));
    }
}
