//! The results, as a table for people and as JSON for programs.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::bench::{
    driver::{Reads, Uploads},
    messages::JobMessages,
    processes::Usages,
    samples::{Latencies, median},
};

/// All results. Sections that were not requested are absent.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) throughput: Option<Throughput>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) messages: Vec<JobMessages>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Latency>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) uploads: Vec<UploadsUnderLoad>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) reads: Vec<ReadsOf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) growth: Vec<Growth>,
}

/// The machine, the model and the picture.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Machine {
    pub(crate) version: &'static str,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) model: String,
    pub(crate) picture: String,
    /// Width and height of the model's input, in pixels.
    pub(crate) input: Option<(usize, usize)>,
}

/// Pictures per second, round by round. The variants of a round were measured one after another.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Throughput {
    /// Pictures at a time.
    pub(crate) slots: usize,
    /// The original export on a prepared tensor.
    pub(crate) plain: Vec<f64>,
    /// The installed graph on a prepared tensor.
    pub(crate) cut: Vec<f64>,
    /// From bytes to objects, without a queue.
    pub(crate) detector: Vec<f64>,
    /// The same for the default model's other form, in 8 bits or in floats, where it is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) counterpart: Option<Counterpart>,
    /// From upload to result, with the queue full.
    pub(crate) queue: Vec<f64>,
    /// The share of the time in which the worker's inference threads slept while the queue was full.
    pub(crate) idle_share: Vec<f64>,
    /// CPU milliseconds per picture of the detector's loop.
    pub(crate) detector_cpu_ms: f64,
    /// CPU milliseconds per picture that passed through the queue, by service.
    pub(crate) queue_cpu_ms: BTreeMap<&'static str, f64>,
    /// CPU milliseconds per picture that passed through the queue, of all services together, beyond those of the
    /// detector's loop in the same round.
    pub(crate) beyond_detector_cpu_ms: Vec<f64>,
    /// The median of each stage in milliseconds, one picture at a time.
    pub(crate) stages_ms: BTreeMap<&'static str, f64>,
    /// Memory after the last round.
    pub(crate) usages: Usages,
}

/// The same detector with another model.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Counterpart {
    pub(crate) model: String,
    /// From bytes to objects, without a queue.
    pub(crate) detector: Vec<f64>,
}

/// One picture at a time on an idle system.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    /// From submission to result.
    pub(crate) alone: Latencies,
    /// The stages outside upload and run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on_the_way: Option<OnTheWay>,
    /// The model alone, on every core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<Latencies>,
    /// From submission to a cached result. `None` without Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) again: Option<Latencies>,
}

/// The stages of a picture outside its worker.
#[derive(Debug, Serialize)]
pub(crate) struct OnTheWay {
    /// From acceptance by the API to the start of the run.
    pub(crate) queue: Latencies,
    /// From the end of the run to the arrival of the result at the client.
    pub(crate) store: Latencies,
}

/// Uploads while every worker is busy.
#[derive(Debug, Serialize)]
pub(crate) struct UploadsUnderLoad {
    #[serde(flatten)]
    pub(crate) uploads: Uploads,
    /// The API's memory before and after, in MiB.
    pub(crate) api_mib: (f64, f64),
}

/// Status reads with the cache in one state.
#[derive(Debug, Serialize)]
pub(crate) struct ReadsOf {
    /// `Redis` or `bucket`.
    pub(crate) source: &'static str,
    pub(crate) reads: Reads,
    /// Reads per second of the API's CPU time: the rate of one core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_api_core_second: Option<f64>,
}

