//! Inference requests and the answers to them, as the document describes them, and tensors.

use poem_openapi::{Object, types::Example};
use serde_json::{Value, json};

use crate::routes::schema::EXAMPLE_ID;

/// The name of the one input.
pub(super) const INPUT: &str = "image";
/// The protocol has versions of models; here each has one.
pub(super) const VERSION: &str = "1";

/// Pictures to detect objects in.
#[derive(Object)]
#[oai(rename = "InferenceRequest", skip_serializing_if_is_none, example)]
pub(super) struct InferenceRequest {
    /// Comes back in the answer.
    id: Option<String>,
    parameters: Option<InferenceParameters>,
    /// The one input, `image`.
    inputs: Vec<InputTensor>,
    /// The outputs that the answer has, in this order. Default: all.
    outputs: Option<Vec<RequestedOutput>>,
}

/// Parameters of a request. Others are ignored.
#[derive(Object, Default)]
#[oai(rename = "InferenceParameters", skip_serializing_if_is_none)]
struct InferenceParameters {
    /// The least class score of a reported object, from 0 to 1; also as `confidence`. Default 0.25.
    conf: Option<f32>,
    /// Two boxes of a class overlapping more than this are one object. Default 0.7.
    iou: Option<f32>,
    /// The most objects of a picture, from 1 to 1000. Default 300.
    max_detections: Option<u16>,
    /// The classes to report, by name or index, separated by commas. Default: all.
    classes: Option<String>,
    /// Whether boxes of different classes also count as one object where they overlap. Default false.
    class_agnostic: Option<bool>,
    /// Into how many tiles a picture is cut, as on `/v1/tasks`. Default: none.
    tiles: Option<String>,
    /// The share of a tile that it has in common with its neighbour, from 0 to 0.5. Default 0.2.
    overlap: Option<f32>,
    /// Whether outputs are sent behind the JSON, where the request does not say otherwise. Default false.
    binary_data_output: Option<bool>,
}

/// Pictures: JPEG, PNG, WebP, BMP or GIF files.
#[derive(Object)]
#[oai(rename = "InferenceInput", skip_serializing_if_is_none)]
struct InputTensor {
    /// `image`.
    name: String,
    /// How many pictures there are, up to 32: `[N]` or `[N, 1]`.
    shape: Vec<i64>,
    /// `BYTES`.
    datatype: String,
    parameters: Option<InputParameters>,
    /// The pictures as base64, unless they follow the JSON.
    data: Option<Vec<String>>,
}

/// Where pictures follow the JSON.
#[derive(Object)]
#[oai(rename = "InferenceInputParameters", skip_serializing_if_is_none)]
struct InputParameters {
    /// How many bytes they have behind the JSON, with the four bytes in front of each of them.
    binary_data_size: Option<u64>,
}

/// An output that the answer should have.
#[derive(Object)]
#[oai(rename = "InferenceRequestedOutput", skip_serializing_if_is_none)]
struct RequestedOutput {
    name: String,
    parameters: Option<RequestedOutputParameters>,
}

/// How an output should be sent.
#[derive(Object)]
#[oai(rename = "InferenceRequestedOutputParameters", skip_serializing_if_is_none)]
struct RequestedOutputParameters {
    /// Whether behind the JSON.
    binary_data: Option<bool>,
}

impl Example for InferenceRequest {
    fn example() -> Self {
        let input = InputTensor {
            name: INPUT.to_owned(),
            shape: vec![1],
            datatype: "BYTES".to_owned(),
            parameters: None,
            data: Some(vec!["R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAkQBADs=".to_owned()]),
        };
        let parameters = InferenceParameters { conf: Some(0.5), ..InferenceParameters::default() };
        Self { id: None, parameters: Some(parameters), inputs: vec![input], outputs: None }
    }
}

/// What was found.
#[derive(Object)]
#[oai(rename = "InferenceAnswer", skip_serializing_if_is_none, example)]
pub(super) struct InferenceAnswer {
    pub(super) model_name: String,
    pub(super) model_version: String,
    /// As in the request.
    pub(super) id: Option<String>,
    pub(super) parameters: AnswerParameters,
    pub(super) outputs: Vec<OutputTensor>,
}

/// What else there is to know of an answer.
#[derive(Object)]
#[oai(rename = "InferenceAnswerParameters")]
pub(super) struct AnswerParameters {
    /// The ids of the tasks of the pictures, separated by commas; see `/v1/tasks/{task_id}`.
    pub(super) task_ids: String,
}

/// A tensor of an answer. A picture with fewer objects than another one is filled up with zeros, class -1 and empty
/// labels.
#[derive(Object)]
#[oai(rename = "InferenceOutput", skip_serializing_if_is_none)]
pub(super) struct OutputTensor {
    /// `num_detections`, `boxes` (left, top, right, bottom in pixels), `scores`, `classes` or `labels`.
    name: String,
    datatype: String,
    shape: Vec<u64>,
    parameters: Option<OutputParameters>,
    /// The elements in the order of rows, unless they follow the JSON.
    data: Option<Vec<Value>>,
}

/// Where a tensor follows the JSON.
#[derive(Object)]
#[oai(rename = "InferenceOutputParameters")]
struct OutputParameters {
    /// How many bytes it has there.
    binary_data_size: u64,
}

/// The content of a tensor.
pub(super) enum TensorContent {
    /// Its elements.
    Data(Vec<Value>),
    /// So many bytes behind the JSON.
    Behind(u64),
}

impl OutputTensor {
    pub(super) fn new(name: &str, datatype: &str, shape: Vec<u64>, content: TensorContent) -> Self {
        let (parameters, data) = match content {
            TensorContent::Data(values) => (None, Some(values)),
            TensorContent::Behind(binary_data_size) => {
                (Some(OutputParameters { binary_data_size }), None)
            }
        };
        Self { name: name.to_owned(), datatype: datatype.to_owned(), shape, parameters, data }
    }

    /// Whether its content follows the JSON.
    pub(super) fn is_behind(&self) -> bool {
        self.parameters.is_some()
    }
}

impl Example for InferenceAnswer {
    fn example() -> Self {
        let tensor = |name, datatype, shape, data: Value| {
            let data = data.as_array().cloned().unwrap_or_default();
            OutputTensor::new(name, datatype, shape, TensorContent::Data(data))
        };
        Self {
            model_name: "yolov8n".to_owned(),
            model_version: VERSION.to_owned(),
            id: None,
            parameters: AnswerParameters { task_ids: EXAMPLE_ID.to_owned() },
            outputs: vec![
                tensor("num_detections", "INT32", vec![1], json!([1])),
                tensor("boxes", "FP32", vec![1, 1, 4], json!([22.87127, 231.27713, 805.0, 756.8])),
                tensor("scores", "FP32", vec![1, 1], json!([0.87345])),
                tensor("classes", "INT32", vec![1, 1], json!([5])),
                tensor("labels", "BYTES", vec![1, 1], json!(["bus"])),
            ],
        }
    }
}

/// A tensor that a model takes or gives.
#[derive(Object)]
#[oai(rename = "InferenceTensor")]
pub(super) struct DescribedTensor {
    name: String,
    datatype: String,
    /// -1: of any length. The first one is the picture, the second one the object.
    shape: Vec<i64>,
}

impl DescribedTensor {
    pub(super) fn new(name: &str, datatype: &str, shape: Vec<i64>) -> Self {
        Self { name: name.to_owned(), datatype: datatype.to_owned(), shape }
    }
}
