//! `spotter bench`: measures this machine, with the queue and without.
//!
//! Variants that are compared are measured in alternation, round by round, so that a drift of the machine affects all
//! of them alike. The ratios of their medians are what counts.

mod cost;
mod driver;
mod environment;
mod loops;
mod messages;
mod nats_monitor;
mod options;
mod processes;
mod rates;
mod report;
mod samples;

use std::{collections::BTreeMap, fs, time::Duration};

use detector::StageTimings;
use service::lifecycle::shutdown;
use tokio::time::sleep;

pub(crate) use self::options::BenchOptions;
use self::{
    cost::Cost,
    driver::{Driver, Journey},
    environment::BenchEnvironment,
    loops::Loops,
    messages::messages,
    options::BenchSection,
    processes::{SlotTimes, own_cpu_s, usages},
    rates::{FILLING, steady_rate, whole_rate},
    report::{Growth, Latency, Machine, OnTheWay, ReadsOf, Report, Throughput, UploadsUnderLoad},
    samples::{Latencies, median},
};
use crate::{
    error::CliError,
    output::{line, notice},
    supervisor::{ResultCache, block_on},
};

/// Pictures in the queue for each that a worker runs at a time, while the queue is kept full.
const OPEN_PER_PICTURE: usize = 8;

const STAGE_SAMPLES: usize = 30;
const LONE_PICTURES: usize = 30;
const REPEATS: usize = 300;
const UPLOAD_RATES: [u32; 3] = [50, 100, 200];
const READERS: usize = 32;
const WORKERS: [usize; 3] = [1, 2, 4];
const BACKLOGS: [usize; 3] = [100, 1_000, 10_000];
/// A smaller backlog is repeated until this many jobs were sent.
const LEAST_JOBS: usize = 500;

pub(crate) fn bench(options: BenchOptions) -> Result<(), CliError> {
    if cfg!(debug_assertions) {
        notice("this is a debug build: its figures do not apply to a release build");
    }
    // Created outside the runtime of `block_on`: a runtime must not be dropped inside another one.
    let environment = BenchEnvironment::new(&options)?;
    block_on(async {
        let interrupted = shutdown::on_signal()?;
        tokio::select! {
            done = run(&environment, &options) => done,
            () = interrupted.cancelled() => Err(CliError::Unavailable("interrupted".to_owned())),
        }
    })
}

async fn run(environment: &BenchEnvironment, options: &BenchOptions) -> Result<(), CliError> {
    let mut report = Report { machine: machine(options), ..Report::default() };
    for section in &options.only {
        notice(format_args!("{section} …"));
        match section {
            BenchSection::Throughput => {
                let (throughput, size) = throughput(environment, options).await?;
                report.throughput = Some(throughput);
                report.machine.input = size;
            }
            BenchSection::Messages if !environment.is_own() => left_out(),
            BenchSection::Messages => {
                report.messages = messages(environment, options.jobs.get()).await?;
            }
            BenchSection::Latency => report.latency = Some(latency(environment).await?),
            BenchSection::Uploads => report.uploads = uploads(environment, options).await?,
            BenchSection::Reads => report.reads = reads(environment, options).await?,
            BenchSection::Growth if !environment.is_own() => left_out(),
            BenchSection::Growth => report.growth = growth(environment).await?,
        }
    }
    line(&report)?;
    if let Some(path) = &options.json {
        let what = "the report";
        let json = serde_json::to_string_pretty(&report)
            .map_err(|source| CliError::Json { what, source })?;
        fs::write(path, json).map_err(|source| CliError::Write { path: path.clone(), source })?;
    }
    Ok(())
}

fn left_out() {
    notice("  left out: it needs systems of its own");
}

fn machine(options: &BenchOptions) -> Machine {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Machine {
        version: service::VERSION,
        cpu: cpu.map_or("unknown CPU", |(_, name)| name).to_owned(),
        cores: worker::cores::all().get(),
        model: options.model.to_string(),
        picture: options.picture.display().to_string(),
        input: None,
    }
}

