//! Messages, stores and CPU time per job, while no client asks for a result.
//!
//! The NATS server itself counts them. Each message that a worker receives is the reply to one of its requests, or the
//! job of a pull: so the received ones are round trips. The API also receives the records that the reconciler reads.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::Serialize;
use tokio::time::sleep;

use super::{
    cost::Cost,
    driver::Driver,
    environment::BenchEnvironment,
    nats_monitor::{Count, NatsCounters, NatsMonitor},
    processes::usages,
};
use crate::{error::CliError, output::notice, supervisor::ResultCache};

/// A job stays in this stream until it is settled, after its record was stored.
const JOBS_STREAM: &str = "JOBS";

/// How often the server is asked whether the queue is empty.
const POLL_EVERY: Duration = Duration::from_millis(20);

/// One at a time takes longer: a tenth of the jobs is sent so.
const SHARE_ALONE: usize = 10;

/// How jobs arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Arrival {
    /// All at once: the queue is full until the end.
    AtOnce,
    /// Each when the one before it is settled: the system is idle.
    OneAtATime,
}

/// What one job costs.
#[derive(Debug, Serialize)]
pub(crate) struct JobMessages {
    pub(crate) arrival: Arrival,
    pub(crate) jobs: usize,
    /// Messages stored, by stream.
    pub(crate) stores: BTreeMap<String, f64>,
    /// Messages of `api`, `worker` and `cli`, the last of which belongs to the supervisor.
    pub(crate) roles: BTreeMap<String, RoleMessages>,
    /// CPU milliseconds, by service.
    pub(crate) cpu_ms: BTreeMap<&'static str, f64>,
}

/// The messages of one role per job.
#[derive(Debug, Serialize)]
pub(crate) struct RoleMessages {
    /// To NATS.
    pub(crate) sent: f64,
    pub(crate) sent_bytes: f64,
    /// From NATS: replies and jobs.
    pub(crate) received: f64,
    pub(crate) received_bytes: f64,
}

/// Sends `jobs` jobs at once, and a tenth as many one at a time.
pub(super) async fn messages(
    environment: &BenchEnvironment,
    jobs: usize,
) -> Result<Vec<JobMessages>, CliError> {
    let work = async |driver: &Driver, nats: &NatsMonitor| {
        // Whatever happens once, such as the reading of a stream's settings, is over then.
        send(environment, driver, nats, environment.pictures_at_a_time()).await?;
        let mut found = Vec::new();
        for (arrival, jobs) in
            [(Arrival::AtOnce, jobs), (Arrival::OneAtATime, jobs.div_ceil(SHARE_ALONE))]
        {
            notice(format_args!("  {jobs} jobs, {arrival}"));
            let (before, used_before) = (nats.counters().await?, usages());
            match arrival {
                Arrival::AtOnce => send(environment, driver, nats, jobs).await?,
                Arrival::OneAtATime => {
                    for _ in 0..jobs {
                        send(environment, driver, nats, 1).await?;
                    }
                }
            }
            let counted = nats.counters().await?.since(&before);
            let cost = Cost::between(jobs, &used_before, &usages());
            found.push(JobMessages::new(arrival, jobs, &counted, &cost));
        }
        Ok(found)
    };
    environment.with_own_system(1, ResultCache::Own, work).await
}

/// Sends `jobs` jobs and waits until all are settled, without a message to NATS.
async fn send(
    environment: &BenchEnvironment,
    driver: &Driver,
    nats: &NatsMonitor,
    jobs: usize,
) -> Result<(), CliError> {
    let submit = async move |driver: Driver| driver.submit_all(jobs).await;
    environment.load(driver.clone(), submit).await?;
    while nats.messages_in(JOBS_STREAM).await? > 0 {
        sleep(POLL_EVERY).await;
    }
    Ok(())
}

impl JobMessages {
    fn new(arrival: Arrival, jobs: usize, counted: &NatsCounters, cost: &Cost) -> Self {
        let each = |count: u64| count as f64 / jobs as f64;
        let stores = counted.stores.iter().map(|(stream, stores)| (stream.clone(), each(*stores)));
        let roles = counted.traffic.iter().map(|(role, traffic)| {
            let Count { messages: sent, bytes: sent_bytes } = traffic.sent;
            let Count { messages: received, bytes: received_bytes } = traffic.received;
            let messages = RoleMessages {
                sent: each(sent),
                sent_bytes: each(sent_bytes),
                received: each(received),
                received_bytes: each(received_bytes),
            };
            (role.clone(), messages)
        });
        Self {
            arrival,
            jobs,
            stores: stores.collect(),
            roles: roles.collect(),
            cpu_ms: cost.milliseconds(),
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtOnce => "at once",
            Self::OneAtATime => "one at a time",
        })
    }
}

impl fmt::Display for JobMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_roles = |of: fn(&RoleMessages) -> f64| -> f64 { self.roles.values().map(of).sum() };
        writeln!(
            f,
            "messages a job, {} jobs {}: {:.2} stores, {:.2} in, {:.2} out",
            self.jobs,
            self.arrival,
            self.stores.values().sum::<f64>(),
            of_roles(|role| role.sent),
            of_roles(|role| role.received),
        )?;
        write!(f, "  stored in")?;
        for (stream, stores) in &self.stores {
            write!(f, "  {stream} {stores:.2}")?;
        }
        for (role, messages) in &self.roles {
            let RoleMessages { sent, sent_bytes, received, received_bytes } = messages;
            write!(
                f,
                "\n  {role:<8} {sent:>5.2} in, {sent_bytes:>7.0} bytes   {received:>5.2} out, {received_bytes:>7.0} bytes"
            )?;
        }
        write!(f, "\n  CPU ms")?;
        for (part, milliseconds) in &self.cpu_ms {
            write!(f, "  {part} {milliseconds:.2}")?;
        }
        writeln!(f)
    }
}
