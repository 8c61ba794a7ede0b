//! The routes, their requests and responses, and the OpenAPI document.

pub(crate) mod deepstack;
pub(crate) mod error;
mod error_headers;
pub(crate) mod health;
pub(crate) mod held_error;
pub(crate) mod huggingface;
pub(crate) mod index;
pub(crate) mod legacy;
pub(crate) mod open_inference;
pub(crate) mod openapi;
pub(crate) mod rejection;
pub(crate) mod roboflow;
pub(crate) mod v1;

mod body_error;
mod bounded;
mod held;
mod keyed;
mod schema;
mod tag;
