//! A cluster of three nats-servers.

use std::sync::Arc;

use crate::{
    START_TIMEOUT, eventually,
    network::ports::free_port,
    poll_until,
    servers::nats::{NatsServer, NatsServerBuilder, StreamState},
    servers::small_disk::SmallDisk,
};

const NODES: usize = 3;

/// How often a start is attempted: another program may take a port, and routes are configured beforehand.
const PORT_ATTEMPTS: usize = 5;

/// A cluster of three, each node a process of its own; killed and reaped when dropped.
#[derive(Debug)]
pub struct NatsCluster {
    nodes: Vec<NatsServer>,
}

impl NatsCluster {
    /// Starts three nodes and waits until they have a leader.
    ///
    /// # Panics
    /// If they do not come up.
    #[must_use]
    pub fn start() -> Self {
        Self::start_like(&NatsServer::builder(), &[])
    }

    /// As [`NatsCluster::start`], with these settings for each node.
    ///
    /// # Panics
    /// As [`NatsCluster::start`].
    #[must_use]
    pub fn start_as(settings: &NatsServerBuilder) -> Self {
        Self::start_like(settings, &[])
    }

    /// As [`NatsCluster::start`], each node with a disk of its own. Nodes without one use folders.
    ///
    /// # Panics
    /// As [`NatsCluster::start`].
    #[must_use]
    pub fn start_on(disks: &[Arc<SmallDisk>]) -> Self {
        Self::start_like(&NatsServer::builder(), disks)
    }

    fn start_like(settings: &NatsServerBuilder, disks: &[Arc<SmallDisk>]) -> Self {
        for _ in 0..PORT_ATTEMPTS {
            let ports: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
            let nodes = (0..NODES).map(|node| {
                let builder = as_node(settings.clone(), node, &ports);
                match disks.get(node) {
                    Some(disk) => builder.disk(disk).try_start(),
                    None => builder.try_start(),
                }
            });
            let Ok(nodes) = nodes.collect::<Result<_, _>>() else { continue };
            let cluster = Self { nodes };
            if poll_until(START_TIMEOUT, || cluster.is_healthy().then_some(())).is_some() {
                return cluster;
            }
        }
        panic!("three nats-servers did not become a cluster")
    }

    /// Where clients connect: the nodes' URLs, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes.iter().map(NatsServer::url).collect::<Vec<_>>().join(",")
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[NatsServer] {
        &self.nodes
    }

    /// Kills one node with SIGKILL. [`NatsCluster::restart`] uses the same ports and store.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// Starts a node again on the same ports and the same store.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self, node: usize) {
        self.nodes[node].restart();
    }

    /// Whether every node runs, knows the leader and has caught up with it.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.nodes.iter().all(NatsServer::is_healthy)
    }

    /// Waits until a client of some node subscribes to exactly this subject and the other running nodes know it:
    /// from then on, a message that is published on any of them reaches that client.
    ///
    /// # Panics
    /// If there is no such subscription after a timeout.
    pub async fn wait_until_subscribed(&self, subject: &str) {
        let is_known = |node: &NatsServer| {
            node.is_subscribed_to(subject) || node.remote_subscribers(subject) > 0
        };
        eventually(START_TIMEOUT, async || {
            let mut running = self.nodes.iter().filter(|node| node.is_running());
            running.all(is_known).then_some(())
        })
        .await;
    }

    /// The node that leads a stream, as the running nodes see it; `None` during an election.
    #[must_use]
    pub fn stream_leader(&self, stream: &str) -> Option<usize> {
        let name = self.stream(stream)?.leader?;
        (0..NODES).find(|node| name == node_name(*node) && self.nodes[*node].is_running())
    }

    /// The state of a stream at its leader, or at any other node during an election.
    #[must_use]
    pub fn stream(&self, stream: &str) -> Option<StreamState> {
        let running = self.nodes.iter().enumerate().filter(|(_, node)| node.is_running());
        let mut states: Vec<_> =
            running.filter_map(|(i, node)| Some((i, node.stream(stream)?))).collect();
        let led = |(i, state): &(usize, StreamState)| {
            state.leader.as_deref() == Some(node_name(*i).as_str())
        };
        let at = states.iter().position(led).or((!states.is_empty()).then_some(0))?;
        Some(states.swap_remove(at).1)
    }
}

fn node_name(node: usize) -> String {
    format!("node-{node}")
}

/// Nodes do not advertise each other to clients: a client must use the proxies it was given.
fn as_node(settings: NatsServerBuilder, node: usize, ports: &[u16]) -> NatsServerBuilder {
    let routes: Vec<String> =
        ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
    let config = format!(
        "server_name: {}\ncluster {{ name: testkit, listen: \"127.0.0.1:{}\", no_advertise: true, routes: [{}] }}",
        node_name(node),
        ports[node],
        routes.join(", "),
    );
    settings.config(&config).clustered()
}
