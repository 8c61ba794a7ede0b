//! What a model found in a picture.

use serde::{Deserialize, Serialize};

use crate::BoundingBox;

/// The index of a class in its model's [`LabelMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClassId(pub u32);

/// One detected object: its box, its class and the score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Its bounding box, in pixels of the source picture.
    pub bbox: BoundingBox,
    /// Its class; the name is in the model's [`LabelMap`].
    pub class_id: ClassId,
    /// The score of that class, from 0 to 1.
    pub confidence: f32,
}

/// A [`Detection`] with the name of its class, as it is stored and sent to clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetectedObject {
    /// The detection itself.
    #[serde(flatten)]
    pub detection: Detection,
    /// The name of its class, such as `stop sign`.
    pub label: String,
}

/// The names of a model's classes, by [`ClassId`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LabelMap(Vec<String>);

impl LabelMap {
    /// Labels in the order of the model's class scores.
    #[must_use]
    pub fn new(labels: Vec<String>) -> Self {
        Self(labels)
    }

    /// The number of classes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no classes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The class of this name, without regard to ASCII case.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ClassId> {
        let place = self.0.iter().position(|label| label.eq_ignore_ascii_case(name))?;
        u32::try_from(place).ok().map(ClassId)
    }

    /// The names of all classes, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The name of `class`, or `None` for a class the model does not have.
    #[must_use]
    pub fn get(&self, class: ClassId) -> Option<&str> {
        self.0.get(class.0 as usize).map(String::as_str)
    }

    /// The names in order of their [`ClassId`].
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Adds the class's name to a detection; a class without a name is called `class 17`.
    #[must_use]
    pub fn name(&self, detection: Detection) -> DetectedObject {
        let label = match self.get(detection.class_id) {
            Some(label) => label.to_owned(),
            None => format!("class {}", detection.class_id.0),
        };
        DetectedObject { detection, label }
    }
}
