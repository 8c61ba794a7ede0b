//! Ports, and a proxy that injects network faults.

mod frames;
pub(crate) mod ports;
mod proxy;

pub use ports::{free_address, free_port};
pub use proxy::{Direction, TcpProxy};
