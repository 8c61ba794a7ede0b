//! Decides about requests by their headers.

use std::sync::Arc;

use domain::{PresentedKey, Scope};
use poem::{
    Request,
    http::{HeaderMap, Method},
};

use super::{
    caller::Caller,
    credentials::{NoKey, presented},
    key_ring::{KeyRing, Unusable},
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

impl Admitted {
    /// One that needs no key.
    const ANYBODY: Self = Self { caller: Caller::Anybody, limit: None };
}

/// Whether `path` is served without a key: descriptions of the API, its pages and sample pictures, health and metrics.
pub(crate) fn is_open(method: &Method, path: &str) -> bool {
    // Clients of Hugging Face post pictures to the root.
    (path == "/" && *method != Method::POST)
        || matches!(path, "/docs" | "/openapi.json" | "/metrics" | "/samples" | "/info")
        || path.starts_with("/v2/health/")
        || ["/assets/", "/docs/", "/health/", "/samples/", "/v1/status/", "/v1/server/status/"]
            .iter()
            .any(|open| path.starts_with(open))
}

/// Whether the route of `path` checks the key itself, by [`Guard::admit_by_body`], since it may be in the body.
fn checks_key_itself(path: &str) -> bool {
    is_workflow(path)
        || ["/v1/vision/", "/infer/", "/model/"].iter().any(|own| path.starts_with(own))
}

/// Whether `path` is where Roboflow's clients run workflows. There are none, which everybody is told.
pub(crate) fn is_workflow(path: &str) -> bool {
    // The whole path: `/models/workflows` is the route of a model of this name, which needs a key.
    let mut parts = path.split('/').skip(1);
    match [parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some("workflows"), Some(_), ..] => true,
        [Some(workspace), Some("workflows"), Some(_), None] => workspace != "v1",
        _ => false,
    }
}

