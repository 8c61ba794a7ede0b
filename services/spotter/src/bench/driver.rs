//! A client that drives an API: keeps its queue full, or sends and asks at a fixed pace.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{
    Client, StatusCode, header,
    multipart::{Form, Part},
};
use serde::Deserialize;
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

/// One API and one picture to send. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Driver {
    http: Client,
    base: String,
    picture: &'static [u8],
}

#[derive(Debug, Deserialize)]
struct Task {
    task_id: String,
    #[serde(with = "time::serde::rfc3339")]
    submitted_at: OffsetDateTime,
    #[serde(default, with = "time::serde::rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    finished_at: Option<OffsetDateTime>,
    #[serde(default)]
    cached: bool,
}

/// What becomes of a picture that was sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It is run again: what is measured is the way through the queue.
    Run,
    /// It is answered with the result that is known.
    Known,
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
        let http = Client::builder().timeout(PATIENCE).build().map_err(odd)?;
        // One picture for as long as this command runs, sent thousands of times without a copy.
        let picture = Vec::leak(picture.to_vec());
        Ok(Self { http, base: base.trim_end_matches('/').to_owned(), picture })
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
        mut waiting: VecDeque<String>,
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
        waiting: &mut VecDeque<String>,
    ) -> Result<Vec<OffsetDateTime>, CliError> {
        let mut ends = Vec::new();
        while let Some(id) = waiting.front() {
            let Some(end) = self.task(id, 0).await?.finished_at else { break };
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
            let Task { submitted_at, started_at, finished_at, .. } = self.task(&id, 10).await?;
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
        let mut took = Vec::with_capacity(times);
        let mut runs = 0;
        while took.len() < times && runs < RUNS_UNTIL_KNOWN {
            let started = Instant::now();
            let Some(task) = self.submit(Repeat::Known).await? else {
                sleep(REFUSED_PAUSE).await;
                continue;
            };
            if task.cached {
                took.push(started.elapsed());
                continue;
            }
            // Its result is kept once it has been asked for, a moment later.
            runs += 1;
            while self.task(&task.task_id, 10).await?.finished_at.is_none() {}
            sleep(ASK_EVERY).await;
        }
        Ok((took.len() == times).then_some(took))
    }

    /// The id of a task that has ended.
    pub(crate) async fn ended_task(&self) -> Result<String, CliError> {
        let id = self.insist().await?;
        while self.task(&id, 10).await?.finished_at.is_none() {}
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
                let accepted = matches!(driver.submit(Repeat::Run).await, Ok(Some(_)));
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
        id: &str,
        connections: usize,
        time: Duration,
    ) -> Result<Reads, CliError> {
        let url: Arc<str> = format!("{}/task_result/{id}", self.base).into();
        let started = Instant::now();
        let mut readers = JoinSet::new();
        for _ in 0..connections {
            let (driver, url) = (self.clone(), Arc::clone(&url));
            readers.spawn(async move {
                let mut took = Vec::new();
                while started.elapsed() < time {
                    let asked = Instant::now();
                    driver.http.get(&*url).send().await?.error_for_status()?.bytes().await?;
                    took.push(asked.elapsed());
                }
                Ok::<_, reqwest::Error>(took)
            });
        }
        let took: Result<Vec<Vec<Duration>>, _> = readers.join_all().await.into_iter().collect();
        let took = took.map_err(odd)?.concat();
        let per_second = took.len() as f64 / started.elapsed().as_secs_f64();
        Ok(Reads { per_second, latency: Latencies::of(took) })
    }

    /// Sends the picture until it is accepted.
    async fn insist(&self) -> Result<String, CliError> {
        loop {
            match self.submit(Repeat::Run).await? {
                Some(task) => return Ok(task.task_id),
                None => sleep(REFUSED_PAUSE).await,
            }
        }
    }

    /// `None`: refused for now.
    async fn submit(&self, repeat: Repeat) -> Result<Option<Task>, CliError> {
        let form = Form::new().part("file", Part::bytes(self.picture).file_name("picture.jpg"));
        let mut request = self.http.post(format!("{}/v1/tasks", self.base)).multipart(form);
        if repeat == Repeat::Run {
            request = request.header(header::CACHE_CONTROL, "no-cache");
        }
        let answer = request.send().await.map_err(odd)?;
        if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(None);
        }
        answer.error_for_status().map_err(odd)?.json().await.map_err(odd).map(Some)
    }

    async fn task(&self, id: &str, wait: u64) -> Result<Task, CliError> {
        let url = format!("{}/v1/tasks/{id}?wait={wait}", self.base);
        let answer = self.http.get(url).send().await.map_err(odd)?;
        answer.error_for_status().map_err(odd)?.json().await.map_err(odd)
    }
}

fn odd(error: reqwest::Error) -> CliError {
    // It may hold a login.
    let error = error.without_url();
    CliError::Unavailable(format!("the API did not do its part: {error}"))
}
