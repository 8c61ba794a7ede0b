//! Cutting a model's head off, and comparing its boxes with those of the whole model.

use super::trial::{Difference, Recognised, Trial, every_cell, noise};
use crate::{
    families::{Head, HeadKind, cut_output},
    onnx::cut::{CannotCut, HeadConvolutions, InputSize, NewOutput, end_at, find_head},
    postprocess::candidate::Candidate,
    tensor::{InputBatch, InputTensor},
};

/// A cut model whose boxes are those of the whole one.
pub(super) struct Cut {
    pub(super) bytes: Vec<u8>,
    pub(super) strides: Vec<u32>,
    pub(super) size: InputSize,
    /// Why other sizes do not work, if so.
    pub(super) why_fixed: Option<String>,
    pub(super) difference: Difference,
}

impl Trial<'_> {
    /// Cuts the head off and compares the candidates with `whole`, those of [`Trial::run_whole`].
    pub(super) fn cut(
        &self,
        recognised: &Recognised,
        whole: &[Candidate],
    ) -> Result<Cut, CannotCut> {
        let convolutions = find_head(&self.model, recognised.reading.levels.classes)?;
        let input = noise(recognised.size, 1.0);
        let (outputs, strides) = self.levels(recognised, &convolutions, &input)?;
        let bytes = end_at(&self.model, &outputs, InputSize::Dynamic).to_bytes();
        let mut session = self.load(&bytes).map_err(differs)?;
        let head = Head {
            kind: HeadKind::YOLOV8_CUT,
            strides,
            classes: recognised.reading.levels.classes,
        };
        let boxes = every_cell(&mut session, &head, &input).map_err(differs)?;
        let difference = self.compare(recognised, whole, &boxes).map_err(differs)?;

        let why_fixed = self.why_not_other_sizes(&mut session, &head, recognised.multiple_of);
        let (width, height) = recognised.size;
        let (bytes, size) = if why_fixed.is_some() {
            let size = InputSize::Fixed { height, width };
            (end_at(&self.model, &outputs, size).to_bytes(), size)
        } else {
            (bytes, InputSize::Dynamic)
        };
        let strides = head.strides;
        Ok(Cut { bytes, strides, size, why_fixed, difference })
    }

    /// Pairs box and class convolutions by the size of their outputs, finest level first.
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
        let scores = convolutions.scores.iter().map(keep_name(recognised.reading.levels.classes));
        let ends: Vec<NewOutput> = boxes.chain(scores).collect();
        let bytes = end_at(&self.model, &ends, InputSize::Dynamic).to_bytes();
        let mut session = self.load(&bytes).map_err(differs)?;
        let outputs = session.run_quietly(&InputBatch::of(input)).map_err(differs)?;
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
}

fn differs(error: impl ToString) -> CannotCut {
    CannotCut::Differs(error.to_string())
}
