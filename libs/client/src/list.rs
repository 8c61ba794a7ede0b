//! Lists of tasks.

use domain::ModelName;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Client, ClientError, State, Task};

/// How many tasks a page may have.
const LARGEST_PAGE: usize = 100;

/// Which tasks a list has: those that all parts match.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskQuery {
    /// Tasks in one of these states. Empty: in any.
    pub states: Vec<State>,
    /// Tasks for this model.
    pub model: Option<ModelName>,
    /// Tasks submitted at this time or later.
    pub submitted_after: Option<OffsetDateTime>,
    /// Tasks submitted before this time.
    pub submitted_before: Option<OffsetDateTime>,
    /// Tasks whose metadata have each of these: `key`, or `key=value`.
    pub metadata: Vec<String>,
}

#[derive(Deserialize)]
struct Page {
    tasks: Vec<Task>,
    #[serde(default)]
    next: Option<String>,
}

/// A list of tasks, read page by page.
#[derive(Debug)]
pub struct TaskPages<'a> {
    client: &'a Client,
    query: String,
    next: Next,
}

#[derive(Debug)]
enum Next {
    First,
    After(String),
    None,
}

impl TaskQuery {
    fn parameters(&self) -> String {
        let mut pairs = Vec::new();
        let mut add = |name: &str, value: &str| {
            pairs.push(format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        };
        for state in &self.states {
            add("state", &state.to_string());
        }
        if let Some(model) = &self.model {
            add("model", model.as_str());
        }
        let times = [
            ("submitted_after", self.submitted_after),
            ("submitted_before", self.submitted_before),
        ];
        for (name, time) in times {
            // Every time that can be read can be written.
            if let Some(time) = time.and_then(|time| time.format(&Rfc3339).ok()) {
                add(name, &time);
            }
        }
        for filter in &self.metadata {
            add("metadata", filter);
        }
        pairs.join("&")
    }
}

impl Client {
    /// The tasks that match, the newest first. Nothing is sent yet.
    #[must_use]
    pub fn tasks(&self, query: &TaskQuery) -> TaskPages<'_> {
        TaskPages { client: self, query: query.parameters(), next: Next::First }
    }
}

impl TaskPages<'_> {
    /// Whether there is another page, which may be empty by then.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !matches!(self.next, Next::None)
    }

    /// The next tasks, `most` at the most; none at the end of the list. They have `object_count` instead of `objects`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn next(&mut self, most: usize) -> Result<Vec<Task>, ClientError> {
        let cursor = match &self.next {
            Next::First => String::new(),
            Next::After(cursor) => {
                format!("&cursor={}", utf8_percent_encode(cursor, NON_ALPHANUMERIC))
            }
            Next::None => return Ok(Vec::new()),
        };
        let limit = most.clamp(1, LARGEST_PAGE);
        let separator = if self.query.is_empty() { "" } else { "&" };
        let path = format!("/v1/tasks?{}{separator}limit={limit}{cursor}", self.query);
        let page: Page = serde_json::from_slice(&self.client.get(&path).await?)?;
        self.next = page.next.map_or(Next::None, Next::After);
        Ok(page.tasks)
    }
}