async fn throughput(
    environment: &BenchEnvironment,
    options: &BenchOptions,
) -> Result<(Throughput, Option<(usize, usize)>), CliError> {
    let mut loops = environment.loops()?;
    let slots = environment.slots();
    let size = loops.as_ref().map(Loops::size);
    let work = async |driver: &Driver| {
        let mut found = Throughput { slots: slots.get(), ..Throughput::default() };
        let (mut queue, mut detector) = (Cost::default(), Cost::default());
        for round in 1..=options.rounds.get() {
            notice(format_args!("  round {round} of {}", options.rounds));
            let without = loops.as_mut().map(|loops| {
                let without = without_queue(loops, environment.time(), &mut found);
                detector += &without;
                without
            });
            let with = with_queue(environment, driver, &mut found).await?;
            queue += &with;
            found.beyond_detector_cpu_ms.extend(without.map(|without| with.beyond(&without)));
        }
        found.detector_cpu_ms = detector.milliseconds().values().sum();
        found.queue_cpu_ms = queue.milliseconds();
        if let Some(loops) = &mut loops {
            found.stages_ms = stages(&loops.stages(STAGE_SAMPLES));
        }
        found.usages = usages();
        Ok(found)
    };
    let found = environment.with_system(1, ResultCache::Own, work).await?;
    Ok((found, size))
}

/// Returns the cost of the detector's loop.
fn without_queue(loops: &mut Loops, time: Duration, found: &mut Throughput) -> Cost {
    found.plain.extend(loops.plain(time).map(|ran| ran.per_second));
    found.cut.push(loops.cut(time).per_second);
    let before = own_cpu_s();
    let ran = loops.detector(time);
    found.detector.push(ran.per_second);
    let cost = Cost::of_detector(ran.pictures, own_cpu_s() - before);
    if let Some((model, ran)) = loops.counterpart(time) {
        let counterpart = found.counterpart.get_or_insert_default();
        model.as_str().clone_into(&mut counterpart.model);
        counterpart.detector.push(ran.per_second);
    }
    cost
}

async fn with_queue(
    environment: &BenchEnvironment,
    driver: &Driver,
    found: &mut Throughput,
) -> Result<Cost, CliError> {
    let time = environment.time();
    let before = usages();
    let open = OPEN_PER_PICTURE * environment.pictures_at_a_time();
    let load =
        environment.load(driver.clone(), async move |driver| driver.saturate(time, open).await);
    let (finished, idle) = tokio::join!(load, idle_share(time));
    let finished = finished?;
    let cost = Cost::between(finished.len(), &before, &usages());
    found.queue.push(steady_rate(&finished, time));
    found.idle_share.push(idle);
    Ok(cost)
}

/// The share of the time in which the inference threads sleep, measured once the queue has filled.
async fn idle_share(time: Duration) -> f64 {
    sleep(FILLING.unsigned_abs()).await;
    let full = SlotTimes::now();
    sleep(time.saturating_sub(FILLING.unsigned_abs())).await;
    SlotTimes::now().idle_share_since(&full)
}

fn stages(samples: &[StageTimings]) -> BTreeMap<&'static str, f64> {
    type Stage = fn(&StageTimings) -> Duration;
    let kinds: [(&str, Stage); 4] = [
        ("decode", |timings| timings.decode),
        ("letterbox", |timings| timings.letterbox),
        ("infer", |timings| timings.infer),
        ("postprocess", |timings| timings.postprocess),
    ];
    let median_of = |of: Stage| {
        let samples: Vec<f64> = samples.iter().map(|sample| of(sample).as_secs_f64()).collect();
        median(&samples) * 1e3
    };
    kinds.into_iter().map(|(name, of)| (name, median_of(of))).collect()
}

