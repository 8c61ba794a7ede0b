//! `spotter detect`: pictures in, objects out, no server.

use std::{
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use detector::{Detector, ModelBundle, SessionOptions, annotate, decode};
use domain::{
    DetectedObject, DetectionSettings,
    picture::{PictureFormat, PictureLimits},
};

use crate::{
    cli::DetectOptions,
    error::CliError,
    report::{Format, Found, print_failure},
};

pub(crate) fn detect(options: &DetectOptions) -> Result<(), CliError> {
    let bundle = options.places.bundle(&options.model)?;
    let runtime = options.places.runtime()?;
    let threads = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let session = SessionOptions { threads, ..SessionOptions::default() };
    let mut detector = Detector::load(&runtime, &bundle, &session)?;
    if let Some(folder) = &options.save {
        create_folder(folder)?;
    }
    let mut failed = 0;
    for picture in &options.pictures {
        if let Err(error) = detect_one(&mut detector, &bundle, picture, options)? {
            print_failure(picture, &error, Format::new(options.json))?;
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        failed => Err(CliError::Pictures { failed, all: options.pictures.len() }),
    }
}

/// The inner `Err` is what is wrong with this picture; the others can still be looked at.
fn detect_one(
    detector: &mut Detector,
    bundle: &ModelBundle,
    picture: &Path,
    options: &DetectOptions,
) -> Result<Result<(), String>, CliError> {
    let started = Instant::now();
    let limits = PictureLimits::default();
    let bytes = match read_picture(picture, &limits) {
        Ok(bytes) => bytes,
        Err(error) => return Ok(Err(error)),
    };
    let settings = DetectionSettings::from(options.settings);
    let found = match detector.detect(&bytes, &limits, &settings) {
        Ok(found) => found,
        Err(error) => return Ok(Err(error.to_string())),
    };
    Found {
        picture,
        model: bundle.name().as_str(),
        width: found.width,
        height: found.height,
        objects: &found.objects,
        took_ms: started.elapsed().as_millis(),
    }
    .print(Format::new(options.json))?;
    match &options.save {
        Some(folder) => save(&bytes, &found.objects, &folder.join(drawn_name(picture))).map(Ok),
        None => Ok(Ok(())),
    }
}

/// Reads a picture's file, if it is not larger than a picture may be.
pub(crate) fn read_picture(path: &Path, limits: &PictureLimits) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > limits.max_bytes {
        return Err(format!("{size} bytes are more than the {} allowed", limits.max_bytes));
    }
    fs::read(path).map_err(|error| error.to_string())
}

/// `bus.jpg` stays `bus.jpg`; what can only be read here (`chelsea.gif`) is written as PNG.
fn drawn_name(picture: &Path) -> PathBuf {
    let name = PathBuf::from(picture.file_name().unwrap_or_default());
    match drawn_format(&name) {
        Some(_) => name,
        None => name.with_extension("png"),
    }
}

fn drawn_format(name: &Path) -> Option<PictureFormat> {
    let format = PictureFormat::from_extension(name.extension()?.to_str()?)?;
    matches!(format, PictureFormat::Jpeg | PictureFormat::Png).then_some(format)
}

fn save(bytes: &[u8], objects: &[DetectedObject], path: &Path) -> Result<(), CliError> {
    let unwritable = |error: String| CliError::Write {
        path: path.to_owned(),
        source: std::io::Error::other(error),
    };
    let mut picture = decode::decode(bytes, &PictureLimits::default())
        .map_err(|error| unwritable(error.to_string()))?;
    annotate::annotate(&mut picture, objects);
    let format = drawn_format(path).unwrap_or(PictureFormat::Png);
    let drawn =
        annotate::encode(&picture, format).map_err(|error| unwritable(error.to_string()))?;
    fs::write(path, drawn).map_err(|source| CliError::Write { path: path.to_owned(), source })
}

fn create_folder(folder: &Path) -> Result<(), CliError> {
    fs::create_dir_all(folder).map_err(|source| CliError::Write { path: folder.to_owned(), source })
}