/// The throughput with more workers or a longer backlog.
#[derive(Debug, Serialize)]
pub(crate) struct Growth {
    pub(crate) workers: usize,
    pub(crate) backlog: usize,
    pub(crate) per_second: f64,
    pub(crate) usages: Usages,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { version, cpu, cores, model, picture, input } = &self.machine;
        writeln!(f, "spotter {version}, {cpu}, {cores} cores, model {model}, {picture}")?;
        if let Some((width, height)) = input {
            writeln!(f, "input {width}×{height}")?;
        }
        if let Some(throughput) = &self.throughput {
            write!(f, "\n{throughput}")?;
        }
        for messages in &self.messages {
            write!(f, "\n{messages}")?;
        }
        if let Some(Latency { alone, on_the_way, model, again }) = &self.latency {
            writeln!(f, "\none picture at a time       p50        p99        max")?;
            writeln!(f, "  submit → result    {}", three(alone))?;
            if let Some(OnTheWay { queue, store }) = on_the_way {
                writeln!(f, "  of it in the queue {}", three(queue))?;
                writeln!(f, "  of it store, send  {}", three(store))?;
            }
            if let Some(model) = model {
                writeln!(f, "  model, every core  {}", three(model))?;
            }
            if let Some(again) = again {
                writeln!(f, "  the same again     {}", three(again))?;
            }
        }
        if !self.uploads.is_empty() {
            writeln!(
                f,
                "\nuploads, workers busy       p50        p99        max  refused  API MiB"
            )?;
        }
        for UploadsUnderLoad { uploads, api_mib: (before, after) } in &self.uploads {
            let Uploads { rate, refused, latency } = uploads;
            let (latency, rate) = (three(latency), format!("{rate}/s"));
            writeln!(f, "  {rate:<18} {latency}  {refused:>7}  {before:.0} → {after:.0}")?;
        }
        if !self.reads.is_empty() {
            writeln!(
                f,
                "\nstatus reads                p50        p99        max  reads/s  for an API core"
            )?;
        }
        for ReadsOf { source, reads, per_api_core_second } in &self.reads {
            let (latency, rate) = (three(&reads.latency), reads.per_second);
            write!(f, "  {source:<18} {latency}  {rate:>7.0}")?;
            match per_api_core_second {
                Some(reads) => writeln!(f, "  {reads:.0}/s")?,
                None => writeln!(f)?,
            }
        }
        if !self.growth.is_empty() {
            writeln!(f, "\nworkers  backlog  pictures/s")?;
        }
        for Growth { workers, backlog, per_second, .. } in &self.growth {
            writeln!(f, "  {workers:>5}  {backlog:>7}  {per_second:>10.2}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = median(&self.queue);
        writeln!(
            f,
            "pictures a second, {} at a time, median of {} rounds",
            self.slots,
            self.queue.len()
        )?;
        let counterpart = self
            .counterpart
            .as_ref()
            .map(|Counterpart { model, detector }| (format!("detector, {model}"), detector));
        let rows = [
            ("ordinary export, tensor ready", &self.plain),
            ("installed graph, tensor ready", &self.cut),
            ("detector, no queue", &self.detector),
            ("queue, end to end", &self.queue),
        ];
        let rows =
            rows.map(|(name, values)| (name.to_owned(), values)).into_iter().chain(counterpart);
        for (name, values) in rows.filter(|(_, values)| !values.is_empty()) {
            let median = median(values);
            let (least, most) = (extreme(values, f64::min), extreme(values, f64::max));
            let ratio = queue / median;
            writeln!(
                f,
                "  {name:<30} {median:>6.2}  ({least:.2} – {most:.2})  queue ÷ it {ratio:.3}"
            )?;
        }
        if self.usages.is_empty() {
            // The processes of a running system are not measured.
            return Ok(());
        }
        let idle = median(&self.idle_share) * 100.0;
        writeln!(f, "threads of the model idle while the queue is full: {idle:.2} % of the time")?;
        write!(f, "CPU ms a picture: detector {:.1}; through the queue", self.detector_cpu_ms)?;
        for (part, milliseconds) in &self.queue_cpu_ms {
            write!(f, " {part} {milliseconds:.2}")?;
        }
        let beyond = &self.beyond_detector_cpu_ms;
        if !beyond.is_empty() {
            let worker = self.queue_cpu_ms.get("worker").copied().unwrap_or(f64::NAN);
            write!(
                f,
                "\nCPU ms a picture beyond the detector: {:.2} ({:.2} – {:.2}), of it worker {:.2}",
                median(beyond),
                extreme(beyond, f64::min),
                extreme(beyond, f64::max),
                worker - self.detector_cpu_ms,
            )?;
        }
        write!(f, "\nms of each stage:")?;
        for (stage, milliseconds) in &self.stages_ms {
            write!(f, " {stage} {milliseconds:.2}")?;
        }
        write!(f, "\npeak memory, MiB:")?;
        for (part, usage) in &self.usages {
            write!(f, " {part} {:.0}", usage.peak_mib)?;
        }
        writeln!(f)
    }
}

fn extreme(values: &[f64], choose: fn(f64, f64) -> f64) -> f64 {
    values.iter().copied().reduce(choose).unwrap_or(f64::NAN)
}

fn three(latency: &Latencies) -> String {
    format!("{:>7.1} ms {:>7.1} ms {:>7.1} ms", latency.p50_ms, latency.p99_ms, latency.max_ms)
}
