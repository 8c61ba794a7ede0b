//! The connection to NATS: lost, slow, encrypted, and to a server that cannot write.

mod connect;
mod outage;
mod replicas;
mod restart;
mod tls;
mod write_faults;
