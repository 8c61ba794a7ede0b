//! The spans of one run of the model: `infer` and `postprocess` in the trace of each of its pictures.
//!
//! A run of several pictures belongs to no trace of theirs more than to the others. It has a span of
//! its own in a trace of its own, `run batch`, which links to each job; and the `infer` of each job,
//! which lasts as long as the model worked on all of them, links to that.

use std::{borrow::Borrow, fmt::Display, time::Duration};

use detector::Found;
use opentelemetry::{KeyValue, trace::SpanBuilder};
use service::telemetry::traces::{Span, Stages, TraceContext};

use crate::inference::Work;

/// A run that has begun.
pub(crate) struct RunSpans {
    /// For each picture; and whether it is still to be decoded.
    stages: Vec<(Stages, bool)>,
    /// Of a run of several.
    batch: Option<Span>,
}

impl RunSpans {
    pub(crate) fn start(works: &[Work]) -> Self {
        let batch = || {
            let links = works.iter().filter_map(|work| work.trace.link()).collect();
            let builder = SpanBuilder::from_name("run batch").with_links(links);
            builder.with_attributes([batch_size(works.len())])
        };
        let stages = |work: &Work| (work.trace.stages(), work.prepared.is_none());
        Self {
            batch: (works.len() > 1).then(|| TraceContext::default().span(batch)),
            stages: works.iter().map(stages).collect(),
        }
    }

    /// The run is over.
    pub(crate) fn tell<F, E>(self, outcome: &Result<F, E>)
    where
        F: Borrow<[Found]>,
        E: Display,
    {
        match outcome {
            Ok(found) => self.tell_of(found.borrow()),
            Err(error) => {
                if let Some(batch) = &self.batch {
                    batch.fail("infer", || error.to_string());
                }
                for (mut stages, _) in self.stages {
                    stages.fail("infer", || error.to_string());
                }
            }
        }
    }

    fn tell_of(self, found: &[Found]) {
        let pictures = self.stages.len();
        let batch = self.batch.as_ref().and_then(|batch| batch.context().link());
        let mut earlier = Duration::ZERO;
        for ((mut stages, is_decoded_here), found) in self.stages.into_iter().zip(found) {
            let timings = &found.timings;
            if is_decoded_here {
                stages.tell("decode", timings.decode);
                stages.tell("letterbox", timings.letterbox);
            }
            // Each is given its share of the run; all of them waited for all of it.
            let run = timings.infer * u32::try_from(pictures).unwrap_or(u32::MAX);
            stages.tell_as(run, || {
                SpanBuilder::from_name("infer")
                    .with_links(batch.iter().cloned().collect())
                    .with_attributes([batch_size(pictures)])
            });
            stages.skip(earlier);
            stages.tell("postprocess", timings.postprocess);
            earlier += timings.postprocess;
        }
    }
}

fn batch_size(pictures: usize) -> KeyValue {
    KeyValue::new("spotter.batch.size", i64::try_from(pictures).unwrap_or(i64::MAX))
}
