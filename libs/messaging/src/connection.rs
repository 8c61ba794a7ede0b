//! The connection that everything else shares.

use std::{
    error::Error,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ServerError, jetstream,
    jetstream::{kv, object_store::ObjectStore},
};
use tokio::sync::{OnceCell, watch};

use crate::{
    Announcements, DeadLetters, IdempotencyKeys, JobQueue, Lease, MessagingConfig, MessagingError,
    Reconciler, TaskStore,
    address::NatsServers,
    layout::{self, Arrangement},
    permissions::Denials,
    writes::{SUSPICIOUS_AFTER, Writes},
};

/// How often to ask whether the server is still there. The library's default is a minute, in which
/// a silent network would swallow every request.
const PING_EVERY: Duration = Duration::from_secs(10);

/// The pause between attempts at the first connection.
const RETRY_EVERY: Duration = Duration::from_millis(250);

const FIRST_RECONNECT_DELAY: Duration = Duration::from_millis(20);
const LONGEST_RECONNECT_DELAY: Duration = Duration::from_secs(2);

/// How the connection stands, as told by the client library's events.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Link {
    /// How often a connection was made: a change means that the server forgot our pull requests.
    pub(crate) connects: u64,
    pub(crate) connected: bool,
    closed: bool,
}

/// A connection to NATS. Cheap to clone; all clones share it.
#[derive(Clone)]
pub struct Messaging {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    jetstream: jetstream::Context,
    config: MessagingConfig,
    address: String,
    link: watch::Receiver<Link>,
    denials: Denials,
    writes: Writes,
    tasks: OnceCell<kv::Store>,
    pictures: OnceCell<ObjectStore>,
}

impl Messaging {
    /// Connects, trying again for up to `config.connect_timeout`. Once connected, a lost connection
    /// is made again in the background for as long as the process lives.
    ///
    /// # Errors
    /// [`MessagingError::Credentials`], [`MessagingError::LoginRefused`] or
    /// [`MessagingError::Unreachable`].
    pub async fn connect(config: MessagingConfig) -> Result<Self, MessagingError> {
        let (events, mut link) = watch::channel(Link::default());
        let denials = Denials::new();
        let options = options(&config, events, denials.clone()).await?;
        let address = config.servers.to_string();
        let client = first_connection(options, &config.servers, config.connect_timeout).await?;
        // The event of this first connection comes from another task. Whoever looks at the link
        // from here on must not take it for a second connection.
        let patience = config.request_timeout;
        let _ = tokio::time::timeout(patience, link.wait_for(|link| link.connects > 0)).await;
        let mut jetstream = jetstream::new(client.clone());
        // Longer than `within` waits, so that there is one kind of timeout and not one per library call.
        jetstream.set_timeout(config.request_timeout + Duration::from_secs(1));
        tracing::info!(%address, "connected to NATS");
        let writes = Writes::of(config.role);
        let inner = Inner {
            client,
            jetstream,
            config,
            address,
            link,
            denials,
            writes,
            tasks: OnceCell::new(),
            pictures: OnceCell::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Creates streams, consumer, bucket and object store, or changes those there are to what the
    /// configuration says, and tells what it did. Safe to call from many processes at once.
    ///
    /// Credentials that may only look are enough where everything is there. Settings that differ are
    /// then left as they are, with a warning.
    ///
    /// # Errors
    /// [`MessagingError::Setup`] when the server refuses, [`MessagingError::SetUpFirst`] when something
    /// is missing that these credentials may not make, [`MessagingError::Timeout`] when the server does
    /// not answer, [`MessagingError::Failed`] when what was made is gone again.
    pub async fn ensure(&self) -> Result<Vec<Arrangement>, MessagingError> {
        let arranged = layout::ensure(self).await?;
        // Now, while the server answers, so that later requests have one question less to ask.
        self.task_bucket().await?;
        self.picture_store().await?;
        Ok(arranged)
    }

    /// The queue of jobs.
    #[must_use]
    pub fn queue(&self) -> JobQueue {
        JobQueue::new(self.clone())
    }

    /// The records of tasks.
    #[must_use]
    pub fn tasks(&self) -> TaskStore {
        TaskStore::new(self.clone())
    }

    /// The idempotency keys that clients have used.
    #[must_use]
    pub fn idempotency_keys(&self) -> IdempotencyKeys {
        IdempotencyKeys::new(self.clone())
    }

    /// The messages that were given up.
    #[must_use]
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters::new(self.clone())
    }

    /// What the workers say of the models they run.
    #[must_use]
    pub fn announcements(&self) -> Announcements {
        Announcements::new(self.clone())
    }

    /// The lease on the work called `name` (letters, digits, `-`, `_`). Nobody holds it yet.
    #[must_use]
    pub fn lease(&self, name: &'static str) -> Lease {
        Lease::new(self.clone(), name)
    }

    /// Compares queue and records. It has seen nothing yet.
    #[must_use]
    pub fn reconciler(&self) -> Reconciler {
        Reconciler::new(self.clone())
    }

    /// Whether the connection stands right now, as far as this side knows. Where it does not, nothing is
    /// submitted either: both look at what the client library's events have told, and not at its own
    /// state, which is a moment ahead of them.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.inner.link.borrow().connected
    }

