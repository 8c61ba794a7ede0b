//! The nats-server or the cluster of the system.

use std::{thread, time::Duration};

use testkit::{NatsCluster, NatsServer, StreamState};

pub(crate) enum Nats {
    One(NatsServer),
    Three(NatsCluster),
}

impl Nats {
    pub(crate) fn nodes(&self) -> &[NatsServer] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Three(cluster) => cluster.nodes(),
        }
    }

    /// The servers' addresses without a proxy.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::One(server) => server.url(),
            Self::Three(cluster) => cluster.url(),
        }
    }

    pub(crate) fn kill(&mut self, node: usize) {
        match self {
            Self::One(server) => server.kill(),
            Self::Three(cluster) => cluster.kill(node),
        }
    }

    pub(crate) fn restart(&mut self, node: usize) {
        match self {
            Self::One(server) => server.restart(),
            Self::Three(cluster) => cluster.restart(node),
        }
    }

    /// The node that leads the stream of jobs; waits for an election to end.
    pub(crate) fn jobs_leader(&self) -> usize {
        let Self::Three(cluster) = self else { return 0 };
        for _ in 0..400 {
            if let Some(leader) = cluster.stream_leader("JOBS") {
                return leader;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the stream of jobs has no leader for 20 s");
    }

    /// Has another node lead the stream of jobs. A refusal by a leader that has changed meanwhile is printed.
    pub(crate) fn change_leader(&self) {
        let leader = &self.nodes()[self.jobs_leader()];
        let answer = leader.try_request("$JS.API.STREAM.LEADER.STEPDOWN.JOBS", "");
        if !answer.as_ref().is_some_and(|answer| answer.contains("\"success\":true")) {
            eprintln!("the leader did not change: {answer:?}");
        }
    }

    /// The state of a stream.
    pub(crate) fn stream(&self, name: &str) -> Option<StreamState> {
        match self {
            Self::One(server) => server.stream(name),
            Self::Three(cluster) => cluster.stream(name),
        }
    }

    /// Deletes the workers' consumer of normal jobs. Returns whether the server confirms it.
    pub(crate) fn delete_consumer(&self) -> bool {
        let running = self.nodes().iter().find(|node| node.is_running());
        let answer = running
            .and_then(|node| node.try_request("$JS.API.CONSUMER.DELETE.JOBS.normal-yolov8n", ""));
        answer.is_some_and(|answer| answer.contains("\"success\":true"))
    }
}
