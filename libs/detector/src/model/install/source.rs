//! The file that a model is installed from, and the files of its weights.

use std::{fs, io, path::Path};

use domain::{Sha256Digest, Sha256Hasher};

use super::note::InstallNote;
use crate::{
    model::error::ModelError,
    onnx::{
        OnnxError, OnnxModel,
        external::{MOST_BYTES, embed},
        float_ends::with_float32_ends,
    },
};

/// A model with 32-bit floats as inputs and outputs, and all weights included.
pub(super) struct Source {
    pub(super) model: OnnxModel,
    /// The bytes of its file: those that were read, unless the model was changed.
    pub(super) bytes: Vec<u8>,
    /// The sha256 of all bytes read: the file, then weights from other files in the graph's order.
    pub(super) sha256: Sha256Digest,
}

impl Source {
    pub(super) fn read(path: &Path, notes: &mut Vec<InstallNote>) -> Result<Self, ModelError> {
        let refuse = |source: OnnxError| ModelError::NotOnnx { path: path.to_owned(), source };
        let mut bytes = read_file(path)?;
        let mut hasher = Sha256Hasher::new();
        hasher.update(&bytes);
        let mut model = OnnxModel::parse_graph(bytes.clone()).map_err(refuse)?;
        // A path without a folder has an empty parent: the current folder.
        let folder = path.parent().unwrap_or(Path::new(""));
        let embedded = embed(&mut model, folder, |values| hasher.update(values)).map_err(refuse)?;
        let is_embedded = !embedded.files.is_empty();
        if is_embedded {
            let files = embedded.files.iter().map(|file| file.display().to_string());
            notes.push(InstallNote::WeightsEmbedded {
                files: files.collect(),
                bytes: embedded.bytes,
            });
        }
        let converted = with_float32_ends(&model);
        if is_embedded || converted.is_some() {
            model = converted.unwrap_or(model);
            bytes = model.to_bytes();
        }
        Ok(Self { model, bytes, sha256: hasher.finish() })
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, ModelError> {
    let unreadable = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ModelError::NoSuchFile { path: path.to_owned() },
        _ => ModelError::Read { path: path.to_owned(), source },
    };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > MOST_BYTES {
        return Err(ModelError::TooLarge { path: path.to_owned(), bytes });
    }
    fs::read(path).map_err(unreadable)
}
