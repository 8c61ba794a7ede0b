//! Real servers and real processes for tests: nats-server, redis-server, the project's own binaries, and a simulation
//! of a cluster's autoscaling ([`Autoscaler`]).
//!
//! A dev-dependency only; it knows no crate of the project. Every process it starts listens on 127.0.0.1 on a port of
//! its own, is killed and reaped when its guard is dropped, and is killed by the kernel when the test process is killed.
//! Only [`eventually`] and the two waits for a subscription are asynchronous, so plain tests and `#[tokio::test]`s use
//! the rest alike.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "this crate runs only in tests, where a panic with a clear message is the right report"
)]

mod autoscaler;
mod files;
mod network;
mod process;
mod servers;

use std::time::{Duration, Instant};

pub use autoscaler::{
    Activation, Autoscaler, Change, Ended, Fallback, FallbackBehavior, Hpa, NoLag, Policy, Queue,
    Recording, Replicas, Sample, ScaledObject, ScalingRules, SelectPolicy, Trigger, proposal,
};
pub use files::{picture, require, workspace_root};
pub use network::{Direction, TcpProxy, free_address, free_port, http_client, http_client_with};
pub use process::{Line, Output, Process, ProcessBuilder};
pub use servers::{
    Certificates, Collector, HttpRequest, HttpServer, NatsCluster, NatsServer, NatsServerBuilder,
    ReceivedSpan, RedisServer, SmallDisk, StreamState, http_answer,
};

/// How long a server may take to start on a busy machine before a test gives up on it.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a condition without an event is polled.
const POLL_EVERY: Duration = Duration::from_millis(10);

/// Polls `probe` until it returns `Some`. For conditions that offer no event to wait for.
///
/// # Panics
/// If `timeout` passes first.
pub async fn eventually<T, F>(timeout: Duration, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(started.elapsed() < timeout, "the condition was not met within {timeout:?}");
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// As [`eventually`], for synchronous code; `None` if `timeout` passes first.
pub(crate) fn poll_until<T>(timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if started.elapsed() >= timeout {
            return None;
        }
        std::thread::sleep(POLL_EVERY);
    }
}
