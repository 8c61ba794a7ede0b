//! Lists of tasks: their parameters, and where the next page is.

mod error;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::{MetadataFilter, Sha256Digest, TaskFilter, TaskId};
use messaging::{ListQuery, TaskPage};
use percent_encoding::percent_decode_str;
use poem_openapi::{Object, types::Example};
use time::OffsetDateTime;

pub(super) use self::error::ListError;
use super::task::{State, Task};
use crate::tasks::viewer::Viewer;

/// How many tasks a page has, unless its client says otherwise.
const DEFAULT_LIMIT: u8 = 20;

/// Maximum number of `metadata` filters, and of characters of each.
pub(crate) const MAX_METADATA_FILTERS: usize = 8;
const MAX_METADATA_FILTER_CHARS: usize = 1024;

/// The first byte of each cursor.
const CURSOR_VERSION: u8 = 1;

/// A page of a list of tasks.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
pub(super) struct TaskList {
    /// Newest first. They have `object_count` instead of `objects`.
    tasks: Vec<Task>,
    /// The `cursor` of the next page. Absent on the last one.
    next: Option<String>,
}

impl Example for TaskList {
    fn example() -> Self {
        let next = Some("AQGbdnbpwAAAgAAAAAAAAAAAAAAA".to_owned());
        Self { tasks: vec![Task::example().without_objects()], next }
    }
}

/// The parameters of a list.
#[derive(Debug, Default)]
pub(crate) struct ListParameters {
    pub(crate) states: Vec<State>,
    pub(crate) model: Option<String>,
    pub(crate) submitted_after: Option<OffsetDateTime>,
    pub(crate) submitted_before: Option<OffsetDateTime>,
    pub(crate) metadata: Vec<String>,
    pub(crate) limit: Option<u8>,
    pub(crate) cursor: Option<String>,
}

impl ListParameters {
    /// The query that they mean.
    pub(crate) fn query(self, viewer: Viewer) -> Result<ListQuery, ListError> {
        let limit = usize::from(self.limit.unwrap_or(DEFAULT_LIMIT));
        let cursor = self.cursor.clone();
        let filter = TaskFilter { owner: viewer.only_owner(), ..self.filter()? };
        let after = match cursor {
            Some(cursor) => {
                let detail = "cursor must be `next` of a page of the same list";
                let after = after(&cursor, &filter);
                Some(after.ok_or_else(|| ListError::parameter("cursor", detail))?)
            }
            None => None,
        };
        Ok(ListQuery { filter, after, limit })
    }

    fn filter(self) -> Result<TaskFilter, ListError> {
        let model = self.model.map(|model| model.parse()).transpose();
        let model = model.map_err(|error| {
            ListError::parameter("model", format!("model cannot be used: {error}"))
        })?;
        if let (Some(after), Some(before)) = (self.submitted_after, self.submitted_before)
            && after >= before
        {
            let detail = "submitted_before must be later than submitted_after";
            return Err(ListError::parameter("submitted_before", detail));
        }
        let mut states: Vec<_> = self.states.into_iter().map(Into::into).collect();
        states.dedup();
        Ok(TaskFilter {
            states,
            model,
            metadata: metadata_filters(&self.metadata)?,
            from: self.submitted_after.map(TaskId::first_at),
            owner: None,
            before: self.submitted_before.map(TaskId::first_at),
        })
    }
}

fn metadata_filters(texts: &[String]) -> Result<Vec<MetadataFilter>, ListError> {
    if texts.len() > MAX_METADATA_FILTERS {
        let found = texts.len();
        let detail = format!("metadata may be given {MAX_METADATA_FILTERS} times, got {found}");
        return Err(ListError::parameter("metadata", detail));
    }
    let is_usable = |text: &String| {
        !text.is_empty()
            && !text.starts_with('=')
            && text.chars().count() <= MAX_METADATA_FILTER_CHARS
    };
    if !texts.iter().all(is_usable) {
        let detail = format!(
            "metadata must be key or key=value, of up to {MAX_METADATA_FILTER_CHARS} characters"
        );
        return Err(ListError::parameter("metadata", detail));
    }
    let parse = |text: &String| text.parse().unwrap_or_else(|never| match never {});
    Ok(texts.iter().map(parse).collect())
}

/// The text that leads from a page with this last task to the next one, of the same list only.
fn cursor(last: TaskId, filter: &TaskFilter) -> String {
    let mut bytes = vec![CURSOR_VERSION];
    bytes.extend(last.uuid().as_bytes());
    bytes.extend(fingerprint(filter));
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The last task of the page that `cursor` is from. `None` if it is none, or of a list with another filter.
fn after(cursor: &str, filter: &TaskFilter) -> Option<TaskId> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (version, rest) = bytes.split_first()?;
    let (id, fingerprint_of_list) = rest.split_first_chunk::<16>()?;
    let is_of_list = *version == CURSOR_VERSION && fingerprint_of_list == fingerprint(filter);
    is_of_list.then(|| TaskId::from_bytes(*id))
}

fn fingerprint(filter: &TaskFilter) -> [u8; 4] {
    let digest = Sha256Digest::of(format!("{filter:?}"));
    let mut fingerprint = [0; 4];
    fingerprint.copy_from_slice(&digest.as_bytes()[..4]);
    fingerprint
}

impl TaskList {
    pub(super) fn new(page: TaskPage, filter: &TaskFilter) -> Self {
        let last = page.records.last().map(|record| record.job.task_id);
        let next = last.filter(|_| page.has_more).map(|last| cursor(last, filter));
        Self {
            tasks: page
                .records
                .into_iter()
                .map(|record| Task::from(record).without_objects())
                .collect(),
            next,
        }
    }

    /// The header `Link` (RFC 8288): the address of the next page, after a request with this query.
    pub(super) fn link(&self, query: Option<&str>) -> Option<String> {
        let next = self.next.as_ref()?;
        let is_kept = |pair: &&str| {
            let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
            !pair.is_empty() && percent_decode_str(name).ne(*b"cursor")
        };
        let mut pairs: Vec<&str> = query.unwrap_or_default().split('&').filter(is_kept).collect();
        let cursor = format!("cursor={next}");
        pairs.push(&cursor);
        Some(format!("</v1/tasks?{}>; rel=\"next\"", pairs.join("&")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_on_in_its_own_list_only() {
        let (id, filter) = (TaskId::generate(), TaskFilter::default());
        let text = cursor(id, &filter);
        assert_eq!(after(&text, &filter), Some(id));
        let other = TaskFilter { model: "m".parse().ok(), ..TaskFilter::default() };
        assert_eq!(after(&text, &other), None);
        for wrong in
            [String::new(), text[1..].to_owned(), format!("{text}A"), text.replace('A', "B")]
        {
            assert_eq!(after(&wrong, &filter), None, "{wrong}");
        }
    }

    #[test]
    fn a_link_keeps_all_other_parameters() {
        let list = TaskList { tasks: Vec::new(), next: Some("x-1".to_owned()) };
        let cases = [
            (None, "</v1/tasks?cursor=x-1>; rel=\"next\""),
            (Some("limit=2"), "</v1/tasks?limit=2&cursor=x-1>; rel=\"next\""),
            (
                Some("a=1&cursor=y&&curs%6fr=z&cursors=1"),
                "</v1/tasks?a=1&cursors=1&cursor=x-1>; rel=\"next\"",
            ),
        ];
        for (query, expected) in cases {
            assert_eq!(list.link(query).as_deref(), Some(expected));
        }
        assert_eq!(TaskList { next: None, ..list }.link(Some("limit=2")), None);
    }
}
