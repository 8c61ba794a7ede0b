//! The limit of NATS: how many jobs a second one server on one core takes, and what each costs.
//!
//! ```bash
//! cargo run --release -p messaging --example queue_limit -- --json limit.json
//! ```
//!
//! Starts a nats-server of its own, pinned to one core. On the other cores an API and a worker do what they do for each
//! job, except the picture's work: the job is stored, pulled, its records are written, and it is settled. The pictures
//! are tiny and no model runs, so the server is the bottleneck as long as it is busy all the time, which the table
//! shows. `docs/scaling.md` has the results.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a failed measurement ends, and its table goes to standard output"
)]

mod cores;
mod load;
mod protocol;
mod server;

use std::{fs, num::NonZero, path::PathBuf, time::Duration};

use clap::Parser;
use serde_json::json;

use crate::{
    load::{Load, Measured},
    server::Server,
};

#[derive(Debug, Parser)]
struct Options {
    /// How often the limit is measured.
    #[arg(long, default_value = "5")]
    rounds: NonZero<usize>,
    /// How long each time.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Bytes of a picture.
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Uploads at a time.
    #[arg(long, default_value = "32")]
    senders: NonZero<usize>,
    /// Jobs that the worker processes at a time.
    #[arg(long, default_value = "32")]
    slots: NonZero<usize>,
    /// Models without jobs that the worker serves besides.
    #[arg(long, default_value_t = 0)]
    idle_models: usize,
    /// A file for the results.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() {
    let options = Options::parse();
    let server = Server::start_on_one_core();
    let load = Load {
        url: server.url(),
        bytes: options.bytes,
        senders: options.senders.get(),
        slots: options.slots.get(),
        idle_models: options.idle_models,
        time: Duration::from_secs_f64(options.seconds),
    };
    println!("  jobs/s  NATS busy  CPU µs a job: NATS     API  worker  messages a job: in    out");
    let measured: Vec<Measured> = (0..options.rounds.get())
        .map(|_| {
            let measured = load.measure(&server);
            println!("{}", line(&measured));
            measured
        })
        .collect();
    println!("medians\n{}", line(&Measured::medians(&measured)));
    if let Some(file) = options.json {
        fs::write(file, json!(measured).to_string()).expect("the file can be written");
    }
}

fn line(measured: &Measured) -> String {
    let Measured { per_second, busy, nats_us, api_us, worker_us, messages_in, messages_out } =
        measured;
    format!(
        "{per_second:>8.0}  {:>8.0}%  {nats_us:>18.0}  {api_us:>6.0}  {worker_us:>6.0}  \
         {messages_in:>18.2}  {messages_out:>5.2}",
        busy * 100.0,
    )
}
