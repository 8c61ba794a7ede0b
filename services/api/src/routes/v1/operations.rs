//! The state of the whole system, for operators.

mod schema;
mod totals;

use std::time::Duration;

use bytes::Bytes;
use domain::TaskId;
use poem::web::{Data, sse::Event};
use poem_openapi::{ApiResponse, OpenApi, payload::Json, types::ToJSON};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use self::schema::OperationsSnapshot;
use super::error::too_many_streams;
use crate::{
    auth::{Caller, KeyRing},
    http::{
        event_stream::{EventSource, EventStream, EventStreamSlots, text},
        problem::{Problem, ProblemKind},
    },
    operations::{Operations, Samples, sample::Sample},
    routes::{health::ApiHealth, tag::Tag},
    tasks::{Tasks, submit::RETRY_AFTER_SECONDS},
};

/// How long a request waits for a sample.
const SAMPLE_TIME: Duration = Duration::from_secs(10);

/// The routes of the state of the system.
pub(crate) struct OperationsApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::V1")]
impl OperationsApi {
    /// The state of the queue, of all workers and of all APIs
    ///
    /// Totals are of each process since it started, added up: what falls tells of a restart. What did not answer in time
    /// is absent. Needs the scope `admin`, where requests need a key.
    #[oai(path = "/operations", method = "get")]
    async fn operations(
        &self,
        operations: Data<&Operations>,
    ) -> Result<Json<OperationsSnapshot>, OperationsError> {
        match timeout(SAMPLE_TIME, operations.samples().next()).await {
            Ok(Some(sample)) => Ok(Json(OperationsSnapshot::from(&*sample))),
            Ok(None) | Err(_) => Err(OperationsError::no_sample()),
        }
    }

    /// Follow the state of the system
    ///
    /// Server-sent events: `snapshot`, about one a second. The data of each is what `GET /v1/operations` answers. A client
    /// that reads slowly gets fewer of them. A comment is sent after 15 seconds without an event. The stream ends when its
    /// API key is revoked or expires.
    #[oai(path = "/operations/events", method = "get")]
    async fn operations_events(
        &self,
        operations: Data<&Operations>,
        tasks: Data<&Tasks>,
        caller: Data<&Caller>,
        health: Data<&ApiHealth>,
        slots: Data<&EventStreamSlots>,
    ) -> Result<OperationsEvents, OperationsError> {
        let slot = slots.take().ok_or_else(OperationsError::too_many)?;
        let source = SampleSource {
            samples: operations.samples(),
            caller: (*caller).clone(),
            keys: tasks.rates.clone(),
            _slot: slot,
        };
        let random = TaskId::generate().random_byte();
        let stream = EventStream::new(source, random, health.shutdown.clone());
        Ok(OperationsEvents::Events(stream))
    }
}

#[derive(ApiResponse)]
enum OperationsEvents {
    /// The events.
    #[oai(status = 200)]
    Events(EventStream),
}

/// Why there is no snapshot.
#[derive(ApiResponse)]
enum OperationsError {
    /// A parameter is unknown.
    #[oai(status = 400, content_type = "application/problem+json")]
    #[allow(
        dead_code,
        reason = "documents the responses to unknown parameters, which do not reach the route"
    )]
    BadRequest(Json<Problem>),
    /// Too many event streams are open, or the API shuts down. Try again after the given time.
    #[oai(status = 503, content_type = "application/problem+json")]
    Unavailable(
        Json<Problem>,
        /// Seconds to wait before trying again.
        #[oai(header = "Retry-After")]
        u64,
    ),
}

impl OperationsError {
    fn too_many() -> Self {
        Self::Unavailable(too_many_streams(), RETRY_AFTER_SECONDS)
    }

    fn no_sample() -> Self {
        let detail = "the state of the system is not known at the moment, try again";
        let problem = Problem::new(ProblemKind::Unavailable, detail);
        Self::Unavailable(Json(problem), RETRY_AFTER_SECONDS)
    }
}

/// One client's stream.
struct SampleSource {
    samples: Samples,
    caller: Caller,
    /// `None`: requests need no key.
    keys: Option<KeyRing>,
    _slot: OwnedSemaphorePermit,
}

impl EventSource for SampleSource {
    async fn next(&mut self) -> Option<Bytes> {
        let sample = self.samples.next().await?;
        let is_admitted = self.caller.is_still_admitted(self.keys.as_ref());
        is_admitted.then(|| sample.text(event))
    }
}

/// The text of an event. The milliseconds since 1970 are its id.
fn event(sample: &Sample) -> Bytes {
    let json = OperationsSnapshot::from(sample).to_json_string();
    let id = sample.at.unix_timestamp_nanos() / 1_000_000;
    text(&Event::message(json).id(id.to_string()).event_type("snapshot"))
}
