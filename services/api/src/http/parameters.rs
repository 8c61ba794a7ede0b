//! Query parameters that a route does not have, or has once and gets twice: most likely a misspelt name, whose
//! value would be ignored silently.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{
    problem::Problem,
    route_table::{Parameter, RouteTable},
};

/// Maximum number of characters of a name that an error repeats.
const MAX_NAME_CHARS: usize = 64;

/// The error for the first wrong parameter in `query`, if the route of `method` and `path` has one.
pub(super) fn check(routes: &RouteTable, method: &str, path: &str, query: &str) -> Option<Problem> {
    let known = routes.parameters(method, path)?;
    let mut seen: Vec<Cow<'_, str>> = Vec::new();
    for name in names(query) {
        let Some(parameter) = known.iter().find(|known| known.name == name) else {
            return Some(unknown(&name, known));
        };
        if !parameter.is_list && seen.contains(&name) {
            return Some(Problem::parameter(&name, format!("{name} is given more than once")));
        }
        seen.push(name);
    }
    None
}

/// The names in `query`, decoded as those of a form are.
fn names(query: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        match name.contains('+') {
            true => {
                let name = name.replace('+', " ");
                percent_decode_str(&name).decode_utf8_lossy().into_owned().into()
            }
            false => percent_decode_str(name).decode_utf8_lossy(),
        }
    })
}

fn unknown(name: &str, known: &[Parameter]) -> Problem {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
    let names: Vec<&str> = known.iter().map(|parameter| &*parameter.name).collect();
    let detail = match names.is_empty() {
        true => format!("there is no parameter '{shown}': this route has none"),
        false => format!("there is no parameter '{shown}'; this route has {}", names.join(", ")),
    };
    Problem::parameter(&shown, detail)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        let parameter =
            |name, of, kind| json!({ "name": name, "in": of, "schema": { "type": kind } });
        let submission = [
            parameter("iou", "query", "number"),
            parameter("classes", "query", "array"),
            parameter("Prefer", "header", "string"),
        ];
        let routes = RouteTable::of(&json!({ "paths": {
            "/v1/tasks": { "post": { "parameters": submission } },
            "/v1/tasks/{task_id}": { "get": { "parameters": [parameter("wait", "query", "integer")] } },
            "/v1/models": { "get": {} },
        }}));
        let cases = [
            ("POST", "/v1/tasks", "iou=1&classes=1&classes=2&", None),
            ("POST", "/v1/tasks", "", None),
            ("POST", "/v1/tasks", "i%6Fu=1", None),
            (
                "POST",
                "/v1/tasks",
                "IOU=1",
                Some("there is no parameter 'IOU'; this route has iou, classes"),
            ),
            (
                "POST",
                "/v1/tasks",
                "=",
                Some("there is no parameter ''; this route has iou, classes"),
            ),
            (
                "POST",
                "/v1/tasks",
                "a+b%00",
                Some("there is no parameter 'a b'; this route has iou, classes"),
            ),
            ("POST", "/v1/tasks", "iou=1&iou=1", Some("iou is given more than once")),
            ("GET", "/v1/tasks/1", "wait=1", None),
            ("HEAD", "/v1/tasks/1", "wait=1", None),
            (
                "GET",
                "/v1/tasks/1",
                "wit=1",
                Some("there is no parameter 'wit'; this route has wait"),
            ),
            ("GET", "/v1/models", "x", Some("there is no parameter 'x': this route has none")),
            // Their errors are a method or a path that the API does not have.
            ("PUT", "/v1/tasks/1", "wit=1", None),
            ("GET", "/v1/nothing", "wit=1", None),
        ];
        for (method, path, query, expected) in cases {
            let problem = check(&routes, method, path, query);
            let detail = problem.as_ref().map(Problem::detail);
            assert_eq!(detail, expected, "{method} {path}?{query}");
        }
    }
}
