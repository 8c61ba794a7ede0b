//! The results of `detect` and `submit`: a table for people, JSON for programs.

use std::{borrow::Cow, path::Path};

use client::FoundObject;
use domain::{AnnotationFormat, Annotations, DetectedObject};
use serde::{Deserialize, Serialize};

use crate::{error::CliError, output};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
}

impl Format {
    pub(crate) fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Table }
    }
}

/// The objects in one picture.
pub(crate) struct PictureResult<'a> {
    pub(crate) picture: &'a Path,
    pub(crate) model: &'a str,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) objects: &'a [DetectedObject],
    /// What is wrong with the picture's pixels.
    pub(crate) warnings: &'a [String],
    pub(crate) took_ms: u128,
}

#[derive(Serialize)]
struct PictureResultJson<'a> {
    picture: Cow<'a, str>,
    model: &'a str,
    width: u32,
    height: u32,
    objects: Vec<ObjectJson<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

/// One object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ObjectJson<'a> {
    #[serde(rename = "box")]
    bbox: domain::BoundingBox,
    class: u32,
    confidence: f32,
    name: Cow<'a, str>,
}

impl<'a> From<&'a DetectedObject> for ObjectJson<'a> {
    fn from(DetectedObject { detection, label }: &'a DetectedObject) -> Self {
        Self {
            bbox: detection.bbox,
            class: detection.class_id.0,
            confidence: detection.confidence,
            name: Cow::Borrowed(label),
        }
    }
}

impl From<FoundObject> for ObjectJson<'static> {
    fn from(FoundObject { label, class_id, confidence, bbox }: FoundObject) -> Self {
        Self { bbox, class: class_id, confidence, name: Cow::Owned(label) }
    }
}

#[derive(Serialize)]
struct FailedJson<'a> {
    picture: Cow<'a, str>,
    error: &'a str,
}

impl PictureResult<'_> {
    /// Prints the result to standard output. A table's warnings go to standard error.
    pub(crate) fn print(&self, format: Format) -> Result<(), CliError> {
        match format {
            Format::Json => output::json("a result", &self.json()),
            Format::Table => self.print_table(),
        }
    }

    /// Prints the objects as a file of other tools. Warnings go to standard error.
    pub(crate) fn print_annotations(&self, format: AnnotationFormat) -> Result<(), CliError> {
        self.print_warnings();
        let name = self.picture.file_name().unwrap_or_default().to_string_lossy();
        let (width, height, objects) = (self.width, self.height, self.objects);
        let annotations = Annotations { picture_name: &name, width, height, objects };
        output::document(&format.render(&annotations))
    }

    fn print_warnings(&self) {
        for warning in self.warnings {
            output::notice(format_args!("{}  warning: {warning}", self.picture.display()));
        }
    }

    fn json(&self) -> PictureResultJson<'_> {
        PictureResultJson {
            picture: lossy(self.picture),
            model: self.model,
            width: self.width,
            height: self.height,
            objects: self.objects.iter().map(ObjectJson::from).collect(),
            warnings: self.warnings,
        }
    }

    fn print_table(&self) -> Result<(), CliError> {
        self.print_warnings();
        let count = self.objects.len();
        output::line(format_args!(
            "{}  {}×{}  {count} object{}  {} ms",
            self.picture.display(),
            self.width,
            self.height,
            if count == 1 { "" } else { "s" },
            self.took_ms
        ))?;
        let widest = self.objects.iter().map(|object| object.label.len()).max().unwrap_or(0);
        for DetectedObject { detection, label } in self.objects {
            let bbox = detection.bbox;
            output::line(format_args!(
                "  {label:widest$}  {:.2}  ({:.1}, {:.1}) – ({:.1}, {:.1})",
                detection.confidence, bbox.x1, bbox.y1, bbox.x2, bbox.y2
            ))?;
        }
        Ok(())
    }
}

/// JSON is UTF-8: whatever is invalid in a file's name becomes U+FFFD, as in the table.
fn lossy(picture: &Path) -> Cow<'_, str> {
    picture.to_string_lossy()
}

/// Prints why a picture failed: JSON to standard output, text to standard error.
pub(crate) fn print_failure(picture: &Path, error: &str, format: Format) -> Result<(), CliError> {
    match format {
        Format::Json => output::json("a failure", &FailedJson { picture: lossy(picture), error }),
        Format::Table => {
            output::notice(format_args!("{}  failed: {error}", picture.display()));
            Ok(())
        }
    }
}
