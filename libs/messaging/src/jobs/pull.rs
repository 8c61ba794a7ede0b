//! Taking jobs from the queue, never more than there are hands for.
//!
//! A message in a worker's buffer is invisible to idle workers and its `ack_wait` is running, so a
//! worker must not hold messages it cannot start. The client library's `stream()` asks for a full
//! batch whenever half of the last one is used up, and goes on asking: with a batch of 4 it holds
//! up to 6 messages. So pull requests are written here: each asks for exactly the free slots that
//! no earlier request covers. What is held unstarted is never more than the free slots, and while
//! every slot is busy nothing is asked for at all.

use std::time::Duration;

use async_nats::{StatusCode, Subscriber, jetstream::consumer::pull::BatchConfig};
use futures_util::StreamExt;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    delivery::{self, Delivery, NAK},
    wire,
};
use crate::{
    Messaging,
    connection::Link,
    provision::names::{JOBS_STREAM, WORKER_CONSUMER},
};

/// How long the server remembers a pull request.
const EXPIRES: Duration = Duration::from_secs(30);

/// How often the server says that it still remembers one.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// After this much silence a request is taken to be forgotten: two heartbeats and some slack.
const SILENCE: Duration = Duration::from_secs(5);

/// The first and the longest pause after a failed pull.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The endless series of jobs handed to this worker. Survives every error by asking again.
///
/// Dropping it leaves messages that arrive in the same moment to be handed out again after
/// `ack_wait`; [`Deliveries::stop`] gives them back at once.
pub struct Deliveries {
    messaging: Messaging,
    link: watch::Receiver<Link>,
    pull: Option<Pull>,
    failures: u32,
    /// Not before this moment is a new pull opened.
    wait_until: Instant,
    /// The latest attempt to set the queue up. While a cluster elects its leaders each pull finds no
    /// consumer; one question at a time is enough.
    setting_up: Option<JoinHandle<()>>,
}

/// One inbox and the requests whose answers go there.
struct Pull {
    inbox: String,
    subscriber: Subscriber,
    /// Messages asked for and neither received nor called off by the server.
    outstanding: usize,
    silent_until: Instant,
    /// The connection it was opened on. The next one does not know our requests.
    connects: u64,
}

/// Why a pull is given up.
#[derive(Debug)]
enum Broken {
    /// The connection is a new one.
    Reconnected,
    /// The server has no such consumer or stream: it may have lost its store.
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
            setting_up: None,
        }
    }

    /// The next job, asking the server for as many as there are `free_slots`. Waits for ever if
    /// there are none, and with 0 free slots.
    ///
    /// Cancel-safe: what arrives while nobody waits is kept for the next call. Calls must not be
    /// far apart while slots are free, or what is kept grows old.
    ///
    /// A message that is no job never comes out here: it goes to the dead letters.
    pub async fn next(&mut self, free_slots: usize) -> Delivery {
        if free_slots == 0 {
            return std::future::pending().await;
        }
        loop {
            match self.step(free_slots).await {
                Ok(Some(message)) => {
                    self.failures = 0;
                    if let Some(delivery) = self.accept(message) {
                        return delivery;
                    }
                }
                Ok(None) => {}
                Err(broken) => self.give_up(broken),
            }
        }
    }

    /// Stops asking. What the server has already sent is given back at once, for others to take.
    pub async fn stop(mut self) {
        if let Some(pull) = self.pull.take() {
            requeue(self.messaging.clone(), pull.subscriber).await;
        }
    }

    /// Waits for one thing to happen: a message, a status, silence, a reconnection.
    async fn step(&mut self, free_slots: usize) -> Result<Option<async_nats::Message>, Broken> {
        if self.pull.is_none() {
            self.pull = Some(self.open().await?);
        }
        let Some(pull) = &mut self.pull else { return Ok(None) };
        let link = *self.link.borrow_and_update();
        if pull.connects != link.connects {
            return Err(Broken::Reconnected);
        }
        // Without a connection the request would wait in the client library and reach the server
        // beside the one made on the next connection.
        if pull.outstanding < free_slots && link.connected {
            pull.request(&self.messaging, free_slots - pull.outstanding).await?;
        }
        tokio::select! {
            biased;
            message = pull.subscriber.next() => match message {
                Some(message) => pull.receive(message),
                None => Err(Broken::Other("the subscription ended".to_owned())),
            },
            // The top of the next step looks at what has changed.
            changed = self.link.changed() => match changed {
                Ok(()) => Ok(None),
                // Closed for good: without this the loop would spin.
                Err(_) => std::future::pending().await,
            },
            () = sleep_until(pull.silent_until) => {
                Err(Broken::Other(format!("no heartbeat for {SILENCE:?}")))
            }
        }
    }

    /// Subscribes to a new inbox, once there is a connection and the pause is over.
    async fn open(&mut self) -> Result<Pull, Broken> {
        sleep_until(self.wait_until).await;
        let connected = self.link.wait_for(|link| link.connected).await;
        let Ok(connects) = connected.map(|link| link.connects) else {
            // The connection has been closed for good; there is nothing to wait for any more.
            return std::future::pending().await;
        };
        let client = self.messaging.client();
        let inbox = client.new_inbox();
        let subscriber = client
            .subscribe(inbox.clone())
            .await
            .map_err(|error| Broken::Other(error.to_string()))?;
        let silent_until = Instant::now() + SILENCE;
        Ok(Pull { inbox, subscriber, outstanding: 0, silent_until, connects })
    }

    fn accept(&self, message: async_nats::Message) -> Option<Delivery> {
        match wire::decode(&message) {
            Ok((job, source)) => Delivery::new(self.messaging.clone(), message, job, source),
            Err(reason) => {
                tracing::error!(subject = %message.subject, %reason, "a message is no job");
                // In a task of its own, so that a cancelled `next` does not leave it half done.
                tokio::spawn(delivery::bury(self.messaging.clone(), message, reason));
                None
            }
        }
    }

    /// Drops the pull, gives back what it still receives, and decides when to open the next.
    fn give_up(&mut self, broken: Broken) {
        if let Some(pull) = self.pull.take() {
            tokio::spawn(requeue(self.messaging.clone(), pull.subscriber));
        }
        match broken {
            Broken::Reconnected => {
                tracing::debug!("pulling anew on a new connection");
                return;
            }
            Broken::NoConsumer => {
                if self.setting_up.as_ref().is_none_or(JoinHandle::is_finished) {
                    tracing::warn!("the server does not know the queue's consumer; setting it up");
                    let messaging = self.messaging.clone();
                    self.setting_up = Some(tokio::spawn(async move {
                        if let Err(error) = messaging.provision().await {
                            tracing::warn!(%error, "the queue could not be set up");
                        }
                    }));
                }
            }
            Broken::Other(reason) => tracing::warn!(%reason, "pulling jobs failed; trying again"),
        }
        let (first, longest) = BACKOFF;
        let pause = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        // Half of it at random, so that workers that failed together do not come back together.
        self.wait_until = Instant::now() + pause.mul_f64(rand::random_range(0.5..1.0));
        self.failures = self.failures.saturating_add(1);
    }
}

