//! A folder of small models. Each version of a model has labels of its own, so a detection tells which version found it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use detector::{
    ExecutionProvider, ModelBundle, OnnxRuntime,
    model::install::{Existing, InstallOptions},
};
use domain::{Job, LabelMap, Sha256Digest, TaskRecord, TaskState};
use testkit::{require, workspace_root};

use crate::fixture::job;

/// The classes of the small models.
const CLASSES: usize = 5;

/// A folder of installed models, for as long as the test runs.
pub(crate) struct ModelsFolder {
    dir: tempfile::TempDir,
    runtime: OnnxRuntime,
}

impl ModelsFolder {
    pub(crate) fn with(models: &[&str]) -> Self {
        // As the worker, whose process can load one only.
        let library = worker::nearest(worker::onnx_runtime_with(ExecutionProvider::Cpu));
        let runtime = OnnxRuntime::load(&require(library)).expect("it is ONNX Runtime");
        let this = Self { dir: tempfile::tempdir().unwrap(), runtime };
        for model in models {
            this.install(model, "d-fine", "1");
        }
        this
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn folder(&self, model: &str) -> PathBuf {
        self.path().join(model)
    }

    /// Installs the export `family` as a version of a model. A version of the same model is replaced.
    pub(crate) fn install(&self, model: &str, family: &str, version: &str) -> Sha256Digest {
        self.install_labelled(model, family, &format!("{model} {version}"))
    }

    /// As [`ModelsFolder::install`], with classes whose names begin with `labels`.
    pub(crate) fn install_labelled(&self, model: &str, family: &str, labels: &str) -> Sha256Digest {
        let source = workspace_root().join(format!("libs/detector/tests/families/{family}.onnx"));
        let labels = (0..CLASSES).map(|class| format!("{labels} {class}")).collect();
        let options = InstallOptions {
            labels: Some(LabelMap::new(labels)),
            existing: Existing::Replace,
            ..InstallOptions::new(self.path(), model.parse().unwrap())
        };
        let installed = ModelBundle::install(&source, &options, &self.runtime);
        installed.expect("it is a detector").bundle.digest()
    }

    /// Changes the weights of a model, so that they are not those that were installed.
    pub(crate) fn damage(&self, model: &str) {
        let path = self.folder(model).join("model.onnx");
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    /// The settings of a worker that serves the models of this folder, `first` first.
    pub(crate) fn settings<'a>(&'a self, first: &'a str) -> Vec<(&'a str, &'a str)> {
        let dir = self.path().to_str().expect("it is UTF-8");
        vec![
            ("MODELS_DIR", dir),
            ("MODEL", first),
            ("MODELS_SCAN_SECONDS", "1"),
            ("CONCURRENCY", "2"),
            ("THREADS_PER_PICTURE", "1"),
        ]
    }
}

pub(crate) fn job_for(model: &str) -> Job {
    Job { model: model.parse().unwrap(), ..job() }
}

/// Model and version by the labels of the detections, and the digest in the record.
#[track_caller]
pub(crate) fn answered_by(record: &TaskRecord) -> (String, Sha256Digest) {
    let TaskState::Success { objects, model_digest: Some(digest), .. } = &record.state else {
        panic!("{}: {:?}", record.job.model, record.state)
    };
    let version = |label: &str| label.rsplit_once(' ').map(|(version, _)| version.to_owned());
    let first = objects.first().and_then(|object| version(&object.label));
    let first = first.unwrap_or_else(|| panic!("{}: nothing is found", record.job.model));
    for object in objects {
        assert_eq!(version(&object.label).as_ref(), Some(&first), "{objects:?}");
    }
    (first, *digest)
}
