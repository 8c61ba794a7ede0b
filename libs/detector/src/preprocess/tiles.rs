//! A picture in tiles: decoded once, and each part scaled to the model's input by itself.

use std::time::{Duration, Instant};

use domain::{DetectionSettings, Tile, Tiling};

use super::{
    PreprocessedPicture, Preprocessor,
    letterbox::{LetterboxSpec, letterbox_tile},
};
use crate::{
    decode::{DecodeError, ReducedPicture, Warnings, decode_reduced_into},
    detector::Detections,
    postprocess::tiles::merge,
    tensor::InputTensor,
};

/// A decoded picture and the parts of it that the model runs on: the whole, and its tiles.
#[derive(Debug)]
pub struct TiledPicture {
    picture: ReducedPicture,
    spec: LetterboxSpec,
    /// The whole first.
    parts: Vec<Tile>,
    warnings: Warnings,
    decode_time: Duration,
}

impl Preprocessor {
    /// Decodes a picture that is run in tiles.
    ///
    /// Where a JPEG is decoded at a reduced size, that is by the size of its tiles; see
    /// [`Preprocessor::preprocess`].
    ///
    /// # Errors
    /// As [`Preprocessor::preprocess`].
    pub fn decode_tiled(&self, bytes: &[u8], tiling: &Tiling) -> Result<TiledPicture, DecodeError> {
        let start = Instant::now();
        let mut picture = ReducedPicture::default();
        let scale = |width, height| {
            let tiles = tiling.tiles(width, height);
            let (width, height) =
                tiles.first().map_or((width, height), |tile| (tile.width, tile.height));
            self.spec.scale(width, height)
        };
        let warnings = decode_reduced_into(bytes, &self.limits, scale, &mut picture)?;
        let (width, height) = (picture.width(), picture.height());
        let mut parts = vec![Tile { x: 0, y: 0, width, height }];
        parts.extend(tiling.tiles(width, height));
        Ok(TiledPicture { picture, spec: self.spec, parts, warnings, decode_time: start.elapsed() })
    }
}

impl TiledPicture {
    /// How many parts there are: one for each tile, and the whole; or the whole only.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// A part as the model takes it, from 0, the whole. The time that decoding took and the damage to the pixels are told
    /// with the whole; `None` beyond the last part.
    #[must_use]
    pub fn part(&self, place: usize) -> Option<PreprocessedPicture> {
        self.part_with(place, ReducedPicture::default(), InputTensor::default())
    }

    /// As [`TiledPicture::part`], reusing the memory of an earlier picture for any model.
    #[must_use]
    pub fn part_reusing(
        &self,
        place: usize,
        used: PreprocessedPicture,
    ) -> Option<PreprocessedPicture> {
        self.part_with(place, used.picture, used.tensor)
    }

    /// `unused` is kept for a later picture: that of all parts is decoded once.
    fn part_with(
        &self,
        place: usize,
        unused: ReducedPicture,
        mut tensor: InputTensor,
    ) -> Option<PreprocessedPicture> {
        let tile = self.parts.get(place)?;
        let start = Instant::now();
        let letterbox = letterbox_tile(&self.picture, tile, &self.spec, &mut tensor);
        let (warnings, decode_time) = match place {
            0 => (self.warnings.clone(), self.decode_time),
            _ => (Warnings::default(), Duration::ZERO),
        };
        Some(PreprocessedPicture {
            tensor,
            letterbox,
            width: tile.width,
            height: tile.height,
            warnings,
            decode_time,
            letterbox_time: start.elapsed(),
            picture: unused,
        })
    }

    /// The detections of the picture from those of all its parts, in their order; `None` if one is missing.
    #[must_use]
    pub fn merge(
        &self,
        parts: Vec<Detections>,
        settings: &DetectionSettings,
    ) -> Option<Detections> {
        (parts.len() == self.parts.len()).then(|| merge(&self.parts, parts, settings)).flatten()
    }
}
