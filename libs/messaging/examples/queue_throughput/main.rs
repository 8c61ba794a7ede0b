//! What the queue takes: jobs a second by size of picture, through the project's own code.
//!
//! ```bash
//! cargo run --release -p messaging --example queue_throughput -- --json queue.json
//! ```
//!
//! Starts nats-servers of its own (file storage) and sends jobs through: stored, delivered, picture
//! read, settled, so many at a time. Kinds are measured in turn, round by round, and the median
//! counts. Client and servers share this machine's cores, so besides jobs a second it reports what
//! the servers themselves spent on each. `docs/scaling.md` has what came out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement that fails is to end, and its table goes to standard output"
)]

mod load;
mod protocol;
mod servers;

use std::{fs, path::PathBuf, time::Duration};

use clap::Parser;
use serde_json::{Value, json};

use crate::{
    load::{Case, Measured, Records, Way, measure, median},
    servers::{Kind, Servers},
};

#[derive(Debug, Parser)]
struct Options {
    /// How often each case is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each time.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// What to measure on.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "one,one-synced,three,three-synced"
    )]
    servers: Vec<Kind>,
    /// A file for the results.
    #[arg(long)]
    json: Option<PathBuf>,
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// bus.jpg.
const ORDINARY: usize = 137 * KIB;

fn cases() -> Vec<Case> {
    let inline = [32 * KIB, ORDINARY, 512 * KIB, MIB, 2 * MIB].map(|bytes| (bytes, Way::Inline));
    let object = [ORDINARY, 512 * KIB, MIB, 2 * MIB, 8 * MIB].map(|bytes| (bytes, Way::Object));
    let without = inline.into_iter().chain(object);
    let mut cases: Vec<Case> =
        without.map(|(bytes, way)| Case { bytes, way, records: Records::Without }).collect();
    cases.push(Case { bytes: ORDINARY, way: Way::Inline, records: Records::With });
    cases
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let servers: Vec<Servers> = options.servers.iter().map(|kind| Servers::start(*kind)).collect();
    let cases = cases();
    let mut rows: Vec<(Kind, Case, Vec<Measured>)> = Vec::new();
    for servers in &servers {
        rows.extend(cases.iter().map(|case| (servers.kind, *case, Vec::new())));
    }
    for _ in 0..options.rounds {
        for (kind, case, measured) in &mut rows {
            let servers = servers.iter().find(|servers| servers.kind == *kind).unwrap();
            let during = Duration::from_secs_f64(options.seconds);
            measured.push(measure(servers, *case, during).await);
        }
    }
    println!(
        "servers       picture        way     jobs/s    MiB/s  stored p50/p99 ms  CPU ms  written KiB"
    );
    for (kind, case, measured) in &rows {
        println!("{}", line(*kind, *case, measured));
    }
    if let Some(file) = options.json {
        let rows: Vec<Value> = rows.iter().map(|(kind, case, of)| row(*kind, *case, of)).collect();
        fs::write(file, json!(rows).to_string()).expect("the file can be written");
    }
}

fn line(kind: Kind, case: Case, measured: &[Measured]) -> String {
    let median = |of: fn(&Measured) -> f64| median(measured.iter().map(of).collect());
    let rate = median(|m| m.per_second);
    format!(
        "{:<12} {:>5} KiB {:>8}{} {rate:>8.0} {:>8.1} {:>9.2} / {:<6.2} {:>7.2} {:>9.0}",
        kind.name(),
        case.bytes / KIB,
        case.way.name(),
        if case.records == Records::With { "+records" } else { "        " },
        rate * case.bytes as f64 / MIB as f64,
        median(|m| m.stored_p50_ms),
        median(|m| m.stored_p99_ms),
        median(|m| m.cpu_ms),
        median(|m| m.written_kib),
    )
}

fn row(kind: Kind, case: Case, measured: &[Measured]) -> Value {
    let all = |of: fn(&Measured) -> f64| -> Vec<f64> { measured.iter().map(of).collect() };
    json!({
        "servers": kind.name(),
        "bytes": case.bytes,
        "way": case.way.name(),
        "records": case.records == Records::With,
        "per_second": all(|m| m.per_second),
        "stored_p50_ms": all(|m| m.stored_p50_ms),
        "stored_p99_ms": all(|m| m.stored_p99_ms),
        "server_cpu_ms": all(|m| m.cpu_ms),
        "written_kib": all(|m| m.written_kib),
    })
}
