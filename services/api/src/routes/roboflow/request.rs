//! What the client sends.

use std::{borrow::Cow, fmt};

use domain::{
    ClassFilter, ConfidenceThreshold, DetectionSettings, DrawingFormat, IouThreshold,
    MAX_FILTER_CLASSES, MaxDetections, ModelName,
};
use poem::http::StatusCode;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value};

use super::{error::RoboflowError, models::model_name};
use crate::{
    routes::{
        bounded::{Bounded, Scalar},
        held_error::HeldError,
        rejection::Rejection,
    },
    upload::SentPicture,
};

/// How many pictures a request may have.
const MAX_IMAGES: usize = 32;

/// The thresholds of a request without them: Roboflow's own.
const DEFAULT_CONFIDENCE: &str = "0.4";
const DEFAULT_IOU: &str = "0.3";

/// A request without members, apart from the key.
#[derive(Deserialize)]
pub(super) struct NoMembers {}

/// A request about a model.
#[derive(Deserialize)]
pub(super) struct ModelRequest {
    pub(super) model_id: String,
}

/// A request to detect objects. Members that change nothing here are ignored, as the server that is imitated ignores those
/// that it does not know: which client it was, how to draw, how to prepare pictures.
#[derive(Deserialize)]
pub(crate) struct InferenceRequest {
    model_id: Option<String>,
    pub(crate) image: Images,
    confidence: Option<Scalar>,
    iou_threshold: Option<Number>,
    class_agnostic_nms: Option<bool>,
    class_filter: Option<Bounded<String, MAX_FILTER_CLASSES>>,
    max_detections: Option<Number>,
    visualize_predictions: Option<bool>,
}

impl InferenceRequest {
    /// The model that it names.
    ///
    /// # Errors
    /// [`RoboflowError`] if it names none, or there cannot be one of this name.
    pub(super) fn model(&self) -> Result<ModelName, RoboflowError> {
        let missing = || HeldError::new(StatusCode::BAD_REQUEST, "the request has no model_id");
        model_name(self.model_id.as_deref().ok_or_else(missing)?)
    }

    /// Which objects are reported.
    ///
    /// # Errors
    /// [`Rejection::Parameter`].
    pub(crate) fn settings(&self) -> Result<DetectionSettings, Rejection> {
        let classes = self.class_filter.as_ref().map(|Bounded(classes)| classes);
        let classes = classes.filter(|classes| !classes.is_empty());
        let classes = classes.map(|classes| ClassFilter::new(classes.iter().map(String::as_str)));
        Ok(DetectionSettings {
            confidence: self.confidence()?,
            iou: self.iou()?,
            class_agnostic: self.class_agnostic_nms.unwrap_or_default(),
            classes: classes
                .transpose()
                .map_err(|error| invalid("class_filter", error))?
                .unwrap_or_default(),
            max_detections: self.max_detections()?,
            tiling: None,
        })
    }

    /// The format of the drawing, if one is asked for.
    pub(super) fn annotated(&self) -> Option<DrawingFormat> {
        self.visualize_predictions.unwrap_or_default().then_some(DrawingFormat::Jpeg)
    }

    fn confidence(&self) -> Result<ConfidenceThreshold, Rejection> {
        let text = match &self.confidence {
            None => DEFAULT_CONFIDENCE.to_owned(),
            // The best one of a model that Roboflow has trained: there is no such knowledge here.
            Some(Scalar(Value::String(text))) if matches!(&**text, "best" | "default") => {
                DEFAULT_CONFIDENCE.to_owned()
            }
            Some(Scalar(given)) => given.to_string(),
        };
        text.parse().map_err(|_| {
            invalid("confidence", format!("confidence must be a number from 0 to 1, got {text}"))
        })
    }

    fn iou(&self) -> Result<IouThreshold, Rejection> {
        let text = self.iou_threshold.as_ref().map_or(DEFAULT_IOU.to_owned(), Number::to_string);
        text.parse().map_err(|_| {
            let detail = format!("iou_threshold must be a number from 0 to 1, got {text}");
            invalid("iou_threshold", detail)
        })
    }

