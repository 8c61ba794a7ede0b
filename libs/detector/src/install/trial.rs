//! Running a model before it is installed, and its cut version beside it.

use std::path::Path;

use domain::{BoundingBox, Confidence, Detection};

use super::recognise::{Family, Recognised, STRIDES};
use crate::{
    error::{DetectError, ModelError},
    head::{DecodeRequest, Head, HeadKind, cut_output},
    letterbox::InputTensor,
    onnx::{
        OnnxModel,
        cut::{CannotCut, HeadConvolutions, InputSize, NewOutput, end_at, find_head},
    },
    session::{InferenceSession, InputBatch, Runtime, SessionOptions},
};

/// How far a score of the cut model may lie from the whole one's.
const SCORE_TOLERANCE: f32 = 1e-3;
/// How far a side of a box may, in pixels, where the score is not next to nothing. The distances of
/// the coarsest level are multiplied by 32, and rounding with them.
const BOX_TOLERANCE: f32 = 1e-2;
/// Other sizes, width × height, at which a model with a free size must run.
const OTHER_SIZES: [(u32, u32); 2] = [(480, 640), (320, 256)];

/// A file on trial.
pub(super) struct Trial<'a> {
    pub(super) path: &'a Path,
    pub(super) model: &'a OnnxModel,
    pub(super) bytes: &'a [u8],
    pub(super) runtime: &'a Runtime,
}

/// A cut model that has been seen to do what the whole one does.
pub(super) struct Cut {
    pub(super) bytes: Vec<u8>,
    pub(super) strides: Vec<u32>,
    pub(super) size: InputSize,
    /// Why other sizes are out, if they are.
    pub(super) why_fixed: Option<String>,
    pub(super) score_difference: f32,
    pub(super) box_difference: f32,
}

impl Trial<'_> {
    /// Runs the whole model once and gives every cell's box.
    pub(super) fn run_whole(&self, recognised: &Recognised) -> Result<Vec<Detection>, ModelError> {
        let mut session = self
            .load(self.bytes)
            .map_err(|source| ModelError::Runtime { path: self.path.to_owned(), source })?;
        let does_not_run = |error: DetectError| ModelError::DoesNotRun {
            path: self.path.to_owned(),
            detail: error.to_string(),
        };
        let kind = match recognised.family {
            Family::Yolov8 => HeadKind::Yolov8,
            Family::Yolox => HeadKind::Yolox,
        };
        let head = Head { kind, strides: STRIDES.to_vec(), classes: recognised.classes };
        let input = noise(recognised.size, kind);
        let boxes = every_cell(&mut session, &head, &input).map_err(does_not_run)?;
        self.check_scores(recognised, &mut session, &input)?;
        Ok(boxes)
    }

    /// Scores must be final: exports that leave the sigmoid, or decode the grid, look the same.
    fn check_scores(
        &self,
        recognised: &Recognised,
        session: &mut InferenceSession,
        input: &InputTensor,
    ) -> Result<(), ModelError> {
        let does_not_run = |error: DetectError| ModelError::DoesNotRun {
            path: self.path.to_owned(),
            detail: error.to_string(),
        };
        let refuse = |found: &str, expected: &str| ModelError::NotUnderstood {
            path: self.path.to_owned(),
            found: found.to_owned(),
            expected: expected.to_owned(),
        };
        let outputs = session.run(&InputBatch::of(input), None).map_err(does_not_run)?;
        let views = outputs.views().map_err(does_not_run)?;
        let data = views.first().map_or(&[][..], |view| view.data);
        let is_score = |score: &f32| (0.0..=1.0).contains(score);
        let are_scores = match recognised.family {
            Family::Yolov8 => {
                let cells = data.len() / (4 + recognised.classes);
                data[4 * cells..].iter().all(is_score)
            }
            Family::Yolox => {
                let mut rows = data.chunks_exact(5 + recognised.classes);
                // A raw offset is a cell or two; a decoded one spans the picture.
                if rows.clone().any(|row| row[0].abs() > input.width as f32 / 4.0) {
                    return Err(refuse(
                        "box centres in pixels",
                        "a YOLOX export without `decode_in_inference`: offsets within the grid",
                    ));
                }
                rows.all(|row| row[4..].iter().all(is_score))
            }
        };
        if are_scores {
            return Ok(());
        }
        Err(refuse("scores outside 0 to 1", "an export with sigmoid applied to its scores"))
    }

    /// Cuts the head off and compares what both models give; `whole` is [`Trial::run_whole`]'s.
    pub(super) fn cut(
        &self,
        recognised: &Recognised,
        whole: &[Detection],
    ) -> Result<Cut, CannotCut> {
        let convolutions = find_head(self.model, recognised.classes)?;
        let input = noise(recognised.size, HeadKind::Yolov8Cut);
        let (outputs, strides) = self.levels(recognised, &convolutions, &input)?;
        let bytes = end_at(self.model, &outputs, InputSize::Free).to_bytes();
        let mut session = self.load(&bytes).map_err(differs)?;
        let head = Head { kind: HeadKind::Yolov8Cut, strides, classes: recognised.classes };
        let boxes = every_cell(&mut session, &head, &input).map_err(differs)?;
        let (score_difference, box_difference) = compare(whole, &boxes)?;

        let why_fixed = OTHER_SIZES.into_iter().find_map(|size| {
            let input = noise(size, HeadKind::Yolov8Cut);
            every_cell(&mut session, &head, &input).err().map(|error| error.to_string())
        });
        let (width, height) = recognised.size;
        let (bytes, size) = if why_fixed.is_some() {
            let size = InputSize::Fixed { height, width };
            (end_at(self.model, &outputs, size).to_bytes(), size)
        } else {
            (bytes, InputSize::Free)
        };
        let strides = head.strides;
        Ok(Cut { bytes, strides, size, why_fixed, score_difference, box_difference })
    }

    /// Pairs box and class convolutions by the size of what they give, finest level first.
    fn levels(
        &self,
        recognised: &Recognised,
        convolutions: &HeadConvolutions,
        input: &InputTensor,
    ) -> Result<(Vec<NewOutput>, Vec<u32>), CannotCut> {
        let keep_name = |channels: usize| {
            move |tensor: &String| NewOutput {
                tensor: tensor.clone(),
                name: tensor.clone(),
                channels,
            }
        };
        let boxes = convolutions.boxes.iter().map(keep_name(4 * convolutions.bins));
        let scores = convolutions.scores.iter().map(keep_name(recognised.classes));
        let ends: Vec<NewOutput> = boxes.chain(scores).collect();
        let bytes = end_at(self.model, &ends, InputSize::Free).to_bytes();
        let mut session = self.load(&bytes).map_err(differs)?;
        let outputs = session.run(&InputBatch::of(input), None).map_err(differs)?;
        let mut found = Vec::new();
        for (end, view) in ends.into_iter().zip(outputs.views().map_err(differs)?) {
            let stride = match view.shape {
                [_, _, _, columns] if *columns > 0 => input.width as u32 / *columns as u32,
                _ => return Err(CannotCut::Differs(format!("{} is {:?}", end.name, view.shape))),
            };
            found.push((stride, end));
        }
        // The sort is stable and boxes come before scores, so each level has its boxes first.
        found.sort_by_key(|(stride, _)| *stride);
        let strides: Vec<u32> = found.iter().step_by(2).map(|(stride, _)| *stride).collect();
        let paired = found.chunks(2).all(|level| {
            level[0].0 == level[1].0
                && convolutions.boxes.contains(&level[0].1.tensor)
                && convolutions.scores.contains(&level[1].1.tensor)
        });
        let distinct = strides.windows(2).all(|pair| pair[0] < pair[1]);
        if !paired || !distinct {
            let strides: Vec<u32> = found.iter().map(|(stride, _)| *stride).collect();
            return Err(CannotCut::Differs(format!(
                "levels do not pair up, their strides are {strides:?}"
            )));
        }
        let named = found.into_iter().enumerate().map(|(place, (stride, end))| {
            let what = if place % 2 == 0 { "boxes" } else { "scores" };
            NewOutput { name: cut_output(what, &stride), ..end }
        });
        Ok((named.collect(), strides))
    }

    fn load(&self, bytes: &[u8]) -> Result<InferenceSession, crate::error::RuntimeError> {
        InferenceSession::load(self.runtime, bytes, &SessionOptions::default())
    }
}

