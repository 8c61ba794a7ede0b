//! The names of a model's classes: given ones, those in the file, or COCO's.

use std::path::Path;

use domain::LabelMap;

use super::note::InstallNote;
use crate::{
    model::error::{LabelOrigin, ModelError, NoLabels},
    model::labels,
    onnx::{ClassNames, OnnxModel, parse_names},
};

/// The metadata key of class names in Ultralytics' exports.
const KEY: &str = "names";

/// The source of class names, before the number of classes is known.
pub(super) enum Names<'a> {
    /// Given with the installation.
    Given(&'a LabelMap),
    /// The file has them.
    InFile(ClassNames),
    /// The file has something else in their place; its beginning.
    Unreadable(String),
    /// The file has none.
    Absent,
}

impl<'a> Names<'a> {
    pub(super) fn of(model: &OnnxModel, given: Option<&'a LabelMap>) -> Self {
        match (given, model.metadata(KEY)) {
            (Some(given), _) => Self::Given(given),
            (None, None) => Self::Absent,
            (None, Some(text)) => match parse_names(text) {
                Some(names) => Self::InFile(names),
                None => Self::Unreadable(excerpt(text)),
            },
        }
    }

    /// The number of classes with names, which helps to recognise an output.
    pub(super) fn count(&self) -> Option<usize> {
        match self {
            Self::Given(labels) => Some(labels.len()),
            Self::InFile(names) => Some(names.places()),
            Self::Unreadable(_) | Self::Absent => None,
        }
    }

    /// A label for each of `classes` classes of the file at `path`. Without names, COCO's are used if there are
    /// as many, with a note. Names that cannot be parsed are an error.
    pub(super) fn labels(
        &self,
        path: &Path,
        classes: usize,
        notes: &mut Vec<InstallNote>,
    ) -> Result<LabelMap, ModelError> {
        let wrong_count = |labels, origin| ModelError::LabelCount {
            path: path.to_owned(),
            classes,
            labels,
            origin,
        };
        let needed = |why| ModelError::LabelsNeeded { path: path.to_owned(), classes, why };
        match self {
            Self::Given(labels) if labels.len() == classes => Ok((*labels).clone()),
            Self::Given(labels) => Err(wrong_count(labels.len(), LabelOrigin::Given)),
            Self::InFile(names) => {
                let labels = names
                    .for_classes(classes)
                    .ok_or_else(|| wrong_count(names.places(), LabelOrigin::Metadata))?;
                if names.named() < classes {
                    notes.push(InstallNote::ClassesWithoutName(classes - names.named()));
                }
                Ok(LabelMap::new(labels))
            }
            Self::Unreadable(text) => Err(needed(NoLabels::Unreadable(text.clone()))),
            Self::Absent => {
                let coco = [labels::coco(), labels::coco_categories()];
                let coco = coco.into_iter().find(|labels| labels.len() == classes);
                let labels = coco.ok_or_else(|| needed(NoLabels::Absent))?;
                notes.push(InstallNote::LabelsAssumed);
                Ok(labels)
            }
        }
    }
}

/// The beginning of `text`, for a message.
fn excerpt(text: &str) -> String {
    const MOST: usize = 80;
    let mut excerpt: String = text.chars().take(MOST).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    excerpt
}
