//! The statistics of a NATS server, from its monitoring port.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    ops::{AddAssign, Sub},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::error::CliError;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// More than a server with a few streams and connections sends.
const LONGEST_ANSWER: u64 = 4 << 20;

/// The prefix of our clients' names; the rest is the role.
const CLIENT_PREFIX: &str = "spotter-";

/// The monitoring port of a server on this machine.
#[derive(Debug)]
pub(super) struct NatsMonitor {
    address: SocketAddr,
}

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// The messages of one role: of all connections with its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    /// From the role to the server.
    pub(super) sent: Count,
    /// From the server to the role.
    pub(super) received: Count,
}

/// What the server has counted since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NatsCounters {
    /// Messages ever stored, by stream: deleted ones count, refused duplicates do not.
    pub(super) stores: BTreeMap<String, u64>,
    /// By role: `api`, `worker`, `cli`.
    pub(super) traffic: BTreeMap<String, Traffic>,
}

impl NatsMonitor {
    /// Reads the address from the file that the server has written into `ports_dir`.
    pub(super) fn announced_in(ports_dir: &Path) -> Result<Self, CliError> {
        let files = fs::read_dir(ports_dir)?.flatten().map(|entry| entry.path());
        let announced = files.filter(|path| path.extension().is_some_and(|kind| kind == "ports"));
        let address = announced.filter_map(|path| address(&fs::read(path).ok()?)).next();
        match address {
            Some(address) => Ok(Self { address }),
            None => Err(CliError::Unavailable("NATS announces no monitoring port".to_owned())),
        }
    }

    pub(super) async fn counters(&self) -> Result<NatsCounters, CliError> {
        let stores = self.streams().await?.map(|stream| (stream.name, stream.state.last_seq));
        let mut traffic = BTreeMap::<String, Traffic>::new();
        let Connections { connections } = self.get("/connz?limit=10000").await?;
        for connection in connections {
            let name = connection.name.as_deref().unwrap_or("unnamed");
            let role = name.strip_prefix(CLIENT_PREFIX).unwrap_or(name);
            *traffic.entry(role.to_owned()).or_default() += connection.traffic();
        }
        Ok(NatsCounters { stores: stores.collect(), traffic })
    }

    /// The number of messages in a stream.
    pub(super) async fn messages_in(&self, stream: &str) -> Result<u64, CliError> {
        let found = self.streams().await?.find(|found| found.name == stream);
        let missing = || CliError::Unavailable(format!("NATS has no stream {stream}"));
        found.map(|found| found.state.messages).ok_or_else(missing)
    }

    async fn streams(&self) -> Result<impl Iterator<Item = Stream>, CliError> {
        let JetStream { account_details } = self.get("/jsz?streams=true").await?;
        Ok(account_details.into_iter().flat_map(|account| account.stream_detail))
    }

    async fn get<T: DeserializeOwned>(&self, path: &'static str) -> Result<T, CliError> {
        let body = timeout(TIMEOUT, self.body(path)).await;
        let body = body.map_err(|_| {
            CliError::Unavailable(format!("{path} of NATS was not answered in {TIMEOUT:?}"))
        })??;
        serde_json::from_str(&body)
            .map_err(|error| CliError::Unavailable(format!("{path} of NATS: {error}")))
    }

    async fn body(&self, path: &str) -> Result<String, CliError> {
        let mut stream = TcpStream::connect(self.address).await?;
        // With HTTP 1.0 the body ends with the connection, and is not chunked.
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.take(LONGEST_ANSWER).read_to_string(&mut answer).await?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.split(' ').nth(1) == Some("200") => Ok(body.to_owned()),
            _ => Err(CliError::Unavailable(format!("{path} of NATS answered: {answer}"))),
        }
    }
}

/// The address in a server's file of ports.
fn address(file: &[u8]) -> Option<SocketAddr> {
    let ports: Ports = serde_json::from_slice(file).ok()?;
    ports.monitoring.first()?.strip_prefix("http://")?.parse().ok()
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        for (sum, more) in [(&mut self.sent, other.sent), (&mut self.received, other.received)] {
            sum.messages += more.messages;
            sum.bytes += more.bytes;
        }
    }
}

