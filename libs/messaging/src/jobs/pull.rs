//! Pulls jobs from the queue, never more than the worker can run.
//!
//! Idle workers do not see a message in another worker's buffer, and its `ack_wait` is running, so a worker
//! must not hold messages that it cannot start. The client library's `stream()` requests a full batch
//! whenever half of the last one is used up: with a batch of 4 it holds up to 6 messages. So this file
//! writes the pull requests itself: each covers exactly the free slots that no earlier request covers. While all
//! slots are busy, a worker waits for high jobs at most, and ends its other requests.

mod backoff;
mod demand;
mod missing;
mod requests;

use std::{collections::HashSet, future::pending};

use domain::ModelName;
use futures_util::StreamExt;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use self::{
    backoff::backoff,
    demand::{Demand, SILENCE},
    missing::MissingConsumers,
    requests::{Pull, PullError},
};
use super::{
    delivery::{self, Delivery},
    wire,
};
use crate::{Messaging, connection::Link, provision::lanes};

/// The deliveries to this worker, without end: every error is retried.
///
/// Dropping it leaves messages that arrive at that moment to be redelivered after `ack_wait`;
/// [`Deliveries::stop`] releases them at once.
pub struct Deliveries {
    messaging: Messaging,
    link: watch::Receiver<Link>,
    /// Those whose jobs are wanted.
    models: Vec<ModelName>,
    /// Those of them whose jobs cannot be pulled.
    missing: MissingConsumers,
    pull: Option<Pull>,
    /// What the pull has requested, and what is known of the lanes, also from the pull before.
    demand: Demand,
    /// The models of `demand`.
    pulled: Vec<ModelName>,
    failures: u32,
    /// The earliest moment of the next pull.
    wait_until: Instant,
}

impl Deliveries {
    pub(crate) fn new(messaging: Messaging, models: impl IntoIterator<Item = ModelName>) -> Self {
        let link = messaging.link();
        Self {
            messaging,
            link,
            models: distinct(models),
            missing: MissingConsumers::default(),
            pull: None,
            demand: Demand::of_models(0),
            pulled: Vec::new(),
            failures: 0,
            wait_until: Instant::now(),
        }
    }

    /// From the next [`Deliveries::next`] on, delivers the jobs of these models only. What is on its way is released.
    /// Jobs of a model without consumers are delivered once the consumers are there: it creates them, or waits for
    /// them where these credentials may not.
    pub fn serve(&mut self, models: impl IntoIterator<Item = ModelName>) {
        let models = distinct(models);
        if models == self.models {
            return;
        }
        self.missing.keep(&models);
        self.models = models;
        self.end_pull();
    }

