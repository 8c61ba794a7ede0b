//! What a reconciler remembers of jobs whose tasks have no record.

use std::collections::HashMap;

use domain::TaskId;

/// The subjects of jobs without a record, from one round to the next. A reconciler without this state finds
/// the loss of no such job.
#[derive(Default)]
pub(super) struct UnrecordedJobs {
    /// In the queue at the end of the previous round.
    pub(super) waiting: HashMap<TaskId, String>,
    /// Not in the queue any more in the previous round, without a terminal record.
    pub(super) missing: HashMap<TaskId, String>,
}
