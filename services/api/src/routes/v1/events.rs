//! The events of a task, as the versioned API sends them.

mod error;

use bytes::Bytes;
use domain::TaskId;
use poem::web::{Data, sse::Event};
use poem_openapi::{
    ApiResponse, OpenApi,
    param::{Header, Path},
    types::ToJSON,
};
use tokio::sync::OwnedSemaphorePermit;

use self::error::FollowError;
use super::task::Task;
use crate::{
    auth::Caller,
    http::event_stream::{EventSource, EventStream, EventStreamSlots, text},
    routes::{health::ApiHealth, tag::Tag},
    tasks::{
        Tasks,
        events::TaskEvent,
        follow::{Follow, TaskEvents},
    },
};

/// The events of tasks.
pub(crate) struct EventsApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::V1")]
impl EventsApi {
    /// Follow a task by its events
    ///
    /// Server-sent events (`EventSource` in browsers, `curl -N`): `queued`, `started`, `retried`, and at the end one of
    /// `succeeded`, `failed`, `revoked` and `expired`, after which the stream is closed. The data of each is the task as
    /// `GET /v1/tasks/{task_id}` shows it. The first event is the present state. A comment is sent every 15 seconds.
    #[oai(path = "/tasks/:task_id/events", method = "get")]
    async fn events(
        &self,
        tasks: Data<&Tasks>,
        health: Data<&ApiHealth>,
        slots: Data<&EventStreamSlots>,
        caller: Data<&Caller>,
        /// The id that the submission answered with.
        task_id: Path<String>,
        /// The `id` of the last event that the client has seen: newer ones follow. Browsers send it by themselves. A
        /// value that is no such id is ignored.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> Result<EventsResponse, FollowError> {
        let id: TaskId =
            task_id.parse().map_err(|error| FollowError::unknown(format!("{error}")))?;
        let seen = last_event_id.0.and_then(|seen| seen.parse().ok());
        let slot = slots.take().ok_or_else(FollowError::too_many)?;
        match tasks.follow(id, caller.viewer(), seen).await {
            Ok(Follow::Events(events)) => {
                let source = TaskEventSource { events, _slot: slot };
                let shutdown = health.shutdown.clone();
                let stream = EventStream::new(source, id.random_byte(), shutdown);
                Ok(EventsResponse::Events(stream))
            }
            Ok(Follow::Over) => Ok(EventsResponse::Over),
            Ok(Follow::Unknown) => Err(FollowError::unknown(format!("there is no task {id}"))),
            Ok(Follow::Expired) => Err(FollowError::expired(id)),
            Err(error) => {
                tracing::warn!(task_id = %id, %error, "cannot follow a task");
                Err(FollowError::unavailable())
            }
        }
    }
}

#[derive(ApiResponse)]
enum EventsResponse {
    /// The events.
    #[oai(status = 200)]
    Events(EventStream),
    /// `Last-Event-ID` is the last event: nothing follows it. Browsers do not come back after this status.
    #[oai(status = 204)]
    Over,
}

/// One client's stream.
struct TaskEventSource {
    events: Box<TaskEvents>,
    _slot: OwnedSemaphorePermit,
}

impl EventSource for TaskEventSource {
    async fn next(&mut self) -> Option<Bytes> {
        self.events.next().await.map(|event| text(&server_sent(event)))
    }
}

fn server_sent(event: TaskEvent) -> Event {
    let (id, name) = (event.id.to_string(), event.name());
    let mut task = Task::from(event.record);
    task.retry_reason = event.retry.map(Into::into);
    Event::message(task.to_json_string()).id(id).event_type(name)
}
