//! The tags of routes in the document.

use poem_openapi::Tags;

/// The groups of routes, as Swagger UI shows them.
#[derive(Tags)]
pub(crate) enum Tag {
    /// The routes of the original application, unchanged for its clients.
    Original,
    /// Thresholds by request, every state by its own name, long polling.
    #[oai(rename = "v1")]
    V1,
    /// The routes of DeepStack and CodeProject.AI, for their clients.
    #[oai(rename = "deepstack")]
    DeepStack,
    /// The routes of Hugging Face's object detection, for its clients.
    #[oai(rename = "huggingface")]
    HuggingFace,
    /// The routes of Roboflow's inference server, for its client.
    #[oai(rename = "roboflow")]
    Roboflow,
    /// The Open Inference Protocol v2, as Triton, KServe and OpenVINO Model Server have it.
    #[oai(rename = "open-inference")]
    OpenInference,
    /// Health and metrics.
    Operations,
}
