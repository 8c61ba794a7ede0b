//! The OpenAPI document and the service that it describes.

use poem_openapi::{LicenseObject, OpenApiService};

use super::{
    health::HealthApi,
    legacy::LegacyApi,
    v1::{V1Api, events::EventsApi, image::ImageApi},
};

/// All documented routes, with title, version and licence.
pub(crate) fn service() -> OpenApiService<(LegacyApi, V1Api, EventsApi, ImageApi, HealthApi), ()> {
    let routes = (LegacyApi, V1Api, EventsApi, ImageApi, HealthApi);
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
    Ok(serde_json::to_string_pretty(&parsed()?)? + "\n")
}

/// The document as JSON.
///
/// # Errors
/// As [`document`].
pub(crate) fn parsed() -> Result<serde_json::Value, serde_json::Error> {
    serde_json::from_str(&service().spec())
}
