//! What is told of the server and of its models.

use poem_openapi::{Object, types::Example};

use super::{
    schema::{DescribedTensor, INPUT, VERSION},
    tensors::Output,
};

/// Whether the server lives.
#[derive(Object)]
#[oai(rename = "InferenceServerLive")]
pub(super) struct ServerLive {
    /// Always true.
    live: bool,
}

impl ServerLive {
    pub(super) const LIVE: Self = Self { live: true };
}

/// Whether the server is ready.
#[derive(Object)]
#[oai(rename = "InferenceServerReady")]
pub(super) struct ServerReady {
    /// Always true: otherwise the status is 400.
    ready: bool,
}

impl ServerReady {
    pub(super) const READY: Self = Self { ready: true };
}

/// This server.
#[derive(Object)]
#[oai(rename = "InferenceServer", example)]
pub(super) struct Server {
    name: String,
    version: String,
    /// What it can do besides the protocol.
    extensions: Vec<String>,
}

impl Server {
    /// This process.
    pub(super) fn this() -> Self {
        Self::of(service::VERSION)
    }

    fn of(version: &str) -> Self {
        Self {
            name: "spotter".to_owned(),
            version: version.to_owned(),
            extensions: vec!["binary_tensor_data".to_owned()],
        }
    }
}

impl Example for Server {
    fn example() -> Self {
        Self::of("1.2.3")
    }
}

/// A model.
#[derive(Object)]
#[oai(rename = "InferenceModel", example)]
pub(super) struct Model {
    name: String,
    /// Always `1`.
    versions: Vec<String>,
    platform: String,
    inputs: Vec<DescribedTensor>,
    outputs: Vec<DescribedTensor>,
}

impl Model {
    /// The model of this name. All detectors have the same tensors.
    pub(super) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            versions: vec![VERSION.to_owned()],
            platform: "onnx_onnxv1".to_owned(),
            inputs: vec![DescribedTensor::new(INPUT, "BYTES", vec![-1])],
            outputs: Output::ALL.map(Output::described).into(),
        }
    }
}

impl Example for Model {
    fn example() -> Self {
        Self::named("yolov8n")
    }
}

/// A model that a worker serves.
#[derive(Object)]
#[oai(rename = "InferenceModelReady")]
pub(super) struct ModelReady {
    pub(super) name: String,
    /// Always true: otherwise the status is 400.
    pub(super) ready: bool,
}

/// A model in the list of all.
#[derive(Object)]
#[oai(rename = "InferenceListedModel")]
pub(super) struct ListedModel {
    pub(super) name: String,
    /// Always `1`.
    pub(super) version: String,
    /// `READY`, or `UNAVAILABLE` while no worker serves the model.
    pub(super) state: String,
    /// Why it is unavailable.
    pub(super) reason: String,
}
