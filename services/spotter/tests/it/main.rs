//! The command line, and the whole system as processes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "in a test, a panic with a clear message is the right report"
)]

mod harness;
mod node;
mod poison;
mod reference;
mod running_up;

/// The commands, one file each.
mod commands {
    mod bench;
    mod detect;
    mod dlq;
    mod full_disk;
    mod key;
    mod model;
    mod model_pull;
    mod shell;
    mod submit;
    mod submit_batch;
    mod submit_folder;
    mod tasks;
    mod up;
    mod watch;
}

/// API, workers and servers together.
mod system {
    mod autoscaling;
    mod batches;
    mod cancelling;
    mod client_package;
    mod cloud_events;
    mod console;
    mod deepstack;
    mod drawings;
    mod failures;
    mod huggingface;
    mod metrics;
    mod models;
    mod nasty;
    mod nats_permissions;
    mod open_inference;
    mod pools;
    mod providers;
    mod result_cache;
    mod roboflow;
    mod secrets;
    mod shadow;
    mod tiles;
    mod traces;
    mod webhooks;
}

/// docs/recipes.md: what it shows runs.
mod recipes {
    mod camera;
    mod folder;
    mod moving_over;
    mod nginx;
    mod notebook;
    mod object_store;
    mod page;
    mod proxies;
    mod shell;
    mod webhooks;
}

/// Rules that the source, the documentation and the deployments keep.
mod project {
    mod compose;
    mod crates;
    mod fuzz_lock;
    mod manifests;
    mod python_client;
    mod readme;
    mod typescript_client;
}
