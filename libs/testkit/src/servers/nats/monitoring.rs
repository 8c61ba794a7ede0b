//! What a nats-server reports on its monitoring port: its streams and its subscriptions.

use std::collections::HashSet;

use serde_json::Value;

use super::NatsServer;
use crate::{START_TIMEOUT, eventually, network::ports::get};

/// The state of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamState {
    /// How many messages it holds.
    pub messages: u64,
    /// How many consumers it has.
    pub consumers: u64,
    /// The name of the node that leads it; `None` outside a cluster and during an election.
    pub leader: Option<String>,
}

impl NatsServer {
    /// The state of one of the server's streams; `None` if it has none of that name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<StreamState> {
        let all = get(self.ports.monitor, "/jsz?accounts=true&streams=true")?;
        let accounts = all["account_details"].as_array()?.iter();
        let mut streams = accounts.filter_map(|account| account["stream_detail"].as_array());
        let stream = streams.find_map(|streams| streams.iter().find(|s| s["name"] == name))?;
        let leader = stream["cluster"]["leader"].as_str().filter(|name| !name.is_empty());
        Some(StreamState {
            messages: stream["state"]["messages"].as_u64()?,
            consumers: stream["state"]["consumer_count"].as_u64()?,
            leader: leader.map(str::to_owned),
        })
    }

    /// How many clients of this server subscribe to exactly this subject.
    ///
    /// # Panics
    /// If the server does not answer.
    #[must_use]
    pub fn subscribers(&self, subject: &str) -> usize {
        let list = self.monitored("/subsz?subs=1&limit=10000", "subscriptions_list");
        list.iter().filter(|subscription| subscription["subject"] == subject).count()
    }

    /// Whether a client of this server subscribes to exactly this subject.
    ///
    /// # Panics
    /// If the server does not answer.
    #[must_use]
    pub fn is_subscribed_to(&self, subject: &str) -> bool {
        self.subscribers(subject) > 0
    }

    /// Waits until a client of this server subscribes to exactly this subject.
    ///
    /// The client library returns from `subscribe`, and from `flush`, when it has written to its socket. Until the
    /// server has processed the subscription, messages that other connections publish are lost: a test must wait
    /// for the subscription before it causes a message. In a cluster the other servers learn of it later: [`NatsCluster::wait_until_subscribed`](crate::NatsCluster).
    ///
    /// # Panics
    /// If there is none after a timeout, or the server does not answer.
    pub async fn wait_until_subscribed(&self, subject: &str) {
        eventually(START_TIMEOUT, async || self.is_subscribed_to(subject).then_some(())).await;
    }

    /// The number of other servers in the cluster that have a client with a subscription to exactly this subject, as
    /// this server knows it.
    pub(crate) fn remote_subscribers(&self, subject: &str) -> usize {
        let routes = self.monitored("/routez?subs=1", "routes");
        let subscribes = |route: &&Value| {
            let subjects = route["subscriptions_list"].as_array();
            subjects.is_some_and(|subjects| subjects.iter().any(|one| one == subject))
        };
        let servers = routes.iter().filter(subscribes).map(|route| route["remote_id"].as_str());
        servers.collect::<HashSet<_>>().len()
    }

    /// A list from the monitoring port.
    fn monitored(&self, path: &str, list: &str) -> Vec<Value> {
        let mut all =
            get(self.ports.monitor, path).expect("nats-server answers its monitoring port");
        match all[list].take() {
            Value::Array(list) => list,
            _ => Vec::new(),
        }
    }
}
