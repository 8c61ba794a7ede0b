//! Picture bytes to a model's input.

pub mod letterbox;
mod tiles;

use std::time::{Duration, Instant};

use domain::picture::PictureLimits;

pub use tiles::TiledPicture;

use crate::{
    decode::{DecodeError, ReducedPicture, Warnings, decode_reduced_into},
    preprocess::letterbox::{Letterbox, LetterboxSpec, letterbox_reduced},
    tensor::InputTensor,
};

/// A picture as the model takes it, and where it lies in the tensor.
#[derive(Debug, Clone)]
pub struct PreprocessedPicture {
    /// `[1, 3, height, width]`, in the channels and the range of the model.
    pub tensor: InputTensor,
    /// Where the picture lies in the tensor.
    pub letterbox: Letterbox,
    /// The picture's width in pixels, after its EXIF orientation.
    pub width: u32,
    /// The picture's height in pixels, after its EXIF orientation.
    pub height: u32,
    /// Damage to its pixels, as texts for people.
    pub warnings: Warnings,
    /// How long decoding took.
    pub decode_time: Duration,
    /// How long letterboxing took.
    pub letterbox_time: Duration,
    /// Kept so that the next picture reuses its memory.
    picture: ReducedPicture,
}

/// Turns picture bytes into a model's input. It does not hold the model, so it may run on any thread
/// while the model runs on another picture.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    spec: LetterboxSpec,
    limits: PictureLimits,
}

impl Preprocessor {
    pub(crate) fn new(spec: LetterboxSpec, limits: PictureLimits) -> Self {
        Self { spec, limits }
    }

    /// Decodes and letterboxes a picture.
    ///
    /// A JPEG of at least six times the model's input size is decoded at a reduced size, see
    /// [`decode_reduced_into`]; boxes still refer to the full size.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are no picture or break the limits.
    pub fn preprocess(&self, bytes: &[u8]) -> Result<PreprocessedPicture, DecodeError> {
        self.preprocess_with(bytes, ReducedPicture::default(), InputTensor::default())
    }

    /// As [`Preprocessor::preprocess`], reusing the memory of an earlier picture for any model.
    ///
    /// # Errors
    /// As [`Preprocessor::preprocess`].
    pub fn preprocess_reusing(
        &self,
        bytes: &[u8],
        used: PreprocessedPicture,
    ) -> Result<PreprocessedPicture, DecodeError> {
        self.preprocess_with(bytes, used.picture, used.tensor)
    }

    fn preprocess_with(
        &self,
        bytes: &[u8],
        mut picture: ReducedPicture,
        mut tensor: InputTensor,
    ) -> Result<PreprocessedPicture, DecodeError> {
        let start = Instant::now();
        let scale = |width, height| self.spec.scale(width, height);
        let warnings = decode_reduced_into(bytes, &self.limits, scale, &mut picture)?;
        let decoded = Instant::now();
        let letterbox = letterbox_reduced(&picture, &self.spec, &mut tensor);
        Ok(PreprocessedPicture {
            tensor,
            letterbox,
            width: picture.width(),
            height: picture.height(),
            warnings,
            decode_time: decoded - start,
            letterbox_time: decoded.elapsed(),
            picture,
        })
    }
}
