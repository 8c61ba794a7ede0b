//! The caches in Redis: copies of terminal records, and results by picture. Redis may be empty, slow or
//! unavailable without any answer changing.

pub(crate) mod breaker;

mod connection;
mod responses;
mod results;
mod server;

pub(crate) use connection::RedisCache;
pub(crate) use responses::ResponseCache;
pub(crate) use results::ResultCache;
pub use server::RedisServer;
