//! What `GET /` says: the service's description of itself, in the original's structure.

use domain::picture::PictureFormat;
use poem::{Addr, Request, http::header::HOST};
use serde_json::{Value, json};

use crate::original::EXAMPLE_ID;

/// `http://host:port` by which the client reaches this server: what it called it itself, for a container
/// or a proxy has other addresses outside than within.
pub(crate) fn base_url(request: &Request) -> String {
    named_or_listening(request.header(HOST), &request.local_addr().0)
}

fn named_or_listening(host: Option<&str>, listening: &Addr) -> String {
    match (host.filter(|host| is_plain(host)), listening) {
        (Some(host), _) => format!("http://{host}"),
        (None, Addr::SocketAddr(address)) => format!("http://{address}"),
        (None, other) => other.to_string(),
    }
}

/// Whether a host can stand in a command for a shell.
fn is_plain(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !host.is_empty() && host.bytes().all(allowed)
}

/// The self-description, with examples that use `base_url` (`http://host:port`).
pub(crate) fn description(base_url: &str) -> Value {
    json!({
        "api_version": "1.0",
        "description": "Welcome to the Object Detection API. This API allows you to upload images \
                        for processing and check the status and result of your tasks.",
        "documentation": { "swagger_ui": format!("{base_url}/docs"), "openapi": format!("{base_url}/openapi.json") },
        "routes": [
            start_task(base_url),
            task_result(),
            submit(base_url),
            task(base_url),
            short("/health/startup", "Whether this process has started."),
            short("/health/live", "Whether this process runs."),
            short("/health/ready", "Whether requests should be sent to this process."),
            short("/metrics", "Counters and gauges in Prometheus' text format."),
            short("/docs", "Swagger UI: this API in the browser."),
            short("/openapi.json", "The OpenAPI document of this API."),
        ]
    })
}

fn start_task(base_url: &str) -> Value {
    json!({
        "path": "/start_task",
        "method": "POST",
        "description": "Uploads an image for processing.",
        "request_body": {
            "request_example": format!("curl -X POST -F \"file=@test_images/bus.jpg\" {base_url}/start_task"),
            "file": {
                "filename": "example.jpg",
                "filetype": format!("image can be {}", PictureFormat::EXTENSIONS.join("/")),
                "content": "<binary content of the image>",
                "required": "true"
            }
        },
        "responses": {
            "202": {
                "description": "Accepted. The task is being processed.",
                "example": {
                    "task_id": EXAMPLE_ID,
                    "image": "example.jpg",
                    "status": "Accepted. Goto /task_result/<task_id> route to check status"
                }
            },
            "400": { "description": "Bad Request. Indicates a missing file or invalid input." },
            "408": { "description": "Request Timeout. The upload took too long to arrive." },
            "413": { "description": "Payload Too Large. The image has too many bytes." },
            "503": { "description": "Service Unavailable. The queue is full or away; see Retry-After." }
        }
    })
}

fn task_result() -> Value {
    json!({
        "path": "/task_result/<task_id>",
        "method": "GET",
        "description": "Retrieves the status or result of a previously submitted image processing task.",
        "path_parameters": {
            "task_id": { "type": "string", "description": "The unique identifier for the task." }
        },
        "responses": {
            "200": {
                "description": "Success. Returns the result of the task.",
                "example_success": {
                    "image_name": "bus.jpg",
                    "result": [{
                        "box": { "x1": 22.87127, "x2": 805.00262, "y1": 231.27731, "y2": 756.84045 },
                        "class": 5,
                        "confidence": 0.87345,
                        "name": "bus"
                    }],
                    "status": "SUCCESS",
                    "task_id": EXAMPLE_ID
                },
                "example_status": { "status": "PENDING", "task_id": EXAMPLE_ID },
                "example_failure": {
                    "status": "FAILURE",
                    "task_id": EXAMPLE_ID,
                    "error": "the picture cannot be decoded"
                }
            },
            "400": { "description": "Not Found. The task ID does not exist." },
            "503": { "description": "Service Unavailable. The records cannot be read at the moment; see Retry-After." }
        }
    })
}

fn submit(base_url: &str) -> Value {
    json!({
        "path": "/v1/tasks",
        "method": "POST",
        "description": "Uploads an image, with thresholds of your own as query parameters.",
        "request_body": {
            "request_example": format!(
                "curl -F \"file=@test_images/bus.jpg\" \"{base_url}/v1/tasks?confidence=0.5&iou=0.7&max_detections=100\""
            )
        },
        "responses": {
            "202": { "description": "Accepted. Location says where to ask for the result." },
            "400": { "description": "Bad Request. Indicates a missing file or invalid input." },
            "413": { "description": "Payload Too Large. The image has too many bytes." },
            "415": { "description": "Unsupported Media Type. The body is no multipart form." },
            "503": { "description": "Service Unavailable. The queue is full or away; see Retry-After." }
        }
    })
}

fn task(base_url: &str) -> Value {
    json!({
        "path": "/v1/tasks/<task_id>",
        "method": "GET",
        "description": "A task's state and result; with wait=SECONDS the answer is held back until the task ends.",
        "request_example": format!("curl \"{base_url}/v1/tasks/{EXAMPLE_ID}?wait=10\""),
        "responses": {
            "200": { "description": "The task: QUEUED, STARTED, SUCCESS, FAILURE, REVOKED or EXPIRED." },
            "404": { "description": "Not Found. There never was such a task." },
            "410": { "description": "Gone. The task's result has expired." },
            "503": { "description": "Service Unavailable. The records cannot be read at the moment; see Retry-After." }
        }
    })
}

fn short(path: &str, description: &str) -> Value {
    json!({ "path": path, "method": "GET", "description": description })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_shown_the_address_it_has_used() {
        let listening = Addr::SocketAddr("0.0.0.0:5000".parse().unwrap());
        for (host, expected) in [
            (Some("localhost:8080"), "http://localhost:8080"),
            (Some("[::1]:5000"), "http://[::1]:5000"),
            (Some("spotter.example.com"), "http://spotter.example.com"),
            (Some("x$(reboot)"), "http://0.0.0.0:5000"),
            (Some("a b"), "http://0.0.0.0:5000"),
            (Some(""), "http://0.0.0.0:5000"),
            (None, "http://0.0.0.0:5000"),
        ] {
            assert_eq!(named_or_listening(host, &listening), expected, "{host:?}");
        }
    }
}
