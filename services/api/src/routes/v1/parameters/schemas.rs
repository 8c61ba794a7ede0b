//! The schemas of the parameters in a body, for the OpenAPI document.

use domain::Priority;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};

use super::NAMES;
use crate::routes::schema::MODEL_NAME;

/// The schemas of all parameters.
pub(in crate::routes::v1) fn schemas() -> Vec<(&'static str, MetaSchemaRef)> {
    NAMES.iter().map(|name| (*name, MetaSchemaRef::Inline(Box::new(schema(name))))).collect()
}

fn schema(name: &str) -> MetaSchema {
    let (kind, description) = kind_and_description(name);
    let mut schema = MetaSchema { description: Some(description), ..MetaSchema::new(kind) };
    let (minimum, maximum) = range(name).unzip();
    (schema.minimum, schema.maximum) = (minimum, maximum);
    match name {
        "model" => schema.pattern = Some(MODEL_NAME.to_owned()),
        "priority" => {
            schema.enum_items = Priority::ALL.map(|priority| priority.name().into()).to_vec();
        }
        _ => {}
    }
    schema
}

fn kind_and_description(name: &str) -> (&'static str, &'static str) {
    match name {
        "model" => ("string", "The model to run. Default: the API's `MODEL`."),
        "confidence" => ("number", "The least class score of a reported object. Default 0.25."),
        "iou" => ("number", "The overlap above which two boxes are one object. Default 0.7."),
        "max_detections" => ("integer", "The most objects reported. Default 300."),
        "classes" => (
            "string",
            "Names or indices of the classes to report, separated by commas; in JSON also an array. Default: all.",
        ),
        "class_agnostic" => (
            "boolean",
            "Whether boxes of different classes also count as one object. Default false.",
        ),
        "tiles" => (
            "string",
            "Into how many overlapping tiles the picture is cut, which are run besides the whole, for small objects: `auto`, \
             or columns and rows as in `3x2`, at most 64 in all. Default: none.",
        ),
        "overlap" => {
            ("number", "The share of a tile that it has in common with its neighbour. Default 0.2.")
        }
        "priority" => ("string", "`high`, `normal` or `low`. Default: `normal`."),
        "deadline" => ("integer", "Seconds the job may wait for a worker before it expires."),
        "annotated" => (
            "string",
            "Whether to keep the picture with the detected objects drawn in, at `image` in `links`: `jpeg` (or true), \
             `png`, `webp`. Default false.",
        ),
        "callback_url" => {
            ("string", "A public `https` URL that is called when the task ends: a webhook, signed.")
        }
        _ => ("object", "A JSON object of at most 1 KiB, which is shown wherever the task is."),
    }
}

/// The least and the greatest value of a number.
fn range(name: &str) -> Option<(f64, f64)> {
    match name {
        "confidence" | "iou" => Some((0.0, 1.0)),
        "max_detections" => Some((1.0, 1000.0)),
        "overlap" => Some((0.0, 0.5)),
        "deadline" => Some((1.0, 604_800.0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::ModelName;
    use serde_json::json;

    use super::*;
    use crate::routes::v1::parameters::Parameters;

    const WEEK: Duration = Duration::from_secs(604_800);

    /// Whether the API takes a number, with results that are kept for a week.
    fn is_accepted(name: &'static str, value: f64) -> bool {
        let value = if value.fract() == 0.0 { json!(value as i64) } else { json!(value) };
        let tiles = (name == "overlap").then(|| ("tiles", json!("auto")));
        let given = tiles.into_iter().chain([(name, value)]);
        Parameters::parse(given).is_ok_and(|parsed| parsed.deadline(WEEK).is_ok())
    }

    #[test]
    fn the_ranges_are_those_that_the_api_accepts() {
        for name in NAMES {
            let Some((least, greatest)) = range(name) else { continue };
            let step = if schema(name).ty == "integer" { 1.0 } else { 0.01 };
            assert!(is_accepted(name, least), "{name}: {least}");
            assert!(is_accepted(name, greatest), "{name}: {greatest}");
            assert!(!is_accepted(name, least - step), "{name}: below {least}");
            assert!(!is_accepted(name, greatest + step), "{name}: above {greatest}");
        }
    }

    #[test]
    fn names_of_models_are_described_as_they_are_accepted() {
        for byte in 0..=u8::MAX {
            let name = char::from(byte).to_string();
            let is_described = byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            assert_eq!(name.parse::<ModelName>().is_ok(), is_described, "{name:?}");
        }
        for (length, is_described) in [(0, false), (1, true), (64, true), (65, false)] {
            assert_eq!("a".repeat(length).parse::<ModelName>().is_ok(), is_described, "{length}");
        }
    }
}
