//! `spotter detect`: finds objects in pictures, without any server.

mod drawings;

use std::{path::Path, time::Instant};

use detector::{Detections, Detector, ModelBundle, Preprocessor, SessionOptions};
use domain::{DetectionSettings, Tiling, picture::PictureLimits};

use self::drawings::{draw, plan};
use crate::{
    cli::DetectOptions,
    error::CliError,
    output::results::{Format, PictureResult, print_failure},
    pictures::read_picture,
};

pub(crate) fn detect(options: &DetectOptions) -> Result<(), CliError> {
    if options.format.is_some() && options.pictures.len() > 1 {
        return Err(CliError::Usage(
            "--format prints one file, for one picture: run it for each picture".to_owned(),
        ));
    }
    // Before any picture is processed: this fails if a picture would be overwritten.
    let drawings = match &options.save {
        Some(folder) => plan(folder, &options.pictures)?.into_iter().map(Some).collect(),
        None => vec![None; options.pictures.len()],
    };
    let bundle = options.paths.bundle(&options.model)?;
    let runtime = options.paths.runtime()?;
    let threads = worker::cores::all();
    let session = SessionOptions { threads, ..SessionOptions::default() };
    let mut model = LoadedModel {
        detector: Detector::load(&runtime, &bundle, &session)?,
        preprocessor: bundle.preprocessor(PictureLimits::default()),
        bundle,
    };
    let mut failed = 0;
    for (picture, drawing) in options.pictures.iter().zip(&drawings) {
        let drawing = drawing.as_deref();
        if let Err(error) = detect_one(&mut model, picture, drawing, options)? {
            print_failure(picture, &error, Format::new(options.json))?;
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(CliError::Pictures { failed, all: options.pictures.len() }),
    }
}

/// A model that is ready for the bytes of pictures.
struct LoadedModel {
    bundle: ModelBundle,
    preprocessor: Preprocessor,
    detector: Detector,
}

impl LoadedModel {
    fn detect(&mut self, bytes: &[u8], settings: &DetectionSettings) -> Result<Detections, String> {
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

/// The inner `Err` is why this picture failed; the others can still be processed.
fn detect_one(
    model: &mut LoadedModel,
    picture: &Path,
    drawing: Option<&Path>,
    options: &DetectOptions,
) -> Result<Result<(), String>, CliError> {
    let started = Instant::now();
    let bytes = match read_picture(picture, &PictureLimits::default()) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(error)),
    };
    let settings = DetectionSettings::from(options.settings);
    let found = match model.detect(&bytes, &settings) {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    let result = PictureResult {
        picture,
        model: model.bundle.name().as_str(),
        width: found.width,
        height: found.height,
        objects: &found.objects,
        warnings: &found.warnings,
        took_ms: started.elapsed().as_millis(),
    };
    match options.format {
        Some(format) => result.print_annotations(format)?,
        None => result.print(Format::new(options.json))?,
    }
    match drawing {
        Some(drawing) => draw(&bytes, &found.objects, drawing).map(Ok),
        None => Ok(Ok(())),
    }
}
