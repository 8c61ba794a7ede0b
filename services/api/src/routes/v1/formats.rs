//! The formats of a task's result, and which of them a request asks for.

use std::{borrow::Cow, marker::PhantomData};

use domain::{
    AnnotationFormat, Annotations, BoundingBox, ClassId, DetectedObject, Detection, TaskRecord,
    TaskState,
};
use poem::{
    IntoResponse, Response,
    http::{HeaderMap, HeaderValue, header::CONTENT_TYPE},
};
use poem_openapi::{
    ResponseContent,
    payload::{Json, Payload},
    registry::{MetaSchema, MetaSchemaRef},
    types::{ParseError, ParseFromParameter, ParseResult, ToJSON, Type},
};

use super::task::Task;
use crate::http::accept::Accept;

/// The form in which a task is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultFormat {
    /// The task as it is, in any state.
    Native,
    /// The result in an annotation format.
    Annotations(AnnotationFormat),
}

/// The media type of each format, the preferred one first. A media type stands for one format only.
const OFFERS: [(ResultFormat, &str); 6] = [
    (ResultFormat::Native, "application/json"),
    (ResultFormat::Annotations(AnnotationFormat::Coco), Coco::MEDIA_TYPE),
    (ResultFormat::Annotations(AnnotationFormat::Csv), "text/csv"),
    (ResultFormat::Annotations(AnnotationFormat::Yolo), "text/plain"),
    (ResultFormat::Annotations(AnnotationFormat::Voc), "application/xml"),
    (ResultFormat::Annotations(AnnotationFormat::Voc), "text/xml"),
];

impl ResultFormat {
    /// The format that a request asks for: by its parameter, or else by its header `Accept`. `None` for a header
    /// without any of the formats.
    pub(super) fn of(chosen: Option<Self>, headers: &HeaderMap) -> Option<Self> {
        if chosen.is_some() {
            return chosen;
        }
        let accept = Accept::of(headers);
        // A browser prefers XML to everything that it does not name, and shows JSON better.
        let offers = match accept.names("text/html") {
            true => &OFFERS[..1],
            false => &OFFERS,
        };
        accept.prefer(offers).or_else(|| accept.prefer(&OFFERS))
    }

    /// What there is, for an error.
    pub(super) fn media_types() -> String {
        OFFERS.map(|(_, media_type)| media_type).join(", ")
    }

    fn names() -> impl Iterator<Item = &'static str> {
        ["native"].into_iter().chain(AnnotationFormat::ALL.map(AnnotationFormat::name))
    }
}

/// The media type that these headers ask for, as it is in the table of formats.
#[cfg(any(fuzzing, test))]
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&'static str> {
    let format = ResultFormat::of(None, headers)?;
    OFFERS.iter().find(|(offer, _)| *offer == format).map(|(_, media_type)| *media_type)
}

