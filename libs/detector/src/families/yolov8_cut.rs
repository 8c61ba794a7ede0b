//! The head of YOLOv8 and YOLO11 cut at its last convolutions: for each level, boxes
//! `[batch, 4 × bins, h, w]` and class scores `[batch, classes, h, w]`, both as raw logits.
//!
//! A box is given by the distances from the middle of its cell to its four sides, each as a
//! distribution over whole numbers of cells whose mean is taken (Li et al., "Generalized Focal
//! Loss", 2020; Ultralytics `DFL` and `dist2bbox`).

use domain::ClassId;

use super::{
    declared::{Declared, Ends, Shapes},
    family::{DecodeRequest, Duplicates, Family, Head, HeadKind, Layout, Levels, Mismatch, Sizes},
    scan::{logit, scan_best, sigmoid},
    yolov8,
};
use crate::{input_box::InputBox, postprocess::candidate::Candidate, tensor::OutputView};

impl HeadKind {
    /// YOLOv8 or YOLO11 whose graph ends at its last convolutions: for each stride `s`,
    /// `boxes_s` `[batch, 4 × bins, h, w]` and `scores_s` `[batch, classes, h, w]`, both raw.
    pub const YOLOV8_CUT: Self = Self(&Family {
        name: "yolov8-cut",
        described: None,
        preprocessing: yolov8::PREPROCESSING,
        duplicates: Duplicates::Expected,
        sizes: Sizes::Any,
        layout: &Yolov8Cut,
    });
}

struct Yolov8Cut;

impl Layout for Yolov8Cut {
    /// No file is exported so: an installation cuts [YOLOv8](HeadKind::YOLOV8)'s head off.
    fn claim(&self, _: &Declared<'_>) -> Option<Ends> {
        None
    }

    fn readings(&self, _: &Shapes<'_>) -> Vec<Levels> {
        Vec::new()
    }

    fn mismatch(&self, _: &Head, _: &[OutputView<'_>], _: usize) -> Option<Mismatch> {
        None
    }

    fn output_names(&self, head: &Head) -> Option<Vec<String>> {
        let pair = |stride| [cut_output("boxes", stride), cut_output("scores", stride)];
        Some(head.strides.iter().flat_map(pair).collect())
    }

    fn decode(
        &self,
        head: &Head,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Option<()> {
        if outputs.len() != 2 * head.strides.len() {
            return None;
        }
        for (&stride, level) in head.strides.iter().zip(outputs.chunks_exact(2)) {
            let (rows, columns) = Head::grid(stride, request);
            let [channels, box_rows, box_columns] = level[0].picture_shape()?;
            let scores_shape = level[1].picture_shape()?;
            if channels == 0
                || channels % 4 != 0
                || [box_rows, box_columns] != [rows, columns]
                || scores_shape != [head.classes, rows, columns]
            {
                return None;
            }
            let level = Level {
                stride: stride as f32,
                columns,
                cells: rows * columns,
                bins: channels / 4,
                distances: level[0].of_picture(request.batch_index)?,
                scores: level[1].of_picture(request.batch_index)?,
            };
            level.decode(request.threshold.get(), candidates);
        }
        Some(())
    }

    fn expected(&self, head: &Head, request: &DecodeRequest) -> String {
        let classes = head.classes;
        let level = |&stride: &u32| {
            let (rows, columns) = Head::grid(stride, request);
            format!(
                "[batch, 4 × bins, {rows}, {columns}] and [batch, {classes}, {rows}, {columns}]"
            )
        };
        head.strides.iter().map(level).collect::<Vec<_>>().join(", ")
    }
}

/// The name of an output of a cut head, such as `boxes_8`.
pub(crate) fn cut_output(what: &str, stride: &u32) -> String {
    format!("{what}_{stride}")
}

struct Level<'a> {
    stride: f32,
    columns: usize,
    cells: usize,
    bins: usize,
    distances: &'a [f32],
    scores: &'a [f32],
}

impl Level<'_> {
    fn decode(&self, threshold: f32, candidates: &mut Vec<Candidate>) {
        // Almost every cell is settled by comparing its logit, without a sigmoid. The little slack
        // leaves the cells that rounding could decide to the exact comparison.
        let logit_threshold = logit(threshold) - 1e-4;
        scan_best(self.scores, self.cells, logit_threshold, |cell, class, logit| {
            let score = sigmoid(logit);
            if score > threshold {
                let bbox = self.bbox(cell);
                candidates.push(Candidate { bbox, class_id: ClassId(class), score });
            }
        });
    }

