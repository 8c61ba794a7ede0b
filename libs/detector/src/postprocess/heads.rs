//! From a model's outputs to boxes. Each kind of head has a file of its own.
//!
//! A head gives *candidates*: boxes in pixels of the model's input, before overlapping ones are
//! dropped by [`non_maximum_suppression`](crate::postprocess::nms::non_maximum_suppression).

mod yolov8;
mod yolov8_cut;
mod yolox;

use domain::ConfidenceThreshold;
use serde::{Deserialize, Serialize};

use crate::{
    error::DetectError,
    postprocess::candidate::Candidate,
    preprocess::letterbox::{ChannelOrder, LetterboxSpec, Placement, TargetSize, ValueRange},
    tensor::OutputView,
};

/// How a model's outputs are to be read.
///
/// End-to-end heads (`[batch, 300, 6]`) and the queries of RT-DETR and D-FINE are recognised at
/// install and refused by name; each needs a variant here and a file beside this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadKind {
    /// YOLOv8 or YOLO11 whose graph ends at its last convolutions: for each stride `s`,
    /// `boxes_s` `[batch, 4 × bins, h, w]` and `scores_s` `[batch, classes, h, w]`, both raw.
    #[serde(rename = "yolov8-cut")]
    Yolov8Cut,
    /// YOLOv8 or YOLO11 as exported: `[batch, 4 + classes, cells]`, centre, size and final scores.
    #[serde(rename = "yolov8")]
    Yolov8,
    /// YOLOX as exported: `[batch, cells, 5 + classes]`, offsets in the grid and final scores.
    #[serde(rename = "yolox")]
    Yolox,
}

impl HeadKind {
    /// Its name, as in `model.toml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Yolov8Cut => "yolov8-cut",
            Self::Yolov8 => "yolov8",
            Self::Yolox => "yolox",
        }
    }

    /// How a picture is put into the input of such a model.
    ///
    /// YOLOv8 and YOLO11: centred, RGB, 0–1 (Ultralytics `LetterBox`). YOLOX: top left, BGR, 0–255
    /// (Megvii `preproc`).
    #[must_use]
    pub fn letterbox_spec(self, target: TargetSize) -> LetterboxSpec {
        let (placement, channels, range) = match self {
            Self::Yolov8Cut | Self::Yolov8 => {
                (Placement::Centre, ChannelOrder::Rgb, ValueRange::Unit)
            }
            Self::Yolox => (Placement::TopLeft, ChannelOrder::Bgr, ValueRange::Byte),
        };
        LetterboxSpec { target, placement, channels, range }
    }
}

/// What is asked of a head for one picture of a batch.
#[derive(Debug, Clone, Copy)]
pub struct DecodeRequest {
    /// The picture's place in the batch, from 0.
    pub batch_index: usize,
    /// Width of the model's input in pixels.
    pub input_width: usize,
    /// Height of the model's input in pixels.
    pub input_height: usize,
    /// Only scores strictly above it become candidates, as in the reference.
    pub threshold: ConfidenceThreshold,
}

/// A head of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// How the outputs are laid out.
    pub kind: HeadKind,
    /// Pixels of the input for each cell of a level, finest level first.
    pub strides: Vec<u32>,
    /// The classes that the model tells apart.
    pub classes: usize,
}

