//! Following a batch by its events.

use std::time::Duration;

use domain::BatchId;
use reqwest::Method;
use tokio::time::sleep;

use super::view::Batch;
use crate::{
    Client, ClientError,
    api::{RETRY_AFTER, open},
    lines::Lines,
};

/// How long one connection is used for.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Client {
    /// Follows a batch until it is finished, and hands each state of it to `on_change`. Connects again while the API is
    /// busy or does not answer: the batch is stored, whether or not an API can be reached at the moment.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with status 404 for an unknown id and 410 for an expired one; any other
    /// [`ClientError`] that is not transient.
    pub async fn await_batch(
        &self,
        id: BatchId,
        mut on_change: impl FnMut(&Batch),
    ) -> Result<Batch, ClientError> {
        loop {
            match self.read_events(id, &mut on_change).await {
                Ok(Some(finished)) => return Ok(finished),
                // The API stops.
                Ok(None) => sleep(RETRY_AFTER).await,
                Err(error) if error.is_transient() => {
                    sleep(error.retry_after().unwrap_or(RETRY_AFTER)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The finished batch; `None` if its events ended before.
    async fn read_events(
        &self,
        id: BatchId,
        on_change: &mut impl FnMut(&Batch),
    ) -> Result<Option<Batch>, ClientError> {
        let request = self.request(Method::GET, &format!("/v1/batches/{id}/events"));
        let answer = open(request.timeout(LONGEST)).await.map_err(|refusal| refusal.error)?;
        let mut lines = Lines::new(answer);
        while let Some(line) = lines.next().await? {
            // The data of each event is the batch, on one line.
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let batch: Batch = serde_json::from_slice(data)?;
            on_change(&batch);
            if batch.is_finished() {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}
