//! Whether anything happens at all: a long command is given up when nothing does.

use std::time::Duration;

use tokio::{sync::watch, time::timeout};

/// Returns once nothing has happened for so long.
pub(super) async fn silence(mut seen: watch::Receiver<()>, limit: Duration) {
    while let Ok(Ok(())) = timeout(limit, seen.changed()).await {}
}
