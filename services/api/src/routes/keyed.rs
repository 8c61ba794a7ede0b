//! What the document says of API keys: which routes need one, and how requests without one are answered.

use std::collections::HashMap;

use poem::{endpoint::BoxEndpoint, http::Method};
use poem_openapi::{
    Object, OpenApi,
    registry::{
        MetaApi, MetaHeader, MetaMediaType, MetaOperation, MetaResponse, MetaSchema, MetaSchemaRef,
        MetaSecurityScheme, Registry,
    },
    types::{Example, Type},
};

use crate::{auth::is_open, http::problem::Problem};

/// The names of the two ways to send a key.
const BEARER: &str = "bearer";
const HEADER: &str = "header";

/// These routes, as they are where requests need a key.
pub(crate) struct Keyed<A>(pub(crate) A);

/// Why a request is refused, on an original route.
#[derive(Object)]
#[oai(example)]
struct RefusedBody {
    /// What is wrong with the key.
    error: String,
}

impl Example for RefusedBody {
    fn example() -> Self {
        Self { error: "there is no such API key, or it was revoked".to_owned() }
    }
}

impl<A: OpenApi> OpenApi for Keyed<A> {
    fn meta() -> Vec<MetaApi> {
        let mut all = A::meta();
        merge_paths(&mut all);
        for path in all.iter_mut().flat_map(|api| &mut api.paths) {
            let is_v1 = path.path.starts_with("/v1");
            let operations = path.operations.iter_mut();
            operations
                .filter(|operation| !is_open(&operation.method, &path.path))
                .for_each(|operation| describe(operation, is_v1));
        }
        all
    }

    fn register(registry: &mut Registry) {
        A::register(registry);
        Problem::register(registry);
        RefusedBody::register(registry);
        for (name, scheme) in schemes() {
            registry.create_security_scheme(name, scheme);
        }
    }

    fn add_routes(self, route_table: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        self.0.add_routes(route_table);
    }
}

/// Puts the operations of each path together: the document has a path once, and two of these APIs may have one.
fn merge_paths(apis: &mut [MetaApi]) {
    for index in (1..apis.len()).rev() {
        let (earlier, own) = apis.split_at_mut(index);
        for path in std::mem::take(&mut own[0].paths) {
            let mut known = earlier.iter_mut().flat_map(|api| &mut api.paths);
            match known.find(|known| known.path == path.path) {
                Some(known) => known.operations.extend(path.operations),
                None => own[0].paths.push(path),
            }
        }
    }
}

fn schemes() -> [(&'static str, MetaSecurityScheme); 2] {
    let scheme = MetaSecurityScheme {
        ty: "http",
        description: Some("An API key, where the API runs with `AUTH=keys`."),
        name: None,
        key_in: None,
        scheme: Some("bearer"),
        bearer_format: Some("spotter_<id>_<secret>"),
        flows: None,
        openid_connect_url: None,
    };
    let of_header = MetaSecurityScheme {
        ty: "apiKey",
        description: Some("The same key in a header of its own."),
        name: Some("X-API-Key"),
        key_in: Some("header"),
        scheme: None,
        bearer_format: None,
        flows: None,
        openid_connect_url: None,
    };
    [(BEARER, scheme), (HEADER, of_header)]
}

fn describe(operation: &mut MetaOperation, is_v1: bool) {
    // The last one: an API with `AUTH=off` needs none.
    operation.security = vec![
        HashMap::from([(BEARER, Vec::new())]),
        HashMap::from([(HEADER, Vec::new())]),
        HashMap::new(),
    ];
    for refused in responses(is_v1) {
        let responses = &mut operation.responses.responses;
        if responses.iter().all(|known| known.status != refused.status) {
            responses.push(refused);
        }
    }
    operation.responses.responses.sort_by_key(|response| response.status);
}

fn responses(is_v1: bool) -> [MetaResponse; 3] {
    let content = || {
        let (content_type, schema) = match is_v1 {
            true => ("application/problem+json", Problem::schema_ref()),
            false => ("application/json; charset=utf-8", RefusedBody::schema_ref()),
        };
        vec![MetaMediaType { content_type, schema }]
    };
    let response = |status, description, headers| MetaResponse {
        description,
        status: Some(status),
        status_range: None,
        content: content(),
        headers,
    };
    let challenge = || header("WWW-Authenticate", "How to authenticate.", "string");
    let retry_after = header("Retry-After", "Seconds to wait before trying again.", "integer");
    [
        response(
            401,
            "The request has no API key, or one that is unknown, revoked, expired or malformed.",
            vec![challenge()],
        ),
        response(403, "The API key may not be used for this.", vec![challenge()]),
        response(
            429,
            "The API key has sent too many requests. Try again after the given time.",
            vec![retry_after],
        ),
    ]
}

/// A header of a response, as the document has it.
pub(super) fn header(name: &str, description: &str, kind: &'static str) -> MetaHeader {
    MetaHeader {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required: true,
        deprecated: false,
        schema: MetaSchemaRef::Inline(Box::new(MetaSchema::new(kind))),
    }
}
