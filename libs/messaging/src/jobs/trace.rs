//! The trace context of a job: the headers `traceparent` and `tracestate` (W3C Trace Context), which dead
//! letters keep.

use async_nats::HeaderMap;
use domain::Job;
use opentelemetry::{
    KeyValue,
    propagation::{Extractor, Injector},
    trace::{SpanBuilder, SpanKind},
};
use service::telemetry::traces::{self, TraceContext};

use super::wire;
use crate::provision::{
    lanes::{self, Lane},
    names::JOBS_SUBJECT,
};

/// Writes the current span into a job's headers.
pub(crate) fn carry(headers: &mut HeaderMap) {
    traces::inject(&mut Carrier(headers));
}

/// The span that the job was sent in, if its sender had one.
pub(crate) fn sender(message: &async_nats::Message) -> TraceContext {
    message
        .headers
        .as_ref()
        .map_or_else(TraceContext::default, |headers| TraceContext::extract(&Carried(headers)))
}

/// Sending a job, until it is stored.
pub(crate) fn sending(job: &Job, picture_bytes: usize) -> SpanBuilder {
    let size = i64::try_from(picture_bytes).unwrap_or(i64::MAX);
    describe("send", SpanKind::Producer, job, [KeyValue::new("messaging.message.body.size", size)])
}

/// Working on a delivery of a job, until it is settled.
pub(crate) fn processing(job: &Job, attempt: u32) -> SpanBuilder {
    let own = [
        KeyValue::new("messaging.consumer.group.name", Lane::of_job(job).consumer()),
        KeyValue::new("spotter.job.delivery", i64::from(attempt)),
    ];
    describe("process", SpanKind::Consumer, job, own)
}

/// Settling a delivery.
pub(crate) fn settling(job: &Job) -> SpanBuilder {
    describe("settle", SpanKind::Client, job, [])
}

/// A span by OpenTelemetry's conventions for messaging. The name is the same for all jobs; ids are
/// attributes.
fn describe<const N: usize>(
    operation: &'static str,
    kind: SpanKind,
    job: &Job,
    own: [KeyValue; N],
) -> SpanBuilder {
    let common = [
        KeyValue::new("messaging.system", "nats"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new("messaging.destination.name", wire::job_subject(job)),
        KeyValue::new(
            "messaging.destination.template",
            lanes::subject("{model}", "{task_id}", job.priority),
        ),
        KeyValue::new("messaging.message.id", job.task_id.to_string()),
    ];
    SpanBuilder::from_name(format!("{operation} {JOBS_SUBJECT}"))
        .with_kind(kind)
        .with_attributes(common.into_iter().chain(own))
}

struct Carrier<'a>(&'a mut HeaderMap);

impl Injector for Carrier<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty tracestate is left out.
        if !value.is_empty() {
            self.0.insert(key, value);
        }
    }
}

struct Carried<'a>(&'a HeaderMap);

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}
