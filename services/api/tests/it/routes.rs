//! Each route's answers.

mod batch_breaks;
mod batch_memory;
mod batches;
mod by_url;
mod dead_letters;
mod deepstack;
mod events;
mod formats;
mod health;
mod held;
mod huggingface;
mod image;
mod legacy;
mod list;
mod list_recovery;
mod long_poll;
mod metrics;
mod models;
mod open_inference;
mod openapi;
mod operations;
mod queue_position;
mod roboflow;
mod submission;
mod v1;
mod webhooks;
