//! Decides about requests by their headers.

use std::sync::Arc;

use domain::Scope;
use poem::{
    Request,
    http::{HeaderMap, Method},
};

use super::{
    caller::Caller,
    credentials::{NoKey, presented},
    key_ring::{KeyRing, KnownKey, Unusable},
    limiter::LimitState,
    refusal::Refusal,
};
use crate::{
    http::{AllowedOrigins, cors::is_foreign},
    metrics::RefusalMetrics,
    tasks::{backpressure::Backpressure, waiting::WaitingJobs},
};

/// Decides which requests are served. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Guard {
    /// All of them, but for what operators do, not those that a page of another origin sends.
    Open(Arc<AllowedOrigins>),
    /// Those with a key.
    Keys(Arc<KeyGuard>),
}

/// What a decision about a key needs.
pub(crate) struct KeyGuard {
    pub(crate) ring: KeyRing,
    pub(crate) waiting: WaitingJobs,
    pub(crate) backpressure: Backpressure,
    pub(crate) metrics: RefusalMetrics,
}

/// A request that is served.
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    /// What the key may still send, if it has a limit.
    pub(crate) limit: Option<LimitState>,
}

/// Whether `path` is served without a key: descriptions of the API, its pages and sample pictures, health and metrics.
pub(crate) fn is_open(path: &str) -> bool {
    matches!(path, "/" | "/docs" | "/openapi.json" | "/metrics" | "/samples")
        || ["/assets/", "/docs/", "/health/", "/samples/"].iter().any(|open| path.starts_with(open))
}

/// Whether `path` is for those who operate the system: it shows, or changes, what belongs to all keys.
fn is_for_operators(path: &str) -> bool {
    let paths = ["/v1/operations", "/v1/dead-letters", "/v1/webhooks"];
    let mut rests = paths.iter().filter_map(|of_operators| path.strip_prefix(of_operators));
    rests.any(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The scope that a request needs. Reading changes nothing, and everything else is for submitting.
fn scope(method: &Method, path: &str) -> Scope {
    match *method {
        _ if is_for_operators(path) => Scope::Admin,
        Method::GET | Method::HEAD => Scope::Read,
        _ => Scope::Submit,
    }
}

/// Whether a page that a user opens, of another origin, could have the request sent without a preflight.
fn is_forged(request: &Request, origins: &AllowedOrigins) -> bool {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    !is_read && is_for_operators(request.uri().path()) && is_foreign(request.headers(), origins)
}

impl Guard {
    /// Whether to serve the request, whose body is not read.
    pub(crate) async fn admit(&self, request: &Request) -> Result<Admitted, Refusal> {
        let guard = match self {
            Self::Keys(guard) if !is_open(request.uri().path()) => guard,
            Self::Open(origins) if is_forged(request, origins) => return Err(Refusal::ForeignPage),
            Self::Keys(_) | Self::Open(_) => {
                return Ok(Admitted { caller: Caller::Anybody, limit: None });
            }
        };
        let admitted = guard.admit(request).await;
        if let Err(refusal) = &admitted {
            guard.metrics.count(refusal.reason());
        }
        admitted
    }
}

impl KeyGuard {
    async fn admit(&self, request: &Request) -> Result<Admitted, Refusal> {
        let known = self.holder(request.headers())?;
        known.count_request();
        let limit = known.limiter.as_ref().map(|limiter| limiter.admit()).transpose();
        let limit = limit.map_err(Refusal::Rate)?;
        let missing = scope(request.method(), request.uri().path());
        if !known.key.scopes.permit(missing) {
            return Err(Refusal::Scope { missing, limit });
        }
        if let Some(quota) = known.key.quota
            && *request.method() == Method::POST
            && self.waiting.is_exhausted(known.key.id, quota).await
        {
            let retry_after = self.backpressure.retry_after();
            return Err(Refusal::Quota { quota, retry_after, limit });
        }
        Ok(Admitted { caller: Caller::Holder(known), limit })
    }

    fn holder(&self, headers: &HeaderMap) -> Result<Arc<KnownKey>, Refusal> {
        let presented = presented(headers).map_err(|error| match error {
            NoKey::Absent => Refusal::NoKey,
            NoKey::Malformed => Refusal::MalformedKey,
        })?;
        self.ring.find(&presented).map_err(|error| match error {
            Unusable::Unknown => Refusal::UnknownKey,
            Unusable::Expired => Refusal::ExpiredKey,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descriptions_pages_health_and_metrics_are_open() {
        for open in [
            "/",
            "/docs",
            "/docs/start.js",
            "/openapi.json",
            "/metrics",
            "/health/ready",
            "/assets/console.js",
            "/samples",
            "/samples/bus.jpg",
        ] {
            assert!(is_open(open), "{open}");
        }
        for closed in [
            "/v1/tasks",
            "/start_task",
            "/task_result/x",
            "//",
            "/docsx",
            "/assets",
            "/samplesx",
            "/nowhere",
            "/health",
            "",
        ] {
            assert!(!is_open(closed), "{closed}");
        }
    }

    #[test]
    fn what_belongs_to_all_keys_needs_admin() {
        let cases = [
            (Method::GET, "/v1/operations", Scope::Admin),
            (Method::GET, "/v1/operations/events", Scope::Admin),
            (Method::HEAD, "/v1/dead-letters/x/picture", Scope::Admin),
            (Method::DELETE, "/v1/dead-letters/x", Scope::Admin),
            (Method::POST, "/v1/webhooks/dead-letters/x/replay", Scope::Admin),
            (Method::GET, "/v1/operationsx", Scope::Read),
            (Method::GET, "/v1/tasks", Scope::Read),
            (Method::DELETE, "/v1/tasks/x", Scope::Submit),
        ];
        for (method, path, expected) in cases {
            assert_eq!(scope(&method, path), expected, "{method} {path}");
        }
    }
}
