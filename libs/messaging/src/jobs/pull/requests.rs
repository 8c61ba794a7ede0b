//! The pull requests of a worker and the inbox that they are answered in.

use std::time::Duration;

use async_nats::{StatusCode, Subscriber, jetstream::consumer::pull::BatchConfig};
use bytes::Bytes;
use domain::{ModelName, Priority};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

use super::{
    super::{
        delivery::{Delivery, NAK, Settlement},
        wire,
    },
    demand::{Demand, LaneIndex, Request, RequestKind},
};
use crate::{
    Messaging,
    provision::{lanes::Lane, names::JOBS_STREAM},
};

/// When a pull request expires on the server.
const EXPIRES: Duration = Duration::from_secs(30);

/// The interval of the idle heartbeats that the server sends for a pending request.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// A request that the server rejects at once, by a status message: its heartbeats would come after its end.
const REJECTED: &str = r#"{"batch":1,"expires":1000000000,"idle_heartbeat":1000000000}"#;

/// Why a pull ended.
#[derive(Debug)]
pub(super) enum PullError {
    /// There is a new connection.
    Reconnected,
    /// The consumers of this model are missing, or the stream: the server may have lost its store.
    NoConsumer(ModelName),
    /// The consumers of another model are there again.
    ConsumersFound,
    /// Anything else.
    Other(String),
}

/// An inbox for each lane of these models, and the pending pull requests.
pub(super) struct Pull {
    /// The inbox of a lane ends with its priority and model besides.
    inbox: String,
    pub(super) subscriber: Subscriber,
    /// At least one.
    models: Vec<ModelName>,
    /// How many messages it has got, jobs and statuses.
    received: u64,
    /// The number of the connection it was opened on. The server drops the requests of an earlier one.
    pub(super) connects: u64,
}

impl Pull {
    /// Subscribes to a new inbox.
    pub(super) async fn open(
        messaging: &Messaging,
        models: Vec<ModelName>,
        connects: u64,
    ) -> Result<Self, PullError> {
        let client = messaging.client();
        let inbox = client.new_inbox();
        let subscriber = client
            .subscribe(format!("{inbox}.*.*"))
            .await
            .map_err(|error| PullError::Other(error.to_string()))?;
        Ok(Self { inbox, subscriber, models, received: 0, connects })
    }

    pub(super) fn models(&self) -> &[ModelName] {
        &self.models
    }

    pub(super) async fn send(
        &self,
        messaging: &Messaging,
        request: Request,
    ) -> Result<(), PullError> {
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
        self.publish(messaging, lane, body.into())
            .await
            .map_err(|error| PullError::Other(error.to_string()))
    }

    async fn publish(
        &self,
        messaging: &Messaging,
        lane: LaneIndex,
        body: Bytes,
    ) -> Result<(), async_nats::PublishError> {
        let LaneIndex { model, priority } = lane;
        let model = &self.models[model];
        let consumer = Lane { model: model.clone(), priority }.consumer();
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{JOBS_STREAM}.{consumer}");
        let inbox = format!("{}.{priority}.{model}", self.inbox);
        messaging.client().publish_with_reply(subject, inbox, body).await
    }

    /// Distinguishes jobs from status messages about the requests.
    pub(super) fn receive(
        &mut self,
        message: async_nats::Message,
        demand: &mut Demand,
    ) -> Result<Option<async_nats::Message>, PullError> {
        let now = Instant::now();
        self.received += 1;
        let Some(status) = message.status.filter(|status| *status != StatusCode::OK) else {
            return Ok(Some(message));
        };
        let Some(lane) = self.lane_of_inbox(&message) else { return Ok(None) };
        match status {
            StatusCode::IDLE_HEARTBEAT => demand.is_alive(lane, now),
            StatusCode::NOT_FOUND => demand.found_empty(lane, now),
            // A request has expired; the rest of its messages will not be sent.
            StatusCode::TIMEOUT => demand.expired(lane, rest(&message), now),
            StatusCode::NO_RESPONDERS => return Err(self.no_consumer(lane)),
            status => {
                let description = message.description.unwrap_or_default();
                if description.eq_ignore_ascii_case("Consumer Deleted") {
                    return Err(self.no_consumer(lane));
                }
                return Err(PullError::Other(format!("{status} {description}")));
            }
        }
        Ok(None)
    }

    fn no_consumer(&self, lane: LaneIndex) -> PullError {
        PullError::NoConsumer(self.models[lane.model].clone())
    }

    /// The lane whose inbox has got this message about a request.
    fn lane_of_inbox(&self, message: &async_nats::Message) -> Option<LaneIndex> {
        let mut tokens = message.subject.rsplit('.');
        let model = tokens.next()?;
        self.lane(model, tokens.next()?.parse().ok()?)
    }

    /// The lane of this model and priority.
    pub(super) fn lane(&self, model: &str, priority: Priority) -> Option<LaneIndex> {
        let model = self.models.iter().position(|of| of.as_str() == model)?;
        Some(LaneIndex { model, priority })
    }

    /// Ends the requests, and releases the jobs that they have been answered with by then. At most `rest` messages are
    /// on their way.
    pub(super) async fn end(self, messaging: Messaging, rest: u64) {
        let limit = messaging.config().request_timeout;
        if timeout(limit, self.release_all(&messaging, rest)).await.is_err() {
            tracing::debug!("messages that were not released are redelivered after their ack_wait");
        }
    }

    /// The client library's `drain` forgets a subscription before the server does, and with it the messages that are on
    /// their way. But client and server both count the messages of a subscription, and end it after as many as they
    /// are told. So it ends after more than can be on their way, and requests that the server rejects make up the rest.
    async fn release_all(mut self, messaging: &Messaging, rest: u64) {
        if self.subscriber.unsubscribe_after(self.received + rest).await.is_err() {
            return;
        }
        let lane = LaneIndex { model: 0, priority: Priority::Normal };
        for _ in 0..rest {
            if self.publish(messaging, lane, REJECTED.into()).await.is_err() {
                return;
            }
        }
        let jobs = self.subscriber.filter(|message| std::future::ready(message.status.is_none()));
        jobs.for_each_concurrent(None, |message| release(messaging, message)).await;
    }
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
