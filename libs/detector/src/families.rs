//! Families of detectors. Each has a file of its own, and an entry in [`HEADS`].
//!
//! A family's file says how its exports are recognised, what they take pictures as, and how their outputs become
//! *candidates*: boxes in pixels of the model's input, before
//! [`non_maximum_suppression`](crate::postprocess::nms::non_maximum_suppression).

mod declared;
mod end_to_end;
mod family;
mod levels;
mod named_box;
mod nms_rows;
mod queries;
mod rf_detr;
mod rt_detr;
mod rt_detr_transformers;
mod rt_detr_ultralytics;
mod rt_detr_ultralytics_ranked;
mod scan;
mod yolov5;
mod yolov7_one_class;
mod yolov8;
mod yolov8_cut;
mod yolox;
mod yolox_decoded;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub(crate) use declared::{Declared, Ends, Shapes};
pub use family::{DecodeRequest, Head, HeadKind};
pub(crate) use family::{Duplicates, Levels, Sizes};
pub(crate) use yolov8_cut::cut_output;

/// All families. Where the outputs of a file can be of several, the first one whose values fit is taken.
pub const HEADS: &[HeadKind] = &[
    HeadKind::YOLOV8_CUT,
    HeadKind::YOLOX,
    HeadKind::YOLOX_DECODED,
    HeadKind::YOLOV8,
    HeadKind::YOLOV7_ONE_CLASS,
    HeadKind::YOLOV5,
    HeadKind::END_TO_END,
    HeadKind::NMS_ROWS,
    HeadKind::RT_DETR,
    HeadKind::RT_DETR_TRANSFORMERS,
    HeadKind::RT_DETR_ULTRALYTICS_RANKED,
    HeadKind::RT_DETR_ULTRALYTICS,
    HeadKind::RF_DETR,
];

