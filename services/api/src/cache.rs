//! What Redis holds for the API: copies of finished tasks, and results for pictures that come again.
//! It may be empty, slow or away without any answer changing.

pub(crate) mod breaker;
pub(crate) mod current_model;

mod connection;
mod responses;
mod results;
mod server;

pub(crate) use connection::RedisCache;
pub(crate) use responses::ResponseCache;
pub(crate) use results::ResultCache;
pub use server::RedisServer;
