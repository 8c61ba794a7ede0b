//! The parameters of a submission, from its query and its body.

mod of_query;
mod schemas;

use std::{fmt::Display, str::FromStr, time::Duration};

use domain::{
    CallbackUrl, ClassFilter, ConfidenceThreshold, DetectionSettings, DrawingFormat, IouThreshold,
    MaxDetections, Metadata, ModelName, Priority, TileOverlap, Tiles, Tiling,
};
use outbound::UrlRules;
use serde_json::Value;

pub(super) use self::{of_query::OfQuery, schemas::schemas};
use crate::routes::rejection::Rejection;

/// The names of all parameters.
pub(super) const NAMES: &[&str] = &[
    "model",
    "confidence",
    "iou",
    "max_detections",
    "classes",
    "class_agnostic",
    "tiles",
    "overlap",
    "priority",
    "deadline",
    "metadata",
    "annotated",
    "callback_url",
];

/// The parameters of a submission; `None` where the client leaves them to the API.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Parameters {
    pub(super) model: Option<ModelName>,
    confidence: Option<ConfidenceThreshold>,
    iou: Option<IouThreshold>,
    max_detections: Option<MaxDetections>,
    classes: Option<ClassFilter>,
    class_agnostic: Option<bool>,
    tiles: Option<Tiles>,
    overlap: Option<TileOverlap>,
    pub(super) priority: Option<Priority>,
    deadline: Option<u64>,
    pub(super) metadata: Option<Metadata>,
    /// The inner `None`: no drawing, as by default.
    annotated: Option<Option<DrawingFormat>>,
    callback_url: Option<String>,
}

