//! Pulls jobs from the queue, never more than the worker can run.
//!
//! Idle workers do not see a message in another worker's buffer, and its `ack_wait` is running, so a worker
//! must not hold messages that it cannot start. The client library's `stream()` requests a full batch
//! whenever half of the last one is used up: with a batch of 4 it holds up to 6 messages. So this file
//! writes the pull requests itself: each covers exactly the free slots that no earlier request covers. While all
//! slots are busy, a worker waits for a high job at most, and ends its other requests.

mod demand;

use std::time::Duration;

use async_nats::{StatusCode, Subscriber, jetstream::consumer::pull::BatchConfig};
use domain::Priority;
use futures_util::StreamExt;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use self::demand::{Demand, Request, RequestKind};
use super::{
    delivery::{self, Delivery, NAK, Settlement},
    wire,
};
use crate::{
    Messaging,
    connection::Link,
    provision::{lanes, names::JOBS_STREAM},
};

/// When a pull request expires on the server.
const EXPIRES: Duration = Duration::from_secs(30);

/// The interval of the idle heartbeats that the server sends for a pending request.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Without a message for this long a request counts as lost: two heartbeats and some slack.
const SILENCE: Duration = Duration::from_secs(5);

/// A request that the server rejects at once, by a status message: its heartbeats would come after its end.
const REJECTED: &str = r#"{"batch":1,"expires":1000000000,"idle_heartbeat":1000000000}"#;

/// The first and the longest delay after a failed pull.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The deliveries to this worker, without end: every error is retried.
///
/// Dropping it leaves messages that arrive at that moment to be redelivered after `ack_wait`;
/// [`Deliveries::stop`] releases them at once.
pub struct Deliveries {
    messaging: Messaging,
    link: watch::Receiver<Link>,
    pull: Option<Pull>,
    failures: u32,
    /// The earliest moment of the next pull.
    wait_until: Instant,
    /// The latest attempt to provision the queue. While a cluster elects its leaders each pull finds no
    /// consumer; one attempt at a time is enough.
    provisioning: Option<JoinHandle<()>>,
}

/// An inbox for each lane, and the pending pull requests.
struct Pull {
    /// The inbox of a lane ends with the lane's name besides.
    inbox: String,
    subscriber: Subscriber,
    /// How many messages it has got, jobs and statuses.
    received: u64,
    demand: Demand,
    /// When a message or a heartbeat is due.
    lost_after: Instant,
    /// When the answer to the last request that does not wait is due.
    answer_due: Instant,
    /// The number of the connection it was opened on. The server drops the requests of an earlier one.
    connects: u64,
}

/// Why a pull ended.
#[derive(Debug)]
enum PullError {
    /// There is a new connection.
    Reconnected,
    /// The consumer or the stream is missing: the server may have lost its store.
    NoConsumer,
    /// Anything else.
    Other(String),
}

impl Deliveries {
    pub(crate) fn new(messaging: Messaging) -> Self {
        let link = messaging.link();
        Self {
            messaging,
            link,
            pull: None,
            failures: 0,
            wait_until: Instant::now(),
            provisioning: None,
        }
    }

    /// The next job; requests as many as there are `free_slots`: high jobs first, but of ten slots three are offered
    /// to normal jobs first and one to low ones. While lower jobs wait and no high one does, one high job more than
    /// that may come. Waits until there is a job; with 0 free slots, perhaps for ever.
    ///
    /// Cancel-safe: a message that arrives between two calls is kept for the next. Calls must not be far
    /// apart while slots are free, since the `ack_wait` of such a message is running. When not even a high job can be
    /// taken any more, call [`Deliveries::pause`].
    ///
    /// Never returns a message that is not a job: those become dead letters.
    pub async fn next(&mut self, free_slots: usize) -> Delivery {
        loop {
            if free_slots == 0 && !self.is_for_high_only() {
                self.pause();
                return std::future::pending().await;
            }
            match self.step(free_slots).await {
                Ok(Some(message)) => {
                    self.failures = 0;
                    let lane = lanes::parse(&message.subject).map(|(_, _, lane)| lane);
                    let delivery = self.accept(message);
                    if let (Some(pull), Some(lane)) = (&mut self.pull, lane) {
                        // Of a message that is not a job it is not known whether others wait behind it.
                        let waiting = delivery.as_ref().map_or(1, |delivery| delivery.waiting);
                        pull.demand.delivered(lane, waiting, Instant::now());
                    }
                    if let Some(delivery) = delivery {
                        return delivery;
                    }
                }
                Ok(None) => {}
                Err(error) => self.close_pull(error),
            }
        }
    }

    fn is_for_high_only(&self) -> bool {
        self.pull.as_ref().is_some_and(|pull| pull.demand.is_for_high_only())
    }

