//! The JSON of an inference request, parsed within bounds: it keeps no more of a list than a request may have.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::routes::bounded::{Bounded, Scalar};

/// The most pictures in a request.
pub(super) const MAX_PICTURES: usize = 32;
/// The most tensors in a list, and dimensions of one.
pub(super) const MAX_LISTED: usize = 16;

/// The parameters of a request, by the names that it has for them, and those of `/v1`.
const PARAMETERS: [(&str, &str); 8] = [
    ("conf", "confidence"),
    ("confidence", "confidence"),
    ("iou", "iou"),
    ("max_detections", "max_detections"),
    ("classes", "classes"),
    ("class_agnostic", "class_agnostic"),
    ("tiles", "tiles"),
    ("overlap", "overlap"),
];

/// An inference request. Members that it does not need are ignored, as the protocol wants it.
#[derive(Debug, Deserialize)]
pub(super) struct SentRequest<'a> {
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) parameters: SentParameters,
    #[serde(borrow)]
    pub(super) inputs: Bounded<SentInput<'a>, MAX_LISTED>,
    #[serde(borrow)]
    pub(super) outputs: Option<Bounded<SentOutput<'a>, MAX_LISTED>>,
}

/// A tensor of pictures.
#[derive(Debug, Deserialize)]
pub(super) struct SentInput<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) datatype: Cow<'a, str>,
    pub(super) shape: Bounded<i64, MAX_LISTED>,
    pub(super) parameters: Option<InputParameters>,
    #[serde(borrow)]
    pub(super) data: Option<Elements<'a>>,
}

/// How a tensor of a request is sent.
#[derive(Debug, Default, Deserialize)]
pub(super) struct InputParameters {
    /// The length of its content behind the JSON.
    pub(super) binary_data_size: Option<u64>,
    pub(super) shared_memory_region: Option<IgnoredAny>,
}

/// A tensor that the answer should have.
#[derive(Debug, Deserialize)]
pub(super) struct SentOutput<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    pub(super) parameters: Option<OutputParameters>,
}

/// How a tensor of the answer should be sent.
#[derive(Debug, Default, Deserialize)]
pub(super) struct OutputParameters {
    /// Whether behind the JSON.
    pub(super) binary_data: Option<bool>,
    pub(super) classification: Option<IgnoredAny>,
    pub(super) shared_memory_region: Option<IgnoredAny>,
}

/// The elements of a tensor of texts, flattened.
#[derive(Debug)]
pub(super) struct Elements<'a>(pub(super) Vec<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut elements = Vec::new();
        Flattening(&mut elements).deserialize(deserializer)?;
        Ok(Self(elements))
    }
}

/// Appends a text, or the texts in a list.
struct Flattening<'v, 'de>(&'v mut Vec<Cow<'de, str>>);

impl<'de> Flattening<'_, 'de> {
    fn push<E: Error>(self, text: Cow<'de, str>) -> Result<(), E> {
        if self.0.len() == MAX_PICTURES {
            return Err(E::custom(format!("data has more than {MAX_PICTURES} elements")));
        }
        self.0.push(text);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Flattening<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Flattening<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pictures as base64")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.push(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.push(Cow::Owned(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Flattening(self.0))?.is_some() {}
        Ok(())
    }
}

/// The parameters of a request. Others than these are ignored: Triton's clients have some of their own.
#[derive(Debug, Default)]
pub(super) struct SentParameters {
    /// By the names that they have on `/v1`.
    pub(super) settings: Vec<(&'static str, Value)>,
    /// Whether outputs are sent behind the JSON, unless the request says otherwise of one.
    pub(super) binary_data_output: bool,
}

impl<'de> Deserialize<'de> for SentParameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParametersVisitor)
    }
}

struct ParametersVisitor;

impl<'de> Visitor<'de> for ParametersVisitor {
    type Value = SentParameters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of parameters")
    }

    fn visit_unit<E: Error>(self) -> Result<SentParameters, E> {
        Ok(SentParameters::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SentParameters, A::Error> {
        let mut parameters = SentParameters::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == "binary_data_output" {
                parameters.binary_data_output = map.next_value()?;
                continue;
            }
            let Some((_, known)) = PARAMETERS.iter().find(|(sent, _)| name == *sent) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if parameters.settings.iter().any(|(given, _)| given == known) {
                return Err(A::Error::custom(format!("{known} is given more than once")));
            }
            // The protocol has no other parameters.
            let Scalar(value) = map.next_value()?;
            parameters.settings.push((known, value));
        }
        Ok(parameters)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<SentRequest<'_>, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn data_may_be_nested_and_what_is_not_known_is_ignored() {
        let text = r#"{"id": "7", "parameters": {"conf": 0.5, "iou": "0.6", "classes": "a", "timeout": [1],
            "binary_data_output": true}, "inputs": [{"name": "image", "datatype": "BYTES", "shape": [2, 1],
            "data": [["AA\u003d="], ["AB=="]], "more": {}}], "outputs": [{"name": "boxes",
            "parameters": {"binary_data": false}}], "more": []}"#;
        let request = parse(text).unwrap();
        let [input] = &request.inputs.0[..] else { panic!("{request:?}") };
        assert_eq!((&*input.name, &*input.shape.0), ("image", &[2, 1][..]));
        assert_eq!(input.data.as_ref().unwrap().0, ["AA==", "AB=="]);
        assert_eq!(
            request.parameters.settings,
            [("confidence", json!(0.5)), ("iou", json!("0.6")), ("classes", json!("a"))]
        );
        assert!(request.parameters.binary_data_output);
        let output = &request.outputs.unwrap().0[0];
        assert_eq!(output.parameters.as_ref().unwrap().binary_data, Some(false));
        let absent = r#"{"parameters": null, "inputs": [], "outputs": null, "id": null}"#;
        assert!(parse(absent).unwrap().parameters.settings.is_empty());
    }

    #[test]
    fn lists_and_parameters_are_bounded() {
        let input = |shape: &str, data: &str| {
            format!(
                r#"{{"inputs": [{{"name": "a", "datatype": "b", "shape": [{shape}], "data": [{data}]}}]}}"#
            )
        };
        let many = |element: &str, count: usize| vec![element; count].join(",");
        assert!(parse(&input(&many("1", MAX_LISTED), &many("[\"\"]", MAX_PICTURES))).is_ok());
        let cases = [
            (input(&many("1", MAX_LISTED + 1), ""), "at most 16"),
            (input("1", &many("\"\"", MAX_PICTURES + 1)), "more than 32 elements"),
            (input("1", "7"), "expected pictures as base64"),
            (format!(r#"{{"inputs": [{}]}}"#, many("{}", 1)), "missing field `name`"),
            (
                r#"{"inputs": [], "parameters": {"conf": 1, "confidence": 1}}"#.to_owned(),
                "confidence is given more than once",
            ),
            (
                r#"{"inputs": [], "parameters": {"iou": [1]}}"#.to_owned(),
                "expected a text, a number, true or false",
            ),
            (r#"{"inputs": [], "parameters": []}"#.to_owned(), "an object of parameters"),
        ];
        for (text, expected) in cases {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
