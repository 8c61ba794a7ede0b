//! Heads that drop overlapping boxes themselves: one output `[batch, boxes, 6]`.
//!
//! Each row holds a box's left, top, right and bottom edge in pixels of the input, its score and its class. YOLOv10 and
//! YOLO26 are trained to give each object once (Ultralytics `Detect.postprocess`); exports with `nms=True` contain
//! non-maximum suppression, and fill up with rows of zeros.

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    named_box::NamedBox,
    yolov8,
};
use crate::{postprocess::candidate::Candidate, tensor::OutputView};

/// Such heads give 300 boxes; exports may ask for others.
const MOST_BOXES: u64 = 1000;
/// Values of a row.
const ROW: usize = 6;

impl HeadKind {
    /// YOLOv10, YOLO26 and exports with `nms=True`: `[batch, boxes, 6]`, corners, score and class.
    pub const END_TO_END: Self = Self(&Family {
        name: "end-to-end",
        described: Some("[batch, boxes, 6] (YOLOv10, YOLO26, exports with `nms=True`)"),
        preprocessing: yolov8::PREPROCESSING,
        duplicates: Duplicates::Absent,
        sizes: Sizes::Any,
        layout: &EndToEnd,
    });
}

struct EndToEnd;

impl Layout for EndToEnd {
    /// [RT-DETR by Ultralytics](HeadKind::RT_DETR_ULTRALYTICS_RANKED) has rows of as many values, whose boxes are parts of the
    /// picture. Only its deformable attention has the operator `GridSample`.
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        file.one_output(2).filter(|_| !file.has_operator("GridSample"))
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        match shapes.outputs {
            [boxes] if boxes.len() == 2 && boxes[0] <= MOST_BOXES && boxes[1] == ROW as u64 => {
                vec![Levels::without_cells(shapes.classes_by_name())]
            }
            _ => Vec::new(),
        }
    }

    fn mismatch(&self, _: &Head, outputs: &[OutputView<'_>], _: usize) -> Option<Mismatch> {
        let mut rows = outputs.first()?.of_picture(0)?.chunks_exact(ROW);
        if let Some(mismatch) = rows.clone().find_map(|row| Mismatch::of_numbers(&row[4..])) {
            return Some(mismatch);
        }
        let mut corners = rows.clone().flat_map(|row| &row[..4]);
        let are_parts = corners.clone().all(|corner| (-0.5..=1.5).contains(corner));
        if are_parts && corners.any(|corner| *corner != 0.0) {
            return Some(Mismatch {
                found: "boxes in parts of the picture",
                expected: "left, top, right and bottom in pixels of the input, score and class",
            });
        }
        if rows.clone().any(|row| row[5].fract() != 0.0 || row[5] < 0.0) {
            return Some(Mismatch {
                found: "rows of six values of which the last is no class",
                expected: "left, top, right, bottom, score and class",
            });
        }
        rows.find_map(|row| Mismatch::of_scores(&row[4..5]))
    }

    fn decode(
        &self,
        _: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        let [output] = outputs else { return None };
        let [_, ROW] = output.picture_shape()? else { return None };
        for row in output.of_picture(request.batch_index)?.as_chunks::<ROW>().0 {
            let [x1, y1, x2, y2, score, class] = *row;
            let found = NamedBox { corners: [x1, y1, x2, y2], class, score };
            candidates.extend(found.above(request.threshold));
        }
        Some(())
    }

    fn expected(&self, _: &Head, _: &DecodeRequest) -> String {
        format!("[batch, boxes, {ROW}]")
    }
}

#[cfg(test)]
mod tests {
    use domain::{ClassId, ConfidenceThreshold};

    use super::*;
    use crate::input_box::InputBox;

    #[test]
    fn rows_are_boxes_and_zeros_are_none() {
        let mut data = [0.0; 2 * 3 * 6];
        data[18..24].copy_from_slice(&[1.0, 2.0, 30.0, 20.0, 0.75, 3.0]);
        data[24..30].copy_from_slice(&[1.0, 2.0, 30.0, 20.0, 0.25, 1.0]);
        let head = Head { kind: HeadKind::END_TO_END, strides: Vec::new(), classes: 4 };
        let threshold = ConfidenceThreshold::new(0.25).unwrap();
        let request =
            DecodeRequest { batch_index: 1, input_width: 32, input_height: 32, threshold };
        let outputs = [OutputView { shape: &[2, 3, 6], data: &data }];
        let mut found = Vec::new();
        head.decode_boxes(&outputs, &request, &mut found).unwrap();
        let bbox = InputBox { x1: 1.0, y1: 2.0, x2: 30.0, y2: 20.0 };
        assert_eq!(found, [Candidate { bbox, class_id: ClassId(3), score: 0.75 }]);
        let first =
            DecodeRequest { batch_index: 0, threshold: ConfidenceThreshold::ZERO, ..request };
        found.clear();
        head.decode_boxes(&outputs, &first, &mut found).unwrap();
        assert_eq!(found, []);
    }
}
