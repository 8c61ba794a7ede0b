//! One file a command; what each takes from the command line is in `cli.rs`.

mod api_connection;
pub(crate) mod cancel;
pub(crate) mod detect;
pub(crate) mod dlq;
pub(crate) mod key;
pub(crate) mod model;
mod queue_connection;
pub(crate) mod run_service;
pub(crate) mod shell;
pub(crate) mod submit;
pub(crate) mod tasks;
pub(crate) mod up;
pub(crate) mod watch;
pub(crate) mod webhooks;
