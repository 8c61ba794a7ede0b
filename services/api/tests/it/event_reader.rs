//! Reads server-sent events.

use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use crate::app::{TEST_TIMEOUT, TestApp};

/// A client that reads one stream.
pub(crate) struct EventReader {
    response: Response,
    unread: String,
}

/// A block of a stream, up to an empty line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    Event { name: String, id: String, task: Value },
    Retry(u64),
    Comment,
}

impl EventReader {
    /// Follows a task, as a client that has seen `last_event_id`. What is not a stream is a panic.
    pub(crate) async fn open(app: &TestApp, task: impl ToString, last_event_id: &str) -> Self {
        let path = format!("/v1/tasks/{}/events", task.to_string());
        Self::open_at(app, &path, last_event_id).await
    }

    /// Follows what `path` is the events of.
    pub(crate) async fn open_at(app: &TestApp, path: &str, last_event_id: &str) -> Self {
        let response = follow_at(app, path, last_event_id).await;
        let status = response.status();
        assert_eq!(status, StatusCode::OK, "{:?}", response.text().await);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        assert_eq!(response.headers()["cache-control"], "no-store");
        let mut this = Self { response, unread: String::new() };
        let retry = this.block().await;
        assert!(matches!(retry, Some(Block::Retry(1000..=5000))), "{retry:?}");
        this
    }

    /// The next block; `None` at the end.
    pub(crate) async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let parsed = parse(block);
                self.unread = rest.to_owned();
                return Some(parsed);
            }
            let chunk = timeout(TEST_TIMEOUT, self.response.chunk()).await.expect("a block comes");
            match chunk.expect("the connection is up") {
                Some(chunk) => self.unread.push_str(std::str::from_utf8(&chunk).expect("text")),
                None => {
                    assert_eq!(self.unread, "", "the stream ends within a block");
                    return None;
                }
            }
        }
    }

    /// Name, id and task of the next event.
    pub(crate) async fn event(&mut self) -> (String, String, Value) {
        loop {
            match self.block().await {
                Some(Block::Event { name, id, task }) => return (name, id, task),
                Some(Block::Comment) => {}
                other => panic!("no event: {other:?}"),
            }
        }
    }

    /// The next event has this name; its id and its task.
    pub(crate) async fn expect(&mut self, expected: &str) -> (String, Value) {
        let (name, id, task) = self.event().await;
        assert_eq!(name, expected, "{task}");
        (id, task)
    }
}

/// A request to follow a task.
pub(crate) async fn follow(app: &TestApp, task: impl ToString, last_event_id: &str) -> Response {
    follow_at(app, &format!("/v1/tasks/{}/events", task.to_string()), last_event_id).await
}

/// A request for the events at `path`.
pub(crate) async fn follow_at(app: &TestApp, path: &str, last_event_id: &str) -> Response {
    let mut request = app.client.get(app.url(path));
    if !last_event_id.is_empty() {
        request = request.header("Last-Event-ID", last_event_id);
    }
    request.send().await.expect("the API answers")
}

fn parse(block: &str) -> Block {
    if block == ":" {
        return Block::Comment;
    }
    if let Some(retry) = block.strip_prefix("retry: ") {
        return Block::Retry(retry.parse().expect("a number"));
    }
    let fields: Vec<_> = block.lines().filter_map(|line| line.split_once(": ")).collect();
    let [("id", id), ("event", name), ("data", data)] = fields[..] else {
        panic!("no event: {block}");
    };
    let task = serde_json::from_str(data).expect("the task as JSON");
    Block::Event { name: name.to_owned(), id: id.to_owned(), task }
}