impl Sub for Count {
    type Output = Self;

    /// A connection that has been replaced counts from 0 again.
    fn sub(self, earlier: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(earlier.messages),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

impl NatsCounters {
    /// What was counted since `earlier`. Names without any are left out.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let stores = self.stores.iter().map(|(stream, stores)| {
            let before = earlier.stores.get(stream).copied().unwrap_or_default();
            (stream.clone(), stores.saturating_sub(before))
        });
        let traffic = self.traffic.iter().map(|(role, traffic)| {
            let before = earlier.traffic.get(role).copied().unwrap_or_default();
            let (sent, received) = (traffic.sent - before.sent, traffic.received - before.received);
            (role.clone(), Traffic { sent, received })
        });
        Self {
            stores: stores.filter(|(_, stores)| *stores > 0).collect(),
            traffic: traffic.filter(|(_, traffic)| *traffic != Traffic::default()).collect(),
        }
    }
}

#[derive(Deserialize)]
struct Ports {
    monitoring: Vec<String>,
}

#[derive(Deserialize)]
struct Connections {
    connections: Vec<Connection>,
}

#[derive(Deserialize)]
struct Connection {
    name: Option<String>,
    in_msgs: u64,
    in_bytes: u64,
    out_msgs: u64,
    out_bytes: u64,
}

impl Connection {
    fn traffic(&self) -> Traffic {
        Traffic {
            sent: Count { messages: self.in_msgs, bytes: self.in_bytes },
            received: Count { messages: self.out_msgs, bytes: self.out_bytes },
        }
    }
}

#[derive(Deserialize)]
struct JetStream {
    account_details: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    state: StreamState,
}

#[derive(Deserialize)]
struct StreamState {
    messages: u64,
    last_seq: u64,
}

#[cfg(test)]
mod tests {
    use testkit::NatsServer;

    use super::*;

    fn count(messages: u64) -> Count {
        Count { messages, bytes: 10 * messages }
    }

    #[test]
    fn the_address_is_that_of_the_monitoring_port() {
        let file = br#"{"nats":["nats://127.0.0.1:1"],"monitoring":["http://127.0.0.1:2"]}"#;
        assert_eq!(address(file), "127.0.0.1:2".parse().ok());
        assert_eq!(address(br#"{"nats":["nats://127.0.0.1:1"],"monitoring":[]}"#), None);
    }

    #[test]
    fn names_without_a_message_are_left_out() {
        let counters = |jobs, api| NatsCounters {
            stores: [("JOBS".to_owned(), jobs), ("DLQ".to_owned(), 3)].into(),
            traffic: [
                ("api".to_owned(), Traffic { sent: count(api), received: count(7) }),
                ("cli".to_owned(), Traffic { sent: count(1), received: count(1) }),
            ]
            .into(),
        };
        let since = counters(5, 12).since(&counters(2, 10));
        assert_eq!(since.stores, [("JOBS".to_owned(), 3)].into());
        let expected = Traffic { sent: count(2), received: count(0) };
        assert_eq!(since.traffic, [("api".to_owned(), expected)].into());
        // A connection that was replaced counts from 0 again.
        assert_eq!(counters(2, 10).since(&counters(5, 12)).traffic, BTreeMap::new());
    }

    #[tokio::test]
    async fn a_server_reports_its_streams_and_connections() {
        let server = NatsServer::start();
        let config = r#"{"name":"S","subjects":["s"],"storage":"memory"}"#;
        server.request("$JS.API.STREAM.CREATE.S", config).unwrap();
        for _ in 0..3 {
            server.request("s", "stored").unwrap();
        }
        let address = server.monitor_url().trim_start_matches("http://").parse().unwrap();
        let monitor = NatsMonitor { address };
        assert_eq!(monitor.counters().await.unwrap().stores, [("S".to_owned(), 3)].into());
        assert_eq!(monitor.messages_in("S").await.unwrap(), 3);
        assert!(monitor.messages_in("T").await.is_err());
    }
}
