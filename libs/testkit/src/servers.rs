//! Real servers, and what they need: certificates and disks.

mod certificates;
mod cluster;
mod collector;
mod nats;
mod redis;
mod small_disk;

pub use certificates::Certificates;
pub use cluster::NatsCluster;
pub use collector::{Collector, ReceivedSpan};
pub use nats::{NatsServer, NatsServerBuilder, StreamState};
pub use redis::RedisServer;
pub use small_disk::SmallDisk;
