//! Differences between queue and records, and their repair.

mod rounds;
mod stuck_jobs;
