//! The head of YOLOv5 and YOLOv7: one output `[batch, boxes, 5 + classes]`, three boxes for each cell.
//!
//! Each row holds a box's centre x, centre y, width and height in pixels of the input, the score that there is an
//! object and the score of each class; sigmoid is applied (YOLOv5 `Detect.forward` when exporting, YOLOv7 `IDetect`
//! with `--grid`). The score of a box is the product of both (`non_max_suppression`).

use domain::ClassId;

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    levels, yolov8, yolox,
};
use crate::{input_box::InputBox, postprocess::candidate::Candidate, tensor::OutputView};

/// Boxes of a cell, one for each anchor.
pub(super) const ANCHORS: u64 = 3;

impl HeadKind {
    /// YOLOv5 or YOLOv7 as exported: `[batch, 3 × cells, 5 + classes]`, centre, size and final scores.
    pub const YOLOV5: Self = Self(&Family {
        name: "yolov5",
        described: Some("[batch, 3 × cells, 5 + classes] (YOLOv5, YOLOv7)"),
        preprocessing: yolov8::PREPROCESSING,
        duplicates: Duplicates::Expected,
        sizes: Sizes::Any,
        layout: &Yolov5,
    });
}

struct Yolov5;

impl Layout for Yolov5 {
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        file.one_output(2)
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        readings(shapes)
    }

    fn mismatch(&self, head: &Head, outputs: &[OutputView<'_>], _: usize) -> Option<Mismatch> {
        of_decoded_rows(head, outputs)
    }

    fn decode(
        &self,
        head: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        decode_rows(ANCHORS as usize * head.cells(request), head, outputs, request, candidates)
    }

    fn expected(&self, head: &Head, request: &DecodeRequest) -> String {
        format!("[batch, {}, {}]", ANCHORS as usize * head.cells(request), 5 + head.classes)
    }
}

/// The meanings of an output with a row for each anchor of a cell.
pub(super) fn readings(shapes: &Shapes<'_>) -> Vec<Levels> {
    let [boxes] = shapes.outputs else { return Vec::new() };
    let [rows, columns] = boxes[..] else { return Vec::new() };
    let mut readings = levels::readings([rows, ANCHORS], [columns, 5], shapes.size);
    // 300 boxes are no single level of 10 × 10 cells.
    readings.retain(|reading| reading.strides.len() > 1);
    readings
}

/// Why rows of decoded boxes cannot be that.
pub(super) fn of_decoded_rows(head: &Head, outputs: &[OutputView<'_>]) -> Option<Mismatch> {
    let mut rows = outputs.first()?.of_picture(0)?.chunks_exact(5 + head.classes);
    if rows.clone().any(|row| row[2] < 0.0 || row[3] < 0.0) {
        return Some(Mismatch {
            found: "boxes of negative size",
            expected: "an export with boxes in pixels (`--grid` for YOLOv7)",
        });
    }
    rows.find_map(|row| Mismatch::of_scores(&row[4..]))
}

/// Appends the boxes of `rows` rows that are decoded already.
pub(super) fn decode_rows(
    rows: usize,
    head: &Head,
    outputs: &[OutputView<'_>],
    request: &DecodeRequest,
    candidates: &mut Vec<Candidate>,
) -> Option<()> {
    let [output] = outputs else { return None };
    let width = 5 + head.classes;
    if output.picture_shape()? != [rows, width] {
        return None;
    }
    for row in output.of_picture(request.batch_index)?.chunks_exact(width) {
        let Some((class, score)) = yolox::object(row, request.threshold.get()) else { continue };
        let bbox = InputBox::around([row[0], row[1]], [row[2], row[3]]);
        candidates.push(Candidate { bbox, class_id: ClassId(class), score });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceThreshold;

    use super::*;

    #[test]
    fn the_score_is_objectness_times_the_best_class() {
        // 32 × 32 pixels: one cell of stride 32, three anchors.
        let mut data = [0.0; 3 * 7];
        data[7..14].copy_from_slice(&[16.0, 12.0, 8.0, 4.0, 0.8, 0.1, 0.5]);
        data[14..].copy_from_slice(&[16.0, 12.0, 8.0, 4.0, 0.5, 0.5, 0.5]);
        let head = Head { kind: HeadKind::YOLOV5, strides: vec![32], classes: 2 };
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 32,
            input_height: 32,
            threshold: ConfidenceThreshold::new(0.3).unwrap(),
        };
        let outputs = [OutputView { shape: &[1, 3, 7], data: &data }];
        let mut found = Vec::new();
        head.decode_boxes(&outputs, &request, &mut found).unwrap();
        let bbox = InputBox { x1: 12.0, y1: 10.0, x2: 20.0, y2: 14.0 };
        assert_eq!(found, [Candidate { bbox, class_id: ClassId(1), score: 0.4 }]);
    }
}
