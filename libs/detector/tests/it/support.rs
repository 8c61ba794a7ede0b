//! The fetched models and pictures, and models installed from them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use detector::{
    Detections, Detector, ModelBundle, ModelError, OnnxRuntime, Preprocessor, SessionOptions,
    model::install::{Existing, HeadChoice, InstallOptions, Installed},
    onnx::OnnxModel,
};
use domain::{DetectionSettings, picture::PictureLimits};
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