    /// The next job; requests as many as there are `free_slots`: high jobs first, but of ten slots three are offered
    /// to normal jobs first and one to low ones. The models that have jobs of a priority take turns. While lower jobs
    /// wait and no high one does, one high job more than that may come. Waits until there is a job; with 0 free slots,
    /// perhaps for ever.
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
                return pending().await;
            }
            match self.step(free_slots).await {
                Ok(Some(message)) => {
                    self.failures = 0;
                    if let Some(delivery) = self.accept(message) {
                        return delivery;
                    }
                }
                Ok(None) => {}
                Err(error) => self.close_pull(error),
            }
        }
    }

    fn is_for_high_only(&self) -> bool {
        self.pull.is_some() && self.demand.is_for_high_only()
    }

    /// Ends the requests that still wait, while no slot is free, and releases what they have been answered with at
    /// this moment.
    pub fn pause(&mut self) {
        if self.demand.is_pending() {
            self.end_pull();
        }
    }

    /// Stops pulling, and releases at once what the server has already sent.
    pub async fn stop(mut self) {
        let rest = self.demand.end();
        if let Some(pull) = self.pull.take() {
            pull.end(self.messaging.clone(), rest).await;
        }
    }

    fn end_pull(&mut self) {
        let rest = self.demand.end();
        if let Some(pull) = self.pull.take() {
            tokio::spawn(pull.end(self.messaging.clone(), rest));
        }
    }

    /// Waits for one event: a message, a status, a missed heartbeat, a reconnection.
    async fn step(&mut self, free_slots: usize) -> Result<Option<async_nats::Message>, PullError> {
        if self.pull.is_none() {
            let models = self.missing.others(&self.models);
            if models.is_empty() {
                self.missing.found().await;
                return Ok(None);
            }
            self.open(models).await?;
        }
        let Some(pull) = &mut self.pull else { return Ok(None) };
        let link = *self.link.borrow_and_update();
        if pull.connects != link.connects {
            return Err(PullError::Reconnected);
        }
        // Without a connection the client library would queue the request, and the server would get it
        // together with the one of the next connection.
        if link.connected {
            for request in self.demand.requests(free_slots, Instant::now()) {
                pull.send(&self.messaging, request).await?;
            }
        }
        let lost = lost(self.demand.lost_at());
        tokio::select! {
            biased;
            message = pull.subscriber.next() => match message {
                Some(message) => pull.receive(message, &mut self.demand),
                None => Err(PullError::Other("the subscription ended".to_owned())),
            },
            // The next step reads the new state.
            changed = self.link.changed() => match changed {
                Ok(()) => Ok(None),
                // Closed for good: without this the loop would spin.
                Err(_) => pending().await,
            },
            () = self.missing.found() => Err(PullError::ConsumersFound),
            error = lost => Err(error),
        }
    }

    /// Opens a pull, once there is a connection and the delay is over.
    async fn open(&mut self, models: Vec<ModelName>) -> Result<(), PullError> {
        sleep_until(self.wait_until).await;
        let connected = self.link.wait_for(|link| link.connected).await;
        let Ok(connects) = connected.map(|link| link.connects) else {
            // The connection has been closed for good.
            return pending().await;
        };
        if models != self.pulled {
            self.demand = Demand::of_models(models.len());
            self.pulled.clone_from(&models);
        }
        self.pull = Some(Pull::open(&self.messaging, models, connects).await?);
        Ok(())
    }

    /// Notes a message in the demand. `None` if it is not a job.
    fn accept(&mut self, message: async_nats::Message) -> Option<Delivery> {
        let subject = message.subject.clone();
        let delivery = self.read(message);
        if let Some(pull) = &self.pull
            && let Some((model, _, priority)) = lanes::parse(&subject)
            && let Some(lane) = pull.lane(model, priority)
        {
            // Of a message that is not a job it is not known whether others wait behind it.
            let waiting = delivery.as_ref().map_or(1, |delivery| delivery.waiting);
            self.demand.delivered(lane, waiting, Instant::now());
            self.missing.is_there(&pull.models()[lane.model]);
        }
        delivery
    }

    fn read(&self, message: async_nats::Message) -> Option<Delivery> {
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
        self.end_pull();
        match error {
            PullError::Reconnected => tracing::debug!("pulling on a new connection"),
            PullError::ConsumersFound => {}
            // The other models go on at once.
            PullError::NoConsumer(model) => self.missing.add(self.messaging.clone(), model),
            PullError::Other(reason) => {
                tracing::warn!(%reason, "pulling jobs failed; retrying");
                self.wait_until = Instant::now() + backoff(self.failures);
                self.failures = self.failures.saturating_add(1);
            }
        }
    }
}

/// Waits until the requests count as lost; for ever without any.
async fn lost(at: Option<Instant>) -> PullError {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
    PullError::Other(format!("no answer and no heartbeat for {SILENCE:?}"))
}

/// Each model once, in the given order.
fn distinct(models: impl IntoIterator<Item = ModelName>) -> Vec<ModelName> {
    let mut seen = HashSet::new();
    models.into_iter().filter(|model| seen.insert(model.clone())).collect()
}
