//! The results of a batch as newline-delimited JSON.

use std::io;

use bytes::Bytes;
use domain::{ItemRefusal, TaskRecord};
use futures_util::{Stream, StreamExt};
use messaging::MessagingError;
use poem::{Body, IntoResponse, Response, http::header::CONTENT_TYPE};
use poem_openapi::{
    payload::Payload,
    registry::{MetaSchema, MetaSchemaRef},
    types::ToJSON,
};
use serde_json::{Map, Value, json};

use crate::{
    batches::results::{ItemResult, ItemState},
    http::problem::{Problem, ProblemKind},
    routes::v1::task::Task,
};

/// The lines of a batch, for the document.
const EXAMPLE: &str = "{\"index\":0,\"name\":\"bus.jpg\",\"task_id\":\"0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47\",\"state\":\"SUCCESS\"}\n\
    {\"index\":1,\"name\":\"notes.txt\",\"error\":{\"type\":\"urn:problem-type:spotter:invalid-picture\",\"detail\":\"…\"}}\n";

/// A response whose lines are made as they are read.
pub(super) struct Lines(Body);

impl Lines {
    pub(super) fn new(lines: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Self(Body::from_bytes_stream(lines.boxed()))
    }
}

impl Payload for Lines {
    const CONTENT_TYPE: &'static str = "application/x-ndjson";

    fn schema_ref() -> MetaSchemaRef {
        let example = Some(EXAMPLE.into());
        MetaSchemaRef::Inline(Box::new(MetaSchema { example, ..MetaSchema::new("string") }))
    }
}

impl IntoResponse for Lines {
    fn into_response(self) -> Response {
        Response::builder().header(CONTENT_TYPE, Self::CONTENT_TYPE).body(self.0)
    }
}

/// The line of a picture. An error ends the response before its last line, so that the client does not take it for
/// complete.
pub(super) fn line(result: Result<ItemResult, MessagingError>) -> io::Result<Bytes> {
    let ItemResult { item, what } = result.map_err(|error| {
        tracing::warn!(%error, "the results of a batch cannot be read");
        io::Error::other(error)
    })?;
    let mut line = Map::new();
    line.insert("index".to_owned(), item.index.into());
    match what {
        ItemState::Task(record) => {
            let TaskRecord { job, .. } = &*record;
            line.insert("name".to_owned(), job.picture_name.clone().into());
            if let Some(Value::Object(task)) = Task::from(*record).to_json() {
                line.extend(task);
            }
        }
        ItemState::Refused(ItemRefusal { name, kind, detail }) => {
            line.insert("name".to_owned(), name.into());
            line.insert("error".to_owned(), json!({ "type": kind, "detail": detail }));
        }
        ItemState::Absent => {
            let detail = format!("the result of task {} has expired", item.task_id());
            let problem = Problem::new(ProblemKind::TaskExpired, detail);
            line.insert("error".to_owned(), problem.to_json().unwrap_or_default());
        }
    }
    let mut line = serde_json::to_vec(&line).map_err(io::Error::other)?;
    line.push(b'\n');
    Ok(line.into())
}
