//! The name under which a model is installed and requested.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

const LONGEST: usize = 64;

/// The name of an installed model: a folder's name and a token of a NATS subject, so no dots,
/// slashes or spaces. From 1 to 64 of `a-z`, `A-Z`, `0-9`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(String);

/// A text that cannot be a [`ModelName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a model's name has 1 to {LONGEST} letters, digits, '_' or '-' (as in 'yolov8n'), got '{0}'"
)]
pub struct InvalidModelName(pub String);

impl ModelName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ModelName {
    /// `yolov8n`.
    fn default() -> Self {
        Self("yolov8n".to_owned())
    }
}

impl FromStr for ModelName {
    type Err = InvalidModelName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if (1..=LONGEST).contains(&text.len()) && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidModelName(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ModelName {
    type Error = InvalidModelName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ModelName> for String {
    fn from(name: ModelName) -> Self {
        name.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The names of one or more models, each once, in the order in which they were given: `yolov8n,yolov10n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelNames(Vec<ModelName>);

impl ModelNames {
    /// The first one.
    #[must_use]
    pub fn first(&self) -> &ModelName {
        // `from_str` rejects an empty list.
        &self.0[0]
    }

    /// Whether this model is among them.
    #[must_use]
    pub fn contains(&self, model: &ModelName) -> bool {
        self.0.contains(model)
    }
}

impl FromStr for ModelNames {
    type Err = InvalidModelName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut names = Vec::new();
        for name in text.split(',') {
            let name = name.trim().parse()?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(Self(names))
    }
}

impl IntoIterator for ModelNames {
    type Item = ModelName;
    type IntoIter = std::vec::IntoIter<ModelName>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_each_name_once_and_no_invalid_one() {
        let names: ModelNames = " b, a,b".parse().unwrap();
        assert_eq!(names.first().as_str(), "b");
        let names: Vec<String> = names.into_iter().map(String::from).collect();
        assert_eq!(names, ["b", "a"]);
        for bad in ["", "a,", "a,,b", "a;b"] {
            assert!(bad.parse::<ModelNames>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_safe_as_a_folder_and_as_a_subject_token() {
        for good in ["yolov8n", "yolo_nas-S", "0"] {
            assert!(good.parse::<ModelName>().is_ok(), "{good}");
        }
        let long = "x".repeat(65);
        for bad in ["", ".", "..", "a/b", "a.b", "a b", "*", ">", "modèle", long.as_str()] {
            assert_eq!(bad.parse::<ModelName>(), Err(InvalidModelName(bad.to_owned())));
        }
    }
}
