//! A typed client of the API's versioned routes (`/v1`), and downloads of files.
//!
//! Owns the JSON of `/v1` as a client sees it, and what a client does with each answer: which ones it retries, after
//! how long, and how it reports the others. Knows nothing of the queue, the records or the detector. It
//! is the only crate that knows `reqwest`; tests aside.

mod api;
mod batch;
pub mod download;
mod error;
mod lines;
mod list;
mod operations;
mod query;
mod submission;
mod task;
mod tls;

pub use api::{Client, Timeouts};
pub use batch::{
    Batch, BatchLinks, BatchNotReceived, BatchResults, BatchState, BatchSubmission, ItemResult,
    PictureFile, RefusedItem,
};
pub use error::ClientError;
pub use list::{TaskPages, TaskQuery};
pub use operations::{
    ApiState, ClassTotal, LaneState, Operations, OperationsEvents, QueueState, RefusalTotal,
    RunningTask, ServedModel, StageLatency, TaskTotals, WebhookState, WorkerState,
};
pub use submission::{CacheControl, Submission};
pub use task::{Failure, FoundObject, Links, State, Task, Timings};