impl Pull {
    async fn request(&mut self, messaging: &Messaging, messages: usize) -> Result<(), Broken> {
        let request = BatchConfig {
            batch: messages,
            expires: Some(EXPIRES),
            idle_heartbeat: HEARTBEAT,
            ..BatchConfig::default()
        };
        let body =
            serde_json::to_vec(&request).map_err(|error| Broken::Other(error.to_string()))?;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{JOBS_STREAM}.{WORKER_CONSUMER}");
        messaging
            .client()
            .publish_with_reply(subject, self.inbox.clone(), body.into())
            .await
            .map_err(|error| Broken::Other(error.to_string()))?;
        self.outstanding += messages;
        self.silent_until = Instant::now() + SILENCE;
        Ok(())
    }

    /// Sorts jobs from what the server says about the requests.
    fn receive(
        &mut self,
        message: async_nats::Message,
    ) -> Result<Option<async_nats::Message>, Broken> {
        self.silent_until = Instant::now() + SILENCE;
        match message.status {
            None | Some(StatusCode::OK) => {
                self.outstanding = self.outstanding.saturating_sub(1);
                Ok(Some(message))
            }
            Some(StatusCode::IDLE_HEARTBEAT) => Ok(None),
            // A request has run out; the rest of its messages will not come.
            Some(StatusCode::TIMEOUT) => {
                let rest = message
                    .headers
                    .as_ref()
                    .and_then(|headers| headers.get("Nats-Pending-Messages"))
                    .and_then(|rest| rest.as_str().parse::<usize>().ok());
                self.outstanding = self.outstanding.saturating_sub(rest.unwrap_or(usize::MAX));
                Ok(None)
            }
            Some(StatusCode::NO_RESPONDERS) => Err(Broken::NoConsumer),
            Some(status) => {
                let description = message.description.unwrap_or_default();
                if description.eq_ignore_ascii_case("Consumer Deleted") {
                    return Err(Broken::NoConsumer);
                }
                Err(Broken::Other(format!("{status} {description}")))
            }
        }
    }
}

/// Ends a subscription and tells the server at once that what still came in is not taken.
async fn requeue(messaging: Messaging, mut subscriber: Subscriber) {
    let giving_back = async {
        if subscriber.drain().await.is_err() {
            return;
        }
        while let Some(message) = subscriber.next().await {
            if let (None, Some(reply)) = (message.status, message.reply) {
                let _ = messaging.client().publish(reply, NAK).await;
            }
        }
        let _ = messaging.client().flush().await;
    };
    if timeout(messaging.config().request_timeout, giving_back).await.is_err() {
        tracing::debug!("messages that were not taken come back after their ack_wait");
    }
}
