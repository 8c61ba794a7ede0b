//! The servers that are measured, and what they have used.

use std::fs;

use clap::ValueEnum;
use testkit::{NatsCluster, NatsServer};

/// No picture of the sizes that are measured is too large for a message. NATS advises against more
/// than 8 MB.
const MAX_PAYLOAD: usize = 8 << 20;

/// What a tick of `/proc/<pid>/stat` stands for, in ms.
const TICK_MS: f64 = 10.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One server with its defaults: files are synced every two minutes.
    One,
    /// One server with `sync_interval: always`.
    OneSynced,
    /// Three servers that store each stream together.
    Three,
    /// Three, each with `sync_interval: always`: what production is to have.
    ThreeSynced,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::OneSynced => "one, synced",
            Self::Three => "three",
            Self::ThreeSynced => "three, synced",
        }
    }
}

pub(crate) struct Servers {
    pub(crate) kind: Kind,
    running: Running,
}

enum Running {
    One(NatsServer),
    Three(NatsCluster),
}

/// What servers have used since they began, all of them together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) cpu_ms: f64,
    /// Handed to the disk.
    pub(crate) written_bytes: f64,
}

impl Servers {
    pub(crate) fn start(kind: Kind) -> Self {
        let builder = NatsServer::builder().max_payload(MAX_PAYLOAD);
        let synced = || builder.clone().sync_always();
        let running = match kind {
            Kind::One => Running::One(builder.start()),
            Kind::OneSynced => Running::One(synced().start()),
            Kind::Three => Running::Three(NatsCluster::start_as(&builder)),
            Kind::ThreeSynced => Running::Three(NatsCluster::start_as(&synced())),
        };
        Self { kind, running }
    }

    pub(crate) fn url(&self) -> String {
        match &self.running {
            Running::One(server) => server.url(),
            Running::Three(cluster) => cluster.url(),
        }
    }

    pub(crate) fn nodes(&self) -> &[NatsServer] {
        match &self.running {
            Running::One(server) => std::slice::from_ref(server),
            Running::Three(cluster) => cluster.nodes(),
        }
    }

    pub(crate) fn used(&self) -> Used {
        let all = self.nodes().iter().map(|server| used(server.process_id()));
        all.fold(Used { cpu_ms: 0.0, written_bytes: 0.0 }, |sum, one| Used {
            cpu_ms: sum.cpu_ms + one.cpu_ms,
            written_bytes: sum.written_bytes + one.written_bytes,
        })
    }
}

fn used(process: u32) -> Used {
    let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap();
    let stat = read("stat");
    // After the name, which may hold blanks: state is field 3, utime 14, stime 15.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let cpu_ms = ticks.map(|ticks| ticks.parse::<f64>().unwrap() * TICK_MS).sum();
    let io = read("io");
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    Used { cpu_ms, written_bytes: written.trim().parse().unwrap() }
}
