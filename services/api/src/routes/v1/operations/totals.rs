//! The totals of all processes, added up.

use std::{cmp::Reverse, collections::BTreeMap};

use messaging::{
    CONFIDENCE_BINS, CacheTotals, EndedTotals, LatencyHistogram, PartStatus, ProcessStatus,
};
use poem_openapi::Object;

/// The stages in the order in which a job goes through them.
const STAGES: [&str; 7] = ["queue", "decode", "letterbox", "infer", "boxes", "draw", "store"];

/// How many classes are shown.
const MOST_CLASSES: usize = 20;

/// How long a stage took.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct StageLatency {
    /// `queue` (from the submission to the first run), `decode`, `letterbox`, `infer`, `boxes`, `draw` or `store`.
    pub(super) stage: String,
    /// How often it was run in the last minute.
    pub(super) count: u64,
    /// The median in milliseconds, within 5 %. Absent if it was not run, like the others.
    pub(super) p50_ms: Option<f64>,
    /// The 95th percentile in milliseconds.
    pub(super) p95_ms: Option<f64>,
    /// The 99th percentile in milliseconds.
    pub(super) p99_ms: Option<f64>,
}

/// The objects of one class.
#[derive(Object)]
pub(super) struct ClassTotal {
    /// The class.
    pub(super) label: String,
    /// How many objects were found.
    pub(super) count: u64,
    /// How many of them had a confidence below 0.1, from 0.1 to 0.2, and so on to 1: ten numbers.
    pub(super) confidence: Vec<u64>,
}

/// What all processes have counted.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) accepted: u64,
    pub(super) ended: EndedTotals,
    pub(super) refusals: BTreeMap<String, u64>,
    pub(super) cache: Option<CacheTotals>,
    stages: BTreeMap<String, LatencyHistogram>,
    classes: BTreeMap<String, [u64; CONFIDENCE_BINS]>,
}

impl Totals {
    pub(super) fn of(processes: &[ProcessStatus]) -> Self {
        let mut totals = Self::default();
        for process in processes {
            totals.ended += process.ended;
            match &process.part {
                PartStatus::Worker(worker) => {
                    for (stage, latencies) in &worker.stages {
                        *totals.stages.entry(stage.clone()).or_default() += latencies;
                    }
                    for (label, bins) in &worker.classes {
                        add(totals.classes.entry(label.clone()).or_default(), bins);
                    }
                }
                PartStatus::Api(api) => {
                    totals.accepted = totals.accepted.saturating_add(api.accepted);
                    for (reason, count) in &api.refusals {
                        let total = totals.refusals.entry(reason.clone()).or_default();
                        *total = total.saturating_add(*count);
                    }
                    totals.add_cache(api.cache);
                }
            }
        }
        totals
    }

    fn add_cache(&mut self, cache: Option<CacheTotals>) {
        let Some(more) = cache else { return };
        let sum = self.cache.get_or_insert_default();
        sum.result_hits = sum.result_hits.saturating_add(more.result_hits);
        sum.result_misses = sum.result_misses.saturating_add(more.result_misses);
        sum.response_hits = sum.response_hits.saturating_add(more.response_hits);
        sum.response_misses = sum.response_misses.saturating_add(more.response_misses);
    }

    /// The latencies of each stage. What an unknown version calls its stages is last.
    pub(super) fn stages(&self) -> Vec<StageLatency> {
        let place = |stage: &str| STAGES.iter().position(|known| *known == stage);
        let mut stages: Vec<_> = self.stages.iter().collect();
        stages.sort_by_key(|(stage, _)| place(stage).unwrap_or(STAGES.len()));
        stages.into_iter().map(|(stage, latencies)| latency(stage, latencies)).collect()
    }

    /// The most frequent classes, by name.
    pub(super) fn classes(&self) -> Vec<ClassTotal> {
        let mut classes: Vec<_> = self.classes.iter().map(class_total).collect();
        classes.sort_by_key(|class| Reverse(class.count));
        classes.truncate(MOST_CLASSES);
        classes.sort_by(|one, other| one.label.cmp(&other.label));
        classes
    }
}

