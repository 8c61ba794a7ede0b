//! What a client attaches to its task.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Maximum size of [`Metadata`] as compact JSON, in bytes.
pub const MAX_METADATA_BYTES: usize = 1024;
/// Maximum depth of arrays and objects in each other. Records contain metadata, and parsers limit the depth.
const MAX_DEPTH: usize = 8;

/// A JSON object that a client attaches to its task, and gets back wherever the task is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    /// The object itself.
    #[must_use]
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The object as compact JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }
}

impl TryFrom<Value> for Metadata {
    type Error = InvalidMetadata;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        if depth(&value) > MAX_DEPTH {
            return Err(InvalidMetadata::TooDeep);
        }
        let Value::Object(map) = value else { return Err(InvalidMetadata::NotAnObject) };
        let metadata = Self(map);
        match metadata.to_json().len() {
            length if length > MAX_METADATA_BYTES => Err(InvalidMetadata::TooLong(length)),
            _ => Ok(metadata),
        }
    }
}

/// Levels of arrays and objects: 0 for a number or a text.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Why a value is not [`Metadata`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    /// It is another JSON value.
    #[error("metadata must be a JSON object, such as {{\"camera\":\"door\"}}")]
    NotAnObject,
    /// It has this many bytes.
    #[error("metadata must have at most {MAX_METADATA_BYTES} bytes as compact JSON, got {0}")]
    TooLong(usize),
    /// Its arrays and objects are nested too deeply.
    #[error("metadata must be nested at most {MAX_DEPTH} levels deep")]
    TooDeep,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_of_a_kibibyte_is_accepted() {
        let most = json!({ "a": "x".repeat(MAX_METADATA_BYTES - 8) });
        assert_eq!(Metadata::try_from(most.clone()).unwrap().to_json().len(), MAX_METADATA_BYTES);
        let cases = [
            (json!({ "a": "x".repeat(MAX_METADATA_BYTES - 7) }), InvalidMetadata::TooLong(1025)),
            (json!([]), InvalidMetadata::NotAnObject),
            (json!("{}"), InvalidMetadata::NotAnObject),
            (json!({ "a": [[[[[[[[1]]]]]]]] }), InvalidMetadata::TooDeep),
        ];
        for (value, expected) in cases {
            assert_eq!(Metadata::try_from(value), Err(expected));
        }
        assert!(Metadata::try_from(json!({ "a": [[[[[[[1]]]]]]] })).is_ok());
    }
}
