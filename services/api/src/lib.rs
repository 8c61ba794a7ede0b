//! The HTTP API: routes, request and response types, errors turned into statuses.
//!
//! The only crate that knows `poem` and `redis`. It never runs a model: it publishes jobs and reads
//! records.

mod app;
mod backpressure;
mod breaker;
mod cache;
mod cache_control;
mod config;
mod current_model;
mod docs_page;
mod error;
mod fallback;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod index;
mod metrics;
mod multipart;
mod openapi;
mod original;
mod probes;
mod reconcile;
mod rejection;
mod requests;
mod rounding;
mod schema;
mod security_headers;
mod server;
mod set_up;
mod tasks;
mod upload;
mod v1;

pub use app::{ServeError, listen, serve};
pub use cache::RedisServer;
pub use config::Config;
pub use docs_page::DocsPageError;
pub use openapi::document as openapi_document;
pub use server::ConnectionLimits;
pub use set_up::{SetUpConfig, set_up};
