//! Extends the `ack_wait` of a message while it is worked on.

use async_nats::Subject;
use bytes::Bytes;
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::Messaging;

const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// Extends the `ack_wait` of a delivered message until this is dropped: every third of it, from a task of its own.
#[derive(Debug)]
pub struct KeepAlive {
    task: JoinHandle<()>,
}

impl KeepAlive {
    /// For a delivery that has just begun, by the subject that settles it.
    pub(crate) fn start(messaging: &Messaging, reply: Subject) -> Self {
        let messaging = messaging.clone();
        let every = messaging.config().ack_wait / 3;
        let task = tokio::spawn(async move {
            let mut ticks = interval_at(Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let extend = messaging.client().publish(reply.clone(), IN_PROGRESS);
                if let Err(error) = messaging.within("extend an ack_wait", extend).await {
                    tracing::warn!(%error, "an ack_wait was not extended");
                }
            }
        });
        Self { task }
    }
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}
