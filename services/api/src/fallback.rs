//! Words the errors that no route has worded: unknown paths, wrong methods, bad parameters.

use std::sync::Arc;

use poem::{
    IntoResponse, Response,
    http::{HeaderValue, StatusCode, header},
    web::Json,
};
use poem_openapi::error::ParseParamError;
use serde_json::{Value, json};

/// Routes that the document does not describe: itself, its page and that page's files.
const UNDESCRIBED: [&str; 3] = ["/docs", "/docs/{file}", "/openapi.json"];

/// Which methods each path has, read from the OpenAPI document.
pub(crate) struct Methods(Vec<(Arc<str>, String)>);

impl Methods {
    /// The paths of `document`, OpenAPI as JSON.
    pub(crate) fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let methods = |operations: &Value| {
            let methods = operations.as_object().into_iter().flatten();
            methods.map(|(method, _)| method.to_uppercase()).collect::<Vec<_>>().join(", ")
        };
        let described = paths.map(|(path, operations)| (path.as_str().into(), methods(operations)));
        let undescribed = UNDESCRIBED.map(|path| (path.into(), "GET".to_owned()));
        Self(described.chain(undescribed).collect())
    }

    /// The route that `path` takes, such as `/v1/tasks/{task_id}`.
    pub(crate) fn template(&self, path: &str) -> Option<Arc<str>> {
        self.find(path).map(|(template, _)| Arc::clone(template))
    }

    /// All that the route that `path` takes answers to, as `OPTIONS` tells it; of all routes together for `*`.
    fn options(&self, path: &str) -> Option<String> {
        let mut methods: Vec<&str> = match path {
            "*" => self.0.iter().flat_map(|(_, methods)| methods.split(", ")).collect(),
            _ => self.find(path)?.1.split(", ").collect(),
        };
        // Routes answer HEAD with the head of what GET would be answered with.
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.sort_unstable();
        methods.dedup();
        Some(methods.join(", "))
    }

    /// The methods of the route that `path` takes, as an `Allow` header lists them.
    fn allowed(&self, path: &str) -> &str {
        self.find(path).map_or("GET", |(_, methods)| methods)
    }

    fn find(&self, path: &str) -> Option<&(Arc<str>, String)> {
        self.0.iter().find(|(template, _)| matches(template, path))
    }
}

/// Whether `path` takes the route `template`, such as `/v1/tasks/{task_id}`.
fn matches(template: &str, path: &str) -> bool {
    let (mut wanted, mut found) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == found => {}
            (Some(wanted), Some(found)) if wanted.starts_with('{') && !found.is_empty() => {}
            _ => return false,
        }
    }
}

/// The answer to `OPTIONS`: what `path` may be asked for; `None` where there is no such route. Nothing for
/// other sites' pages: CORS is not spoken.
pub(crate) fn options(path: &str, methods: &Methods) -> Option<Response> {
    let allowed = HeaderValue::from_str(&methods.options(path)?).ok()?;
    let mut answer = StatusCode::NO_CONTENT.into_response();
    answer.headers_mut().insert(header::ALLOW, allowed);
    Some(answer)
}

/// The answer to a request that ended in `error`.
pub(crate) fn answer(error: poem::Error, path: &str, methods: &Methods) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let status = error.status();
    let text = match status {
        StatusCode::NOT_FOUND => "there is no such route; see / or /docs".to_owned(),
        StatusCode::METHOD_NOT_ALLOWED => {
            "this route has another method; see / or /docs".to_owned()
        }
        _ => match error.downcast_ref::<ParseParamError>() {
            Some(ParseParamError { name, reason }) => in_words(name, reason),
            None => error.to_string(),
        },
    };
    if status.is_server_error() {
        tracing::error!(%error, path, "a request failed");
    }
    let mut answer = Json(json!({ "error": text })).with_status(status).into_response();
    if status == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(allowed) = HeaderValue::from_str(methods.allowed(path))
    {
        answer.headers_mut().insert(header::ALLOW, allowed);
    }
    answer
}

/// What is wrong with parameter `name`. The framework words a bound that is broken as
/// `verification failed. maximum(1, exclusive: false)`.
fn in_words(name: &str, reason: &str) -> String {
    let bound = |which: &str| {
        let rest = reason.strip_prefix("verification failed. ")?.strip_prefix(which)?;
        rest.strip_prefix('(')?.split(',').next()
    };
    match (bound("minimum"), bound("maximum")) {
        (Some(least), _) => format!("{name} must be at least {least}"),
        (_, Some(most)) => format!("{name} must be at most {most}"),
        _ => format!("{name} cannot be read: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_bound_is_said_in_words() {
        let cases = [
            ("verification failed. maximum(1, exclusive: false)", "iou must be at most 1"),
            ("verification failed. minimum(0, exclusive: false)", "iou must be at least 0"),
            ("failed to parse \"x\"", "iou cannot be read: failed to parse \"x\""),
        ];
        for (reason, expected) in cases {
            assert_eq!(in_words("iou", reason), expected);
        }
    }

    #[test]
    fn a_path_finds_its_methods() {
        let document = json!({ "paths": {
            "/": { "get": {} },
            "/v1/tasks": { "post": {} },
            "/v1/tasks/{task_id}": { "delete": {}, "get": {} },
        }});
        let methods = Methods::of(&document);
        let cases = [
            ("/", "GET"),
            ("/v1/tasks", "POST"),
            ("/v1/tasks/abc", "DELETE, GET"),
            ("/docs", "GET"),
        ];
        for (path, expected) in cases {
            assert_eq!(methods.allowed(path), expected, "{path}");
        }
    }

    #[test]
    fn options_are_all_that_a_path_answers_to() {
        let document = json!({ "paths": {
            "/v1/tasks": { "post": {} },
            "/v1/tasks/{task_id}": { "delete": {}, "get": {} },
        }});
        let methods = Methods::of(&document);
        let cases = [
            ("/v1/tasks", Some("OPTIONS, POST")),
            ("/v1/tasks/abc", Some("DELETE, GET, HEAD, OPTIONS")),
            ("/docs", Some("GET, HEAD, OPTIONS")),
            ("*", Some("DELETE, GET, HEAD, OPTIONS, POST")),
            ("/v1/tasks/", None),
            ("/nowhere", None),
        ];
        for (path, expected) in cases {
            assert_eq!(methods.options(path).as_deref(), expected, "{path}");
        }
    }
}