async fn latency(environment: &BenchEnvironment) -> Result<Latency, CliError> {
    let mut loops = environment.loops()?;
    let work = async |driver: &Driver| {
        let (mut journeys, mut model) = (Vec::new(), Vec::new());
        for _ in 0..LONE_PICTURES {
            model.extend(loops.as_mut().map(Loops::alone));
            let driver = driver.clone();
            journeys
                .push(environment.load(driver, async move |driver| driver.alone().await).await?);
        }
        let submit_again = async move |driver: Driver| driver.cached(REPEATS).await;
        let again = environment.load(driver.clone(), submit_again).await?.map(Latencies::of);
        let model = (!model.is_empty()).then(|| Latencies::of(model));
        let of =
            |part: fn(&Journey) -> Duration| Latencies::of(journeys.iter().map(part).collect());
        let alone = of(|journey| journey.whole);
        // The clocks of two machines differ.
        let on_the_way = environment.is_own().then(|| OnTheWay {
            queue: of(|journey| journey.queue),
            store: of(|journey| journey.store),
        });
        Ok(Latency { alone, on_the_way, model, again })
    };
    environment.with_system(1, ResultCache::Own, work).await
}

async fn uploads(
    environment: &BenchEnvironment,
    options: &BenchOptions,
) -> Result<Vec<UploadsUnderLoad>, CliError> {
    let time = Duration::from_secs(options.upload_seconds.get());
    let api_mib = || usages().get("API").map_or(0.0, |usage| usage.resident_mib);
    let work = async |driver: &Driver| {
        let mut found = Vec::new();
        for rate in UPLOAD_RATES {
            let before = api_mib();
            let driver = driver.clone();
            let upload = async move |driver: Driver| Ok(driver.upload_at(rate, time).await);
            let uploads = environment.load(driver, upload).await?;
            found.push(UploadsUnderLoad { uploads, api_mib: (before, api_mib()) });
        }
        Ok(found)
    };
    environment.with_system(1, ResultCache::Own, work).await
}

async fn reads(
    environment: &BenchEnvironment,
    options: &BenchOptions,
) -> Result<Vec<ReadsOf>, CliError> {
    let time = Duration::from_secs(options.seconds.get());
    let mut found = Vec::new();
    let sources = [("Redis", ResultCache::Own), ("bucket", ResultCache::Absent)];
    let sources =
        if environment.is_own() { &sources[..] } else { &[("as it is", ResultCache::Own)] };
    for (source, cache) in sources {
        let work = async |driver: &Driver| {
            let before = usages();
            let read = async move |driver: Driver| {
                let id = driver.finished_task().await?;
                driver.read(id, READERS, time).await
            };
            let reads = environment.load(driver.clone(), read).await?;
            let cost = Cost::between(reads.latency.count, &before, &usages());
            let per_api_core_second = cost.milliseconds().get("API").map(|cost| 1e3 / cost);
            Ok(ReadsOf { source, reads, per_api_core_second })
        };
        found.push(environment.with_system(1, *cache, work).await?);
    }
    Ok(found)
}

async fn growth(environment: &BenchEnvironment) -> Result<Vec<Growth>, CliError> {
    let by_workers = WORKERS.map(|workers| (workers, BACKLOGS[0]));
    let by_backlog = BACKLOGS[1..].iter().map(|backlog| (1, *backlog));
    let mut found = Vec::new();
    for (workers, backlog) in by_workers.into_iter().chain(by_backlog) {
        notice(format_args!("  {workers} workers, {backlog} jobs"));
        let work = async |driver: &Driver| {
            let mut rates = Vec::new();
            for _ in 0..LEAST_JOBS.div_ceil(backlog) {
                let send = async move |driver: Driver| driver.backlog(backlog).await;
                rates.push(whole_rate(&environment.load(driver.clone(), send).await?));
            }
            Ok(Growth { workers, backlog, per_second: median(&rates), usages: usages() })
        };
        found.push(environment.with_system(workers, ResultCache::Own, work).await?);
    }
    Ok(found)
}
