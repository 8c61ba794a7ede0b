//! Lists tasks.

use messaging::{ListError, ListQuery, TaskPage};

use super::Tasks;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoList {
    #[error("lists are turned off (MAX_LISTED_TASKS=0)")]
    Off,
    #[error(transparent)]
    Unavailable(#[from] ListError),
}

impl Tasks {
    /// A page of the list that `query` asks for.
    pub(crate) async fn list(&self, query: &ListQuery) -> Result<TaskPage, NoList> {
        let index = self.index.as_ref().ok_or(NoList::Off)?;
        Ok(index.page(&self.store, query).await?)
    }
}
