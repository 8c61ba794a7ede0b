//! `model.toml`, the description of an installed model.

use domain::{LabelMap, ModelName, Sha256Digest};
use serde::{Deserialize, Serialize};

use crate::{
    families::HeadKind,
    preprocess::letterbox::{Preprocessing, TargetSize, ValueRange},
};

const LARGEST_SIDE: u32 = 8192;
/// The most bytes of a `model.toml`: room for tens of thousands of labels.
pub(super) const MOST_BYTES: u64 = 1 << 20;

/// What is wrong with a description of a model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ManifestError {
    /// It is not TOML, lacks an entry, or has an unknown one.
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    /// It cannot be written as TOML.
    #[error(transparent)]
    NotToml(#[from] toml::ser::Error),
    /// There are no classes.
    #[error("labels is empty")]
    NoLabels,
    /// There are no levels although the head has some, or levels without a size.
    #[error("strides must be above 0, got {0:?}")]
    Strides(Vec<u32>),
    /// Values cannot be divided by the deviation.
    #[error("mean must be finite and deviation above 0, got {mean:?} and {deviation:?}")]
    Deviation {
        /// The means of the channels.
        mean: [f32; 3],
        /// Their deviations.
        deviation: [f32; 3],
    },
    /// The input is empty, or too large.
    #[error("sizes of input must be from 1 to {LARGEST_SIDE}, got {0:?}")]
    Sizes([u32; 2]),
    /// It is larger than a description may be.
    #[error("its labels take more than {MOST_BYTES} bytes")]
    TooLong,
}

/// The size of pictures that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "size", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ModelInput {
    /// Any size: pictures are scaled to a long side and padded to a multiple of the largest stride.
    Dynamic {
        /// The longer side in pixels after scaling; the reference takes 640.
        long_side: u32,
        /// Both sides are padded to a multiple of it: the largest stride.
        multiple_of: u32,
    },
    /// One size only: every picture is padded to it.
    Fixed {
        /// Width of the input in pixels.
        width: u32,
        /// Height of the input in pixels.
        height: u32,
    },
}

impl ModelInput {
    /// The letterbox's target size.
    #[must_use]
    pub fn target(&self) -> TargetSize {
        match *self {
            Self::Dynamic { long_side, multiple_of } => TargetSize::Rect { long_side, multiple_of },
            Self::Fixed { width, height } => TargetSize::Fixed { width, height },
        }
    }
}

/// The content of `model.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name by which jobs select the model.
    pub name: ModelName,
    /// The layout of its outputs.
    pub head: HeadKind,
    /// Pixels of the input for each cell of a level, finest level first; empty where boxes do not belong to cells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strides: Vec<u32>,
    /// The licence of its weights, from the file or given with the installation.
    pub license: String,
    /// The program that wrote the file it was installed from.
    pub producer: String,
    /// The sha256 of `model.onnx`.
    pub sha256: Sha256Digest,
    /// The sha256 of the file it was installed from, followed by weights in other files in the order in which
    /// the file lists them.
    pub source_sha256: Sha256Digest,
    /// The names of its classes.
    pub labels: LabelMap,
    /// The size of pictures it takes.
    pub input: ModelInput,
    /// What it takes pictures as, apart from their size; descriptions by older versions lack it, see
    /// [`Manifest::preprocessing`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
}

impl Manifest {
    /// What the model takes pictures as, apart from their size.
    #[must_use]
    pub fn preprocessing(&self) -> Preprocessing {
        self.preprocessing.unwrap_or_else(|| self.head.preprocessing())
    }

    /// Reads and checks the text of a `model.toml`.
    ///
    /// # Errors
    /// [`ManifestError`] for a description that no model can be run by.
    pub(super) fn parse(text: &str) -> Result<Self, ManifestError> {
        let manifest: Self = toml::from_str(text)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The text of a `model.toml` for this model.
    ///
    /// # Errors
    /// [`ManifestError::TooLong`] when its labels are too long for one.
    pub(super) fn to_text(&self) -> Result<String, ManifestError> {
        let text = toml::to_string_pretty(self)?;
        if text.len() as u64 > MOST_BYTES { Err(ManifestError::TooLong) } else { Ok(text) }
    }

    fn check(&self) -> Result<(), ManifestError> {
        if self.labels.is_empty() {
            return Err(ManifestError::NoLabels);
        }
        if self.strides.is_empty() == self.head.has_cells() || self.strides.contains(&0) {
            return Err(ManifestError::Strides(self.strides.clone()));
        }
        if let ValueRange::Standardised { mean, deviation } = self.preprocessing().range {
            let is_divisor = |deviation: &f32| deviation.is_finite() && *deviation > 0.0;
            if !(mean.iter().all(|mean| mean.is_finite()) && deviation.iter().all(is_divisor)) {
                return Err(ManifestError::Deviation { mean, deviation });
            }
        }
        let sizes = match self.input {
            ModelInput::Dynamic { long_side, multiple_of } => [long_side, multiple_of],
            ModelInput::Fixed { width, height } => [width, height],
        };
        if !sizes.iter().all(|size| (1..=LARGEST_SIDE).contains(size)) {
            return Err(ManifestError::Sizes(sizes));
        }
        Ok(())
    }
}
