//! The spans of one run of the model: `infer` and `postprocess` in the trace of each of its pictures.
//!
//! A run of several pictures belongs to the traces of all of them. It has a span `run batch` in a trace of
//! its own, which links to each job. The `infer` span of each job lasts as long as the whole run, and links
//! to `run batch`.

use std::time::Duration;

use detector::{BatchItem, DetectError, StageTimings};
use opentelemetry::{KeyValue, trace::SpanBuilder};
use service::telemetry::traces::{Span, Stages, TraceContext};

use super::work::Work;

/// A picture of a run that has begun.
pub(crate) struct RunningWork<'w> {
    pub(crate) work: &'w Work,
    stages: Stages,
}

impl<'w> RunningWork<'w> {
    pub(crate) fn start(work: &'w Work) -> Self {
        Self { work, stages: work.picture.trace.stages() }
    }
}

/// A run that has begun.
pub(crate) struct RunSpans {
    pictures: usize,
    /// The span of a run of several.
    batch: Option<Span>,
    /// The postprocessing time of the pictures before.
    earlier: Duration,
}

impl RunSpans {
    pub(crate) fn start(works: &[Work]) -> Self {
        let batch = || {
            let links = works.iter().filter_map(|work| work.picture.trace.link()).collect();
            let builder = SpanBuilder::from_name("run batch").with_links(links);
            builder.with_attributes([batch_size(works.len())])
        };
        Self {
            pictures: works.len(),
            batch: (works.len() > 1).then(|| TraceContext::default().span(batch)),
            earlier: Duration::ZERO,
        }
    }

    /// Ends the spans of one picture. Called in the order of the run.
    pub(crate) fn detected(&mut self, running: &mut RunningWork<'_>, timings: &StageTimings) {
        let batch = self.batch.as_ref().and_then(|batch| batch.context().link());
        // `infer` is the run's time divided by its pictures; each of them waited for all of it.
        let run = timings.infer * u32::try_from(self.pictures).unwrap_or(u32::MAX);
        running.stages.record_as(run, || {
            SpanBuilder::from_name("infer")
                .with_links(batch.into_iter().collect())
                .with_attributes([batch_size(self.pictures)])
        });
        running.stages.skip(self.earlier);
        running.stages.record("postprocess", timings.postprocess);
        self.earlier += timings.postprocess;
    }

    /// Ends the spans of all pictures of a run that has failed.
    pub(crate) fn failed(&self, items: &mut [BatchItem<'_, RunningWork<'_>>], error: &DetectError) {
        if let Some(batch) = &self.batch {
            batch.fail("infer", || error.to_string());
        }
        for item in items {
            item.owner.stages.fail("infer", || error.to_string());
        }
    }
}

fn batch_size(pictures: usize) -> KeyValue {
    KeyValue::new("spotter.batch.size", i64::try_from(pictures).unwrap_or(i64::MAX))
}
