//! Exports that end in a `NonMaxSuppression` node: one output `[boxes, 7]` for all pictures of the batch.
//!
//! Each row holds the index of the picture, a box's left, top, right and bottom edge in pixels of the input, its class and
//! its score (YOLOv7 `ONNX_ORT`, exported with `--end2end --max-wh`).

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    named_box::NamedBox,
    yolov8,
};
use crate::{postprocess::candidate::Candidate, tensor::OutputView};

/// Values of a row.
const ROW: usize = 7;

impl HeadKind {
    /// YOLOv7 exported with `--end2end`: `[boxes, 7]`, picture, corners, class and score.
    pub const NMS_ROWS: Self = Self(&Family {
        name: "nms-rows",
        described: Some("[boxes, 7] (YOLOv7 with `--end2end`)"),
        preprocessing: yolov8::PREPROCESSING,
        duplicates: Duplicates::Absent,
        sizes: Sizes::Any,
        layout: &NmsRows,
    });
}

struct NmsRows;

impl Layout for NmsRows {
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        let [rows] = &file.outputs[..] else { return None };
        let is_row = rows.shape.len() == 2 && rows.shape[1].fixed() == Some(ROW as u64);
        let is_ours = is_row && rows.element.is_float() && file.others.is_empty();
        is_ours.then(|| Ends::of(&[&rows.name]))
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        match shapes.outputs {
            [rows] if rows[..] == [ROW as u64] => {
                vec![Levels::without_cells(shapes.classes_by_name())]
            }
            _ => Vec::new(),
        }
    }

    fn mismatch(&self, _: &Head, outputs: &[OutputView<'_>], _: usize) -> Option<Mismatch> {
        let mut rows = outputs.first()?.data.as_chunks::<ROW>().0.iter();
        if let Some(mismatch) = rows.clone().find_map(Mismatch::of_numbers) {
            return Some(mismatch);
        }
        if rows.clone().any(|row| [row[0], row[5]].iter().any(|v| v.fract() != 0.0 || *v < 0.0)) {
            return Some(Mismatch {
                found: "rows of seven values whose first or sixth is no whole number",
                expected: "picture, left, top, right, bottom, class and score",
            });
        }
        rows.find_map(|row| Mismatch::of_scores(&row[6..]))
    }

    fn decode(
        &self,
        _: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        let [output] = outputs else { return None };
        let [rows, 7] = *output.shape else { return None };
        if usize::try_from(rows).ok()?.checked_mul(ROW)? != output.data.len() {
            return None;
        }
        for row in output.data.as_chunks::<ROW>().0 {
            let [picture, x1, y1, x2, y2, class, score] = *row;
            if picture.round() == request.batch_index as f32 {
                let found = NamedBox { corners: [x1, y1, x2, y2], class, score };
                candidates.extend(found.above(request.threshold));
            }
        }
        Some(())
    }

    fn expected(&self, _: &Head, _: &DecodeRequest) -> String {
        format!("[boxes, {ROW}]")
    }
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceThreshold;

    use super::*;

    #[test]
    fn each_picture_has_its_rows() {
        let data = [
            [0.0, 1.0, 2.0, 30.0, 20.0, 3.0, 0.75],
            [1.0, 5.0, 6.0, 7.0, 8.0, 1.0, 0.5],
            [0.0, 1.0, 2.0, 30.0, 20.0, 3.0, 0.125],
        ]
        .concat();
        let head = Head { kind: HeadKind::NMS_ROWS, strides: Vec::new(), classes: 4 };
        for (batch_index, expected) in [(0, vec![(3, 0.75)]), (1, vec![(1, 0.5)]), (2, vec![])] {
            let request = DecodeRequest {
                batch_index,
                input_width: 32,
                input_height: 32,
                threshold: ConfidenceThreshold::new(0.25).unwrap(),
            };
            let outputs = [OutputView { shape: &[3, 7], data: &data }];
            let mut found = Vec::new();
            head.decode_boxes(&outputs, &request, &mut found).unwrap();
            let found: Vec<_> = found.iter().map(|found| (found.class_id.0, found.score)).collect();
            assert_eq!(found, expected);
        }
    }
}