    /// Ends the requests that still wait, while no slot is free, and releases what they have been answered with at
    /// this moment.
    pub fn pause(&mut self) {
        if let Some(pull) = self.pull.take_if(|pull| pull.demand.is_pending()) {
            tokio::spawn(pull.end(self.messaging.clone()));
        }
    }

    /// Stops pulling, and releases at once what the server has already sent.
    pub async fn stop(mut self) {
        if let Some(pull) = self.pull.take() {
            pull.end(self.messaging.clone()).await;
        }
    }

    /// Waits for one event: a message, a status, a missed heartbeat, a reconnection.
    async fn step(&mut self, free_slots: usize) -> Result<Option<async_nats::Message>, PullError> {
        if self.pull.is_none() {
            self.pull = Some(self.open().await?);
        }
        let Some(pull) = &mut self.pull else { return Ok(None) };
        let link = *self.link.borrow_and_update();
        if pull.connects != link.connects {
            return Err(PullError::Reconnected);
        }
        // Without a connection the client library would queue the request, and the server would get it
        // together with the one of the next connection.
        if link.connected {
            for request in pull.demand.requests(free_slots, Instant::now()) {
                pull.send(&self.messaging, request).await?;
            }
        }
        let lost_at = pull.lost_at();
        tokio::select! {
            biased;
            message = pull.subscriber.next() => match message {
                Some(message) => pull.receive(message),
                None => Err(PullError::Other("the subscription ended".to_owned())),
            },
            // The next step reads the new state.
            changed = self.link.changed() => match changed {
                Ok(()) => Ok(None),
                // Closed for good: without this the loop would spin.
                Err(_) => std::future::pending().await,
            },
            () = sleep_until(lost_at) => {
                Err(PullError::Other(format!("no answer and no heartbeat for {SILENCE:?}")))
            }
        }
    }

    /// Subscribes to a new inbox, once there is a connection and the delay is over.
    async fn open(&mut self) -> Result<Pull, PullError> {
        sleep_until(self.wait_until).await;
        let connected = self.link.wait_for(|link| link.connected).await;
        let Ok(connects) = connected.map(|link| link.connects) else {
            // The connection has been closed for good.
            return std::future::pending().await;
        };
        let client = self.messaging.client();
        let inbox = client.new_inbox();
        let subscriber = client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| PullError::Other(error.to_string()))?;
        let lost_after = Instant::now() + SILENCE;
        let demand = Demand::default();
        let (received, answer_due) = (0, lost_after);
        Ok(Pull { inbox, subscriber, received, demand, lost_after, answer_due, connects })
    }

    fn accept(&self, message: async_nats::Message) -> Option<Delivery> {
        match wire::decode(&message) {
            Ok((job, source)) => Delivery::new(self.messaging.clone(), message, job, source),
            Err(reason) => {
                tracing::error!(subject = %message.subject, %reason, "a message is not a job");
                // In a task of its own, so that a cancelled `next` does not leave it half done.
                tokio::spawn(delivery::dead_letter_unreadable(
                    self.messaging.clone(),
                    message,
                    reason,
                ));
                None
            }
        }
    }

    /// Ends the pull, releases what it still receives, and sets the time of the next one.
    fn close_pull(&mut self, error: PullError) {
        if let Some(pull) = self.pull.take() {
            tokio::spawn(pull.end(self.messaging.clone()));
        }
        match error {
            PullError::Reconnected => {
                tracing::debug!("pulling on a new connection");
                return;
            }
            PullError::NoConsumer => {
                if self.provisioning.as_ref().is_none_or(JoinHandle::is_finished) {
                    tracing::warn!("the queue's consumer is missing; provisioning it");
                    let messaging = self.messaging.clone();
                    self.provisioning = Some(tokio::spawn(async move {
                        if let Err(error) = messaging.provision().await {
                            tracing::warn!(%error, "the queue could not be provisioned");
                        }
                    }));
                }
            }
            PullError::Other(reason) => tracing::warn!(%reason, "pulling jobs failed; retrying"),
        }
        let (first, longest) = BACKOFF;
        let pause = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        // Jitter of a half, so that workers that failed together do not retry together.
        self.wait_until = Instant::now() + pause.mul_f64(rand::random_range(0.5..1.0));
        self.failures = self.failures.saturating_add(1);
    }
}

impl Pull {
    /// When its requests count as lost. The heartbeats of those that wait do not stand for the others.
    fn lost_at(&self) -> Instant {
        if self.demand.is_asking() { self.lost_after.min(self.answer_due) } else { self.lost_after }
    }