impl Serialize for HeadKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for HeadKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        HEADS.iter().copied().find(|head| head.name() == name).ok_or_else(|| {
            let names: Vec<&str> = HEADS.iter().map(|head| head.name()).collect();
            de::Error::custom(format!(
                "unknown head '{name}', expected one of {}",
                names.join(", ")
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceThreshold;

    use super::*;
    use crate::{error::DetectError, tensor::OutputView};

    #[test]
    fn outputs_of_another_shape_are_refused() {
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 32,
            input_height: 32,
            threshold: ConfidenceThreshold::default(),
        };
        let data = [0.0; 84 * 21];
        let right: &[i64] = &[1, 84, 21];
        for (shape, batch_index) in
            [(&[1, 21, 84][..], 0), (&[1, 84], 0), (&[1, 84, 21, 1], 0), (right, 1), (&[], 0)]
        {
            // RT-DETR by Ultralytics may have any number of boxes.
            for &kind in HEADS.iter().filter(|kind| **kind != HeadKind::RT_DETR_ULTRALYTICS) {
                let head = Head { kind, strides: vec![8, 16, 32], classes: 80 };
                let request = DecodeRequest { batch_index, ..request };
                let outputs = [OutputView { shape, data: &data }];
                let error = head.decode_boxes(&outputs, &request, &mut Vec::new());
                assert!(
                    matches!(error, Err(DetectError::UnexpectedOutput { .. })),
                    "{kind:?} {shape:?}: {error:?}"
                );
            }
        }
        let head = Head { kind: HeadKind::YOLOV8, strides: vec![8, 16, 32], classes: 80 };
        let outputs = [OutputView { shape: right, data: &data }];
        assert!(head.decode_boxes(&outputs, &request, &mut Vec::new()).is_ok());
    }

    #[test]
    fn what_is_no_number_is_no_candidate() {
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 8,
            input_height: 8,
            threshold: ConfidenceThreshold::default(),
        };
        let check = |kind, classes, outputs: &[OutputView<'_>], expected: usize| {
            let head = Head { kind, strides: vec![8], classes };
            let mut candidates = Vec::new();
            head.decode_boxes(outputs, &request, &mut candidates).unwrap();
            assert_eq!(candidates.len(), expected, "{kind:?}: {candidates:?}");
        };
        for (odd, expected) in
            [(f32::NAN, 0), (f32::INFINITY, 0), (f32::NEG_INFINITY, 0), (f32::MAX, 1), (1.0, 1)]
        {
            let box_and_score = [0.0, 0.0, odd, 1.0, 0.9];
            let output = OutputView { shape: &[1, 5, 1], data: &box_and_score };
            check(HeadKind::YOLOV8, 1, &[output], expected);
        }
        for (size, expected) in [(f32::NAN, 0), (f32::MAX, 0), (1.0, 1)] {
            let row = [0.5, 0.5, size, 1.0, 0.9, 0.9];
            let output = OutputView { shape: &[1, 1, 6], data: &row };
            check(HeadKind::YOLOX, 1, &[output], expected);
        }
        for (odd, expected) in [(f32::NAN, 0), (1.0, 1)] {
            let rows = [[4.0, 4.0, 2.0, 2.0, odd, 1.0], [0.0; 6], [0.0; 6]].concat();
            let output = OutputView { shape: &[1, 3, 6], data: &rows };
            check(HeadKind::YOLOV7_ONE_CLASS, 1, &[output], expected);
            let row = [0.5, 0.5, 0.2, 0.2, odd, 0.0];
            let output = OutputView { shape: &[1, 1, 6], data: &row };
            check(HeadKind::RT_DETR_ULTRALYTICS_RANKED, 1, &[output], expected);
        }
        for (distance, expected) in [(f32::NAN, 0), (f32::NEG_INFINITY, 0), (1.0, 1)] {
            let distances = [distance; 8];
            let boxes = OutputView { shape: &[1, 8, 1, 1], data: &distances };
            let scores = OutputView { shape: &[1, 1, 1, 1], data: &[5.0] };
            check(HeadKind::YOLOV8_CUT, 1, &[boxes, scores], expected);
        }
        let infinite_score = [0.0, 0.0, 1.0, 1.0, f32::INFINITY];
        let output = OutputView { shape: &[1, 5, 1], data: &infinite_score };
        check(HeadKind::YOLOV8, 1, &[output], 0);
    }

    #[test]
    fn an_output_without_the_elements_of_its_shape_is_refused() {
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 8,
            input_height: 8,
            threshold: ConfidenceThreshold::default(),
        };
        let head = Head { kind: HeadKind::YOLOV8_CUT, strides: vec![8], classes: 1 };
        let scores = OutputView { shape: &[1, 1, 1, 1], data: &[5.0] };
        for elements in [0, 4, 7, 9] {
            let data = vec![0.0; elements];
            let boxes = OutputView { shape: &[1, 8, 1, 1], data: &data };
            let decoded = head.decode_boxes(&[boxes, scores], &request, &mut Vec::new());
            assert!(matches!(decoded, Err(DetectError::UnexpectedOutput { .. })), "{elements}");
        }
    }

    /// The families that can read outputs of this shape, with the classes and levels they would have.
    fn read(shape: [u64; 2], size: (u32, u32)) -> Vec<(HeadKind, usize, Vec<u32>)> {
        let shapes = Shapes { outputs: &[shape.to_vec()], size, labels: None, ranked: None };
        let of_head = |head: &HeadKind| {
            let head = *head;
            let readings = head.readings(&shapes).into_iter();
            readings.map(move |levels| (head, levels.classes, levels.strides)).collect::<Vec<_>>()
        };
        // More than the shape tells these: an operator, or the metadata.
        let by_more = [
            HeadKind::RT_DETR_ULTRALYTICS,
            HeadKind::RT_DETR_ULTRALYTICS_RANKED,
            HeadKind::YOLOV7_ONE_CLASS,
        ];
        let heads = HEADS.iter().filter(|head| !by_more.contains(head));
        heads.flat_map(of_head).collect()
    }

    #[test]
    fn a_shape_tells_kind_classes_and_levels() {
        let (yolov8, yolov5) = (HeadKind::YOLOV8, HeadKind::YOLOV5);
        for (shape, size, head, classes, strides) in [
            ([84, 8400], (640, 640), yolov8, 80, &[8, 16, 32][..]),
            ([5, 6300], (480, 640), yolov8, 1, &[8, 16, 32]),
            ([84, 34000], (640, 640), yolov8, 80, &[4, 8, 16, 32]),
            ([84, 8500], (640, 640), yolov8, 80, &[8, 16, 32, 64]),
            ([84, 2000], (640, 640), yolov8, 80, &[16, 32]),
            ([84, 33600], (1280, 1280), yolov8, 80, &[8, 16, 32]),
            ([84, 189], (96, 96), yolov8, 80, &[8, 16, 32]),
            ([25200, 85], (640, 640), yolov5, 80, &[8, 16, 32]),
            ([18900, 6], (480, 640), yolov5, 1, &[8, 16, 32]),
            ([25500, 85], (640, 640), yolov5, 80, &[8, 16, 32, 64]),
            ([300, 6], (640, 640), HeadKind::END_TO_END, 80, &[]),
        ] {
            let found = read(shape, size);
            assert_eq!(found, [(head, classes, strides.to_vec())], "{shape:?} at {size:?}");
        }
    }

    #[test]
    fn some_shapes_can_be_two_things() {
        let usual = || vec![8, 16, 32];
        let (raw, decoded) = (HeadKind::YOLOX, HeadKind::YOLOX_DECODED);
        let found = read([3549, 85], (416, 416));
        assert_eq!(found, [(raw, 80, usual()), (decoded, 80, usual())]);
        let found = read([84, 84], (64, 64));
        let expected =
            [(raw, 79, usual()), (decoded, 79, usual()), (HeadKind::YOLOV8, 80, usual())];
        assert_eq!(found, expected);
        let found = read([84, 85], (64, 64));
        assert_eq!(found[2], (HeadKind::YOLOV8, 80, vec![8, 16, 32, 64]));
    }

    #[test]
    fn what_is_no_detector_has_no_reading() {
        for shape in [[4, 8400], [0, 0], [u64::MAX, 8400], [8400, 5], [1000, 1], [25200, 5]] {
            assert_eq!(read(shape, (640, 640)), [], "{shape:?}");
        }
        // Not made of whole cells of any level.
        assert_eq!(read([84, 84], (65, 65)), []);
    }

    #[test]
    fn every_head_has_a_name_of_its_own() {
        for (place, head) in HEADS.iter().enumerate() {
            let first = HEADS.iter().position(|other| other.name() == head.name());
            assert_eq!(first, Some(place), "{head:?}");
        }
    }
}
