//! Boxes of queries: for each a logit of every class, and a box as centre and size in parts of the picture.

use domain::ClassId;

use super::{
    family::{DecodeRequest, Mismatch},
    scan::{logit, sigmoid},
};
use crate::{input_box::InputBox, postprocess::candidate::Candidate, tensor::OutputView};

/// The outputs of queries.
pub(super) struct Queries<'o> {
    /// `[batch, queries, classes]`, before the sigmoid.
    pub(super) logits: &'o OutputView<'o>,
    /// `[batch, queries, 4]`: centre x, centre y, width and height, from 0 to 1.
    pub(super) boxes: &'o OutputView<'o>,
    /// The classes that are read; further ones of a row stand for nothing.
    pub(super) classes: usize,
}

impl Queries<'_> {
    /// Appends every pair of a query and a class whose score is above the threshold, or the best ones where there are
    /// more than queries (`post_process_object_detection` of RT-DETR in transformers, `PostProcess` of RF-DETR).
    pub(super) fn decode(
        &self,
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        let [queries, columns] = self.logits.picture_shape()?;
        if self.boxes.picture_shape()? != [queries, 4] || !(1..=columns).contains(&self.classes) {
            return None;
        }
        let boxes = self.boxes.of_picture(request.batch_index)?.as_chunks::<4>().0;
        let rows = self.logits.of_picture(request.batch_index)?.chunks_exact(columns);
        let threshold = request.threshold.get();
        // As for the cut head of YOLOv8: most scores are settled without a sigmoid.
        let logit_threshold = logit(threshold) - 1e-4;
        let before = candidates.len();
        for (&[x, y, width, height], row) in boxes.iter().zip(rows) {
            for (class, &logit) in (0..).zip(&row[..self.classes]) {
                if logit <= logit_threshold {
                    continue;
                }
                let score = sigmoid(logit);
                if score > threshold {
                    let [across, down] = [request.input_width as f32, request.input_height as f32];
                    let bbox =
                        InputBox::around([x * across, y * down], [width * across, height * down]);
                    candidates.push(Candidate { bbox, class_id: ClassId(class), score });
                }
            }
        }
        if candidates.len() - before > queries {
            candidates[before..].sort_by(|a, b| b.score.total_cmp(&a.score));
            candidates.truncate(before + queries);
        }
        Some(())
    }
}

/// Why outputs cannot be logits, and boxes in parts of the picture.
pub(super) fn mismatch(logits: &OutputView<'_>, boxes: &OutputView<'_>) -> Option<Mismatch> {
    Mismatch::of_numbers(logits.data).or_else(|| Mismatch::of_parts(boxes.data))
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceThreshold;

    use super::*;

    #[test]
    fn a_query_may_be_of_two_classes_and_the_best_ones_are_kept() {
        let logits =
            OutputView { shape: &[1, 2, 4], data: &[0.0, 1.0, -9.0, 9.0, 2.0, -1.0, -9.0, 9.0] };
        let boxes =
            OutputView { shape: &[1, 2, 4], data: &[0.5, 0.5, 0.5, 0.25, 0.25, 0.5, 0.5, 1.0] };
        let queries = Queries { logits: &logits, boxes: &boxes, classes: 3 };
        let found = |confidence: f32| {
            let request = DecodeRequest {
                batch_index: 0,
                input_width: 64,
                input_height: 32,
                threshold: ConfidenceThreshold::new(confidence).unwrap(),
            };
            let mut found = Vec::new();
            queries.decode(&request, &mut found).unwrap();
            found
        };
        let strict = found(0.6);
        assert_eq!(strict[0].bbox, InputBox { x1: 16.0, y1: 12.0, x2: 48.0, y2: 20.0 });
        let classes: Vec<u32> = strict.iter().map(|found| found.class_id.0).collect();
        assert_eq!(classes, [1, 0]);
        let classes: Vec<u32> = found(0.001).iter().map(|found| found.class_id.0).collect();
        assert_eq!(classes, [0, 1], "two queries give two boxes at most, best first");
    }
}