    async fn send(&mut self, messaging: &Messaging, request: Request) -> Result<(), PullError> {
        let Request { lane, jobs, kind } = request;
        let config = match kind {
            RequestKind::NoWait => {
                BatchConfig { batch: jobs, no_wait: true, ..BatchConfig::default() }
            }
            RequestKind::Waiting => BatchConfig {
                batch: jobs,
                expires: Some(EXPIRES),
                idle_heartbeat: HEARTBEAT,
                ..BatchConfig::default()
            },
        };
        let body =
            serde_json::to_vec(&config).map_err(|error| PullError::Other(error.to_string()))?;
        let consumer = lanes::consumer(lane);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{JOBS_STREAM}.{consumer}");
        messaging
            .client()
            .publish_with_reply(subject, format!("{}.{lane}", self.inbox), body.into())
            .await
            .map_err(|error| PullError::Other(error.to_string()))?;
        self.lost_after = Instant::now() + SILENCE;
        if kind == RequestKind::NoWait {
            self.answer_due = self.lost_after;
        }
        Ok(())
    }

    /// Distinguishes jobs from status messages about the requests.
    fn receive(
        &mut self,
        message: async_nats::Message,
    ) -> Result<Option<async_nats::Message>, PullError> {
        let now = Instant::now();
        self.received += 1;
        self.lost_after = now + SILENCE;
        match message.status {
            None | Some(StatusCode::OK) => Ok(Some(message)),
            Some(StatusCode::IDLE_HEARTBEAT) => Ok(None),
            Some(status @ (StatusCode::NOT_FOUND | StatusCode::TIMEOUT)) => {
                let Some(lane) = lane_of_inbox(&message) else { return Ok(None) };
                if status == StatusCode::NOT_FOUND {
                    self.demand.found_empty(lane, now);
                } else {
                    // A request has expired; the rest of its messages will not be sent.
                    self.demand.expired(lane, rest(&message), now);
                }
                Ok(None)
            }
            Some(StatusCode::NO_RESPONDERS) => Err(PullError::NoConsumer),
            Some(status) => {
                let description = message.description.unwrap_or_default();
                if description.eq_ignore_ascii_case("Consumer Deleted") {
                    return Err(PullError::NoConsumer);
                }
                Err(PullError::Other(format!("{status} {description}")))
            }
        }
    }

    /// Ends the requests, and releases the jobs that they have been answered with by then.
    async fn end(self, messaging: Messaging) {
        let limit = messaging.config().request_timeout;
        if timeout(limit, self.release_all(&messaging)).await.is_err() {
            tracing::debug!("messages that were not released are redelivered after their ack_wait");
        }
    }

    /// The client library's `drain` forgets a subscription before the server does, and with it the messages that are on
    /// their way. But client and server both count the messages of a subscription, and end it after as many as they
    /// are told. So it ends after more than can be on their way, and requests that the server rejects make up the rest.
    async fn release_all(mut self, messaging: &Messaging) {
        let rest = self.demand.most_messages();
        if self.subscriber.unsubscribe_after(self.received + rest).await.is_err() {
            return;
        }
        let consumer = lanes::consumer(Priority::Normal);
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{JOBS_STREAM}.{consumer}");
        for _ in 0..rest {
            let (subject, inbox) =
                (subject.clone(), format!("{}.{}", self.inbox, Priority::Normal));
            let rejected = messaging.client().publish_with_reply(subject, inbox, REJECTED.into());
            if rejected.await.is_err() {
                return;
            }
        }
        let jobs = self.subscriber.filter(|message| std::future::ready(message.status.is_none()));
        jobs.for_each_concurrent(None, |message| release(messaging, message)).await;
    }
}

/// The lane whose inbox has got this message about a request.
fn lane_of_inbox(message: &async_nats::Message) -> Option<Priority> {
    message.subject.rsplit('.').next()?.parse().ok()
}

/// How many messages of an expired request were not sent.
fn rest(message: &async_nats::Message) -> usize {
    let headers = message.headers.as_ref();
    let rest = headers.and_then(|headers| headers.get("Nats-Pending-Messages"));
    rest.and_then(|rest| rest.as_str().parse().ok()).unwrap_or(usize::MAX)
}

async fn release(messaging: &Messaging, message: async_nats::Message) {
    let Some(reply) = message.reply.clone() else { return };
    let delivery = wire::decode(&message)
        .ok()
        .and_then(|(job, source)| Delivery::new(messaging.clone(), message, job, source));
    match delivery {
        Some(delivery) => {
            let _ = delivery.settle(Settlement::Release).await;
        }
        // Whoever pulls it next moves it to the dead letters.
        None => {
            let _ = messaging.client().publish(reply, NAK).await;
            let _ = messaging.client().flush().await;
        }
    }
}
