//! What can go wrong, by what was being done: loading ONNX Runtime, a model, or detecting.

use std::{io, path::PathBuf};

use domain::Sha256Digest;

use crate::{onnx::OnnxError, onnx_runtime::provider::ExecutionProvider};

/// ONNX Runtime cannot be loaded, or refuses a model.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No file is there.
    #[error(
        "ONNX Runtime's library{} is not at {path}; `{}` fetches it, or name another file by \
         ORT_DYLIB_PATH",
        with_provider(.provider),
        .provider.setup_command()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What it was to run models on.
        provider: ExecutionProvider,
    },
    /// The library was built without the execution provider.
    #[error(
        "ONNX Runtime at {path} has no {} provider; `{}` fetches a library that has, or name one of \
         your own by ORT_DYLIB_PATH",
        .provider.title(),
        .provider.setup_command()
    )]
    NoProvider {
        /// The library.
        path: PathBuf,
        /// What it has not.
        provider: ExecutionProvider,
    },
    /// The library has the execution provider, which does not work here.
    #[error(
        "the {} provider of ONNX Runtime at {path} does not work here (it needs {}): {detail}",
        .provider.title(),
        .provider.needs()
    )]
    ProviderFailed {
        /// The library.
        path: PathBuf,
        /// What does not work.
        provider: ExecutionProvider,
        /// What ONNX Runtime said.
        detail: String,
    },
    /// The file cannot be reached.
    #[error("ONNX Runtime's library {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is no ONNX Runtime, or one that is too old.
    #[error(
        "{path} cannot be used as ONNX Runtime (version 1.{} or later is needed): {detail}",
        ort::MINOR_VERSION
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        detail: String,
    },
    /// This process has loaded another library before.
    #[error("{path} cannot be loaded: this process already runs {loaded}")]
    AnotherLoaded {
        /// The file that was asked for.
        path: PathBuf,
        /// The file that is in use.
        loaded: PathBuf,
    },
    /// ONNX Runtime itself reports an error.
    #[error("ONNX Runtime: {0}")]
    Failed(String),
}

/// Which library is meant, where it is not the ordinary one.
fn with_provider(provider: &ExecutionProvider) -> String {
    match provider {
        ExecutionProvider::Cpu => String::new(),
        other => format!(" with the {} provider", other.title()),
    }
}

/// A model cannot be installed or loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No model is installed in this folder.
    #[error(
        "no model is installed at {dir} ({missing} is missing); install one with \
         `spotter model add FILE.onnx`"
    )]
    NotInstalled {
        /// The folder of the model.
        dir: PathBuf,
        /// The file that should be in it.
        missing: &'static str,
    },
    /// The file to install is not there.
    #[error("there is no file {path} to install a model from")]
    NoSuchFile {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `model.toml` does not say what it should.
    #[error("{path} is no description of a model: {detail}; install the model again")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// `model.onnx` is not the file that was installed.
    #[error("{path} was changed after it was installed: its sha256 is {found}, not {expected}")]
    ChecksumMismatch {
        /// The file.
        path: PathBuf,
        /// The sum in `model.toml`.
        expected: Sha256Digest,
        /// The sum of the file.
        found: Sha256Digest,
    },
    /// The file is no usable ONNX model.
    #[error("{path} cannot be installed: {source}")]
    NotOnnx {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: OnnxError,
    },
    /// The file is larger than the ONNX format allows.
    #[error("{path} has {bytes} bytes; an ONNX file has less than 2 GiB")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// An ONNX model, but not one of the detectors that are supported.
    #[error("{path} is no detector that is understood: found {found}; expected {expected}")]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// The file's inputs and outputs, or what is odd about them.
        found: String,
        /// What would have been right.
        expected: String,
    },
    /// A detector of a known kind that cannot be run yet.
    #[error("{path} is recognised as {kind}, which is not supported yet: found {found}")]
    NotSupportedYet {
        /// The file.
        path: PathBuf,
        /// The kind of detector.
        kind: &'static str,
        /// The file's inputs and outputs.
        found: String,
    },
    /// The classes' names are neither in the file nor given.
    #[error(
        "{path} has {classes} classes and {why}; give their names with `--labels FILE`, one name per line"
    )]
    LabelsNeeded {
        /// The file.
        path: PathBuf,
        /// The classes it has.
        classes: usize,
        /// Why they cannot be had from the file.
        why: NoLabels,
    },
    /// There are more or fewer labels than classes.
    #[error(
        "{path} has {classes} classes, but there are {labels} labels from {origin}; give as many names as \
         there are classes with `--labels FILE`, one name per line"
    )]
    LabelCount {
        /// The file.
        path: PathBuf,
        /// The classes it has.
        classes: usize,
        /// The labels there are.
        labels: usize,
        /// Where the labels come from.
        origin: &'static str,
    },
    /// A model of this name is there already.
    #[error("{dir} already holds a model; remove it, choose another name, or ask to replace it")]
    AlreadyInstalled {
        /// The folder.
        dir: PathBuf,
    },
    /// The model was loaded but does not run as its kind should.
    #[error("{path} does not run: {detail}")]
    DoesNotRun {
        /// The file.
        path: PathBuf,
        /// What happened.
        detail: String,
    },
    /// ONNX Runtime refuses the model.
    #[error("{path} cannot be loaded: {source}")]
    Runtime {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: RuntimeError,
    },
}

/// Why a file does not tell how its classes are called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoLabels {
    /// It does not say.
    #[error("says nowhere how they are called")]
    Absent,
    /// What it says cannot be read.
    #[error(
        "its metadata has something under 'names' that is no dict or list of names, neither as Python nor as \
         JSON writes it: {0:?}"
    )]
    Unreadable(
        /// Its beginning.
        String,
    ),
}

/// A run of the model gave no detections. Another attempt may succeed.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The run was stopped by its [`Canceller`](crate::onnx_runtime::session::Canceller).
    #[error("the run was cancelled")]
    Cancelled,
    /// ONNX Runtime reports an error.
    #[error("ONNX Runtime failed: {0}")]
    Inference(String),
    /// The model's outputs have not the shapes that its head needs.
    #[error("the model gave outputs of shape {found}, expected {expected}")]
    UnexpectedOutput {
        /// The shapes that came out.
        found: String,
        /// The shapes that should have.
        expected: String,
    },
    /// The pictures of a batch are not of one size as the model takes them.
    #[error("a batch is of pictures of one size, found {found} beside {expected} pixels")]
    MixedSizes {
        /// Width × height of the tensor that differs.
        found: String,
        /// Width × height of the first one.
        expected: String,
    },
    /// The tensor was prepared for another model.
    #[error("the picture was prepared as {found}, but the model takes {expected} pixels")]
    WrongInputSize {
        /// Width × height of the tensor.
        found: String,
        /// Width × height of the model's input.
        expected: String,
    },
}
