//! Responses to errors outside the routes: unknown paths, wrong methods, unknown and invalid parameters.

use poem::{
    IntoResponse, Request, Response,
    http::{HeaderValue, StatusCode, header},
    web::Json,
};
use poem_openapi::error::ParseParamError;
use serde_json::json;

use super::{
    parameters,
    problem::{Problem, ProblemKind},
    route_table::RouteTable,
};

/// The response to a request with a query parameter that its route does not have. `None`: there is none, or the
/// original application would have ignored it.
pub(crate) fn unknown_parameter(request: &Request, routes: &RouteTable) -> Option<Response> {
    let (path, query) = (request.uri().path(), request.uri().query()?);
    let method = request.method().as_str();
    let problem =
        has_problems(path).then(|| parameters::check(routes, method, path, query)).flatten()?;
    Some(problem.into_response())
}

/// The response to `OPTIONS`: the methods of `path`; `None` if there is no such route.
pub(crate) fn options(path: &str, routes: &RouteTable) -> Option<Response> {
    let allowed = HeaderValue::from_str(&routes.options(path)?).ok()?;
    let mut answer = StatusCode::NO_CONTENT.into_response();
    answer.headers_mut().insert(header::ALLOW, allowed);
    Some(answer)
}

/// The response to a request that failed with `error`.
pub(crate) fn answer(error: poem::Error, path: &str, routes: &RouteTable) -> Response {
    if error.is_from_response() {
        return error.into_response();
    }
    let status = error.status();
    let mut wrong_parameter = None;
    let text = match status {
        StatusCode::NOT_FOUND => "there is no such route; see / or /docs".to_owned(),
        StatusCode::METHOD_NOT_ALLOWED => {
            "this route has another method; see / or /docs".to_owned()
        }
        _ => match error.downcast_ref::<ParseParamError>() {
            Some(ParseParamError { name, reason }) => {
                wrong_parameter = Some(*name);
                in_words(name, reason)
            }
            None => error.to_string(),
        },
    };
    if status.is_server_error() {
        tracing::error!(%error, path, "a request failed");
    }
    let mut answer = match (has_problems(path), wrong_parameter) {
        (false, _) => Json(json!({ "error": text })).with_status(status).into_response(),
        (true, Some(name)) => Problem::parameter(name, text).into_response(),
        (true, None) => Problem::new(ProblemKind::of_status(status), text).into_response(),
    };
    if status == StatusCode::METHOD_NOT_ALLOWED
        && let Ok(allowed) = HeaderValue::from_str(routes.allowed(path))
    {
        answer.headers_mut().insert(header::ALLOW, allowed);
    }
    answer
}

/// The response to an error on `path`, in the words of its routes.
pub(crate) fn error(path: &str, kind: ProblemKind, text: String) -> Response {
    if has_problems(path) {
        return Problem::new(kind, text).into_response();
    }
    Json(json!({ "error": text })).with_status(kind.status()).into_response()
}

/// Whether errors on `path` are problem details. The original routes have the original application's errors.
fn has_problems(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// The error for parameter `name`. The framework reports a violated bound as `verification failed. maximum(1,
/// exclusive: false)`.
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
    fn a_violated_bound_is_reported_in_words() {
        let cases = [
            ("verification failed. maximum(1, exclusive: false)", "iou must be at most 1"),
            ("verification failed. minimum(0, exclusive: false)", "iou must be at least 0"),
            ("failed to parse \"x\"", "iou cannot be read: failed to parse \"x\""),
        ];
        for (reason, expected) in cases {
            assert_eq!(in_words("iou", reason), expected);
        }
    }
}
