//! The events of a task, as the versioned API sends them.

use std::time::Duration;

use domain::TaskId;
use poem::web::sse::Event;
use poem_openapi::types::ToJSON;
use tokio::sync::OwnedSemaphorePermit;

use super::task::Task;
use crate::{
    http::event_stream::EventSource,
    tasks::{events::TaskEvent, follow::TaskEvents},
};

/// When a client that has lost its connection comes back: at least, and at most. All clients of an API that stops come
/// back at once, but for this range.
const RECONNECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// One client's stream.
pub(super) struct TaskEventSource {
    pub(super) events: Box<TaskEvents>,
    pub(super) _slot: OwnedSemaphorePermit,
}

impl EventSource for TaskEventSource {
    async fn next(&mut self) -> Option<Event> {
        self.events.next().await.map(server_sent)
    }
}

fn server_sent(event: TaskEvent) -> Event {
    let (id, name) = (event.id.to_string(), event.name());
    let mut task = Task::from(event.record);
    task.retry_reason = event.retry.map(Into::into);
    Event::message(task.to_json_string()).id(id).event_type(name)
}

/// When the client comes back that follows this task.
pub(super) fn reconnect_after(id: TaskId) -> Duration {
    let (least, most) = RECONNECT;
    // The last bits of an id are random.
    let share = id.uuid().as_bytes()[15];
    least + (most - least) * u32::from(share) / u32::from(u8::MAX)
}
