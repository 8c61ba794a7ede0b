//! The connection to NATS, which everything else in this crate shares.

pub(crate) mod address;
mod denials;
mod link;
pub(crate) mod refusal;
mod requests;
pub(crate) mod tls;
pub(crate) mod write_faults;
mod write_probe;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event, ServerError, jetstream,
    jetstream::{kv, object_store::ObjectStore},
};
use tokio::sync::{OnceCell, watch};

pub(crate) use self::link::Link;
use self::{address::NatsServers, denials::Denials, write_faults::Writes};
use crate::{MessagingConfig, MessagingError, records::ended::EndedTasks};

/// How often the client pings the server. The library's default is a minute, in which a network that
/// drops packets would swallow every request.
const PING_EVERY: Duration = Duration::from_secs(10);

/// The pause between attempts at the first connection.
const RETRY_EVERY: Duration = Duration::from_millis(250);

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
    ended: EndedTasks,
    tasks: OnceCell<kv::Store>,
    pictures: OnceCell<ObjectStore>,
}

impl Messaging {
    /// Connects, with retries for up to `config.connect_timeout`. Once connected, the client library
    /// reconnects in the background for as long as the process lives.
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
        // The event of this first connection comes from another task. Readers of the link must not
        // take it for a reconnection later.
        let _ =
            tokio::time::timeout(config.request_timeout, link.wait_for(|link| link.connects > 0))
                .await;
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
            ended: EndedTasks::default(),
            tasks: OnceCell::new(),
            pictures: OnceCell::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether the connection is up, by the client library's events. Submissions go by the same events, and
    /// not by the library's own state, which is a moment ahead of them.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.inner.link.borrow().connected
    }

    /// Whether the server stores what this process sends. Known only while [`Messaging::watch_writes`] runs.
    #[must_use]
    pub fn writes(&self) -> &Writes {
        &self.inner.writes
    }

    /// Why nothing can be stored right now, as a text for operators: no connection, or a server that does
    /// not store. `None` while no fault is known.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        if self.is_connected() {
            self.writes().fault()
        } else {
            Some("not connected to NATS".to_owned())
        }
    }

    /// The servers' addresses without user and password.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    /// Flushes and closes the connection, for this clone and all others, within the configured request
    /// timeout.
    pub async fn close(self) {
        let mut link = self.inner.link.clone();
        let closing = async {
            // `drain` returns before the connection is closed.
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

    /// What this process has ended.
    pub(crate) fn ended(&self) -> &EndedTasks {
        &self.inner.ended
    }

    pub(crate) fn denials(&self) -> &Denials {
        &self.inner.denials
    }

    pub(crate) fn link(&self) -> watch::Receiver<Link> {
        self.inner.link.clone()
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
        .reconnect_delay_callback(link::reconnect_delay)
        .event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(said)) = &event {
                denials.note(said);
            }
            link::note(&event, &events);
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

/// Connects, with retries until `limit` has passed.
///
/// The library's `retry_on_initial_connect` is not used: it retries for ever in a task that cannot be
/// stopped, and does not report why an attempt failed.
async fn first_connection(
    options: ConnectOptions,
    servers: &NatsServers,
    limit: Duration,
) -> Result<Client, MessagingError> {
    let address = servers.to_string();
    let started = Instant::now();
    let mut cause = "no answer".to_owned();
    loop {
        let left = limit.saturating_sub(started.elapsed());
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
        if started.elapsed() + RETRY_EVERY >= limit {
            return Err(MessagingError::Unreachable { address, waited: limit, cause });
        }
        tracing::warn!(%address, %cause, "no connection to NATS yet; retrying");
        tokio::time::sleep(RETRY_EVERY).await;
    }
}
