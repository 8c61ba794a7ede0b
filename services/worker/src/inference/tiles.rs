//! Pictures that are run in tiles: decoded once, and each part preprocessed when its run is near.

use std::{sync::Arc, time::Duration};

use detector::{Detections, TiledPicture};
use domain::Tiling;

use super::{
    error::InferenceError,
    preprocessing::{PictureFile, Preprocessing},
    work::Picture,
};
use crate::cores::Parallelism;

/// The decoded picture of a job that is run in tiles. All parts are run by the model of its file.
pub(crate) struct TiledJob {
    file: PictureFile,
    picture: Arc<TiledPicture>,
}

impl TiledJob {
    /// Decodes a picture that is run in tiles, on a blocking thread.
    ///
    /// # Errors
    /// As [`Preprocessing::preprocess`].
    pub(crate) async fn decode(
        file: PictureFile,
        tiling: Tiling,
        deadline: Duration,
    ) -> Result<Self, InferenceError> {
        let picture = Preprocessing::decode_tiled(&file, tiling, deadline).await?;
        Ok(Self { file, picture: Arc::new(picture) })
    }

    /// How many runs of the model it takes.
    pub(crate) fn parts(&self) -> usize {
        self.picture.parts()
    }

    /// A part as the model takes it, preprocessed on a blocking thread.
    ///
    /// # Errors
    /// [`InferenceError::Panicked`], or [`InferenceError::Hung`] when it takes longer than `deadline`.
    pub(crate) async fn part(
        &self,
        place: usize,
        preprocessing: &Preprocessing,
        deadline: Duration,
    ) -> Result<Picture, InferenceError> {
        let prepared = preprocessing.part(&self.picture, place, deadline).await?;
        let PictureFile { bytes, model, settings, trace, .. } = &self.file;
        Ok(Picture {
            model: Arc::clone(model),
            prepared: prepared.ok_or_else(|| missing(place))?,
            settings: settings.clone(),
            // Its parts run side by side.
            parallelism: Parallelism::Slot,
            trace: trace.clone(),
            file: bytes.clone(),
        })
    }

    /// The detections of the picture from those of its parts, in their order.
    ///
    /// # Errors
    /// [`InferenceError::Panicked`] if one is missing.
    pub(crate) fn merge(&self, parts: Vec<Detections>) -> Result<Detections, InferenceError> {
        let count = parts.len();
        self.picture.merge(parts, &self.file.settings).ok_or_else(|| missing(count))
    }
}

fn missing(place: usize) -> InferenceError {
    InferenceError::Panicked(format!("there is no tile {place}"))
}