impl Head {
    /// Appends the candidates of one picture to `candidates`, in no particular order.
    ///
    /// A box or score that is infinite or no number is left out: a model that overflowed has found nothing
    /// there, and JSON has no such numbers, so that a record with one could be stored and never read again.
    ///
    /// # Errors
    /// [`DetectError::UnexpectedOutput`] when the outputs have not the shapes of this head.
    pub fn decode_boxes(
        &self,
        outputs: &[OutputView<'_>],
        request: &DecodeRequest,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), DetectError> {
        let decoded = match self.kind {
            HeadKind::Yolov8Cut => yolov8_cut::decode(self, outputs, request, candidates),
            HeadKind::Yolov8 => yolov8::decode(self, outputs, request, candidates),
            HeadKind::Yolox => yolox::decode(self, outputs, request, candidates),
        };
        decoded.ok_or_else(|| self.unexpected(outputs, request))?;
        candidates.retain(Candidate::is_finite);
        Ok(())
    }

    /// The names that the outputs must have, for a head that was made here.
    pub(crate) fn output_names(&self) -> Option<Vec<String>> {
        if self.kind != HeadKind::Yolov8Cut {
            return None;
        }
        let pair = |stride| [cut_output("boxes", stride), cut_output("scores", stride)];
        Some(self.strides.iter().flat_map(pair).collect())
    }

    /// Rows and columns of the level with this stride.
    fn grid(stride: u32, request: &DecodeRequest) -> (usize, usize) {
        let stride = stride as usize;
        (request.input_height / stride, request.input_width / stride)
    }

    /// The cells of all levels together.
    fn cells(&self, request: &DecodeRequest) -> usize {
        let cells = |&stride: &u32| {
            let (rows, columns) = Self::grid(stride, request);
            rows * columns
        };
        self.strides.iter().map(cells).sum()
    }

    fn unexpected(&self, outputs: &[OutputView<'_>], request: &DecodeRequest) -> DetectError {
        let (classes, cells) = (self.classes, self.cells(request));
        let expected = match self.kind {
            HeadKind::Yolov8 => format!("[batch, {}, {cells}]", 4 + classes),
            HeadKind::Yolox => format!("[batch, {cells}, {}]", 5 + classes),
            HeadKind::Yolov8Cut => {
                let level = |&stride: &u32| {
                    let (rows, columns) = Self::grid(stride, request);
                    format!(
                        "[batch, 4 × bins, {rows}, {columns}] and \
                         [batch, {classes}, {rows}, {columns}]"
                    )
                };
                self.strides.iter().map(level).collect::<Vec<_>>().join(", ")
            }
        };
        let found: Vec<String> =
            outputs.iter().map(|output| format!("{:?}", output.shape)).collect();
        DetectError::UnexpectedOutput { found: found.join(", "), expected }
    }
}

/// The name of an output of a cut head, such as `boxes_8`.
pub(crate) fn cut_output(what: &str, stride: &u32) -> String {
    format!("{what}_{stride}")
}

/// Cells of a plane that are scanned together: their running maxima stay in the fastest cache.
const BLOCK: usize = 512;

/// Calls `found(cell, class, score)` for every cell whose best score is above `threshold`.
///
/// `scores` holds one plane of `cells` values for each class. It is read in the order it lies in
/// memory: classes outside, cells inside, which compiles to vector instructions.
fn scan_best(scores: &[f32], cells: usize, threshold: f32, mut found: impl FnMut(usize, u32, f32)) {
    let mut best = [0.0_f32; BLOCK];
    let mut class_of = [0_u32; BLOCK];
    for start in (0..cells).step_by(BLOCK) {
        let length = BLOCK.min(cells - start);
        let (best, class_of) = (&mut best[..length], &mut class_of[..length]);
        best.fill(f32::NEG_INFINITY);
        class_of.fill(0);
        for (class, plane) in (0..).zip(scores.chunks_exact(cells)) {
            let values = &plane[start..start + length];
            for ((best, class_of), &value) in best.iter_mut().zip(&mut *class_of).zip(values) {
                let is_better = value > *best;
                *best = if is_better { value } else { *best };
                *class_of = if is_better { class } else { *class_of };
            }
        }
        for (cell, (&score, &class)) in best.iter().zip(&*class_of).enumerate() {
            if score > threshold {
                found(start + cell, class, score);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scan_finds_the_best_class_of_every_cell() {
        // More cells than a block and no multiple of it; a cheap sequence stands in for scores.
        let (cells, classes) = (BLOCK * 2 + 77, 7);
        let mut state = 1_u32;
        let scores: Vec<f32> = (0..cells * classes)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32
            })
            .collect();
        let threshold = 0.9;
        let mut expected = Vec::new();
        for cell in 0..cells {
            let column = (0..classes).map(|class| (scores[class * cells + cell], class));
            let (score, class) = column.fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a });
            if score > threshold {
                expected.push((cell, class as u32, score));
            }
        }
        let mut found = Vec::new();
        scan_best(&scores, cells, threshold, |cell, class, score| found.push((cell, class, score)));
        assert!(found.len() > 100);
        assert_eq!(found, expected);
    }

    #[test]
    fn a_score_at_the_threshold_or_no_number_is_not_found() {
        let scores = [0.25, f32::NAN, 0.250_001];
        let mut found = Vec::new();
        scan_best(&scores, 3, 0.25, |cell, _, _| found.push(cell));
        assert_eq!(found, [2]);
    }

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
            for kind in [HeadKind::Yolov8, HeadKind::Yolov8Cut, HeadKind::Yolox] {
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
        let head = Head { kind: HeadKind::Yolov8, strides: vec![8, 16, 32], classes: 80 };
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
            check(HeadKind::Yolov8, 1, &[output], expected);
        }
        for (size, expected) in [(f32::NAN, 0), (f32::MAX, 0), (1.0, 1)] {
            let row = [0.5, 0.5, size, 1.0, 0.9, 0.9];
            let output = OutputView { shape: &[1, 1, 6], data: &row };
            check(HeadKind::Yolox, 1, &[output], expected);
        }
        for (distance, expected) in [(f32::NAN, 0), (f32::NEG_INFINITY, 0), (1.0, 1)] {
            let distances = [distance; 8];
            let boxes = OutputView { shape: &[1, 8, 1, 1], data: &distances };
            let scores = OutputView { shape: &[1, 1, 1, 1], data: &[5.0] };
            check(HeadKind::Yolov8Cut, 1, &[boxes, scores], expected);
        }
        let infinite_score = [0.0, 0.0, 1.0, 1.0, f32::INFINITY];
        let output = OutputView { shape: &[1, 5, 1], data: &infinite_score };
        check(HeadKind::Yolov8, 1, &[output], 0);
    }

    #[test]
    fn an_output_without_the_elements_of_its_shape_is_refused() {
        let request = DecodeRequest {
            batch_index: 0,
            input_width: 8,
            input_height: 8,
            threshold: ConfidenceThreshold::default(),
        };
        let head = Head { kind: HeadKind::Yolov8Cut, strides: vec![8], classes: 1 };
        let scores = OutputView { shape: &[1, 1, 1, 1], data: &[5.0] };
        for elements in [0, 4, 7, 9] {
            let data = vec![0.0; elements];
            let boxes = OutputView { shape: &[1, 8, 1, 1], data: &data };
            let decoded = head.decode_boxes(&[boxes, scores], &request, &mut Vec::new());
            assert!(matches!(decoded, Err(DetectError::UnexpectedOutput { .. })), "{elements}");
        }
    }
}
