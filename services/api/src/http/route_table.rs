//! The routes and the methods of each.

use std::sync::Arc;

use serde_json::{Value, json};

/// A route that the document does not describe. Its method is GET.
pub(crate) struct UndescribedRoute {
    pub(crate) path: &'static str,
    /// What it serves, for the index; `None` for files that only a page refers to.
    pub(crate) description: Option<&'static str>,
}

/// The page of the document, that page's files, the document itself, the console's files, and the sample pictures.
pub(crate) const UNDESCRIBED: [UndescribedRoute; 6] = [
    UndescribedRoute { path: "/docs", description: Some("Swagger UI: this API in the browser.") },
    UndescribedRoute { path: "/docs/{file}", description: None },
    UndescribedRoute {
        path: "/openapi.json",
        description: Some("The OpenAPI document of this API."),
    },
    UndescribedRoute { path: "/assets/{file}", description: None },
    UndescribedRoute {
        path: "/samples",
        description: Some("The names of the sample pictures that are installed."),
    },
    UndescribedRoute { path: "/samples/{file}", description: None },
];

/// All routes, read from the OpenAPI document.
pub(crate) struct RouteTable(Vec<Described>);

/// A route, such as `/v1/tasks/{task_id}`.
struct Described {
    template: Arc<str>,
    /// Its methods in capitals, separated by commas, as `Allow` has them.
    methods: String,
    /// The query parameters of each method.
    parameters: Vec<(String, Vec<Parameter>)>,
}

/// A query parameter of a route.
pub(super) struct Parameter {
    pub(super) name: String,
    /// Whether it may be given more than once.
    pub(super) is_list: bool,
}

impl Described {
    fn new(template: &str, operations: &Value) -> Self {
        let operations: Vec<_> = operations.as_object().into_iter().flatten().collect();
        let methods: Vec<_> = operations.iter().map(|(method, _)| method.to_uppercase()).collect();
        let parameters = operations.into_iter().map(|(method, operation)| {
            let all = operation["parameters"].as_array().into_iter().flatten();
            let of_query = all.filter(|parameter| parameter["in"] == "query").map(Parameter::of);
            (method.to_uppercase(), of_query.collect())
        });
        let parameters = parameters.collect();
        Self { template: template.into(), methods: methods.join(", "), parameters }
    }
}

impl Parameter {
    fn of(described: &Value) -> Self {
        Self {
            name: described["name"].as_str().unwrap_or_default().to_owned(),
            is_list: described["schema"]["type"] == "array",
        }
    }
}

impl RouteTable {
    /// The paths of `document`, OpenAPI as JSON.
    pub(crate) fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let described = paths.map(|(path, operations)| Described::new(path, operations));
        let undescribed =
            UNDESCRIBED.map(|route| Described::new(route.path, &json!({ "get": {} })));
        Self(described.chain(undescribed).collect())
    }

    /// The route of `path`, such as `/v1/tasks/{task_id}`.
    pub(crate) fn template(&self, path: &str) -> Option<Arc<str>> {
        self.find(path).map(|route| Arc::clone(&route.template))
    }

    /// All methods of the route of `path`, for the response to `OPTIONS`; of all routes together for `*`.
    pub(super) fn options(&self, path: &str) -> Option<String> {
        let mut methods: Vec<&str> = match path {
            "*" => self.0.iter().flat_map(|route| route.methods.split(", ")).collect(),
            _ => self.find(path)?.methods.split(", ").collect(),
        };
        // Routes with GET answer HEAD as well.
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.sort_unstable();
        methods.dedup();
        Some(methods.join(", "))
    }

    /// The methods of the route of `path`, for an `Allow` header.
    pub(super) fn allowed(&self, path: &str) -> &str {
        self.find(path).map_or("GET", |route| &route.methods)
    }

    /// The query parameters of the route of `method` and `path`; `None` if there is no such route.
    pub(super) fn parameters(&self, method: &str, path: &str) -> Option<&[Parameter]> {
        let method = if method == "HEAD" { "GET" } else { method };
        let mut methods = self.find(path)?.parameters.iter();
        methods.find(|(name, _)| name == method).map(|(_, parameters)| &**parameters)
    }

    fn find(&self, path: &str) -> Option<&Described> {
        self.0.iter().find(|route| matches(&route.template, path))
    }
}

/// Whether `path` matches the route `template`, such as `/v1/tasks/{task_id}`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_methods() {
        let document = json!({ "paths": {
            "/": { "get": {} },
            "/v1/tasks": { "post": {} },
            "/v1/tasks/{task_id}": { "delete": {}, "get": {} },
        }});
        let routes = RouteTable::of(&document);
        let cases = [
            ("/", "GET"),
            ("/v1/tasks", "POST"),
            ("/v1/tasks/abc", "DELETE, GET"),
            ("/docs", "GET"),
        ];
        for (path, expected) in cases {
            assert_eq!(routes.allowed(path), expected, "{path}");
        }
    }

    #[test]
    fn options_are_all_methods_of_a_path() {
        let document = json!({ "paths": {
            "/v1/tasks": { "post": {} },
            "/v1/tasks/{task_id}": { "delete": {}, "get": {} },
        }});
        let routes = RouteTable::of(&document);
        let cases = [
            ("/v1/tasks", Some("OPTIONS, POST")),
            ("/v1/tasks/abc", Some("DELETE, GET, HEAD, OPTIONS")),
            ("/docs", Some("GET, HEAD, OPTIONS")),
            ("*", Some("DELETE, GET, HEAD, OPTIONS, POST")),
            ("/v1/tasks/", None),
            ("/nowhere", None),
        ];
        for (path, expected) in cases {
            assert_eq!(routes.options(path).as_deref(), expected, "{path}");
        }
    }
}
