//! The HTTP API: routes, request and response types, errors turned into statuses.
//!
//! The only crate that knows `poem` and `redis`. It never runs a model: it publishes jobs and reads
//! records.

mod app;
mod auth;
mod batches;
mod cache;
mod config;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
mod given_up;
mod http;
mod metrics;
mod models;
mod operations;
mod reconcile;
mod routes;
mod setup;
mod tasks;
mod upload;

pub use app::{PageError, ServeError, listen, serve};
pub use auth::AuthMode;
pub use cache::RedisServer;
pub use config::Config;
pub use http::{AllowedOrigins, ConnectionLimits, console::ConsoleError, docs::DocsPageError};
pub use routes::{deepstack::DeepStackMode, openapi::document as openapi_document};
pub use setup::{SetUpConfig, set_up};
pub use upload::{BatchLimits, FetchConfig};
