//! `spotter detect`: finds objects in pictures, without any server.

mod drawings;

use std::{path::Path, time::Instant};

use domain::{DetectionSettings, picture::PictureLimits};

use self::drawings::{draw, plan};
use crate::{
    cli::DetectOptions,
    error::CliError,
    loaded_model::LoadedModel,
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
    let mut model = LoadedModel::load(&options.paths, &options.model)?;
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
        model: model.bundle().name().as_str(),
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
