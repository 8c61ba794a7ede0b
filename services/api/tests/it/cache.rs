//! The caches in Redis, and the API without Redis.

mod responses;
mod results;