    fn bbox(&self, cell: usize) -> InputBox {
        let x = (cell % self.columns) as f32 + 0.5;
        let y = (cell / self.columns) as f32 + 0.5;
        let [left, top, right, bottom] = [0, 1, 2, 3].map(|side| self.distance(side, cell));
        InputBox {
            x1: (x - left) * self.stride,
            y1: (y - top) * self.stride,
            x2: (x + right) * self.stride,
            y2: (y + bottom) * self.stride,
        }
    }

    /// The mean of the softmax over the bins of one side, in cells.
    fn distance(&self, side: usize, cell: usize) -> f32 {
        let logit = |bin: usize| self.distances[(side * self.bins + bin) * self.cells + cell];
        // Subtracting the largest keeps `exp` from overflowing and changes nothing else.
        let largest = (0..self.bins).map(logit).fold(f32::NEG_INFINITY, f32::max);
        let (mut weighted, mut total) = (0.0, 0.0);
        for bin in 0..self.bins {
            let weight = (logit(bin) - largest).exp();
            weighted += weight * bin as f32;
            total += weight;
        }
        weighted / total
    }
}

#[cfg(test)]
mod tests {
    use domain::ConfidenceThreshold;

    use super::*;

    /// One level of 2 × 3 cells, 4 bins and 2 classes; everything is −20 but what `set` changes.
    fn decode_one(set: impl Fn(&mut [f32], &mut [f32]), confidence: f32) -> Vec<Candidate> {
        let (mut boxes, mut scores) = (vec![-20.0; 16 * 6], vec![-20.0; 2 * 6]);
        set(&mut boxes, &mut scores);
        let head = Head { kind: HeadKind::YOLOV8_CUT, strides: vec![8], classes: 2 };
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 24,
            input_height: 16,
            threshold: ConfidenceThreshold::new(confidence).unwrap(),
        };
        let outputs = [
            OutputView { shape: &[1, 16, 2, 3], data: &boxes },
            OutputView { shape: &[1, 2, 2, 3], data: &scores },
        ];
        let mut candidates = Vec::new();
        head.decode_boxes(&outputs, &request, &mut candidates).unwrap();
        candidates
    }

    #[test]
    fn a_cell_becomes_a_box() {
        // Cell 4 is row 1, column 1: its middle is at (12, 12). Sides are 1, 0, 2 and 1.5 cells off.
        let found = decode_one(
            |boxes, scores| {
                let mut bin = |side: usize, bin: usize| boxes[(side * 4 + bin) * 6 + 4] = 20.0;
                bin(0, 1);
                bin(1, 0);
                bin(2, 2);
                bin(3, 1);
                bin(3, 2);
                scores[6 + 4] = 1.0;
            },
            0.25,
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].class_id, ClassId(1));
        assert!((found[0].score - 0.731_058_6).abs() < 1e-6);
        let InputBox { x1, y1, x2, y2 } = found[0].bbox;
        for (side, expected) in [(x1, 4.0), (y1, 12.0), (x2, 28.0), (y2, 24.0)] {
            assert!((side - expected).abs() < 1e-3, "{:?}", found[0].bbox);
        }
    }

    #[test]
    fn a_score_must_pass_the_threshold() {
        // The logit 0 is the score 0.5 exactly.
        let one = |_: &mut [f32], scores: &mut [f32]| scores[0] = 0.0;
        assert_eq!(decode_one(one, 0.5).len(), 0);
        assert_eq!(decode_one(one, 0.499_999).len(), 1);
        assert_eq!(decode_one(one, 1.0).len(), 0);
        assert_eq!(decode_one(one, 0.0).len(), 6);
    }
}
