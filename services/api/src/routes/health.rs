//! The routes of probes and metrics.

use messaging::Messaging;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi, payload::Json, payload::PlainText, types::Example,
};
use service::{
    probes::{HealthSource, Probe},
    telemetry::metrics::Metrics,
};
use tokio_util::sync::CancellationToken;

use super::tag::Tag;

/// Health and metrics.
pub(crate) struct HealthApi;

/// The health of the API, once it is connected and serves requests.
#[derive(Clone)]
pub(crate) struct ApiHealth {
    pub(crate) messaging: Messaging,
    pub(crate) shutdown: CancellationToken,
}

impl HealthSource for ApiHealth {
    fn check(&self, probe: Probe) -> Result<(), String> {
        match probe {
            Probe::Startup | Probe::Live => Ok(()),
            Probe::Ready if self.shutdown.is_cancelled() => Err("shutting down".to_owned()),
            Probe::Ready => self.messaging.obstacle().map_or(Ok(()), Err),
        }
    }
}

#[OpenApi(tag = "Tag::Operations")]
impl HealthApi {
    /// Whether this process has started
    #[oai(path = "/health/startup", method = "get")]
    async fn startup(&self) -> Json<Health> {
        Json(Health { status: "ok".to_owned() })
    }

    /// Whether this process runs
    #[oai(path = "/health/live", method = "get")]
    async fn live(&self) -> Json<Health> {
        Json(Health { status: "ok".to_owned() })
    }

    /// Whether requests should be sent to this process
    #[oai(path = "/health/ready", method = "get")]
    async fn ready(&self, health: Data<&ApiHealth>) -> Readiness {
        match health.check(Probe::Ready) {
            Ok(()) => Readiness::Ready(Json(Health { status: "ok".to_owned() })),
            Err(obstacle) => Readiness::NotReady(Json(Health { status: obstacle })),
        }
    }

    /// Counters and gauges in Prometheus' text format
    #[oai(path = "/metrics", method = "get")]
    async fn metrics(&self, metrics: Data<&Metrics>) -> MetricsResponse {
        match metrics.render() {
            Ok(text) => MetricsResponse::Text(
                PlainText(text),
                service::telemetry::metrics::CONTENT_TYPE.to_owned(),
            ),
            Err(error) => {
                tracing::error!(%error, "cannot render the metrics");
                MetricsResponse::Failed(PlainText(error.to_string()))
            }
        }
    }
}

/// How this process is.
#[derive(Object)]
#[oai(example)]
struct Health {
    /// `ok`, or what is in the way.
    status: String,
}

impl Example for Health {
    fn example() -> Self {
        Self { status: "ok".to_owned() }
    }
}

#[derive(ApiResponse)]
enum Readiness {
    /// Send requests.
    #[oai(status = 200)]
    Ready(Json<Health>),
    /// Send no requests for now.
    #[oai(status = 503)]
    NotReady(Json<Health>),
}

#[derive(ApiResponse)]
enum MetricsResponse {
    /// The metrics as they stand.
    #[oai(status = 200)]
    Text(PlainText<String>, #[oai(header = "Content-Type")] String),
    /// They could not be written as text.
    #[oai(status = 500)]
    Failed(PlainText<String>),
}
