//! The catalogue of models that can be pulled: `models/catalogue.toml`, or another file of that form.

use std::path::Path;

use domain::{ModelName, Sha256Digest};
use serde::Deserialize;
use service::files::read_text;

use crate::error::CliError;

/// The catalogue that this version comes with.
const OWN: &str = include_str!("../../../models/catalogue.toml");

/// The hub that repositories are on, unless a mirror is named.
pub(crate) const HUB: &str = "https://huggingface.co";

/// Licences of weights that ask nothing of those who offer a service with them but to name the authors.
const PERMISSIVE: [&str; 9] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC-BY-4.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unlicense",
];

/// A model that can be pulled.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The name that it is installed under.
    pub(crate) name: ModelName,
    /// As its authors call it.
    pub(crate) title: String,
    pub(crate) family: String,
    repository: String,
    file: String,
    /// The size of the file.
    pub(crate) bytes: u64,
    /// The digest of the file.
    pub(crate) sha256: Sha256Digest,
    /// The licence of its weights, as an SPDX identifier.
    pub(crate) licence: String,
    /// mAP50-95 on COCO val2017 in per cent, as published.
    pub(crate) ap: f32,
}

impl Entry {
    /// The file's URL on a hub, or on a mirror of it.
    pub(crate) fn url(&self, hub: &str) -> String {
        let hub = hub.trim_end_matches('/');
        format!("{hub}/{}/resolve/main/{}", self.repository, self.file)
    }

    /// Whether its licence may oblige whoever offers a service with it, so that it has to be accepted first.
    pub(crate) fn must_be_accepted(&self) -> bool {
        !PERMISSIVE.contains(&self.licence.as_str())
    }

    pub(crate) fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1e6
    }

    /// Whether one of its words contains the text, in any case.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let words = [self.name.as_str(), &self.title, &self.family, &self.licence];
        words.iter().any(|word| word.to_lowercase().contains(&text))
    }
}

/// The models that can be pulled, the most accurate first.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalogue {
    #[serde(rename = "model")]
    pub(crate) models: Vec<Entry>,
}

impl Catalogue {
    /// The catalogue in `file`, or the one that this version comes with.
    pub(crate) fn read(file: Option<&Path>) -> Result<Self, CliError> {
        let (name, text) = match file {
            None => ("the catalogue".to_owned(), OWN.to_owned()),
            Some(path) => {
                let name = path.display().to_string();
                let text = read_text(path)
                    .map_err(|error| CliError::Usage(format!("{name} cannot be read: {error}")))?;
                (name, text)
            }
        };
        let mut catalogue: Self = toml::from_str(&text)
            .map_err(|error| CliError::Usage(format!("{name} is no catalogue: {error}")))?;
        catalogue.models.sort_by(|a, b| b.ap.total_cmp(&a.ap));
        Ok(catalogue)
    }

    pub(crate) fn find(&self, name: &ModelName) -> Option<&Entry> {
        self.models.iter().find(|entry| entry.name == *name)
    }

    /// The names of all, for a message.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.models.iter().map(|entry| entry.name.as_str()).collect();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_catalogue_is_complete() {
        let catalogue = Catalogue::read(None).unwrap();
        let entry = catalogue.find(&"dfine-n".parse().unwrap()).expect("it is recommended");
        assert!(!entry.must_be_accepted());
        assert!(entry.matches("d-fine") && entry.matches("APACHE") && !entry.matches("yolo"));
        assert_eq!(
            entry.url("http://mirror/hub/"),
            "http://mirror/hub/AnnotateIt/dfine-nano-coco-onnx/resolve/main/model.onnx"
        );
        assert!(catalogue.models.is_sorted_by(|a, b| a.ap >= b.ap));
        let mut names: Vec<_> = catalogue.models.iter().map(|entry| &entry.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), catalogue.models.len(), "a name is there twice");
    }

    #[test]
    fn any_licence_that_is_not_known_to_be_permissive_must_be_accepted() {
        let entry = Catalogue::read(None).unwrap().models.remove(0);
        for licence in ["AGPL-3.0", "GPL-3.0-only", "CC-BY-NC-4.0", "unknown", ""] {
            let entry = Entry { licence: licence.to_owned(), ..entry.clone() };
            assert!(entry.must_be_accepted(), "{licence}");
        }
    }
}
