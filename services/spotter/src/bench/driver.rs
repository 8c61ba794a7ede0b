//! A load generator: keeps an API's queue full, or sends requests at a fixed rate.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use client::{CacheControl, Client, ClientError, Submission, Task, Timeouts};
use domain::TaskId;
use service::config::secret::Secret;
use time::OffsetDateTime;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{bench::samples::Latencies, error::CliError};

/// The pause before a task that is not terminal is polled again.
const POLL_EVERY: Duration = Duration::from_millis(50);

/// The pause before a refused submission is retried.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// After this many runs the result of a picture is cached, if results are cached at all.
const RUNS_UNTIL_CACHED: usize = 50;

/// How long an answer may take. A longer one is a failure, not a measurement.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one request for a task is held open.
const WAIT: Duration = Duration::from_secs(10);

/// One API and one picture to send. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Driver {
    api: Client,
    submission: Submission,
}

/// The latency of one picture, and of its stages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Journey {
    /// From its submission to its result.
    pub(crate) whole: Duration,
    /// From its acceptance by the API to the start of its run.
    pub(crate) queue: Duration,
    /// From the end of its run to the arrival of the result at the client: the record is stored and published.
    pub(crate) store: Duration,
}

/// The results of uploads at a fixed rate.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Uploads {
    /// The rate, in uploads per second.
    pub(crate) rate: u32,
    pub(crate) refused: usize,
    /// Of accepted uploads, from the moment each was due: a late start, because others are slow, counts.
    pub(crate) latency: Latencies,
}

/// The results of status reads at the highest rate that the API answers.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Reads {
    pub(crate) per_second: f64,
    pub(crate) latency: Latencies,
}

impl Driver {
    pub(crate) fn new(base: &str, picture: &[u8]) -> Result<Self, CliError> {
        let timeouts = Timeouts { connect: REQUEST_TIMEOUT, request: REQUEST_TIMEOUT };
        let api = Client::new(base, timeouts).map_err(unexpected)?;
        // Without a cached result: the way through the queue is measured.
        let cache_control = CacheControl::NoCache;
        let submission =
            Submission { cache_control, ..Submission::new("picture.jpg", picture.to_vec()) };
        Ok(Self { api, submission })
    }

    /// The same with this API key.
    pub(crate) fn with_api_key(self, key: &Secret) -> Result<Self, CliError> {
        let api = self.api.with_api_key(key.expose());
        Ok(Self { api: api.map_err(|error| CliError::Usage(error.to_string()))?, ..self })
    }

    /// Keeps `open` tasks in the queue for `time`, and returns the finish times in order.
    pub(crate) async fn saturate(
        &self,
        time: Duration,
        open: usize,
    ) -> Result<Vec<OffsetDateTime>, CliError> {
        let started = Instant::now();
        let (mut waiting, mut finished) = (VecDeque::new(), Vec::new());
        while started.elapsed() < time {
            while waiting.len() < open {
                waiting.push_back(self.submit_when_accepted().await?);
            }
            finished.extend(self.pop_finished(&mut waiting).await?);
            sleep(POLL_EVERY).await;
        }
        self.drain(waiting, &mut finished).await?;
        Ok(finished)
    }

    /// Sends `jobs` pictures, and asks for no result.
    pub(crate) async fn submit_all(&self, jobs: usize) -> Result<(), CliError> {
        for _ in 0..jobs {
            self.submit_when_accepted().await?;
        }
        Ok(())
    }

    /// Sends `jobs` pictures at once, and returns in order the finish times after the last submission: earlier tasks
    /// shared the CPU with sending.
    pub(crate) async fn backlog(&self, jobs: usize) -> Result<Vec<OffsetDateTime>, CliError> {
        let mut waiting = VecDeque::with_capacity(jobs);
        for _ in 0..jobs {
            waiting.push_back(self.submit_when_accepted().await?);
        }
        let sent = OffsetDateTime::now_utc();
        let mut finished = Vec::with_capacity(jobs);
        self.drain(waiting, &mut finished).await?;
        finished.retain(|finished_at| *finished_at > sent);
        Ok(finished)
    }

    async fn drain(
        &self,
        mut waiting: VecDeque<TaskId>,
        finished: &mut Vec<OffsetDateTime>,
    ) -> Result<(), CliError> {
        while !waiting.is_empty() {
            finished.extend(self.pop_finished(&mut waiting).await?);
            sleep(POLL_EVERY).await;
        }
        finished.sort_unstable();
        Ok(())
    }

    /// Polls the oldest tasks until one is not terminal: each is polled about once.
    async fn pop_finished(
        &self,
        waiting: &mut VecDeque<TaskId>,
    ) -> Result<Vec<OffsetDateTime>, CliError> {
        let mut finished = Vec::new();
        while let Some(id) = waiting.front() {
            let Some(finished_at) = self.task(*id, Duration::ZERO).await?.finished_at else {
                break;
            };
            finished.push(finished_at);
            waiting.pop_front();
        }
        Ok(finished)
    }

