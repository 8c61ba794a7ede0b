//! Takes the samples.

use std::time::{Duration, Instant};

use futures_util::FutureExt;
use messaging::{JobQueue, Messaging, ProcessIdentity, QueueReport, StatusSurvey};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout, timeout_at};

use super::{
    processes::Processes,
    sample::{QueueSample, Sample},
};
use crate::tasks::backpressure::Backpressure;

const INTERVAL: Duration = Duration::from_secs(1);

/// How long processes have to answer.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// How long NATS has to tell the state of the queue.
const QUEUE_TIME: Duration = Duration::from_secs(2);

/// How many samples are taken while nobody looks: a page that is loaded again begins with a sample.
const LINGERING: u32 = 10;

/// What samples are taken of.
pub(crate) struct Sources {
    pub(crate) messaging: Messaging,
    pub(crate) queue: JobQueue,
    pub(crate) backpressure: Backpressure,
    pub(crate) process: ProcessIdentity,
    pub(crate) max_waiting: u64,
    pub(crate) has_webhooks: bool,
}

/// Takes one sample after another.
pub(super) struct Sampler<'a> {
    sources: &'a Sources,
    /// `None`: the connection is closed.
    survey: Option<StatusSurvey>,
    processes: Processes,
    ticks: Interval,
    unseen: u32,
}

impl<'a> Sampler<'a> {
    pub(super) async fn start(sources: &'a Sources) -> Self {
        let survey = sources.messaging.status_survey(&sources.process).await;
        let survey = survey.inspect_err(|error| {
            tracing::warn!(%error, "the processes cannot be asked for their status");
        });
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { sources, survey: survey.ok(), processes: Processes::default(), ticks, unseen: 0 }
    }

    /// The next sample.
    pub(super) async fn next(&mut self) -> Sample {
        self.ticks.tick().await;
        let sources = self.sources;
        // Without a connection, requests would be kept until there is one, and then all be answered at once.
        let report = if sources.messaging.is_connected() {
            let (report, ()) = tokio::join!(sources.report(), self.ask());
            report
        } else {
            None
        };
        let queue = sources.queue_sample(report);
        let processes = self.processes.living(Instant::now());
        Sample::new(queue, processes, sources.has_webhooks)
    }

    /// Whether nobody has looked for a while.
    pub(super) fn has_lingered(&mut self, viewers: usize) -> bool {
        self.unseen = if viewers > 0 { 0 } else { self.unseen + 1 };
        self.unseen > LINGERING
    }

    /// Asks the processes, and waits until all that are known have answered. A new one is known once it has answered,
    /// so the first time there is no end but the limit.
    async fn ask(&mut self) {
        let Some(survey) = &mut self.survey else { return };
        let is_first = self.processes.is_empty();
        // Those that were too late for the last sample.
        while let Some(Some(late)) = survey.next().now_or_never() {
            self.processes.note(late, Instant::now());
        }
        let asked = Instant::now();
        if let Err(error) = survey.ask().await {
            tracing::debug!(%error, "the processes were not asked for their status");
            return;
        }
        let limit = tokio::time::Instant::now() + ANSWER_TIME;
        while is_first || !self.processes.have_answered_since(asked) {
            let Ok(Some(status)) = timeout_at(limit, survey.next()).await else { return };
            self.processes.note(status, Instant::now());
        }
    }
}

impl Sources {
    /// The state of the queue; `None` if NATS does not answer in time.
    async fn report(&self) -> Option<QueueReport> {
        match timeout(QUEUE_TIME, self.queue.report()).await {
            Ok(Ok(report)) => Some(report),
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot sample the queue");
                None
            }
            Err(_) => None,
        }
    }

    fn queue_sample(&self, report: Option<QueueReport>) -> QueueSample {
        QueueSample {
            is_accepting: !self.backpressure.is_full(Instant::now())
                && !self.backpressure.cannot_store()
                && self.messaging.is_connected(),
            max_waiting: self.max_waiting,
            report,
        }
    }
}
