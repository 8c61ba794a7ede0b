//! Several pictures in one run of the model.

use std::time::Instant;

use domain::{ConfidenceThreshold, DetectionSettings};

use super::{Detections, Detector, RunPicture, size_of};
use crate::{
    error::DetectError,
    families::{DecodeRequest, Duplicates},
    model::manifest::ModelInput,
    onnx_runtime::canceller::Canceller,
    postprocess::candidate::Candidate,
    preprocess::PreprocessedPicture,
    tensor::{InputBatch, InputTensor},
};

/// The largest mean difference of box sides, in pixels, between a run alone and one in a batch.
/// Other kernels round differently; a graph that confuses its pictures differs by far more.
const MEAN_TOLERANCE: f32 = 0.5;
/// The same of scores, for models that give boxes in the order of their scores.
const MEAN_SCORE_TOLERANCE: f32 = 0.005;
/// The side of the pictures of [`Detector::takes_batches`], in cells of the coarsest level.
const TRIAL_CELLS: u32 = 4;

/// One picture of a batch, and the owner of its detections.
#[derive(Debug)]
pub struct BatchItem<'a, T> {
    /// The picture; all of a batch have tensors of one size.
    pub prepared: &'a PreprocessedPicture,
    /// The thresholds of its job, which may differ within a batch.
    pub settings: &'a DetectionSettings,
    /// Returned with the detections; identifies the picture to the caller.
    pub owner: T,
}

impl Detector {
    /// Finds the objects in pictures from this model's [`Preprocessor`](crate::Preprocessor) by one
    /// run of the model, until `canceller` is called. Returns the detections with the owner of each.
    ///
    /// The tensors of several pictures are concatenated in a buffer that is reused. Each picture's
    /// `infer` time is the run's time divided by its pictures.
    ///
    /// # Errors
    /// [`DetectError`] for all of them: [`DetectError::Cancelled`] when `canceller` was called,
    /// [`DetectError::MixedSizes`] when their tensors are not of one size, and as
    /// [`Detector::detect`].
    pub fn detect_batch<'i, T>(
        &mut self,
        items: &'i mut [BatchItem<'_, T>],
        canceller: &Canceller,
    ) -> Result<Vec<(&'i mut T, Detections)>, DetectError> {
        self.detect_padded(items, 1, canceller)
    }

    /// As [`Detector::detect_batch`], in a run of at least `least` pictures: the rest of its input is arbitrary, and its
    /// outputs are discarded.
    ///
    /// # Errors
    /// As [`Detector::detect_batch`].
    pub fn detect_padded<'i, T>(
        &mut self,
        items: &'i mut [BatchItem<'_, T>],
        least: usize,
        canceller: &Canceller,
    ) -> Result<Vec<(&'i mut T, Detections)>, DetectError> {
        let Some(first) = items.first().map(|item| item.prepared) else { return Ok(Vec::new()) };
        self.check_size(&first.tensor)?;
        let start = Instant::now();
        let input = if items.len().max(least) == 1 {
            InputBatch::of(&first.tensor)
        } else {
            let tensors = items.iter().map(|item| &item.prepared.tensor);
            concatenate(&mut self.batch, tensors, least)?
        };
        let outputs = self.session.run(&input, Some(canceller))?;
        let views = outputs.views()?;
        let infer_time = start.elapsed() / u32::try_from(items.len()).unwrap_or(u32::MAX);
        // Items, input and outputs have the same order.
        let detect = |(batch_index, item): (usize, &'i mut BatchItem<'_, T>)| {
            let BatchItem { prepared, settings, owner } = item;
            let picture = RunPicture { batch_index, prepared, settings, infer_time };
            Ok((owner, self.postprocessor.detections(&views, &picture)?))
        };
        items.iter_mut().enumerate().map(detect).collect()
    }

    /// Whether the model takes several pictures at a time, with the same detections for each as in a
    /// run alone.
    ///
    /// A graph may declare a dynamic batch and fail on one: exporters write a batch of 1 into inner
    /// shapes. So two pictures are run, together and one by one.
    ///
    /// # Errors
    /// [`DetectError`] when the model does not run on a single picture.
    pub fn takes_batches(&mut self) -> Result<bool, DetectError> {
        if self.session.fixed_batch().is_some() {
            return Ok(false);
        }
        let pictures = self.trial_pictures();
        let mut alone = Vec::new();
        for tensor in &pictures {
            alone.extend(self.every_cell(&InputBatch::of(tensor))?);
        }
        let mut memory = Vec::new();
        let input = concatenate(&mut memory, pictures.iter(), 1)?;
        let are_near = match self.postprocessor.head.duplicates() {
            Duplicates::Expected => are_near,
            Duplicates::Absent => are_scores_near,
        };
        Ok(self.every_cell(&input).is_ok_and(|together| are_near(&alone, &together)))
    }

    /// A black picture and a patterned one.
    fn trial_pictures(&self) -> [InputTensor; 2] {
        let (width, height) = match self.input {
            ModelInput::Fixed { width, height } => (width as usize, height as usize),
            ModelInput::Dynamic { multiple_of, .. } => {
                let side = (TRIAL_CELLS * multiple_of) as usize;
                (side, side)
            }
        };
        let brightest = self.range.brightest();
        let values = 3 * width * height;
        let pattern = |place: usize| (place * place % 251) as f32 / 250.0 * brightest;
        let black = InputTensor { data: vec![0.0; values], height, width };
        let pattern = InputTensor { data: (0..values).map(pattern).collect(), height, width };
        [black, pattern]
    }

    /// The candidates of all cells, picture by picture.
    fn every_cell(&mut self, input: &InputBatch<'_>) -> Result<Vec<Candidate>, DetectError> {
        let outputs = self.session.run_quietly(input)?;
        let views = outputs.views()?;
        let mut boxes = Vec::new();
        for batch_index in 0..input.pictures {
            let request = DecodeRequest {
                batch_index,
                input_width: input.width,
                input_height: input.height,
                threshold: ConfidenceThreshold::ZERO,
            };
            self.postprocessor.head.decode_boxes(&views, &request, &mut boxes)?;
        }
        Ok(boxes)
    }
}

