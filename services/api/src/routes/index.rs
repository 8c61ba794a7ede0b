//! What `GET /` answers: a description of the service in the structure of the original application, generated
//! from the OpenAPI document.

use domain::picture::PictureFormat;
use poem::{
    Addr, Request,
    http::{StatusCode, header::HOST},
};
use poem_openapi::Tags as _;
use serde_json::{Map, Value, json};

use super::{schema::EXAMPLE_ID, tag::Tag};
use crate::http::route_table::UNDESCRIBED;

/// The document's tags in the order of their routes: the original application's come first.
const TAGS: [Tag; 7] = [
    Tag::Original,
    Tag::V1,
    Tag::DeepStack,
    Tag::HuggingFace,
    Tag::Roboflow,
    Tag::OpenInference,
    Tag::Operations,
];

/// The index of a service, independent of its address.
pub(crate) struct Index {
    /// One entry per route, without the examples, which contain the address.
    routes: Vec<Value>,
}

impl Index {
    /// The index of the service that `document`, OpenAPI as JSON, describes.
    pub(crate) fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let mut operations: Vec<_> = paths
            .flat_map(|(path, methods)| {
                let methods = methods.as_object().into_iter().flatten();
                methods.map(move |(method, operation)| (path, method, operation))
            })
            .filter(|(path, method, _)| (path.as_str(), method.as_str()) != ("/", "get"))
            .collect();
        // The sort is stable: within a tag, routes stay in the document's order.
        operations.sort_by_key(|(_, _, operation)| {
            let tag = TAGS.iter().position(|tag| operation["tags"][0] == tag.name());
            tag.unwrap_or(TAGS.len())
        });
        let described = operations.into_iter().map(|(path, method, operation)| {
            let path = shown_path(path);
            let mut route = described(&path, method, operation);
            merge(&mut route, original_words(&path));
            route
        });
        let undescribed = UNDESCRIBED.into_iter().filter_map(|route| {
            let description = route.description?;
            Some(json!({ "path": route.path, "method": "GET", "description": description }))
        });
        Self { routes: described.chain(undescribed).collect() }
    }

    /// The index for a client that reaches the service at `base_url` (`http://host:port`), which the examples
    /// use.
    pub(crate) fn at(&self, base_url: &str) -> Value {
        let mut routes = self.routes.clone();
        for (path, example) in examples(base_url) {
            for route in routes.iter_mut().filter(|route| route["path"] == path) {
                merge(route, example.clone());
            }
        }
        json!({
            "api_version": "1.0",
            "description": "Welcome to the Object Detection API. This API allows you to upload images \
                            for processing and check the status and result of your tasks.",
            "documentation": {
                "swagger_ui": format!("{base_url}/docs"),
                "openapi": format!("{base_url}/openapi.json"),
            },
            "routes": routes,
        })
    }
}

/// A route as the document describes it.
fn described(path: &str, method: &str, operation: &Value) -> Value {
    let summary = operation["summary"].as_str().unwrap_or_default();
    let mut route = json!({
        "path": path,
        "method": method.to_uppercase(),
        "description": format!("{summary}."),
        "responses": responses(&operation["responses"]),
    });
    for (key, place) in [("path_parameters", "path"), ("query_parameters", "query")] {
        let parameters = parameters(&operation["parameters"], place);
        if !parameters.is_empty() {
            route[key] = parameters.into();
        }
    }
    route
}

/// `/task_result/{task_id}` as `/task_result/<task_id>`.
fn shown_path(path: &str) -> String {
    path.replace('{', "<").replace('}', ">")
}

/// A description for each status: its reason phrase, then the document's text.
fn responses(documented: &Value) -> Map<String, Value> {
    let documented = documented.as_object().into_iter().flatten();
    let responses = documented.map(|(status, response)| {
        let code = status.parse().ok();
        let reason = code.and_then(|code| StatusCode::from_u16(code).ok()?.canonical_reason());
        let description = on_one_line(&response["description"]);
        let text = match reason {
            Some(reason) if description.is_empty() => reason.to_owned(),
            Some(reason) => format!("{reason}. {description}"),
            None => description,
        };
        (status.clone(), json!({ "description": text }))
    });
    responses.collect()
}

/// A text of the document without its line breaks; empty if there is none.
fn on_one_line(text: &Value) -> String {
    text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The type and the description of each parameter in this place of a request.
fn parameters(documented: &Value, place: &str) -> Map<String, Value> {
    let documented = documented.as_array().into_iter().flatten();
    let parameters =
        documented.filter(|parameter| parameter["in"] == place).filter_map(|parameter| {
            let description = on_one_line(&parameter["description"]);
            let parameter_type = &parameter["schema"]["type"];
            let shown = json!({ "type": parameter_type, "description": description });
            Some((parameter["name"].as_str()?.to_owned(), shown))
        });
    parameters.collect()
}

/// The original application's descriptions and examples of its routes, in addition to the generated ones.
fn original_words(path: &str) -> Value {
    match path {
        "/start_task" => json!({
            "description": "Uploads an image for processing.",
            "request_body": {
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
                "400": { "description": "Bad Request. Indicates a missing file or invalid input." }
            }
        }),
        "/task_result/<task_id>" => json!({
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
                "400": { "description": "Not Found. The task ID does not exist." }
            }
        }),
        _ => Value::Null,
    }
}

