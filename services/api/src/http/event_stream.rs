//! Server-sent events, by the WHATWG's specification: a response that goes on until its events end.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use poem::{Body, IntoResponse, Response, http::header::CONTENT_TYPE, web::sse::Event};
use poem_openapi::{
    payload::Payload,
    registry::{MetaSchema, MetaSchemaRef},
};
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long a stream is silent before it sends a comment: proxies close connections without traffic, most of them after
/// a minute. The WHATWG recommends 15 seconds.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// When a client that has lost its connection comes back: at least, and at most. All clients of an API that stops come
/// back at once, but for this range.
const RECONNECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// A comment, which clients ignore.
const COMMENT: &str = ":\n\n";

/// The data of an event, for the document.
const EXAMPLE: &str = "{\"task_id\":\"0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47\",\"state\":\"QUEUED\"}";

/// How many event streams may be open at one time.
#[derive(Clone)]
pub(crate) struct EventStreamSlots {
    slots: Arc<Semaphore>,
    most: usize,
}

impl EventStreamSlots {
    pub(crate) fn new(most: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(most)), most }
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.most.saturating_sub(self.slots.available_permits())
    }

    /// A place for one more; `None` if there are too many.
    pub(crate) fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }
}

/// Where events come from.
pub(crate) trait EventSource: Send + 'static {
    /// The next event as text. `None` after the last one. May be dropped at any time and called again.
    fn next(&mut self) -> impl Future<Output = Option<Bytes>> + Send;
}

/// A response with events.
pub(crate) struct EventStream(Body);

impl EventStream {
    /// Sends what `source` has, until its end or `shutdown`. A client that has lost its connection is told to come back
    /// after a time that follows from `random`.
    pub(crate) fn new(source: impl EventSource, random: u8, shutdown: CancellationToken) -> Self {
        let reconnect = u64::try_from(reconnect_after(random).as_millis()).unwrap_or(u64::MAX);
        let greeting = text(&Event::retry(reconnect));
        // Boxed, as the stream moves it for each event.
        let state = Box::new((Some(greeting), source, shutdown));
        let chunks = stream::unfold(state, async |mut state| {
            let (greeting, source, shutdown) = &mut *state;
            let chunk = match greeting.take() {
                Some(greeting) => greeting,
                None => shutdown.run_until_cancelled(next_chunk(source)).await??,
            };
            Some((Ok::<_, io::Error>(chunk), state))
        });
        Self(Body::from_bytes_stream(chunks))
    }
}

/// The text of an event.
pub(crate) fn text(event: &Event) -> Bytes {
    event.to_string().into()
}

/// When a client that has lost its connection comes back.
fn reconnect_after(random: u8) -> Duration {
    let (least, most) = RECONNECT;
    least + (most - least) * u32::from(random) / u32::from(u8::MAX)
}

async fn next_chunk(source: &mut impl EventSource) -> Option<Bytes> {
    match timeout(HEARTBEAT, source.next()).await {
        Ok(event) => event,
        Err(_) => Some(Bytes::from_static(COMMENT.as_bytes())),
    }
}

impl Payload for EventStream {
    const CONTENT_TYPE: &'static str = "text/event-stream";

    /// That of one event, with its fields as members: OpenAPI 3.0 has no other way to describe a stream.
    fn schema_ref() -> MetaSchemaRef {
        let field = |name, description, kind| {
            let schema = MetaSchema { description: Some(description), ..MetaSchema::new(kind) };
            (name, MetaSchemaRef::Inline(Box::new(schema)))
        };
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            description: Some("One of the events, by its fields."),
            properties: vec![
                field("event", "What has happened.", "string"),
                field("id", "For `Last-Event-ID`, to go on behind this event.", "string"),
                field(
                    "data",
                    "The task, the batch or the snapshot as it is then, as JSON.",
                    "string",
                ),
                field(
                    "retry",
                    "In how many milliseconds to come back after a lost connection.",
                    "integer",
                ),
            ],
            example: Some(json!({ "event": "queued", "id": "0-q0", "data": EXAMPLE })),
            ..MetaSchema::new("object")
        }))
    }
}

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        Response::builder()
            .header(CONTENT_TYPE, Self::CONTENT_TYPE)
            // nginx sends each event at once, instead of many together.
            .header("X-Accel-Buffering", "no")
            .body(self.0)
    }
}
