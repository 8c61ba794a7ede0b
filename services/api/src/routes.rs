//! The routes, their requests and responses, and the OpenAPI document.

pub(crate) mod deepstack;
pub(crate) mod error;
pub(crate) mod health;
pub(crate) mod index;
pub(crate) mod legacy;
pub(crate) mod openapi;
pub(crate) mod rejection;
pub(crate) mod v1;

mod keyed;
mod schema;
mod tag;