/// Shell commands as examples, each with the path of its route.
fn examples(base_url: &str) -> [(&'static str, Value); 3] {
    let start_task = json!({ "request_body": {
        "request_example": format!(
            "curl -X POST -F \"file=@test_images/bus.jpg\" {base_url}/start_task"
        )
    }});
    let submit = json!({ "request_body": {
        "request_example": format!(
            "curl -F \"file=@test_images/bus.jpg\" \
             \"{base_url}/v1/tasks?confidence=0.5&iou=0.7&max_detections=100\""
        )
    }});
    let status = json!({
        "request_example": format!("curl \"{base_url}/v1/tasks/{EXAMPLE_ID}?wait=10\"")
    });
    [("/start_task", start_task), ("/v1/tasks", submit), ("/v1/tasks/<task_id>", status)]
}

/// Merges the fields of `more`, an object or null, into `value`, recursively.
fn merge(value: &mut Value, more: Value) {
    match (value, more) {
        (Value::Object(fields), Value::Object(more)) => {
            for (name, more) in more {
                merge(fields.entry(name).or_insert(Value::Null), more);
            }
        }
        (_, Value::Null) => {}
        (value, more) => *value = more,
    }
}

/// The base URL by which the client reaches this server, from its `Host` header: behind a proxy or in a
/// container, the listener has another address.
///
/// A proxy that terminates TLS says so in `X-Forwarded-Proto`. A client may send that header itself: the URL is only
/// shown to the client that asks.
pub(crate) fn base_url(request: &Request) -> String {
    let scheme = scheme(request.header("x-forwarded-proto"));
    named_or_listening(scheme, request.header(HOST), &request.local_addr().0)
}

/// Of several proxies, the first is the one that the client has reached.
fn scheme(forwarded: Option<&str>) -> &'static str {
    let outermost = forwarded.and_then(|schemes| schemes.split(',').next());
    if outermost.is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https")) {
        "https"
    } else {
        "http"
    }
}

fn named_or_listening(scheme: &str, host: Option<&str>, listening: &Addr) -> String {
    match (host.filter(|host| is_plain(host)), listening) {
        (Some(host), _) => format!("{scheme}://{host}"),
        (None, Addr::SocketAddr(address)) => format!("http://{address}"),
        (None, other) => other.to_string(),
    }
}

/// Whether a host is safe in a shell command.
fn is_plain(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !host.is_empty() && host.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::openapi;

    #[test]
    fn each_operation_and_each_undescribed_route_with_a_description_is_listed_once() {
        let document = openapi::parsed().unwrap();
        let mut expected: Vec<_> = UNDESCRIBED
            .iter()
            .filter(|route| route.description.is_some())
            .map(|route| (route.path.to_owned(), "GET".to_owned()))
            .collect();
        let paths = document["paths"].as_object().unwrap();
        for (path, methods) in paths {
            let methods = methods.as_object().unwrap().keys();
            expected.extend(methods.map(|method| (shown_path(path), method.to_uppercase())));
        }
        // The index itself.
        expected.retain(|route| *route != ("/".to_owned(), "GET".to_owned()));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let routes = Index::of(&document).routes;
        let mut listed: Vec<_> =
            routes.iter().map(|route| (text(&route["path"]), text(&route["method"]))).collect();
        expected.sort_unstable();
        listed.sort_unstable();
        assert_eq!(listed, expected);
    }

    #[test]
    fn examples_have_the_address_that_the_client_has_used() {
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
            assert_eq!(named_or_listening("http", host, &listening), expected, "{host:?}");
        }
    }

    #[test]
    fn examples_have_the_scheme_that_the_outermost_proxy_names() {
        for (forwarded, expected) in [
            (None, "http"),
            (Some("http"), "http"),
            (Some("https"), "https"),
            (Some("HTTPS , http"), "https"),
            (Some("http, https"), "http"),
            (Some("javascript"), "http"),
            (Some(""), "http"),
        ] {
            assert_eq!(scheme(forwarded), expected, "{forwarded:?}");
        }
    }

    #[test]
    fn the_examples_are_for_documented_routes() {
        let document = openapi::parsed().unwrap();
        let documented: Vec<_> =
            document["paths"].as_object().unwrap().keys().map(|path| shown_path(path)).collect();
        for (path, _) in examples("http://localhost:5000") {
            assert!(documented.iter().any(|documented| documented == path), "{path}");
        }
    }

    #[test]
    fn the_original_words_are_for_documented_routes_and_statuses() {
        let document = openapi::parsed().unwrap();
        for path in ["/start_task", "/task_result/{task_id}"] {
            let methods = document["paths"][path].as_object().unwrap();
            let documented = &methods.values().next().unwrap()["responses"];
            let words = original_words(&shown_path(path));
            for status in words["responses"].as_object().unwrap().keys() {
                assert!(documented[status].is_object(), "{path} {status}");
            }
        }
    }
}
