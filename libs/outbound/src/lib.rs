//! HTTP to addresses that clients name, so that no client reaches what only this machine can (SSRF).
//!
//! [`UrlRules`] decides which URLs are requested, without I/O. [`Client`] resolves a name once, checks every address,
//! and connects to a checked one, for each redirect anew. Nothing is resolved a second time, so an answer of the DNS
//! that changes has no effect. The only crate that connects to addresses that clients name.

mod address;
mod allow_list;
mod client;
mod config;
mod connect;
mod error;
mod hosts;
mod resolver;
mod response;
mod rules;
mod tls;

pub use address::is_public;
pub use allow_list::{AllowList, Allowed, InvalidAllowed, Network};
pub use client::{Client, Limits};
pub use config::Variables;
pub use error::{RequestError, UrlError};
pub use resolver::{Resolver, SystemResolver};
pub use response::Response;
pub use rules::{Target, UrlRules};
pub use tls::Roots;
