//! The head of YOLOX: one output `[batch, cells, 5 + classes]`, levels one after another.
//!
//! Each row holds the box's centre as an offset in its cell and its size as a logarithm, both in
//! cells, then the score that there is an object and the score of each class; sigmoid is applied to
//! the scores (Megvii `YOLOXHead` exported without `decode_in_inference`, and its `demo_postprocess`).

use domain::ClassId;

use super::head::{DecodeRequest, Head};
use crate::{input_box::InputBox, postprocess::candidate::Candidate, tensor::OutputView};

pub(super) fn decode(
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
            let object_score = row[4];
            // A class score is at most 1, so it cannot lift the product over the threshold.
            if object_score > threshold
                && let Some((class, score)) = best_class(&row[5..])
                && object_score * score > threshold
            {
                let [column, line] = [cell % grid_columns, cell / grid_columns];
                let stride = stride as f32;
                let centre = [(row[0] + column as f32) * stride, (row[1] + line as f32) * stride];
                let size = [row[2].exp() * stride, row[3].exp() * stride];
                candidates.push(Candidate {
                    bbox: InputBox::around(centre, size),
                    class_id: ClassId(class),
                    score: object_score * score,
                });
            }
        }
    }
    Some(())
}

fn best_class(scores: &[f32]) -> Option<(u32, f32)> {
    let scores = (0..).zip(scores.iter().copied());
    scores.reduce(|best, other| if other.1 > best.1 { other } else { best })
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceThreshold;

    use super::*;
    use crate::postprocess::heads::head::HeadKind;

    #[test]
    fn a_row_becomes_a_box_of_its_level() {
        // 32 × 16 pixels: 4 × 2 cells of stride 8, then 2 × 1 cells of stride 16.
        let mut data = [0.0; 10 * 7];
        let row = &mut data[9 * 7..];
        row.copy_from_slice(&[0.5, 0.25, 0.0, 2.0_f32.ln(), 0.8, 0.1, 0.5]);
        let head = Head { kind: HeadKind::Yolox, strides: vec![8, 16], classes: 2 };
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
