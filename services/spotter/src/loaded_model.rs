//! Running an installed model on pictures, without any server.

use detector::{Detections, Detector, ModelBundle, Preprocessor, SessionOptions};
use domain::{DetectionSettings, ModelName, Tiling, picture::PictureLimits};

use crate::{error::CliError, paths::PathsOptions};

/// A model that is ready for the bytes of pictures.
pub(crate) struct LoadedModel {
    bundle: ModelBundle,
    preprocessor: Preprocessor,
    detector: Detector,
}

impl LoadedModel {
    /// Loads an installed model, to be run on all cores.
    pub(crate) fn load(paths: &PathsOptions, name: &ModelName) -> Result<Self, CliError> {
        let bundle = paths.bundle(name)?;
        let runtime = paths.runtime()?;
        let session = SessionOptions { threads: worker::cores::all(), ..SessionOptions::default() };
        Ok(Self {
            detector: Detector::load(&runtime, &bundle, &session)?,
            preprocessor: bundle.preprocessor(PictureLimits::default()),
            bundle,
        })
    }

    pub(crate) fn bundle(&self) -> &ModelBundle {
        &self.bundle
    }

    /// What it finds in a picture, or why it cannot be run on it.
    pub(crate) fn detect(
        &mut self,
        bytes: &[u8],
        settings: &DetectionSettings,
    ) -> Result<Detections, String> {
        if let Some(tiling) = &settings.tiling {
            return self.detect_tiled(bytes, tiling, settings);
        }
        let prepared = self.preprocessor.preprocess(bytes).map_err(|error| error.to_string())?;
        self.detector.detect(&prepared, settings).map_err(|error| error.to_string())
    }

    fn detect_tiled(
        &mut self,
        bytes: &[u8],
        tiling: &Tiling,
        settings: &DetectionSettings,
    ) -> Result<Detections, String> {
        let decoded = self.preprocessor.decode_tiled(bytes, tiling);
        let picture = decoded.map_err(|error| error.to_string())?;
        let parts = (0..picture.parts()).filter_map(|place| picture.part(place));
        let detected = parts.map(|part| self.detector.detect(&part, settings));
        let detected: Vec<Detections> =
            detected.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        picture.merge(detected, settings).ok_or_else(|| "a tile is missing".to_owned())
    }
}
