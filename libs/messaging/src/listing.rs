//! Lists tasks, newest first.
//!
//! NATS finds a record by its key only. So a process that lists tasks keeps an index of them in memory: it reads all
//! records once, when it is first asked for a list, and from then on those that have changed. A process that is not
//! asked for lists keeps nothing and reads nothing.
//!
//! The index only finds tasks. What a list shows is read from the bucket, by id.

mod entries;
mod following;
mod index;
mod page;
mod position;
mod queued_jobs;

pub use self::{
    index::{ListError, TaskIndex},
    page::{ListQuery, TaskPage},
};