/// Concatenates the tensors in `memory`, for a run of at least `least` pictures. What `memory` holds behind them stays.
fn concatenate<'m, 't>(
    memory: &'m mut Vec<f32>,
    tensors: impl ExactSizeIterator<Item = &'t InputTensor>,
    least: usize,
) -> Result<InputBatch<'m>, DetectError> {
    let pictures = tensors.len().max(least);
    let mut size = None;
    for (place, tensor) in tensors.enumerate() {
        let (width, height) = *size.get_or_insert((tensor.width, tensor.height));
        if (tensor.width, tensor.height) != (width, height) {
            let expected = format!("{width}×{height}");
            return Err(DetectError::MixedSizes { found: size_of(tensor), expected });
        }
        let values = tensor.data.len();
        if place == 0 {
            memory.resize(pictures * values, 0.0);
        }
        memory[place * values..(place + 1) * values].copy_from_slice(&tensor.data);
    }
    let (width, height) = size.unwrap_or_default();
    Ok(InputBatch { pictures, height, width, data: memory })
}

/// For models that rank their boxes: equal scores may come in another order, so only scores are compared.
fn are_scores_near(alone: &[Candidate], together: &[Candidate]) -> bool {
    let [alone, together] = [alone, together].map(|candidates| {
        let mut scores: Vec<f32> = candidates.iter().map(|candidate| candidate.score).collect();
        scores.sort_by(f32::total_cmp);
        scores
    });
    let all: f32 = alone.iter().zip(&together).map(|(a, b)| (a - b).abs()).sum();
    alone.len() == together.len() && all <= MEAN_SCORE_TOLERANCE * alone.len() as f32
}

fn are_near(alone: &[Candidate], together: &[Candidate]) -> bool {
    let apart = |(a, b): (&Candidate, &Candidate)| -> f32 {
        a.bbox.sides().into_iter().zip(b.bbox.sides()).map(|(a, b)| (a - b).abs()).sum()
    };
    let all: f32 = alone.iter().zip(together).map(apart).sum();
    alone.len() == together.len() && all <= MEAN_TOLERANCE * 4.0 * alone.len() as f32
}
