//! The fetched models and pictures, and models installed from them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use detector::{
    Detections, Detector, ModelBundle, ModelError, OnnxRuntime, Preprocessor, SessionOptions,
    annotate,
    decode::Picture,
    model::install::{Existing, HeadChoice, InstallOptions, Installed},
    onnx::OnnxModel,
};
use domain::{
    ConfidenceThreshold, DetectionSettings,
    picture::{PictureFormat, PictureLimits},
};
use tempfile::TempDir;

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file that set-up fetches.
pub(crate) fn fetched(path: &str) -> PathBuf {
    let path = root().join(path);
    assert!(path.exists(), "{} is missing: run `make setup`", path.display());
    path
}

pub(crate) fn weights(name: &str) -> PathBuf {
    fetched(&format!(".cache/weights/{name}.onnx"))
}

/// A file beside the repository that not every machine has; prints SKIPPED when it is absent.
pub(crate) fn beside(path: &str) -> Option<PathBuf> {
    let path = root().join("../shared").join(path);
    if !path.exists() {
        eprintln!("SKIPPED: {} is absent", path.display());
        return None;
    }
    Some(path)
}

pub(crate) fn picture(name: &str) -> Vec<u8> {
    fs::read(fetched(&format!("test_images/{name}"))).unwrap()
}

pub(crate) fn runtime() -> OnnxRuntime {
    OnnxRuntime::load(&fetched(".cache/lib/libonnxruntime.so")).unwrap()
}

/// A folder of models that goes away with the test.
pub(crate) struct Models {
    pub(crate) dir: TempDir,
    pub(crate) runtime: OnnxRuntime,
}

impl Models {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), runtime: runtime() }
    }

    pub(crate) fn options(&self, name: &str) -> InstallOptions {
        InstallOptions::new(self.dir.path(), name.parse().unwrap())
    }

    pub(crate) fn install(&self, source: &Path) -> Installed {
        ModelBundle::install(source, &self.options("model"), &self.runtime).unwrap()
    }

    /// Installs a model that was made for a test, under a name that may be taken.
    pub(crate) fn try_install(
        &self,
        model: &OnnxModel,
        head: HeadChoice,
    ) -> Result<Installed, ModelError> {
        let source = self.dir.path().join("made.onnx");
        fs::write(&source, model.to_bytes()).unwrap();
        let name = if head == HeadChoice::KeepPlain { "plain" } else { "cut" };
        let options = InstallOptions { head, existing: Existing::Replace, ..self.options(name) };
        ModelBundle::install(&source, &options, &self.runtime)
    }

    pub(crate) fn load(&self, bundle: &ModelBundle) -> Loaded {
        Loaded::new(
            Detector::load(&self.runtime, bundle, &SessionOptions::default()).unwrap(),
            bundle,
        )
    }
}

/// A model that is ready for the bytes of pictures.
pub(crate) struct Loaded {
    pub(crate) detector: Detector,
    pub(crate) preprocessor: Preprocessor,
}

impl Loaded {
    pub(crate) fn new(detector: Detector, bundle: &ModelBundle) -> Self {
        Self { detector, preprocessor: bundle.preprocessor(PictureLimits::default()) }
    }

    pub(crate) fn detect(&mut self, bytes: &[u8], settings: &DetectionSettings) -> Detections {
        let prepared = self.preprocessor.preprocess(bytes).unwrap();
        self.detector.detect(&prepared, settings).unwrap()
    }
}

/// A model that set-up fetches, read.
pub(crate) fn read(name: &str) -> OnnxModel {
    OnnxModel::parse(fs::read(weights(name)).unwrap()).unwrap()
}

pub(crate) fn detect(model: &mut Loaded, picture_name: &str) -> Detections {
    model.detect(&picture(picture_name), &DetectionSettings::default())
}

/// A picture that a model of that size takes as it is, cut head or not.
pub(crate) fn bus_of(width: u32, height: u32) -> Vec<u8> {
    let bus = image::load_from_memory(&picture("bus.jpg")).unwrap();
    let small = bus.resize_exact(width, height, image::imageops::FilterType::Triangle).into_rgb8();
    let small = Picture::from_rgb(width, height, small.into_raw()).unwrap();
    annotate::encode(&small, PictureFormat::Png).unwrap()
}

/// An installed model, and what it found in a picture.
pub(crate) struct Tried {
    pub(crate) installed: Installed,
    pub(crate) loaded: Loaded,
    pub(crate) found: Detections,
}

/// Installs `model` and runs it on the picture `bytes` with the threshold `least`.
#[track_caller]
pub(crate) fn run(
    models: &Models,
    model: &OnnxModel,
    head: HeadChoice,
    bytes: &[u8],
    least: f32,
) -> Tried {
    let installed = models.try_install(model, head).unwrap_or_else(|error| panic!("{error}"));
    let confidence = ConfidenceThreshold::new(least).unwrap();
    let settings = DetectionSettings { confidence, ..DetectionSettings::default() };
    let mut loaded = models.load(&installed.bundle);
    let found = loaded.detect(bytes, &settings);
    Tried { installed, loaded, found }
}

#[track_caller]
pub(crate) fn find(
    models: &Models,
    model: &OnnxModel,
    head: HeadChoice,
    bytes: &[u8],
    least: f32,
) -> Detections {
    run(models, model, head, bytes, least).found
}

/// Asserts that two models found the same objects, within `pixels` and `score`.
#[track_caller]
pub(crate) fn assert_same(found: &Detections, expected: &Detections, pixels: f32, score: f32) {
    assert_eq!(found.objects.len(), expected.objects.len(), "{found:#?} {expected:#?}");
    for (found, expected) in found.objects.iter().zip(&expected.objects) {
        assert_eq!(found.label, expected.label);
        let (a, b) = (found.detection, expected.detection);
        assert!((a.confidence - b.confidence).abs() <= score, "{a:?} {b:?}");
        let sides = [
            (a.bbox.x1, b.bbox.x1),
            (a.bbox.y1, b.bbox.y1),
            (a.bbox.x2, b.bbox.x2),
            (a.bbox.y2, b.bbox.y2),
        ];
        assert!(sides.iter().all(|(a, b)| (a - b).abs() <= pixels), "{a:?} {b:?}");
    }
}
