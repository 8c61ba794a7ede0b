//! No accepted job is ever lost: the whole system as processes, under load, with faults injected.
//!
//! Each scenario starts a system, applies a load of real pictures, injects one kind of fault repeatedly, stops the
//! load, heals, waits until the queue is empty, and checks the clients' history against the invariants in
//! `verdict/checker.rs`. `CHAOS_SEED=…` repeats a run's random choices, `CHAOS_SECONDS=…` sets the length of the mixed
//! scenarios, `CHAOS_SOAK_JOBS=…` that of the soak, `CHAOS_LOGS=FOLDER` keeps the processes' logs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "in a test, a panic with a clear message is the right report, and a table tells the rest"
)]

mod environment;
mod faults;
mod final_reads;
mod keys;
mod load;
mod nats;
mod picture_server;
mod receiver;
mod scenario;
mod steps;

/// The tests.
mod scenarios {
    mod batches;
    mod mixed;
    mod single_faults;
    mod soak;
    mod webhooks;
}

/// What clients observed, checked against the invariants.
mod verdict {
    pub(crate) mod batch_history;
    pub(crate) mod batch_view;
    pub(crate) mod batches;
    pub(crate) mod checker;
    pub(crate) mod history;
    pub(crate) mod keys;
    pub(crate) mod observed_batch;
    pub(crate) mod report;
    pub(crate) mod terminal_state;
    pub(crate) mod webhook;
}
