//! One page of a list.

use std::time::Duration;

use domain::{TaskFilter, TaskId, TaskRecord};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::index::{Candidates, ListError, TaskIndex};
use crate::{MessagingError, TaskStore};

/// How old the list of jobs in the queue may be. Jobs that this process has submitted are in it at once. A first page
/// has all tasks of its time, so that no later page need have others.
const QUEUE_AGE: Duration = Duration::from_millis(250);
const QUEUE_AGE_OF_LATER_PAGES: Duration = Duration::from_secs(5);

/// How many records are read at a time.
const READS: usize = 32;

/// Which page of which list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListQuery {
    /// Which tasks the list has.
    pub filter: TaskFilter,
    /// The last task of the page before; `None` for the first page.
    pub after: Option<TaskId>,
    /// Maximum number of tasks.
    pub limit: usize,
}

/// A page of a list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskPage {
    /// Newest first.
    pub records: Vec<TaskRecord>,
    /// Whether there are older ones.
    pub has_more: bool,
}

impl TaskIndex {
    /// A page of the tasks that `query` asks for. Tasks that come in while a list is read page by page change no later
    /// page: each begins where the one before ended.
    ///
    /// # Errors
    /// [`ListError::Building`] if reading all records for the first time takes too long, or another error of NATS.
    pub async fn page(&self, tasks: &TaskStore, query: &ListQuery) -> Result<TaskPage, ListError> {
        let age = if query.after.is_none() { QUEUE_AGE } else { QUEUE_AGE_OF_LATER_PAGES };
        self.refresh(age).await?;
        let mut page = TaskPage::default();
        let mut before = query.after;
        loop {
            // One more than the limit shows whether there are more.
            let wanted = query.limit + 1 - page.records.len();
            let Candidates { ids, rest_before } = self.candidates(&query.filter, before, wanted);
            let reads = ids.into_iter().map(|(id, has_record)| self.read(tasks, id, has_record));
            let records: Vec<_> = stream::iter(reads).buffered(READS).try_collect().await?;
            // What was found may have changed or expired meanwhile.
            let records = records.into_iter().flatten();
            page.records.extend(records.filter(|record| query.filter.matches(record)));
            page.has_more = page.records.len() > query.limit;
            if page.has_more || rest_before.is_none() {
                page.records.truncate(query.limit);
                return Ok(page);
            }
            before = rest_before;
            // A filter that matches rarely looks at many entries.
            tokio::task::yield_now().await;
        }
    }

    /// The task's record; `None` if it has expired, or cannot be read, which requests for this task report.
    async fn read(
        &self,
        tasks: &TaskStore,
        id: TaskId,
        has_record: bool,
    ) -> Result<Option<TaskRecord>, MessagingError> {
        let mut read = if has_record { tasks.get(id).await } else { tasks.find_queued(id).await };
        // Its record was lost, as by a purge of the bucket, and its job was not.
        if has_record && matches!(read, Ok(None)) && self.inner.queued.read().has(id) {
            self.inner.entries.write().remove(id);
            read = tasks.find_queued(id).await;
        }
        match read {
            Ok(Some(record)) => Ok(Some(record)),
            // It need not be read again for the next page.
            Ok(None) | Err(MessagingError::Record { .. }) => {
                self.inner.entries.write().remove(id);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