    /// What is known of whether the server stores what this process sends. Somebody must run
    /// [`Messaging::watch_writes`] for it.
    #[must_use]
    pub fn writes(&self) -> &Writes {
        &self.inner.writes
    }

    /// Why nothing can be stored right now, for people: no connection, or a server that does not store.
    /// `None` while nothing is known to be wrong.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        if self.is_connected() {
            self.writes().fault()
        } else {
            Some("not connected to NATS".to_owned())
        }
    }

    /// The server's address as it may be shown: without user and password.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// Sends what is still to be sent and closes the connection, for this clone and all others.
    /// Waits for the end no longer than the configured request timeout.
    pub async fn close(self) {
        let mut link = self.inner.link.clone();
        let closing = async {
            // `drain` returns when the wish is noted, not when it is fulfilled.
            if self.inner.client.drain().await.is_ok() {
                let _ = link.wait_for(|link| link.closed).await;
            }
        };
        if tokio::time::timeout(self.config().request_timeout, closing).await.is_err() {
            tracing::warn!(address = self.address(), "the NATS connection did not close in time");
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn jetstream(&self) -> &jetstream::Context {
        &self.inner.jetstream
    }

    pub(crate) fn config(&self) -> &MessagingConfig {
        &self.inner.config
    }

    pub(crate) fn denials(&self) -> &Denials {
        &self.inner.denials
    }

    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.inner.link.clone()
    }

    /// Runs one call of the client library under the configured timeout: without a connection, the
    /// library queues commands silently and would wait for ever.
    pub(crate) async fn within<T, E>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, MessagingError>
    where
        E: Error + Send + Sync + 'static,
    {
        let result = self.within_timeout(what, call).await?;
        result.map_err(|cause| MessagingError::failed(what, cause))
    }

    /// As [`Messaging::within`], for callers that look at the library's own error.
    pub(crate) async fn within_timeout<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = T>,
    ) -> Result<T, MessagingError> {
        self.within_time(what, self.config().request_timeout, call).await
    }

    /// As [`Messaging::within_timeout`], for up to `after`. A question that goes unanswered has the streams
    /// probed ([`Messaging::watch_writes`]) long before that.
    pub(crate) async fn within_time<T>(
        &self,
        what: &'static str,
        after: Duration,
        call: impl Future<Output = T>,
    ) -> Result<T, MessagingError> {
        let soon = SUSPICIOUS_AFTER.min(after);
        let mut call = pin!(call);
        if let Ok(answer) = tokio::time::timeout(soon, &mut call).await {
            return Ok(answer);
        }
        self.writes().suspect();
        let late = tokio::time::timeout(after.saturating_sub(soon), call).await;
        late.map_err(|_| MessagingError::Timeout { what, after })
    }

    /// Waits for a lost connection to come back; tells whether it did within `patience`.
    pub(crate) async fn wait_until_connected(&self, patience: Duration) -> bool {
        let mut link = self.link();
        let connected = link.wait_for(|link| link.connected);
        matches!(tokio::time::timeout(patience, connected).await, Ok(Ok(_)))
    }

    // The timeouts stand around the wait for others who are opening the same store: inside, each of
    // those who wait would take a whole timeout of its own, one after another.

    pub(crate) async fn task_bucket(&self) -> Result<&kv::Store, MessagingError> {
        let open = || self.jetstream().get_key_value(layout::TASK_BUCKET);
        self.within("open the bucket of task records", self.inner.tasks.get_or_try_init(open)).await
    }

    pub(crate) async fn picture_store(&self) -> Result<&ObjectStore, MessagingError> {
        let open = || self.jetstream().get_object_store(layout::PICTURE_STORE);
        self.within("open the store of pictures", self.inner.pictures.get_or_try_init(open)).await
    }
}

