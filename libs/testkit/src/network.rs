//! Ports, and a proxy that injects network faults.

mod frames;
mod http_client;
pub(crate) mod ports;
mod proxy;

pub use http_client::{http_client, http_client_with};
pub use ports::{free_address, free_port};
pub use proxy::{Direction, TcpProxy};