    fn max_detections(&self) -> Result<MaxDetections, Rejection> {
        let Some(given) = &self.max_detections else { return Ok(MaxDetections::default()) };
        let number = given.as_u64().and_then(|number| u16::try_from(number).ok());
        let number = number.and_then(|number| MaxDetections::try_from(number).ok());
        number.ok_or_else(|| {
            let detail =
                format!("max_detections must be a whole number from 1 to 1000, got {given}");
            invalid("max_detections", detail)
        })
    }
}

fn invalid(name: &'static str, detail: impl fmt::Display) -> Rejection {
    let detail: String = detail.to_string().chars().take(200).collect();
    Rejection::Parameter { name, detail }
}

/// The pictures of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Images {
    pub(crate) images: Vec<SentPicture>,
    /// Whether they are in a list, so that the answer is one.
    pub(super) is_list: bool,
}

/// One picture.
struct Image(SentPicture);

impl<'de> Deserialize<'de> for Images {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ImagesVisitor)
    }
}

impl<'de> Deserialize<'de> for Image {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ImageVisitor)
    }
}

struct ImagesVisitor;

impl<'de> Visitor<'de> for ImagesVisitor {
    type Value = Images;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image, or a list of them")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Images, M::Error> {
        let Image(image) = ImageVisitor.visit_map(map)?;
        Ok(Images { images: vec![image], is_list: false })
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Images, S::Error> {
        let mut images = Vec::new();
        while let Some(Image(image)) = list.next_element()? {
            if images.len() == MAX_IMAGES {
                let detail = format!("the request has more than {MAX_IMAGES} images: send several");
                return Err(Error::custom(detail));
            }
            images.push(image);
        }
        match images.is_empty() {
            true => Err(Error::custom("the list has no image")),
            false => Ok(Images { images, is_list: true }),
        }
    }
}

/// A text that is borrowed from the body where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct ImageVisitor;

impl<'de> Visitor<'de> for ImageVisitor {
    type Value = Image;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an image, as {\"type\": \"base64\", \"value\": \"…\"}")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Image, M::Error> {
        let (mut kind, mut value) = (None, None);
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "type" => kind = Some(map.next_value::<Text<'de>>()?.0),
                "value" => value = Some(map.next_value::<Text<'de>>()?.0),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let kind = kind.ok_or_else(|| Error::missing_field("type"))?;
        let value = value.ok_or_else(|| Error::missing_field("value"))?;
        match &*kind {
            "base64" => SentPicture::of_base64(&value).map(Image).map_err(Error::custom),
            "url" => Ok(Image(SentPicture::Url(value.into_owned()))),
            // `numpy` is a pickle, which would be code to run.
            other => {
                let other: String = other.chars().take(20).collect();
                let detail = format!("an image of type {other:?} is not read: send base64 or url");
                Err(Error::custom(detail))
            }
        }
    }
}

/// The text of the member `name` in the start of a JSON object, if it is there.
pub(crate) fn member(start: &[u8], name: &str) -> Option<String> {
    let mut finder = MemberFinder { name, found: None };
    // The start may end anywhere: what was found before counts.
    let _ends_early = serde_json::Deserializer::from_slice(start).deserialize_map(&mut finder);
    finder.found
}

struct MemberFinder<'a> {
    name: &'a str,
    found: Option<String>,
}

impl<'de> Visitor<'de> for &mut MemberFinder<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Text(name)) = map.next_key()? {
            if name == self.name {
                self.found = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: &Value) -> Result<InferenceRequest, String> {
        serde_json::from_str(&body.to_string()).map_err(|error| error.to_string())
    }

    fn with(name: &str, value: Value) -> InferenceRequest {
        let mut body = json!({ "image": { "type": "base64", "value": "AP8=" } });
        body[name] = value;
        parse(&body).unwrap()
    }

