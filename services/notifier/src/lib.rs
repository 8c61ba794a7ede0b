//! The notifier: reports the end of a task to the URL that its client named (a webhook), signed as Standard Webhooks
//! 1.0.0 says.
//!
//! Stateless: which webhooks are to be delivered, and when, is in the stream. It knows no model and no job.

mod config;
mod deliver;
mod health;
mod metrics;
mod payload;
mod retries;
mod signature;
mod startup;

pub use config::Config;
pub use signature::{InvalidSecret, Secrets};
pub use startup::{NotifierError, run};
