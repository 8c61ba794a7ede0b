//! Which classes of a model are reported.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{ClassId, LabelMap};

/// Maximum number of classes in a filter.
pub const MAX_FILTER_CLASSES: usize = 100;
/// Maximum length of a class's name in a filter, in bytes.
const MAX_NAME_BYTES: usize = 100;
/// Maximum number of a model's classes that an error lists.
const LISTED_CLASSES: usize = 100;

/// A class by its name or its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
enum Class {
    Id(u32),
    Name(String),
}

impl Class {
    fn parse(text: &str) -> Result<Self, InvalidClassFilter> {
        let text = text.trim();
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) if text.is_empty() => Err(InvalidClassFilter::Empty),
            Err(_) if text.len() > MAX_NAME_BYTES => Err(InvalidClassFilter::LongName),
            Err(_) => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => write!(f, "{id}"),
            Self::Name(name) => write!(f, "'{name}'"),
        }
    }
}

/// The classes whose objects are reported, by name or index. Empty: all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClassFilter(Vec<Class>);

impl ClassFilter {
    /// The filter of these names and indices.
    ///
    /// # Errors
    /// [`InvalidClassFilter`].
    pub fn new<'a>(classes: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidClassFilter> {
        let classes: Vec<Class> =
            classes.into_iter().map(Class::parse).collect::<Result<_, _>>()?;
        match classes.len() {
            0 => Err(InvalidClassFilter::Empty),
            count if count > MAX_FILTER_CLASSES => Err(InvalidClassFilter::TooMany(count)),
            _ => Ok(Self(classes)),
        }
    }

    /// Whether all classes are reported.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// The classes of a model with these labels; `None` for all. Names are compared without regard to ASCII case.
    ///
    /// # Errors
    /// [`UnknownClass`].
    pub fn resolve(&self, labels: &LabelMap) -> Result<Option<BTreeSet<ClassId>>, UnknownClass> {
        if self.is_all() {
            return Ok(None);
        }
        let resolve = |class: &Class| {
            let found = match class {
                Class::Id(id) => Some(ClassId(*id)).filter(|id| labels.get(*id).is_some()),
                Class::Name(name) => labels.find(name),
            };
            found.ok_or_else(|| UnknownClass::new(class, labels))
        };
        self.0.iter().map(resolve).collect::<Result<_, _>>().map(Some)
    }
}

/// Comma-separated names and indices.
impl FromStr for ClassFilter {
    type Err = InvalidClassFilter;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text.split(','))
    }
}

impl fmt::Display for ClassFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, class) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match class {
                Class::Id(id) => write!(f, "{comma}{id}")?,
                Class::Name(name) => write!(f, "{comma}{name}")?,
            }
        }
        Ok(())
    }
}

/// Why a text is not a [`ClassFilter`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClassFilter {
    /// A name is empty.
    #[error("classes must be names or indices of the model's classes; one of them is empty")]
    Empty,
    /// There are too many of them.
    #[error("classes must be at most {MAX_FILTER_CLASSES}, got {0}")]
    TooMany(usize),
    /// A name is too long.
    #[error("the name of a class has at most {MAX_NAME_BYTES} bytes")]
    LongName,
}

/// A class that the model does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model has no class {class}; it has {known}")]
pub struct UnknownClass {
    class: String,
    known: String,
}

impl UnknownClass {
    fn new(class: &Class, labels: &LabelMap) -> Self {
        let shown: Vec<&str> = labels.names().take(LISTED_CLASSES).collect();
        let mut known = shown.join(", ");
        let more = labels.len() - shown.len();
        if more > 0 {
            known.push_str(&format!(" and {more} more"));
        }
        Self { class: class.to_string(), known }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> LabelMap {
        LabelMap::new(["person", "bicycle", "stop sign"].map(str::to_owned).into())
    }

    #[test]
    fn names_and_indices_resolve() {
        let cases: [(&str, &[u32]); 4] =
            [("person", &[0]), ("2, 0", &[0, 2]), ("Stop Sign,2", &[2]), (" bicycle ", &[1])];
        for (text, expected) in cases {
            let filter: ClassFilter = text.parse().unwrap();
            let resolved = filter.resolve(&labels()).unwrap().unwrap();
            let ids: Vec<u32> = resolved.into_iter().map(|id| id.0).collect();
            assert_eq!(ids, expected, "{text}");
            let json = serde_json::to_string(&filter).unwrap();
            assert_eq!(serde_json::from_str::<ClassFilter>(&json).unwrap(), filter);
        }
        assert_eq!(ClassFilter::default().resolve(&labels()), Ok(None));
    }

    #[test]
    fn an_unknown_class_is_named_with_those_that_exist() {
        for (text, named) in [("persn", "'persn'"), ("person,3", "3"), ("-1", "'-1'")] {
            let filter: ClassFilter = text.parse().unwrap();
            let error = filter.resolve(&labels()).unwrap_err().to_string();
            let expected =
                format!("the model has no class {named}; it has person, bicycle, stop sign");
            assert_eq!(error, expected);
        }
        let many = LabelMap::new((0..150).map(|i| i.to_string()).collect());
        let error = "x".parse::<ClassFilter>().unwrap().resolve(&many).unwrap_err().to_string();
        assert!(error.ends_with("98, 99 and 50 more"), "{error}");
    }

    #[test]
    fn a_filter_is_bounded() {
        let many = vec!["1"; MAX_FILTER_CLASSES + 1];
        assert_eq!(ClassFilter::new(many), Err(InvalidClassFilter::TooMany(101)));
        assert_eq!("a".repeat(101).parse::<ClassFilter>(), Err(InvalidClassFilter::LongName));
        for empty in ["", ",", "person,", " "] {
            assert_eq!(empty.parse::<ClassFilter>(), Err(InvalidClassFilter::Empty), "{empty:?}");
        }
    }
}
