//! The routes, their requests and responses, and the document that describes them.

pub(crate) mod error;
pub(crate) mod health;
pub(crate) mod index;
pub(crate) mod legacy;
pub(crate) mod openapi;
pub(crate) mod rejection;
pub(crate) mod v1;

mod schema;
mod tag;