    /// Submits one picture and waits for its result.
    pub(crate) async fn alone(&self) -> Result<Journey, CliError> {
        let submitted = Instant::now();
        let id = self.submit_when_accepted().await?;
        loop {
            let Task { submitted_at, started_at, finished_at, .. } = self.task(id, WAIT).await?;
            if let (Some(started_at), Some(finished_at)) = (started_at, finished_at) {
                let now = OffsetDateTime::now_utc();
                return Ok(Journey {
                    whole: submitted.elapsed(),
                    queue: (started_at - submitted_at).unsigned_abs(),
                    store: (now - finished_at).unsigned_abs(),
                });
            }
        }
    }

    /// The latencies of `times` submissions that are answered with a cached result. `None` where results are not
    /// cached.
    pub(crate) async fn cached(&self, times: usize) -> Result<Option<Vec<Duration>>, CliError> {
        let cache_control = CacheControl::UseCached;
        let submission = Submission { cache_control, ..self.submission.clone() };
        let mut took = Vec::with_capacity(times);
        let mut runs = 0;
        while took.len() < times && runs < RUNS_UNTIL_CACHED {
            let started = Instant::now();
            let Some(task) = self.submit(&submission).await? else {
                sleep(RETRY_AFTER).await;
                continue;
            };
            if task.cached {
                took.push(started.elapsed());
                continue;
            }
            // The result is cached a moment after it was first read.
            runs += 1;
            while self.task(task.task_id, WAIT).await?.finished_at.is_none() {}
            sleep(POLL_EVERY).await;
        }
        Ok((took.len() == times).then_some(took))
    }

    /// The id of a terminal task.
    pub(crate) async fn finished_task(&self) -> Result<TaskId, CliError> {
        let id = self.submit_when_accepted().await?;
        while self.task(id, WAIT).await?.finished_at.is_none() {}
        Ok(id)
    }

    /// Sends pictures at a fixed rate, without waiting for answers.
    pub(crate) async fn upload_at(&self, rate: u32, time: Duration) -> Uploads {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        // A late tick does not delay those after it.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut sent = JoinSet::new();
        let uploads = (time.as_secs_f64() * f64::from(rate)).ceil() as u64;
        for _ in 0..uploads {
            let due = ticks.tick().await;
            let driver = self.clone();
            sent.spawn(async move {
                let accepted = driver.api.submit(&driver.submission).await.is_ok();
                accepted.then(|| due.elapsed())
            });
        }
        let outcomes: Vec<Option<Duration>> = sent.join_all().await;
        let refused = outcomes.iter().filter(|outcome| outcome.is_none()).count();
        let accepted = outcomes.into_iter().flatten().collect();
        Uploads { rate, refused, latency: Latencies::of(accepted) }
    }

    /// Reads one task from the original route over `connections` connections for `time`.
    pub(crate) async fn read(
        &self,
        id: TaskId,
        connections: usize,
        time: Duration,
    ) -> Result<Reads, CliError> {
        let route: Arc<str> = format!("/task_result/{id}").into();
        let started = Instant::now();
        let mut readers = JoinSet::new();
        for _ in 0..connections {
            let (api, route) = (self.api.clone(), Arc::clone(&route));
            readers.spawn(async move {
                let mut took = Vec::new();
                while started.elapsed() < time {
                    let asked = Instant::now();
                    api.get(&route).await?;
                    took.push(asked.elapsed());
                }
                Ok::<_, ClientError>(took)
            });
        }
        let took: Result<Vec<Vec<Duration>>, _> = readers.join_all().await.into_iter().collect();
        let took = took.map_err(unexpected)?.concat();
        let per_second = took.len() as f64 / started.elapsed().as_secs_f64();
        Ok(Reads { per_second, latency: Latencies::of(took) })
    }

    /// Submits the picture, and retries until it is accepted.
    async fn submit_when_accepted(&self) -> Result<TaskId, CliError> {
        loop {
            match self.submit(&self.submission).await? {
                Some(task) => return Ok(task.task_id),
                None => sleep(RETRY_AFTER).await,
            }
        }
    }

    /// Submits the picture once. `None`: the API is busy.
    async fn submit(&self, submission: &Submission) -> Result<Option<Task>, CliError> {
        match self.api.submit(submission).await {
            Ok(task) => Ok(Some(task)),
            Err(ClientError::Busy { .. }) => Ok(None),
            Err(error) => Err(unexpected(error)),
        }
    }

    async fn task(&self, id: TaskId, wait: Duration) -> Result<Task, CliError> {
        self.api.task(id, wait).await.map_err(unexpected)
    }
}

fn unexpected(error: ClientError) -> CliError {
    CliError::Unavailable(format!("the API failed: {error}"))
}
