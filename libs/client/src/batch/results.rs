//! The results of a batch.

use std::time::Duration;

use domain::BatchId;
use reqwest::Method;
use serde::Deserialize;
use tokio::time::sleep;

use crate::{
    Client, ClientError, Task,
    api::{RETRY_AFTER, open},
    lines::Lines,
};

/// How long one connection is used for.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// How often in succession the results are asked for again without any further one.
const TRIES: u32 = 5;

/// What became of a picture of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemResult {
    /// Its place in the batch, from 0.
    pub index: u16,
    /// Its name; empty where that is not known.
    pub name: String,
    /// Its task, or why it has none.
    pub outcome: Result<Box<Task>, String>,
}

/// What a line has besides a task.
#[derive(Deserialize)]
struct Head {
    index: u16,
    name: Option<String>,
    error: Option<ItemProblem>,
}

#[derive(Deserialize)]
struct ItemProblem {
    detail: String,
}

/// The results of a batch, in order. Each is read when it is asked for.
pub struct BatchResults {
    client: Client,
    id: BatchId,
    /// How many there should be.
    received: u32,
    /// The index of the next one.
    next: u32,
    lines: Option<Lines>,
}

impl Client {
    /// The results of a batch that has `received` so many pictures. Nothing is sent yet.
    #[must_use]
    pub fn batch_results(&self, id: BatchId, received: u32) -> BatchResults {
        BatchResults { client: self.clone(), id, received, next: 0, lines: None }
    }
}

impl BatchResults {
    /// The next result; `None` behind the last one. Asks for the results again where they break off.
    ///
    /// # Errors
    /// As [`Client::await_batch`]; and if the results break off again and again, the last reason.
    pub async fn next(&mut self) -> Result<Option<ItemResult>, ClientError> {
        let mut tries = 1;
        while self.next < self.received {
            match self.read_next().await {
                Ok(result) => {
                    self.next = u32::from(result.index) + 1;
                    return Ok(Some(result));
                }
                Err(error) if error.is_transient() && tries < TRIES => {
                    self.lines = None;
                    tries += 1;
                    sleep(error.retry_after().unwrap_or(RETRY_AFTER)).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn read_next(&mut self) -> Result<ItemResult, ClientError> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            lines => {
                let path = format!("/v1/batches/{}/results", self.id);
                let request = self.client.request(Method::GET, &path).timeout(LONGEST);
                let answer = open(request).await.map_err(|refusal| refusal.error)?;
                lines.insert(Lines::new(answer))
            }
        };
        while let Some(line) = lines.next().await? {
            let head: Head = serde_json::from_slice(&line)?;
            // From the beginning, where they had broken off.
            if u32::from(head.index) < self.next {
                continue;
            }
            let outcome = match head.error {
                Some(problem) => Err(problem.detail),
                None => Ok(Box::new(serde_json::from_slice(&line)?)),
            };
            let name = head.name.unwrap_or_default();
            return Ok(ItemResult { index: head.index, name, outcome });
        }
        Err(ClientError::NoAnswer("the results ended before the last one".to_owned()))
    }
}