    #[test]
    fn an_image_is_base64_or_a_url_and_a_list_is_one() {
        let bytes = || SentPicture::Bytes(vec![0, 255]);
        let url = || SentPicture::Url("https://a.example/b".to_owned());
        let base64 = json!({ "value": "AP8=", "type": "base64" });
        let at_url = json!({ "type": "url", "value": "https://a.example/b" });
        for (image, images, is_list) in [
            (base64.clone(), vec![bytes()], false),
            (at_url.clone(), vec![url()], false),
            (json!([base64]), vec![bytes()], true),
            (json!([at_url, base64]), vec![url(), bytes()], true),
        ] {
            let request = parse(&json!({ "image": image })).unwrap();
            assert_eq!(request.image, Images { images, is_list }, "{image}");
        }
    }

    #[test]
    fn other_images_are_refused_in_words() {
        let many = vec![json!({ "type": "base64", "value": "" }); MAX_IMAGES + 1];
        for (image, expected) in [
            (json!({ "type": "numpy", "value": "gASV" }), "an image of type \"numpy\" is not read"),
            (json!({ "type": "base64", "value": "%" }), "the picture is not base64"),
            (json!({ "type": "base64" }), "missing field `value`"),
            (json!({ "value": "AP8=" }), "missing field `type`"),
            (json!({ "type": "base64", "value": 7 }), "invalid type: integer `7`"),
            (json!("AP8="), "expected an image, or a list of them"),
            (json!([]), "the list has no image"),
            (json!([[base64()]]), "expected an image"),
            (json!(many), "more than 32 images"),
        ] {
            let error = parse(&json!({ "image": image })).err().unwrap();
            assert!(error.contains(expected), "{image}: {error}");
        }
    }

    fn base64() -> Value {
        json!({ "type": "base64", "value": "AP8=" })
    }

    #[test]
    fn settings_have_the_defaults_of_the_server_that_is_imitated() {
        let settings = with("confidence", Value::Null).settings().unwrap();
        assert_eq!((settings.confidence.get(), settings.iou.get()), (0.4, 0.3));
        assert_eq!((settings.max_detections.get(), settings.class_agnostic), (300, false));
        assert!(settings.classes.is_all());
        assert_eq!(with("confidence", json!("best")).settings().unwrap().confidence.get(), 0.4);
        assert_eq!(with("confidence", json!(0.25)).settings().unwrap().confidence.get(), 0.25);
        assert_eq!(with("iou_threshold", json!(1)).settings().unwrap().iou.get(), 1.0);
        assert!(with("class_filter", json!([])).settings().unwrap().classes.is_all());
        let some = with("class_filter", json!(["bus", "car"])).settings().unwrap();
        assert_eq!(some.classes.to_string(), "bus,car");
        for (name, value, expected) in [
            ("confidence", json!("high"), "confidence must be a number from 0 to 1, got \"high\""),
            ("confidence", json!(1.5), "got 1.5"),
            ("iou_threshold", json!(-1), "iou_threshold must be a number from 0 to 1, got -1"),
            ("max_detections", json!(0), "max_detections must be a whole number from 1 to 1000"),
            ("max_detections", json!(3000), "got 3000"),
            ("max_detections", json!(1.5), "got 1.5"),
            ("class_filter", json!([""]), "empty"),
        ] {
            let error = with(name, value).settings().unwrap_err().to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn a_member_is_found_as_far_as_the_object_goes() {
        for (start, expected) in [
            (r#"{"api_key": "k", "image": {"type": "base64", "value": "AAAA"#, Some("k")),
            (r#"{"model_id": "m", "a": [1, {"api_key": "x"}], "api_key": "k""#, Some("k")),
            (r#"{"image": {"type": "base64", "value": "AAAA"#, None),
            (r#"{"api_key": "half"#, None),
            (r#"{"api_key": null, "image": 1}"#, None),
            (r#"{"api_key": 7}"#, None),
            (r#"[{"api_key": "k"}]"#, None),
            ("", None),
        ] {
            assert_eq!(member(start.as_bytes(), "api_key").as_deref(), expected, "{start}");
        }
    }
}