fn add(sum: &mut [u64; CONFIDENCE_BINS], bins: &[u64; CONFIDENCE_BINS]) {
    for (total, count) in sum.iter_mut().zip(bins) {
        *total = total.saturating_add(*count);
    }
}

fn class_total((label, bins): (&String, &[u64; CONFIDENCE_BINS])) -> ClassTotal {
    let count = bins.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
    ClassTotal { label: label.clone(), count, confidence: bins.to_vec() }
}

fn latency(stage: &str, latencies: &LatencyHistogram) -> StageLatency {
    let ms = |quantile| latencies.quantile(quantile).map(|seconds| to_hundredths(seconds * 1000.0));
    StageLatency {
        stage: stage.to_owned(),
        count: latencies.count(),
        p50_ms: ms(0.5),
        p95_ms: ms(0.95),
        p99_ms: ms(0.99),
    }
}

fn to_hundredths(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use messaging::{ApiStatus, ProcessIdentity, WorkerStatus, latency_bucket};

    use super::*;

    fn process(part: PartStatus) -> ProcessStatus {
        let ended = EndedTotals { succeeded: 2, ..EndedTotals::default() };
        ProcessStatus { process: ProcessIdentity::new("one".to_owned(), "1.0"), ended, part }
    }

    /// A worker with a run of this stage, and one object of each class.
    fn worker(stage: &str, ms: u64, classes: &[&str]) -> ProcessStatus {
        let mut latencies = LatencyHistogram::default();
        latencies.add(latency_bucket(Duration::from_millis(ms)), 1);
        let mut bins = [0; CONFIDENCE_BINS];
        bins[3] = 1;
        process(PartStatus::Worker(WorkerStatus {
            stages: [(stage.to_owned(), latencies)].into(),
            classes: classes.iter().map(|class| ((*class).to_owned(), bins)).collect(),
            ..WorkerStatus::default()
        }))
    }

    #[test]
    fn totals_of_all_processes_are_added_up() {
        let api = |accepted, cache| {
            let refusals = [("queue_full".to_owned(), accepted)].into();
            process(PartStatus::Api(ApiStatus {
                accepted,
                refusals,
                cache,
                ..ApiStatus::default()
            }))
        };
        let cache = CacheTotals { result_hits: 3, ..CacheTotals::default() };
        let processes = [
            api(1, None),
            api(2, Some(cache)),
            api(4, Some(cache)),
            worker("infer", 10, &["bus", "person"]),
            worker("infer", 1000, &["bus"]),
            worker("decode", 5, &[]),
        ];
        let totals = Totals::of(&processes);
        assert_eq!((totals.accepted, totals.ended.succeeded), (7, 12));
        assert_eq!(totals.refusals, [("queue_full".to_owned(), 7)].into());
        assert_eq!(totals.cache.unwrap().result_hits, 6);
        let stages: Vec<_> =
            totals.stages().into_iter().map(|one| (one.stage, one.count)).collect();
        assert_eq!(stages, [("decode".to_owned(), 1), ("infer".to_owned(), 2)]);
        let infer = totals.stages().pop().unwrap();
        assert!((9.5..10.5).contains(&infer.p50_ms.unwrap()), "{:?}", infer.p50_ms);
        assert!((950.0..1050.0).contains(&infer.p95_ms.unwrap()), "{:?}", infer.p95_ms);
        let [bus, person] = &totals.classes()[..] else { panic!("there are two classes") };
        assert_eq!((bus.label.as_str(), bus.count), ("bus", 2));
        assert_eq!(bus.confidence, [0, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!((person.label.as_str(), person.count), ("person", 1));
    }

    #[test]
    fn the_most_frequent_classes_are_shown_by_name() {
        let names: Vec<_> = (10..40).map(|number| format!("class {number}")).collect();
        let all: Vec<_> = names.iter().map(String::as_str).collect();
        let frequent = &all[10..];
        let totals = Totals::of(&[worker("infer", 1, &all), worker("infer", 1, frequent)]);
        let shown: Vec<_> = totals.classes().into_iter().map(|class| class.label).collect();
        assert_eq!(shown, names[10..]);
    }
}
