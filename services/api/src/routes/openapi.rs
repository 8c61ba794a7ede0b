//! The OpenAPI document and the service that it describes.

mod callbacks;

use poem_openapi::{LicenseObject, OpenApiService};
use serde_json::{Map, Value};

use super::{
    deepstack::DeepStackApi,
    health::HealthApi,
    huggingface::HuggingFaceApi,
    keyed::Keyed,
    legacy::LegacyApi,
    open_inference::OpenInferenceApi,
    roboflow::RoboflowApi,
    schema::{IDEMPOTENCY_KEY, MODEL_NAME},
    v1::{
        V1Api, batches::BatchesApi, dead_letters::DeadLettersApi, events::EventsApi,
        image::ImageApi, list::MAX_METADATA_FILTERS, models::ModelsApi, operations::OperationsApi,
        webhooks::WebhooksApi,
    },
};

/// The routes that may need an API key.
type KeyedRoutes = (
    LegacyApi,
    V1Api,
    EventsApi,
    ImageApi,
    BatchesApi,
    ModelsApi,
    OperationsApi,
    DeadLettersApi,
    WebhooksApi,
    DeepStackApi,
    HuggingFaceApi,
    RoboflowApi,
    OpenInferenceApi,
);

/// All documented routes, with title, version and licence.
pub(crate) fn service() -> OpenApiService<(Keyed<KeyedRoutes>, HealthApi), ()> {
    let keyed = (
        LegacyApi,
        V1Api,
        EventsApi,
        ImageApi,
        BatchesApi,
        ModelsApi,
        OperationsApi,
        DeadLettersApi,
        WebhooksApi,
        DeepStackApi,
        HuggingFaceApi,
        RoboflowApi::new(),
        OpenInferenceApi,
    );
    let routes = (Keyed(keyed), HealthApi);
    OpenApiService::new(routes, "spotter", service::VERSION)
        .summary("Object detection in pictures, on your own machines")
        .description(
            "Send a picture, get an id at once, ask for the objects in it. Jobs wait in a durable \
             queue until a worker has run them: what was accepted is not lost.",
        )
        .license(LicenseObject::new("MIT OR Apache-2.0"))
}

/// The OpenAPI document of this API, as `openapi.json` holds it: indented JSON, newline at the end.
///
/// # Errors
/// If the generated document is not JSON, which would be a bug of the generator.
pub fn document() -> Result<String, serde_json::Error> {
    text(&parsed()?)
}

/// The text of a document.
///
/// # Errors
/// As [`document`].
pub(crate) fn text(document: &Value) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(document)? + "\n")
}

/// The document as JSON.
///
/// # Errors
/// As [`document`].
pub(crate) fn parsed() -> Result<Value, serde_json::Error> {
    let mut document: Value = serde_json::from_str(&service().spec())?;
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let operations = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    let parameters =
        operations.filter_map(|operation| operation.get_mut("parameters")?.as_array_mut());
    for parameter in parameters.flatten() {
        let constraint = parameter["name"].as_str().and_then(constraint);
        let is_filter = parameter["name"] == "metadata";
        let mut schema = &mut parameter["schema"];
        if schema["type"] == "array" {
            if is_filter {
                schema["maxItems"] = MAX_METADATA_FILTERS.into();
            }
            schema = &mut schema["items"];
        }
        if let (Some((keyword, value)), Some(schema)) = (constraint, schema.as_object_mut()) {
            schema.insert(keyword.to_owned(), value);
        }
    }
    callbacks::add(&mut document);
    Ok(document)
}

/// What the routes check themselves, as a keyword of the parameter's schema and its value. Told to the framework, it
/// would check it first, and answer with words that help no client.
fn constraint(parameter: &str) -> Option<(&'static str, Value)> {
    match parameter {
        "Idempotency-Key" => Some(("pattern", IDEMPOTENCY_KEY.into())),
        "model" => Some(("pattern", MODEL_NAME.into())),
        "wait" => Some(("minimum", 0.into())),
        "metadata" => Some(("minLength", 1.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_say_what_the_routes_accept() {
        let document = parsed().unwrap();
        let parameters = |path: &str, method: &str| -> Vec<Value> {
            document["paths"][path][method]["parameters"].as_array().unwrap().clone()
        };
        let cases = [
            ("/start_task", "post", "Idempotency-Key"),
            ("/v1/tasks", "post", "Idempotency-Key"),
            ("/v1/tasks", "post", "model"),
            ("/v1/tasks", "get", "model"),
            ("/v1/batches", "post", "Idempotency-Key"),
            ("/v1/batches", "post", "model"),
            ("/v1/tasks/{task_id}", "get", "wait"),
            ("/v1/tasks/{task_id}/image", "get", "wait"),
        ];
        for (path, method, name) in cases {
            let found = parameters(path, method).into_iter().find(|found| found["name"] == name);
            let (keyword, value) = constraint(name).unwrap();
            assert_eq!(found.unwrap()["schema"][keyword], value, "{method} {path} {name}");
        }
    }
}
