//! The spans of one run of the model: `infer` and `postprocess` in the trace of each of its pictures.
//!
//! A run of several pictures belongs to no trace of theirs more than to the others. It has a span of
//! its own in a trace of its own, `run batch`, which links to each job; and the `infer` of each job,
//! which lasts as long as the model worked on all of them, links to that.

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
    /// Of a run of several.
    batch: Option<Span>,
    /// How long boxes were decoded for the pictures before.
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

    /// One of the pictures has its detections. They are told of in the order of the run.
    pub(crate) fn detected(&mut self, running: &mut RunningWork<'_>, timings: &StageTimings) {
        let batch = self.batch.as_ref().and_then(|batch| batch.context().link());
        // Each is given its share of the run; all of them waited for all of it.
        let run = timings.infer * u32::try_from(self.pictures).unwrap_or(u32::MAX);
        running.stages.tell_as(run, || {
            SpanBuilder::from_name("infer")
                .with_links(batch.into_iter().collect())
                .with_attributes([batch_size(self.pictures)])
        });
        running.stages.skip(self.earlier);
        running.stages.tell("postprocess", timings.postprocess);
        self.earlier += timings.postprocess;
    }

    /// The run has failed for all of its pictures.
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