impl Type for ResultFormat {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "format".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let enum_items = Self::names().map(Into::into).collect();
        MetaSchemaRef::Inline(Box::new(MetaSchema { enum_items, ..MetaSchema::new("string") }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl ParseFromParameter for ResultFormat {
    fn parse_from_parameter(value: &str) -> ParseResult<Self> {
        match value {
            "native" => Ok(Self::Native),
            other => other.parse().map(Self::Annotations).map_err(|_| {
                let names: Vec<_> = Self::names().collect();
                ParseError::custom(format!("it must be one of {}", names.join(", ")))
            }),
        }
    }
}

/// A task in one of its formats.
#[derive(ResponseContent)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time, most often the large one")]
pub(super) enum TaskContent {
    Native(Json<Task>),
    Coco(AnnotationFile<Coco>),
    Csv(AnnotationFile<Csv>),
    Yolo(AnnotationFile<Yolo>),
    Voc(AnnotationFile<Voc>),
}

impl TaskContent {
    /// The task in `format`, or the task itself if the format is of results and it has none.
    pub(super) fn of(
        record: Box<TaskRecord>,
        format: ResultFormat,
    ) -> Result<Self, Box<TaskRecord>> {
        let ResultFormat::Annotations(format) = format else {
            return Ok(Self::Native(Json((*record).into())));
        };
        let TaskState::Success { objects, width, height, .. } = &record.state else {
            return Err(record);
        };
        let (picture_name, width, height) = (record.job.picture_name.as_str(), *width, *height);
        let text = format.render(&Annotations { picture_name, width, height, objects });
        Ok(match format {
            AnnotationFormat::Coco => Self::Coco(text.into()),
            AnnotationFormat::Csv => Self::Csv(text.into()),
            AnnotationFormat::Yolo | AnnotationFormat::YoloConfidence => Self::Yolo(text.into()),
            AnnotationFormat::Voc => Self::Voc(text.into()),
        })
    }

    /// With how many jobs wait before that of the task, which only the task itself shows.
    pub(super) fn with_max_jobs_ahead(mut self, jobs: Option<u64>) -> Self {
        if let Self::Native(Json(task)) = &mut self {
            task.max_jobs_ahead = jobs;
        }
        self
    }

    /// The body.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Native(task) => task.0.to_json_string().into(),
            Self::Coco(file) => file.text.as_str().into(),
            Self::Csv(file) => file.text.as_str().into(),
            Self::Yolo(file) => file.text.as_str().into(),
            Self::Voc(file) => file.text.as_str().into(),
        }
    }
}

/// A file in an annotation format, of media type `M`.
pub(super) struct AnnotationFile<M> {
    text: String,
    media_type: PhantomData<M>,
}

impl<M> From<String> for AnnotationFile<M> {
    fn from(text: String) -> Self {
        Self { text, media_type: PhantomData }
    }
}

/// A media type of an annotation format, and its description in the document.
pub(super) trait AnnotationMediaType: Send {
    const MEDIA_TYPE: &'static str;
    const FORMAT: AnnotationFormat;
    const DESCRIPTION: &'static str;
    const SCHEMA_TYPE: &'static str = "string";
}

pub(super) struct Coco;
pub(super) struct Csv;
pub(super) struct Yolo;
pub(super) struct Voc;

impl AnnotationMediaType for Coco {
    const MEDIA_TYPE: &'static str = "application/json; profile=coco";
    const FORMAT: AnnotationFormat = AnnotationFormat::Coco;
    const DESCRIPTION: &'static str =
        "A COCO data set of one picture. A category's id is the index of its class and 1.";
    const SCHEMA_TYPE: &'static str = "object";
}

impl AnnotationMediaType for Csv {
    const MEDIA_TYPE: &'static str = "text/csv; charset=utf-8";
    const FORMAT: AnnotationFormat = AnnotationFormat::Csv;
    const DESCRIPTION: &'static str = "A header, and a line for each object.";
}

impl AnnotationMediaType for Yolo {
    const MEDIA_TYPE: &'static str = "text/plain; charset=utf-8";
    const FORMAT: AnnotationFormat = AnnotationFormat::Yolo;
    const DESCRIPTION: &'static str = "YOLO: a line for each object with class, centre, width and \
                                       height as parts of the picture's; with `format=yolo-conf`, \
                                       also the confidence.";
}

impl AnnotationMediaType for Voc {
    const MEDIA_TYPE: &'static str = "application/xml; charset=utf-8";
    const FORMAT: AnnotationFormat = AnnotationFormat::Voc;
    const DESCRIPTION: &'static str =
        "Pascal VOC. Pixels are counted from 1, and the last one belongs to the box.";
}

impl<M: AnnotationMediaType> Payload for AnnotationFile<M> {
    const CONTENT_TYPE: &'static str = M::MEDIA_TYPE;

    fn schema_ref() -> MetaSchemaRef {
        let text = example(M::FORMAT);
        let example = match M::SCHEMA_TYPE {
            "object" => serde_json::from_str(&text).ok(),
            _ => Some(text.into()),
        };
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            description: Some(M::DESCRIPTION),
            example,
            ..MetaSchema::new(M::SCHEMA_TYPE)
        }))
    }
}

impl<M: AnnotationMediaType> IntoResponse for AnnotationFile<M> {
    fn into_response(self) -> Response {
        let mut response = self.text.into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(M::MEDIA_TYPE));
        response
    }
}

/// The example of [`Task`] in this format.
fn example(format: AnnotationFormat) -> String {
    let bbox = BoundingBox { x1: 22.871_27, y1: 231.277_31, x2: 805.002_6, y2: 756.840_45 };
    let detection = Detection { bbox, class_id: ClassId(5), confidence: 0.873_45 };
    let objects = &[DetectedObject { detection, label: "bus".to_owned() }];
    format.render(&Annotations { picture_name: "bus.jpg", width: 810, height: 1080, objects })
}

#[cfg(test)]
mod tests {
    use poem::http::header::ACCEPT;

    use super::*;

    fn format(chosen: Option<ResultFormat>, accept: &'static str) -> Option<ResultFormat> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        ResultFormat::of(chosen, &headers)
    }

    #[test]
    fn a_format_is_chosen_by_parameter_or_header() {
        let annotations = ResultFormat::Annotations;
        let csv = Some(annotations(AnnotationFormat::Csv));
        assert_eq!(ResultFormat::of(None, &HeaderMap::new()), Some(ResultFormat::Native));
        assert_eq!(format(None, "text/csv"), csv);
        assert_eq!(format(csv, "application/xml"), csv);
        assert_eq!(format(csv, "image/png"), csv);
        assert_eq!(format(None, "image/png"), None);
        for (_, media_type) in OFFERS {
            assert!(format(None, media_type).is_some(), "{media_type}");
        }
        assert_eq!(format(None, "text/xml"), Some(annotations(AnnotationFormat::Voc)));
        assert_eq!(format(None, Coco::MEDIA_TYPE), Some(annotations(AnnotationFormat::Coco)));
    }

    #[test]
    fn a_browser_gets_json() {
        let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(format(None, firefox), Some(ResultFormat::Native));
        let only_xml = format(None, "text/html, application/xml;q=0.9");
        assert_eq!(only_xml, Some(ResultFormat::Annotations(AnnotationFormat::Voc)));
    }
}