impl std::fmt::Debug for Messaging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messaging").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

async fn options(
    config: &MessagingConfig,
    events: watch::Sender<Link>,
    denials: Denials,
) -> Result<ConnectOptions, MessagingError> {
    let events = Arc::new(events);
    let mut options = ConnectOptions::new()
        .name(config.role.name())
        .custom_inbox_prefix(config.role.inbox_prefix())
        .ping_interval(PING_EVERY)
        .connection_timeout(config.request_timeout)
        .request_timeout(Some(config.request_timeout))
        .reconnect_delay_callback(reconnect_delay)
        .event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(said)) = &event {
                denials.note(said);
            }
            note(&event, &events);
            std::future::ready(())
        });
    options = config.tls.apply(options);
    if let Some(login) = &config.servers.login {
        let (user, password) = (login.user.expose(), login.password.expose());
        options = options.user_and_password(user.to_owned(), password.to_owned());
    }
    match &config.credentials_file {
        Some(path) => options.credentials_file(path).await.map_err(MessagingError::Credentials),
        None => Ok(options),
    }
}

/// How long to wait before the `attempt`th attempt to get a lost connection back: at once, then
/// twice as long each time up to two seconds, half of it at random so that a server that comes up
/// is not met by all its clients in one moment.
fn reconnect_delay(attempt: usize) -> Duration {
    let Some(doublings) = attempt.checked_sub(2) else { return Duration::ZERO };
    let delay = FIRST_RECONNECT_DELAY.saturating_mul(1 << doublings.min(10));
    delay.min(LONGEST_RECONNECT_DELAY).mul_f64(rand::random_range(0.5..1.0))
}

/// Takes an event over into `link`, and logs a lost connection once: the library tells of every
/// failed attempt to get it back, many in a second.
fn note(event: &Event, link: &watch::Sender<Link>) {
    let before = *link.borrow();
    match event {
        Event::Connected => {
            if before.connects > 0 && !before.connected {
                tracing::info!("NATS: the connection is back");
            } else {
                tracing::debug!("NATS: {event}");
            }
            link.send_modify(|link| {
                link.connects += 1;
                link.connected = true;
            });
        }
        Event::Closed => {
            tracing::debug!("NATS: {event}");
            link.send_modify(|link| {
                link.connected = false;
                link.closed = true;
            });
        }
        Event::Disconnected => {
            if before.connected {
                tracing::warn!("NATS: the connection is lost; trying again");
            }
            link.send_modify(|link| link.connected = false);
        }
        Event::Draining => tracing::debug!("NATS: {event}"),
        Event::ClientError(error) if !before.connected => {
            tracing::debug!(%error, "NATS: still no connection");
        }
        other => tracing::warn!("NATS: {other}"),
    }
}

/// Connects, trying again until `patience` is over.
///
/// The library's `retry_on_initial_connect` is not used: it tries for ever in a task that nothing
/// ends, and keeps to itself why an attempt failed.
async fn first_connection(
    options: ConnectOptions,
    servers: &NatsServers,
    patience: Duration,
) -> Result<Client, MessagingError> {
    let address = servers.to_string();
    let started = Instant::now();
    let mut cause = "no answer".to_owned();
    loop {
        let left = patience.saturating_sub(started.elapsed());
        let attempt = options.clone().connect(servers.addresses.clone());
        match tokio::time::timeout(left, attempt).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(error)) => match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                    return Err(MessagingError::LoginRefused { address });
                }
                _ => cause = error.to_string(),
            },
            Err(_) => {}
        }
        if started.elapsed() + RETRY_EVERY >= patience {
            return Err(MessagingError::Unreachable { address, waited: patience, cause });
        }
        tracing::warn!(%address, %cause, "no connection to NATS yet; trying again");
        tokio::time::sleep(RETRY_EVERY).await;
    }
}
