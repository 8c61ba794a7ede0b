//! The settings that a client may choose for a picture.

use serde::{Deserialize, Serialize};

use crate::{ClassFilter, ConfidenceThreshold, IouThreshold, Tiling};

/// The largest `max_detections` that a client may choose. The reference keeps 300.
pub const MAX_DETECTIONS_LIMIT: u16 = 1000;

/// The most detections to report for one picture, from 1 to [`MAX_DETECTIONS_LIMIT`]. Default 300.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct MaxDetections(u16);

impl MaxDetections {
    /// The number itself.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for MaxDetections {
    fn default() -> Self {
        Self(300)
    }
}

impl TryFrom<u16> for MaxDetections {
    type Error = String;

    fn try_from(value: u16) -> Result<Self, Self::Error> {
        if (1..=MAX_DETECTIONS_LIMIT).contains(&value) {
            Ok(Self(value))
        } else {
            Err(format!("max_detections must be from 1 to {MAX_DETECTIONS_LIMIT}, got {value}"))
        }
    }
}

impl From<MaxDetections> for u16 {
    fn from(value: MaxDetections) -> Self {
        value.0
    }
}

/// The settings that decide which boxes of a picture are reported.
///
/// The defaults are the reference's (Ultralytics `predict`): confidence 0.25, IoU 0.7, 300 boxes, all classes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DetectionSettings {
    /// The least class score of a reported box.
    pub confidence: ConfidenceThreshold,
    /// How much two boxes of a class may overlap before the weaker one is dropped.
    pub iou: IouThreshold,
    /// Whether boxes of different classes also drop one another.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub class_agnostic: bool,
    /// The classes that are reported. Boxes of others drop none.
    #[serde(skip_serializing_if = "ClassFilter::is_all")]
    pub classes: ClassFilter,
    /// The most boxes reported, best first.
    pub max_detections: MaxDetections,
    /// The tiles that are run besides the whole picture; `None`: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tiling: Option<Tiling>,
}
