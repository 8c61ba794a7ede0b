//! Child processes that are stopped together.

use std::time::Duration;

use service::config::host::Host;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    child::{self, StartError},
    ports::{self, PortReservation},
    spec::Spec,
};
use crate::error::CliError;

/// Child processes that are stopped together, and the ports that stay theirs while they are restarted.
pub(super) struct ProcessGroup {
    children: JoinSet<Result<(), CliError>>,
    stop: CancellationToken,
    grace: Duration,
    reservations: Vec<PortReservation>,
}

impl ProcessGroup {
    /// An empty group. Each child gets `grace` to end after SIGTERM, then it is killed.
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            children: JoinSet::new(),
            stop: CancellationToken::new(),
            grace,
            reservations: Vec::new(),
        }
    }

    /// Starts a child and waits until it is ready. Returns what the child announced.
    ///
    /// # Errors
    /// If it cannot be started, or ends before it is ready.
    pub(super) async fn start(&mut self, spec: Spec) -> Result<String, StartError> {
        child::start(spec, self.grace, &self.stop, &mut self.children).await
    }

    /// As [`ProcessGroup::start`], for a server that listens on `wanted`, or on another port if that one is taken.
    /// Returns the port, and what the server announced.
    ///
    /// # Errors
    /// As [`ports::start_near`].
    pub(super) async fn start_near(
        &mut self,
        host: &Host,
        wanted: u16,
        spec: impl Fn(u16) -> Result<Spec, CliError>,
    ) -> Result<(u16, String), CliError> {
        let started = ports::start_near(host, wanted, async |port| self.start(spec(port)?).await);
        let started = started.await?;
        self.reservations.push(started.reservation);
        Ok((started.port, started.started))
    }

    /// Waits until a child has ended that will not be started again. `None` if the group is empty.
    pub(super) async fn ended(&mut self) -> Option<Result<(), CliError>> {
        let ended = self.children.join_next().await?;
        Some(ended.unwrap_or_else(|error| Err(CliError::Unavailable(error.to_string()))))
    }

    /// Stops every child and waits until all have ended.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        while self.children.join_next().await.is_some() {}
    }
}
