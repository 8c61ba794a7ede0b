//! The receiver of webhooks, and its faults.

use std::{collections::BTreeMap, sync::Arc};

use domain::{BatchId, TaskId};
use parking_lot::Mutex;
use serde_json::Value;
use testkit::{HttpRequest, HttpServer, free_port, http_answer};

use crate::verdict::{batch_view::BatchView, terminal_state::TerminalState};

/// A server that takes webhooks, at one address.
pub(crate) struct Receiver {
    port: u16,
    /// `None` while it is down.
    server: Option<HttpServer>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    answer: Mutex<Answer>,
    taken: Mutex<Taken>,
}

/// What it answers webhooks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Answer {
    #[default]
    NoContent,
    ServiceUnavailable,
    /// Nothing, without an end.
    Silence,
}

/// The webhooks that it has taken: those that it answered with 204.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taken {
    /// The terminal states that each task was reported with.
    pub(crate) states: BTreeMap<TaskId, Vec<TerminalState>>,
    /// The ends that each batch was reported with.
    pub(crate) batches: BTreeMap<BatchId, Vec<BatchView>>,
    /// Those that are no webhooks.
    pub(crate) unreadable: Vec<String>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let mut receiver = Self { port: free_port(), server: None, shared: Arc::default() };
        receiver.restart();
        receiver
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn answer_with(&self, answer: Answer) {
        *self.shared.answer.lock() = answer;
    }

    /// Refuses connections from now on.
    pub(crate) fn stop(&mut self) {
        self.server = None;
    }

    /// Listens again, at the same address.
    pub(crate) fn restart(&mut self) {
        let shared = Arc::clone(&self.shared);
        let address = format!("127.0.0.1:{}", self.port);
        self.server = Some(HttpServer::start_at(&address, move |request| shared.take(request)));
    }

    pub(crate) fn taken(&self) -> Taken {
        self.shared.taken.lock().clone()
    }
}

impl Shared {
    fn take(&self, request: &HttpRequest) -> Option<Vec<u8>> {
        match *self.answer.lock() {
            Answer::NoContent => {}
            Answer::ServiceUnavailable => {
                return Some(http_answer("503 Service Unavailable", "", b""));
            }
            Answer::Silence => return None,
        }
        let mut taken = self.taken.lock();
        match read(&request.body) {
            Some(Reported::Task(id, state)) => taken.states.entry(id).or_default().push(state),
            Some(Reported::Batch(id, view)) => taken.batches.entry(id).or_default().push(view),
            None => taken.unreadable.push(String::from_utf8_lossy(&request.body).into_owned()),
        }
        Some(http_answer("204 No Content", "", b""))
    }
}

/// What a webhook reports.
enum Reported {
    Task(TaskId, TerminalState),
    Batch(BatchId, BatchView),
}

fn read(body: &[u8]) -> Option<Reported> {
    let webhook: Value = serde_json::from_slice(body).ok()?;
    let data = &webhook["data"];
    if webhook["type"] == "batch.finished" {
        let (id, view) = BatchView::parse(data)?;
        return (view.is_finished() && view.adds_up()).then_some(Reported::Batch(id, view));
    }
    Some(Reported::Task(data["task_id"].as_str()?.parse().ok()?, TerminalState::from_v1(data)?))
}