fn differs(error: impl ToString) -> CannotCut {
    CannotCut::Differs(error.to_string())
}

/// The box of every cell, in the order of the cells.
fn every_cell(
    session: &mut InferenceSession,
    head: &Head,
    input: &InputTensor,
) -> Result<Vec<Detection>, DetectError> {
    let outputs = session.run(&InputBatch::of(input), None)?;
    let request = DecodeRequest {
        batch_index: 0,
        input_width: input.width,
        input_height: input.height,
        confidence: Confidence::new(0.0).unwrap_or_default(),
    };
    let mut boxes = Vec::new();
    head.decode_boxes(&outputs.views()?, &request, &mut boxes)?;
    Ok(boxes)
}

/// The largest difference of two scores and of two sides, cell by cell.
fn compare(whole: &[Detection], cut: &[Detection]) -> Result<(f32, f32), CannotCut> {
    if whole.len() != cut.len() {
        let detail = format!("{} cells instead of {}", cut.len(), whole.len());
        return Err(CannotCut::Differs(detail));
    }
    let sides = |b: &BoundingBox| [b.x1, b.y1, b.x2, b.y2];
    let (mut score_difference, mut box_difference) = (0.0_f32, 0.0_f32);
    for (whole, cut) in whole.iter().zip(cut) {
        score_difference = score_difference.max((whole.confidence - cut.confidence).abs());
        for (a, b) in sides(&whole.bbox).into_iter().zip(sides(&cut.bbox)) {
            box_difference = box_difference.max((a - b).abs());
        }
    }
    if score_difference <= SCORE_TOLERANCE && box_difference <= BOX_TOLERANCE {
        return Ok((score_difference, box_difference));
    }
    Err(CannotCut::Differs(format!(
        "scores differ by {score_difference}, boxes by {box_difference} px"
    )))
}

/// A tensor of the same pseudo-random values each time (splitmix64), in the range of the head.
fn noise((width, height): (u32, u32), kind: HeadKind) -> InputTensor {
    let scale = if kind == HeadKind::Yolox { 255.0 } else { 1.0 };
    let (width, height) = (width as usize, height as usize);
    let mut state = 0_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 40) as f32 / (1 << 24) as f32 * scale
    };
    let data = (0..3 * width * height).map(|_| next()).collect();
    InputTensor { data, height, width }
}
