//! Nothing accepted is ever lost: the whole system as processes, under load, while things break.
//!
//! Each scenario starts a system, applies a load of real pictures, breaks one kind of thing again and
//! again, stops the load, heals, waits until the queue is empty, and holds what happened against
//! the invariants in `checker.rs`. `CHAOS_SEED=…` repeats a run's choices, `CHAOS_SECONDS=…` sets
//! the length of the mixed ones, `CHAOS_SOAK_JOBS=…` that of the soak, `CHAOS_LOGS=FOLDER` keeps
//! what the processes wrote.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "in a test, a panic with a clear message is the right report, and a table tells the rest"
)]

mod chaos;
mod checker;
mod client;
mod end;
mod faults;
mod history;
mod load;
mod mixed;
mod pictures;
mod report;
mod scenarios;
mod soak;
mod stand;
mod steps;
