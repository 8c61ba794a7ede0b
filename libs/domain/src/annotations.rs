//! Detections in the annotation formats of other tools: COCO, YOLO, CSV and Pascal VOC.

mod coco;
mod csv;
mod input;
mod voc;
mod yolo;

use std::{fmt, str::FromStr};

pub use input::{Annotations, five_decimals};

/// An annotation format. `docs/formats.md` describes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnnotationFormat {
    /// A COCO data set of one picture, as JSON.
    Coco,
    /// A table with a header.
    Csv,
    /// A line `class cx cy w h` for each object: the labels that are read for training.
    Yolo,
    /// The same, with the confidence as sixth column: the labels that Ultralytics writes with `save_conf`.
    YoloConfidence,
    /// The XML of the Pascal VOC devkit.
    Voc,
}

impl AnnotationFormat {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Coco, Self::Csv, Self::Yolo, Self::YoloConfidence, Self::Voc];

    /// The name by which a client chooses the format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Coco => "coco",
            Self::Csv => "csv",
            Self::Yolo => "yolo",
            Self::YoloConfidence => "yolo-conf",
            Self::Voc => "voc",
        }
    }

    /// Writes the annotations of one picture, as a whole file.
    #[must_use]
    pub fn render(self, annotations: &Annotations<'_>) -> String {
        match self {
            Self::Coco => coco::render(annotations),
            Self::Csv => csv::render(annotations),
            Self::Yolo => yolo::render(annotations, yolo::Confidence::LeftOut),
            Self::YoloConfidence => yolo::render(annotations, yolo::Confidence::Written),
            Self::Voc => voc::render(annotations),
        }
    }
}

impl fmt::Display for AnnotationFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is no [`AnnotationFormat`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no format '{0}': expected coco, csv, yolo, yolo-conf or voc")]
pub struct InvalidAnnotationFormat(pub String);

impl FromStr for AnnotationFormat {
    type Err = InvalidAnnotationFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| InvalidAnnotationFormat(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;
