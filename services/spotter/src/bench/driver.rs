//! A client that drives an API: keeps its queue full, or sends and asks at a fixed pace.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use client::{CacheControl, Client, ClientError, Submission, Task, Timeouts};
use domain::TaskId;
use time::OffsetDateTime;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use crate::{bench::samples::Latencies, error::CliError};

/// The pause before a task that has not ended is asked for again.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// The pause after a refusal.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// After how many runs the result of a picture is known, if results are kept at all.
const RUNS_UNTIL_KNOWN: usize = 50;

/// What an answer may take; longer is a failure of the system, not a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long one request for a task is held open.
const WAIT: Duration = Duration::from_secs(10);

/// One API and one picture to send. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Driver {
    api: Client,
    submission: Submission,
}

/// How long one picture took, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Journey {
    /// From its submission to its result.
    pub(crate) whole: Duration,
    /// From when the API had taken it in to when a worker had it.
    pub(crate) queue: Duration,
    /// From when its result was there to when its client had it: the record is stored, and told.
    pub(crate) store: Duration,
}

/// What came of uploads at a fixed pace.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Uploads {
    /// Uploads a second that were due.
    pub(crate) rate: u32,
    pub(crate) refused: usize,
    /// Of those accepted, each from the moment it was due: one that starts late because others are
    /// slow is charged for that.
    pub(crate) latency: Latencies,
}

/// What came of asking as fast as answers come.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Reads {
    pub(crate) per_second: f64,
    pub(crate) latency: Latencies,
}

impl Driver {
    pub(crate) fn new(base: &str, picture: &[u8]) -> Result<Self, CliError> {
        let timeouts = Timeouts { connect: PATIENCE, request: PATIENCE };
        let api = Client::new(base, timeouts).map_err(odd)?;
        // What is measured is the way through the queue: a picture that was sent before is run again.
        let cache_control = CacheControl::NoCache;
        let submission =
            Submission { cache_control, ..Submission::new("picture.jpg", picture.to_vec()) };
        Ok(Self { api, submission })
    }

    /// Keeps `open` tasks in the queue for `time`, and returns when each ended, in order.
    pub(crate) async fn saturate(
        &self,
        time: Duration,
        open: usize,
    ) -> Result<Vec<OffsetDateTime>, CliError> {
        let started = Instant::now();
        let (mut waiting, mut ends) = (VecDeque::new(), Vec::new());
        while started.elapsed() < time {
            while waiting.len() < open {
                waiting.push_back(self.insist().await?);
            }
            ends.extend(self.ended_in_line(&mut waiting).await?);
            sleep(ASK_EVERY).await;
        }
        self.drain(waiting, &mut ends).await?;
        Ok(ends)
    }

    /// Sends `jobs` pictures at once, and returns when each ended that ended after the last was sent, in
    /// order: what the others cost was shared with sending.
    pub(crate) async fn backlog(&self, jobs: usize) -> Result<Vec<OffsetDateTime>, CliError> {
        let mut waiting = VecDeque::with_capacity(jobs);
        for _ in 0..jobs {
            waiting.push_back(self.insist().await?);
        }
        let sent = OffsetDateTime::now_utc();
        let mut ends = Vec::with_capacity(jobs);
        self.drain(waiting, &mut ends).await?;
        ends.retain(|end| *end > sent);
        Ok(ends)
    }

    async fn drain(
        &self,
        mut waiting: VecDeque<TaskId>,
        ends: &mut Vec<OffsetDateTime>,
    ) -> Result<(), CliError> {
        while !waiting.is_empty() {
            ends.extend(self.ended_in_line(&mut waiting).await?);
            sleep(ASK_EVERY).await;
        }
        ends.sort_unstable();
        Ok(())
    }

    /// Asks for the oldest tasks until one has not ended: each is asked for about once.
    async fn ended_in_line(
        &self,
        waiting: &mut VecDeque<TaskId>,
    ) -> Result<Vec<OffsetDateTime>, CliError> {
        let mut ends = Vec::new();
        while let Some(id) = waiting.front() {
            let Some(end) = self.task(*id, Duration::ZERO).await?.finished_at else { break };
            ends.push(end);
            waiting.pop_front();
        }
        Ok(ends)
    }

    /// One picture from its submission to its result.
    pub(crate) async fn alone(&self) -> Result<Journey, CliError> {
        let submitted = Instant::now();
        let id = self.insist().await?;
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

    /// So many submissions of the same picture, each from its submission to its result, which is in
    /// the answer: nothing is run. `None` where results are not kept.
    pub(crate) async fn again(&self, times: usize) -> Result<Option<Vec<Duration>>, CliError> {
        let cache_control = CacheControl::UseCached;
        let submission = Submission { cache_control, ..self.submission.clone() };
        let mut took = Vec::with_capacity(times);
        let mut runs = 0;
        while took.len() < times && runs < RUNS_UNTIL_KNOWN {
            let started = Instant::now();
            let Some(task) = self.submit(&submission).await? else {
                sleep(REFUSED_PAUSE).await;
                continue;
            };
            if task.cached {
                took.push(started.elapsed());
                continue;
            }
            // Its result is kept once it has been asked for, a moment later.
            runs += 1;
            while self.task(task.task_id, WAIT).await?.finished_at.is_none() {}
            sleep(ASK_EVERY).await;
        }
        Ok((took.len() == times).then_some(took))
    }

    /// The id of a task that has ended.
    pub(crate) async fn ended_task(&self) -> Result<TaskId, CliError> {
        let id = self.insist().await?;
        while self.task(id, WAIT).await?.finished_at.is_none() {}
        Ok(id)
    }

    /// Sends pictures at a fixed pace, whether or not answers come.
    pub(crate) async fn upload_at(&self, rate: u32, time: Duration) -> Uploads {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        // A tick that is late does not move those after it.
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

    /// Asks the original route for one task, again and again, over so many connections.
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
        let took = took.map_err(odd)?.concat();
        let per_second = took.len() as f64 / started.elapsed().as_secs_f64();
        Ok(Reads { per_second, latency: Latencies::of(took) })
    }

    /// Sends the picture until it is accepted.
    async fn insist(&self) -> Result<TaskId, CliError> {
        loop {
            match self.submit(&self.submission).await? {
                Some(task) => return Ok(task.task_id),
                None => sleep(REFUSED_PAUSE).await,
            }
        }
    }

    /// `None`: refused for now.
    async fn submit(&self, submission: &Submission) -> Result<Option<Task>, CliError> {
        match self.api.submit(submission).await {
            Ok(task) => Ok(Some(task)),
            Err(ClientError::Busy { .. }) => Ok(None),
            Err(error) => Err(odd(error)),
        }
    }

    async fn task(&self, id: TaskId, wait: Duration) -> Result<Task, CliError> {
        self.api.task(id, wait).await.map_err(odd)
    }
}

fn odd(error: ClientError) -> CliError {
    CliError::Unavailable(format!("the API did not do its part: {error}"))
}
