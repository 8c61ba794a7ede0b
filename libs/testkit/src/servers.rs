//! Real servers, and what they need: certificates and disks.

mod certificates;
mod cluster;
mod collector;
mod http;
mod nats;
mod redis;
mod small_disk;

pub use certificates::Certificates;
pub use cluster::NatsCluster;
pub use collector::{Collector, ReceivedSpan};
pub use http::{HttpRequest, HttpServer, http_answer};
pub use nats::{NatsServer, NatsServerBuilder, StreamState};
pub use redis::RedisServer;
pub use small_disk::SmallDisk;