impl Parameters {
    /// Parses name and value of each parameter.
    ///
    /// # Errors
    /// [`Rejection::Parameter`] for the first one that is invalid, or given twice.
    pub(super) fn parse(
        given: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> Result<Self, Rejection> {
        let mut parameters = Self::default();
        let mut classes: Vec<String> = Vec::new();
        for (name, value) in given {
            let set = match name {
                "model" => parameters.model.replace(text(name, &value)?).is_some(),
                "confidence" => parameters.confidence.replace(parsed(name, &value)?).is_some(),
                "iou" => parameters.iou.replace(parsed(name, &value)?).is_some(),
                "max_detections" => {
                    let number: u16 = parsed(name, &value)?;
                    let most = MaxDetections::try_from(number);
                    parameters.max_detections.replace(most.map_err(invalid(name))?).is_some()
                }
                "classes" => {
                    classes.extend(list(name, value)?);
                    false
                }
                "class_agnostic" => {
                    parameters.class_agnostic.replace(flag(name, &value)?).is_some()
                }
                "tiles" => parameters.tiles.replace(text(name, &value)?).is_some(),
                "overlap" => parameters.overlap.replace(parsed(name, &value)?).is_some(),
                "priority" => parameters.priority.replace(text(name, &value)?).is_some(),
                "deadline" => parameters.deadline.replace(parsed(name, &value)?).is_some(),
                "metadata" => parameters.metadata.replace(object(name, value)?).is_some(),
                "annotated" => parameters.annotated.replace(drawing(name, &value)?).is_some(),
                "callback_url" => parameters.callback_url.replace(text(name, &value)?).is_some(),
                _ => {
                    let detail = format!("there is no parameter '{name}'");
                    return Err(Rejection::Parameter { name, detail });
                }
            };
            if set {
                let detail = format!("{name} is given more than once");
                return Err(Rejection::Parameter { name, detail });
            }
        }
        if !classes.is_empty() {
            let filter = ClassFilter::new(classes.iter().map(String::as_str));
            parameters.classes = Some(filter.map_err(invalid("classes"))?);
        }
        if parameters.overlap.is_some() && parameters.tiles.is_none() {
            let detail = "overlap is that of tiles, and there is no parameter tiles";
            return Err(Rejection::Parameter { name: "overlap", detail: detail.to_owned() });
        }
        Ok(parameters)
    }

    /// The settings of the detector; those that are not given have their defaults.
    pub(super) fn settings(&mut self) -> DetectionSettings {
        DetectionSettings {
            confidence: self.confidence.unwrap_or_default(),
            iou: self.iou.unwrap_or_default(),
            max_detections: self.max_detections.unwrap_or_default(),
            class_agnostic: self.class_agnostic.unwrap_or_default(),
            classes: self.classes.take().unwrap_or_default(),
            tiling: self
                .tiles
                .map(|tiles| Tiling { tiles, overlap: self.overlap.unwrap_or_default() }),
        }
    }

    /// The format of the drawing that the client asks for.
    pub(super) fn annotated(&self) -> Option<DrawingFormat> {
        self.annotated.flatten()
    }

    /// Where the end of the task is reported, as far as `rules` allow that URL; `None`: there are no webhooks.
    ///
    /// # Errors
    /// [`Rejection::Parameter`].
    pub(super) fn callback_url(
        &mut self,
        rules: Option<&UrlRules>,
    ) -> Result<Option<CallbackUrl>, Rejection> {
        let name = "callback_url";
        let Some(url) = self.callback_url.take() else { return Ok(None) };
        let rules = rules.ok_or_else(|| {
            let detail = "callback_url cannot be used: this API has no webhooks (WEBHOOKS=off)";
            Rejection::Parameter { name, detail: detail.to_owned() }
        })?;
        match rules.check(&url) {
            Ok(target) => Ok(Some(CallbackUrl::new(target.url().to_string()))),
            Err(error) => {
                let detail = format!("callback_url cannot be used: {error}");
                Err(Rejection::Parameter { name, detail })
            }
        }
    }

    /// The deadline, no longer than results are kept: after that there would be no record of the outcome.
    ///
    /// # Errors
    /// [`Rejection::Parameter`].
    pub(super) fn deadline(&self, result_ttl: Duration) -> Result<Option<Duration>, Rejection> {
        let Some(seconds) = self.deadline else { return Ok(None) };
        let deadline = Duration::from_secs(seconds);
        if seconds > 0 && deadline <= result_ttl {
            return Ok(Some(deadline));
        }
        let longest = result_ttl.as_secs();
        let detail = format!(
            "deadline must be from 1 to {longest} seconds, no longer than results are kept \
             (RESULT_TTL_SECONDS), got {seconds}"
        );
        Err(Rejection::Parameter { name: "deadline", detail })
    }
}

fn invalid<E: Display>(name: &'static str) -> impl Fn(E) -> Rejection {
    move |error| Rejection::Parameter { name, detail: error.to_string() }
}

fn wrong(name: &'static str, expected: &str, value: &Value) -> Rejection {
    let found: String = value.to_string().chars().take(64).collect();
    Rejection::Parameter { name, detail: format!("{name} must be {expected}, got {found}") }
}

/// A value as it is written in a form: texts are parsed, and so are JSON's numbers.
fn parsed<T: FromStr>(name: &'static str, value: &Value) -> Result<T, Rejection>
where
    T::Err: Display,
{
    let parsed = match value {
        Value::String(text) => text.trim().parse(),
        Value::Number(number) => number.to_string().parse(),
        _ => return Err(wrong(name, "a number", value)),
    };
    parsed.map_err(|error: T::Err| {
        let error = error.to_string();
        // The errors of this project's types name the parameter; those of numbers do not.
        match error.starts_with(name) {
            true => Rejection::Parameter { name, detail: error },
            false => wrong(name, "a whole number", value),
        }
    })
}

fn text<T: FromStr>(name: &'static str, value: &Value) -> Result<T, Rejection>
where
    T::Err: Display,
{
    let text = value.as_str().ok_or_else(|| wrong(name, "a text", value))?;
    text.parse().map_err(|error| Rejection::Parameter {
        name,
        detail: format!("{name} cannot be used: {error}"),
    })
}

fn flag(name: &'static str, value: &Value) -> Result<bool, Rejection> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(true),
            "false" | "0" | "no" | "off" => Ok(false),
            _ => Err(wrong(name, "true or false", value)),
        },
        _ => Err(wrong(name, "true or false", value)),
    }
}

/// A flag, or the format of a drawing; true is JPEG.
fn drawing(name: &'static str, value: &Value) -> Result<Option<DrawingFormat>, Rejection> {
    if let Some(Ok(format)) = value.as_str().map(|text| text.trim().parse()) {
        return Ok(Some(format));
    }
    match flag(name, value) {
        Ok(is_asked_for) => Ok(is_asked_for.then_some(DrawingFormat::Jpeg)),
        Err(_) => Err(wrong(name, "true, false, jpeg, png or webp", value)),
    }
}

/// Names and indices: an array, or one text with commas.
fn list(name: &'static str, value: Value) -> Result<Vec<String>, Rejection> {
    let element = |element: &Value| match element {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(wrong(name, "names or indices of classes", element)),
    };
    match &value {
        Value::String(text) => Ok(text.split(',').map(str::to_owned).collect()),
        Value::Array(elements) if elements.is_empty() => {
            Err(wrong(name, "at least one class, or be left out for all", &value))
        }
        Value::Array(elements) => elements.iter().map(element).collect(),
        other => Ok(vec![element(other)?]),
    }
}

/// An object, or the JSON text of one.
fn object(name: &'static str, value: Value) -> Result<Metadata, Rejection> {
    let value = match value {
        Value::String(text) => serde_json::from_str(&text).map_err(|error| {
            let detail = format!("metadata must be a JSON object, and cannot be read: {error}");
            Rejection::Parameter { name, detail }
        })?,
        value => value,
    };
    Metadata::try_from(value).map_err(invalid(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_and_json_values_mean_the_same() {
        let of_form = [
            ("model", json!("yolov8n")),
            ("confidence", json!(" 0.5")),
            ("iou", json!("1")),
            ("max_detections", json!("7")),
            ("classes", json!("person, 5")),
            ("class_agnostic", json!("True")),
            ("tiles", json!("3x2")),
            ("overlap", json!("0.25")),
            ("priority", json!("High")),
            ("deadline", json!("60")),
            ("metadata", json!("{\"a\": 1}")),
            ("annotated", json!(" True")),
            ("callback_url", json!("https://example.com/a")),
        ];
        let of_json = [
            ("model", json!("yolov8n")),
            ("confidence", json!(0.5)),
            ("iou", json!(1)),
            ("max_detections", json!(7)),
            ("classes", json!(["person", 5])),
            ("class_agnostic", json!(true)),
            ("tiles", json!("3 × 2")),
            ("overlap", json!(0.25)),
            ("priority", json!("high")),
            ("deadline", json!(60)),
            ("metadata", json!({ "a": 1 })),
            ("annotated", json!("jpg")),
            ("callback_url", json!("https://example.com/a")),
        ];
        assert_eq!(of_form.clone().map(|(name, _)| name), *NAMES);
        let parsed = Parameters::parse(of_form).unwrap();
        assert_eq!(parsed, Parameters::parse(of_json).unwrap());
        let mut parsed = parsed;
        let settings = parsed.settings();
        assert_eq!((settings.confidence.get(), settings.iou.get()), (0.5, 1.0));
        assert_eq!((settings.max_detections.get(), settings.class_agnostic), (7, true));
        assert_eq!(settings.classes.to_string(), "person,5");
        let tiling = settings.tiling.unwrap();
        assert_eq!((tiling.tiles.to_string().as_str(), tiling.overlap.get()), ("3x2", 0.25));
        assert_eq!(parsed.annotated(), Some(DrawingFormat::Jpeg));
        for (value, expected) in [
            (json!(true), Some(DrawingFormat::Jpeg)),
            (json!("WebP"), Some(DrawingFormat::WebP)),
            (json!("png"), Some(DrawingFormat::Png)),
            (json!("no"), None),
            (json!(false), None),
        ] {
            let parsed = Parameters::parse([("annotated", value)]).unwrap();
            assert_eq!(parsed.annotated(), expected);
        }
    }

    #[test]
    fn an_invalid_value_is_named() {
        let cases = [
            ("confidence", json!(2), "confidence must be a number from 0 to 1"),
            ("confidence", json!([1]), "confidence must be a number, got [1]"),
            ("iou", json!("x"), "iou must be a number from 0 to 1"),
            ("max_detections", json!(0), "max_detections must be from 1 to 1000, got 0"),
            ("max_detections", json!(1.5), "max_detections must be a whole number, got 1.5"),
            ("max_detections", json!(-1), "max_detections must be a whole number, got -1"),
            ("classes", json!([]), "classes must be at least one class"),
            ("classes", json!("person,"), "one of them is empty"),
            ("classes", json!([{}]), "classes must be names or indices of classes, got {}"),
            (
                "class_agnostic",
                json!("maybe"),
                "class_agnostic must be true or false, got \"maybe\"",
            ),
            (
                "tiles",
                json!("many"),
                "tiles cannot be used: tiles must be auto, or columns and rows",
            ),
            ("tiles", json!("9x9"), "tiles must be at most 64, got 9 × 9"),
            ("tiles", json!(4), "tiles must be a text, got 4"),
            ("overlap", json!(0.6), "overlap must be a number from 0 to 0.5, got '0.6'"),
            ("overlap", json!(0.1), "there is no parameter tiles"),
            ("priority", json!("urgent"), "priority must be high, normal or low, got 'urgent'"),
            ("priority", json!(1), "priority must be a text, got 1"),
            ("deadline", json!("soon"), "deadline must be a whole number, got \"soon\""),
            ("annotated", json!("gif"), "annotated must be true, false, jpeg, png or webp, got"),
            ("annotated", json!(1), "annotated must be true, false, jpeg, png or webp, got 1"),
            ("model", json!("a b"), "model cannot be used"),
            ("model", json!(1), "model must be a text, got 1"),
            ("metadata", json!("{"), "metadata must be a JSON object, and cannot be read"),
            ("metadata", json!(["a"]), "metadata must be a JSON object, such as"),
        ];
        for (name, value, expected) in cases {
            let error = Parameters::parse([(name, value)]).unwrap_err();
            let is_named =
                matches!(error, Rejection::Parameter { name: named, .. } if named == name);
            assert!(is_named && error.to_string().contains(expected), "{name}: {error}");
        }
        let twice = Parameters::parse([("iou", json!(1)), ("iou", json!(1))]).unwrap_err();
        assert_eq!(twice.to_string(), "iou is given more than once");
    }

    #[test]
    fn a_callback_url_is_checked_by_the_rules() {
        let rules = UrlRules::default();
        let cases = [
            ("https://example.com/a?b=c", Some(&rules), "https://example.com/a?b=c"),
            ("https://example.com", Some(&rules), "https://example.com/"),
            ("http://example.com/", Some(&rules), "its scheme must be https"),
            ("https://127.0.0.1/", Some(&rules), "its host has no public address"),
            ("https://example.com/", None, "WEBHOOKS=off"),
        ];
        for (url, rules, expected) in cases {
            let mut parameters = Parameters::parse([("callback_url", json!(url))]).unwrap();
            match parameters.callback_url(rules) {
                Ok(found) => assert_eq!(found.unwrap().as_str(), expected, "{url}"),
                Err(error) => assert!(error.to_string().contains(expected), "{url}: {error}"),
            }
        }
    }

    #[test]
    fn a_deadline_ends_with_the_retention_of_results() {
        let ttl = Duration::from_secs(60);
        for (seconds, is_accepted) in [(0, false), (1, true), (60, true), (61, false)] {
            let parameters = Parameters::parse([("deadline", json!(seconds))]).unwrap();
            assert_eq!(parameters.deadline(ttl).is_ok(), is_accepted, "{seconds}");
        }
    }
}
