//! What can go wrong when a model is installed or loaded.

use std::{io, path::PathBuf};

use domain::Sha256Digest;

use crate::{
    model::manifest::ManifestError, onnx::OnnxError, onnx_runtime::error::OnnxRuntimeError,
};

/// A model cannot be installed or loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No model is installed in this folder.
    #[error("no model is installed at {dir} ({missing} is missing)")]
    NotInstalled {
        /// The folder where the model was expected.
        dir: PathBuf,
        /// The file that should be in it.
        missing: &'static str,
    },
    /// The file to install is not there.
    #[error("there is no file {path} to install a model from")]
    NoSuchFile {
        /// The path that was given for installation.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file that was to be read.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file or folder that was to be written.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// `model.toml` is damaged.
    #[error("{path} is not a valid model description: {source}")]
    Manifest {
        /// The path of the damaged `model.toml`.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// `model.onnx` is not the file that was installed.
    #[error("{path} was changed after it was installed: its sha256 is {found}, not {expected}")]
    ChecksumMismatch {
        /// The path of the changed `model.onnx`.
        path: PathBuf,
        /// The sum in `model.toml`.
        expected: Sha256Digest,
        /// The sum of the file.
        found: Sha256Digest,
    },
    /// The file is no usable ONNX model.
    #[error("{path} cannot be installed: {source}")]
    NotOnnx {
        /// The file that was to be installed.
        path: PathBuf,
        /// What is wrong with it.
        source: OnnxError,
    },
    /// The file is larger than the ONNX format allows.
    #[error("{path} has {bytes} bytes; an ONNX file has less than 2 GiB")]
    TooLarge {
        /// The file that was to be installed.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// An ONNX model, but not a supported detector.
    #[error("{path} is not a detector that can be run: found {found}; expected {expected}")]
    NotADetector {
        /// The file that was to be installed.
        path: PathBuf,
        /// The file's inputs and outputs, or what is unexpected about them.
        found: String,
        /// What a supported detector has.
        expected: String,
    },
    /// A detector of a known kind that is not supported yet.
    #[error("{path} is recognised as {kind}, which is not supported yet: found {found}")]
    NotSupportedYet {
        /// The file that was to be installed.
        path: PathBuf,
        /// The kind of detector.
        kind: &'static str,
        /// The file's inputs and outputs.
        found: String,
    },
    /// The classes' names are neither in the file nor given.
    #[error("{path} has {classes} classes and {why}")]
    LabelsNeeded {
        /// The file that was to be installed.
        path: PathBuf,
        /// The classes it has.
        classes: usize,
        /// Why the file does not give them.
        why: NoLabels,
    },
    /// There are more or fewer labels than classes.
    #[error("{path} has {classes} classes, but there are {labels} labels from {origin}")]
    LabelCount {
        /// The file that was to be installed.
        path: PathBuf,
        /// The classes it has.
        classes: usize,
        /// The labels there are.
        labels: usize,
        /// Where the labels come from.
        origin: LabelOrigin,
    },
    /// A model of this name exists.
    #[error("{dir} already holds a model; remove it, choose another name, or replace it")]
    AlreadyInstalled {
        /// The folder of the existing model.
        dir: PathBuf,
    },
    /// The model was loaded but does not run as its kind should.
    #[error("{path} does not run: {detail}")]
    DoesNotRun {
        /// The ONNX file that was run.
        path: PathBuf,
        /// The error of the run, or the outputs that do not fit its kind.
        detail: String,
    },
    /// ONNX Runtime rejects the model.
    #[error("{path} cannot be loaded: {source}")]
    OnnxRuntime {
        /// The ONNX file that was loaded.
        path: PathBuf,
        /// The error of ONNX Runtime.
        source: OnnxRuntimeError,
    },
}

/// Where labels come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelOrigin {
    /// Given with the installation.
    #[error("the file of labels")]
    Given,
    /// The ONNX file has them.
    #[error("the file's own metadata")]
    Metadata,
}

/// Why a file does not give the names of its classes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoLabels {
    /// Its metadata has no `names`.
    #[error("does not name them")]
    Absent,
    /// Its metadata has `names` that cannot be parsed.
    #[error(
        "its metadata has 'names' that are not a dict or list in Python's or JSON's syntax: {0:?}"
    )]
    Unreadable(
        /// The beginning of the text under `names`.
        String,
    ),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_error_names_a_command_or_a_variable_of_who_uses_the_library() {
        let path = || PathBuf::from("x");
        let provider = crate::ExecutionProvider::Cuda;
        let errors = [
            OnnxRuntimeError::Missing { path: path(), provider }.to_string(),
            OnnxRuntimeError::NoProvider { path: path(), provider }.to_string(),
            ModelError::NotInstalled { dir: path(), missing: "model.toml" }.to_string(),
            ModelError::Manifest { path: path(), source: ManifestError::NoLabels }.to_string(),
            ModelError::AlreadyInstalled { dir: path() }.to_string(),
            ModelError::LabelsNeeded { path: path(), classes: 3, why: NoLabels::Absent }
                .to_string(),
            ModelError::LabelCount {
                path: path(),
                classes: 3,
                labels: 2,
                origin: LabelOrigin::Given,
            }
            .to_string(),
        ];
        for error in errors {
            for word in ["`", "make ", "scripts/", "spotter", "--", "ORT_"] {
                assert!(!error.contains(word), "{error}");
            }
        }
    }
}
