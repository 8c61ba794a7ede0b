//! HTTP independent of the routes: connections and their timeouts, what all responses have in common, the metrics of
//! each request, and the pages for browsers.

pub(crate) mod accept;
pub(crate) mod console;
pub(crate) mod cors;
pub(crate) mod docs;
pub(crate) mod entity_tag;
pub(crate) mod event_stream;
pub(crate) mod fallback;
pub(crate) mod observe;
pub(crate) mod problem;
pub(crate) mod route_table;
pub(crate) mod samples;
pub(crate) mod security_headers;
pub(crate) mod server;

mod connection;
mod embedded_file;
mod limits;
mod overload;
mod parameters;
mod request_body;
mod stream;
mod streamed_body;
mod timeouts;

pub use cors::AllowedOrigins;
pub use limits::ConnectionLimits;