/// Whether `path` is for those who operate the system: it shows, or changes, what belongs to all keys.
fn is_for_operators(path: &str) -> bool {
    let paths = ["/v1/operations", "/v1/dead-letters", "/v1/webhooks"];
    let mut rests = paths.iter().filter_map(|of_operators| path.strip_prefix(of_operators));
    rests.any(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a page that a user opens, of another origin, could have the request sent without a preflight.
fn is_forged(request: &Request, origins: &AllowedOrigins) -> bool {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    !is_read && is_for_operators(request.uri().path()) && is_foreign(request.headers(), origins)
}

/// What a request does. Reading changes nothing, and everything else is for submitting.
fn purpose(method: &Method, path: &str) -> Purpose {
    match *method {
        _ if is_for_operators(path) => Purpose::Operate,
        Method::GET | Method::HEAD => Purpose::Read,
        // A list, which the protocol asks for so.
        Method::POST if path == "/v2/repository/index" => Purpose::Read,
        Method::POST => Purpose::Submit,
        _ => Purpose::Cancel,
    }
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It reads.
    Read,
    /// It may add jobs to the queue.
    Submit,
    /// It removes some.
    Cancel,
    /// It shows or changes what belongs to all keys.
    Operate,
}

impl Purpose {
    /// The scope that it needs.
    fn scope(self) -> Scope {
        match self {
            Self::Read => Scope::Read,
            Self::Submit | Self::Cancel => Scope::Submit,
            Self::Operate => Scope::Admin,
        }
    }
}

impl Guard {
    /// Whether to serve the request, whose body is not read.
    pub(crate) async fn admit(&self, request: &Request) -> Result<Admitted, Refusal> {
        let path = request.uri().path();
        let guard = match self {
            Self::Keys(guard) if !is_open(request.method(), path) && !checks_key_itself(path) => {
                guard
            }
            Self::Open(origins) if is_forged(request, origins) => return Err(Refusal::ForeignPage),
            Self::Keys(_) | Self::Open(_) => return Ok(Admitted::ANYBODY),
        };
        guard.admit(key_in(request.headers()), purpose(request.method(), path)).await
    }

    /// The same for a route that checks the key itself. `None`: the headers have no key, so that the body must have it.
    pub(crate) async fn admit_by_headers(
        &self,
        headers: &HeaderMap,
        purpose: Purpose,
    ) -> Option<Result<Admitted, Refusal>> {
        match self {
            Self::Open(_) => Some(Ok(Admitted::ANYBODY)),
            Self::Keys(guard) => match key_in(headers) {
                Err(Refusal::NoKey) => None,
                key => Some(guard.admit(key, purpose).await),
            },
        }
    }

    /// The same by the key that the body has; `None`: it has none.
    pub(crate) async fn admit_by_body(
        &self,
        key: Option<&str>,
        purpose: Purpose,
    ) -> Result<Admitted, Refusal> {
        match (self, key) {
            (Self::Open(_), _) => Ok(Admitted::ANYBODY),
            (Self::Keys(guard), None) => guard.admit(Err(Refusal::NoKey), purpose).await,
            (Self::Keys(guard), Some(key)) => {
                let key = PresentedKey::parse(key.trim()).ok_or(Refusal::MalformedKey);
                guard.admit(key, purpose).await
            }
        }
    }
}

fn key_in(headers: &HeaderMap) -> Result<PresentedKey, Refusal> {
    presented(headers).map_err(|error| match error {
        NoKey::Absent => Refusal::NoKey,
        NoKey::Malformed => Refusal::MalformedKey,
    })
}

impl KeyGuard {
    /// Decides, and counts a refusal.
    async fn admit(
        &self,
        key: Result<PresentedKey, Refusal>,
        purpose: Purpose,
    ) -> Result<Admitted, Refusal> {
        let admitted = match key {
            Ok(key) => self.decide(&key, purpose).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &admitted {
            self.metrics.count(refusal.reason());
        }
        admitted
    }

    async fn decide(&self, key: &PresentedKey, purpose: Purpose) -> Result<Admitted, Refusal> {
        let known = self.ring.find(key).map_err(|error| match error {
            Unusable::Unknown => Refusal::UnknownKey,
            Unusable::Expired => Refusal::ExpiredKey,
        })?;
        known.count_request();
        let limit = known.limiter.as_ref().map(|limiter| limiter.admit()).transpose();
        let limit = limit.map_err(Refusal::Rate)?;
        let missing = purpose.scope();
        if !known.key.scopes.permit(missing) {
            return Err(Refusal::Scope { missing, limit });
        }
        if let Some(quota) = known.key.quota
            && purpose == Purpose::Submit
            && self.waiting.is_exhausted(known.key.id, quota).await
        {
            let retry_after = self.backpressure.retry_after();
            return Err(Refusal::Quota { quota, retry_after, limit });
        }
        Ok(Admitted { caller: Caller::Holder(known), limit })
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
            "/v1/status/ping",
            "/v1/server/status/version",
            "/info",
            "/v2/health/live",
        ] {
            assert!(is_open(&Method::GET, open), "{open}");
        }
        assert!(!is_open(&Method::POST, "/"));
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
            "/v1/status",
            "/v1/vision/detection",
            "/model/registry",
            "/models/yolov8n",
            "/v2",
            "/v2/health",
            "/v2/models/x/infer",
            "",
        ] {
            assert!(!is_open(&Method::GET, closed), "{closed}");
        }
    }

    #[test]
    fn routes_check_keys_that_may_be_in_bodies() {
        for (path, expected) in [
            ("/v1/vision/detection", true),
            ("/infer/object_detection", true),
            ("/model/registry", true),
            ("/workflows/run", true),
            ("/a/workflows/b", true),
            ("/v1/workflows/b", false),
            ("/models/workflows", false),
            ("/task_result/workflows", false),
            ("/models/yolov8n", false),
            ("/workflows", false),
            ("/", false),
            ("/v1/tasks", false),
        ] {
            assert_eq!(checks_key_itself(path), expected, "{path}");
        }
    }

    #[test]
    fn the_scope_follows_from_method_and_path() {
        let cases = [
            (Method::GET, "/v1/operations", Scope::Admin),
            (Method::GET, "/v1/operations/events", Scope::Admin),
            (Method::HEAD, "/v1/dead-letters/x/picture", Scope::Admin),
            (Method::DELETE, "/v1/dead-letters/x", Scope::Admin),
            (Method::POST, "/v1/webhooks/dead-letters/x/replay", Scope::Admin),
            (Method::GET, "/v1/operationsx", Scope::Read),
            (Method::GET, "/v1/tasks", Scope::Read),
            (Method::DELETE, "/v1/tasks/x", Scope::Submit),
            (Method::POST, "/v2/repository/index", Scope::Read),
            (Method::POST, "/v2/models/x/infer", Scope::Submit),
        ];
        for (method, path, expected) in cases {
            assert_eq!(purpose(&method, path).scope(), expected, "{method} {path}");
        }
    }
}
