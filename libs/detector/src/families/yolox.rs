//! The head of YOLOX: one output `[batch, cells, 5 + classes]`, levels one after another.
//!
//! Each row holds the box's centre as an offset in its cell and its size as a logarithm, both in
//! cells, then the score that there is an object and the score of each class; sigmoid is applied to
//! the scores (Megvii `YOLOXHead` exported without `decode_in_inference`, and its `demo_postprocess`).

use domain::ClassId;

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    levels::{self, USUAL},
    scan::best_class,
};
use crate::{
    input_box::InputBox,
    postprocess::candidate::Candidate,
    preprocess::letterbox::{ChannelOrder, Placement, Preprocessing, Resampling, ValueRange},
    tensor::OutputView,
};

impl HeadKind {
    /// YOLOX as exported: `[batch, cells, 5 + classes]`, offsets in the grid and final scores.
    pub const YOLOX: Self = Self(&Family {
        name: "yolox",
        described: Some("[batch, cells, 5 + classes] (YOLOX)"),
        preprocessing: PREPROCESSING,
        duplicates: Duplicates::Expected,
        sizes: Sizes::One,
        layout: &Yolox,
    });
}

/// Megvii's `preproc`.
pub(super) const PREPROCESSING: Preprocessing = Preprocessing {
    placement: Placement::TopLeft,
    resampling: Resampling::Bilinear,
    channels: ChannelOrder::Bgr,
    range: ValueRange::Byte,
};

struct Yolox;

impl Layout for Yolox {
    fn claim(&self, file: &Declared<'_>) -> Option<Ends> {
        file.one_output(2)
    }

    fn readings(&self, shapes: &Shapes<'_>) -> Vec<Levels> {
        rows_of_cells(shapes)
    }

    fn mismatch(&self, head: &Head, outputs: &[OutputView<'_>], width: usize) -> Option<Mismatch> {
        let data = outputs.first()?.of_picture(0)?;
        let mut rows = data.chunks_exact(5 + head.classes);
        // A raw offset is one or two cells; a decoded centre can be anywhere in the picture.
        if rows.clone().any(|row| row[0].abs() > width as f32 / 4.0) {
            return Some(Mismatch {
                found: "box centres in pixels",
                expected: "offsets within the grid",
            });
        }
        rows.find_map(|row| Mismatch::of_scores(&row[4..]))
    }

    fn decode(
        &self,
        head: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        let [output] = outputs else { return None };
        let width = 5 + head.classes;
        if output.picture_shape()? != [head.cells(request), width] {
            return None;
        }
        let threshold = request.threshold.get();
        let mut rows = output.of_picture(request.batch_index)?.chunks_exact(width);
        for &stride in &head.strides {
            let (grid_rows, grid_columns) = Head::grid(stride, request);
            for (cell, row) in rows.by_ref().take(grid_rows * grid_columns).enumerate() {
                let Some((class, score)) = object(row, threshold) else { continue };
                let [column, line] = [cell % grid_columns, cell / grid_columns];
                let stride = stride as f32;
                let centre = [(row[0] + column as f32) * stride, (row[1] + line as f32) * stride];
                let size = [row[2].exp() * stride, row[3].exp() * stride];
                let bbox = InputBox::around(centre, size);
                candidates.push(Candidate { bbox, class_id: ClassId(class), score });
            }
        }
        Some(())
    }

    fn expected(&self, head: &Head, request: &DecodeRequest) -> String {
        format!("[batch, {}, {}]", head.cells(request), 5 + head.classes)
    }
}

/// The meaning of an output with a row for each cell of the levels that every YOLOX has.
pub(super) fn rows_of_cells(shapes: &Shapes<'_>) -> Vec<Levels> {
    let [boxes] = shapes.outputs else { return Vec::new() };
    let [rows, columns] = boxes[..] else { return Vec::new() };
    let mut readings = levels::readings([rows, 1], [columns, 5], shapes.size);
    readings.retain(|reading| reading.strides == USUAL);
    readings
}

/// The best class of a row and its score, objectness times the class's score, where that is above `threshold`.
pub(super) fn object(row: &[f32], threshold: f32) -> Option<(u32, f32)> {
    let object_score = row[4];
    // A class score is at most 1, so it cannot lift the product over the threshold.
    if object_score <= threshold || object_score.is_nan() {
        return None;
    }
    let (class, score) = best_class(&row[5..])?;
    let score = object_score * score;
    (score > threshold).then_some((class, score))
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceThreshold;

    use super::*;

    #[test]
    fn a_row_becomes_a_box_of_its_level() {
        // 32 × 16 pixels: 4 × 2 cells of stride 8, then 2 × 1 cells of stride 16.
        let mut data = [0.0; 10 * 7];
        let row = &mut data[9 * 7..];
        row.copy_from_slice(&[0.5, 0.25, 0.0, 2.0_f32.ln(), 0.8, 0.1, 0.5]);
        let head = Head { kind: HeadKind::YOLOX, strides: vec![8, 16], classes: 2 };
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 32,
            input_height: 16,
            threshold: ConfidenceThreshold::new(0.3).unwrap(),
        };
        let outputs = [OutputView { shape: &[1, 10, 7], data: &data }];
        let mut found = Vec::new();
        head.decode_boxes(&outputs, &request, &mut found).unwrap();
        // The last row is column 1, line 0 of the second level: its centre is (24, 4).
        let bbox = InputBox { x1: 16.0, y1: -12.0, x2: 32.0, y2: 20.0 };
        assert_eq!(found, [Candidate { bbox, class_id: ClassId(1), score: 0.4 }]);
    }
}
