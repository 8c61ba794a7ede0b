//! Traces: spans that show how long each step of a request or a job took, across processes, exported to an
//! OpenTelemetry collector.
//!
//! Tracing is on only if the environment names a collector ([`TraceSettings`]). If it is off, [`span`] checks
//! one variable and allocates nothing: no name, no attribute, no timestamp.

mod collector;
mod settings;

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use futures_util::future::Either;
use opentelemetry::{
    Context, KeyValue, SpanId, StringValue, TraceId,
    context::FutureExt,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{
        Link, SpanBuilder, SpanContext, SpanRef, Status, TraceContextExt, Tracer, TracerProvider,
    },
};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider},
};
use tokio::runtime::Handle;

pub use settings::{ExportSettings, TraceSampler, TraceSettings};

/// Set once, by the first [`Traces::start`] with an exporter.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Timeout of the last export when a process stops. A collector that does not answer must not delay a
/// shutdown for longer.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum size of a `tracestate` that is accepted from other services, in bytes: what W3C Trace Context
/// requires to be propagated at least.
const LONGEST_TRACE_STATE: usize = 512;

/// The exporter of this process's spans, or nothing if tracing is off.
#[must_use = "the last spans are delivered by `stop`"]
pub struct Traces(Option<SdkTracerProvider>);

/// Why traces could not be started.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be exported: {0}")]
pub struct TracesError(String);

impl Traces {
    /// Starts exporting the spans of this process, if `settings` say so. `service` is its name if they give
    /// none. Must be called within a tokio runtime, which runs the exports.
    ///
    /// # Errors
    /// [`TracesError`] if the exporter rejects its settings.
    pub fn start(settings: &TraceSettings, service: &'static str) -> Result<Self, TracesError> {
        let Some(export) = &settings.export else { return Ok(Self(None)) };
        let exporter = collector::exporter(export, Handle::current())
            .map_err(|error| TracesError(error.to_string()))?;
        let provider = SdkTracerProvider::builder()
            .with_sampler(export.sampler.to_sdk())
            .with_resource(resource(settings, service))
            .with_batch_exporter(exporter)
            .build();
        // If two services share a process, as in a test, the first one's exporter is used.
        let _ = TRACER.set(provider.tracer("spotter"));
        tracing::info!(collector = %export.endpoint, sampler = %export.sampler, "exporting traces");
        Ok(Self(Some(provider)))
    }

    /// Exports the spans that have ended, for at most three seconds.
    pub async fn stop(self) {
        let Self(Some(provider)) = self else { return };
        let stopping = move || provider.shutdown_with_timeout(FLUSH_TIMEOUT);
        match tokio::task::spawn_blocking(stopping).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans were not exported"),
            Err(error) => tracing::error!(%error, "the exporter of traces has panicked"),
        }
    }
}

fn resource(settings: &TraceSettings, service: &'static str) -> Resource {
    // Distinguishes the replicas of a service without asking for a host name.
    let instance = RandomIdGenerator::default().new_trace_id().to_string();
    let own = [
        KeyValue::new("service.name", service),
        KeyValue::new("service.version", crate::VERSION),
        KeyValue::new("service.instance.id", instance),
    ];
    let given = settings.resource.iter().cloned().map(|(name, value)| KeyValue::new(name, value));
    let resource = Resource::builder().with_attributes(own).with_attributes(given);
    match &settings.service_name {
        Some(name) => resource.with_service_name(name.clone()).build(),
        None => resource.build(),
    }
}

/// The parent of new spans: a span of this process or of another one, or none.
#[derive(Debug, Clone, Default)]
pub struct TraceContext(Option<Context>);

impl TraceContext {
    /// The current span.
    #[must_use]
    pub fn current() -> Self {
        Self(TRACER.get().map(|_| Context::current()))
    }

    /// Runs `future` with this as the current span; unchanged if tracing is off.
    pub fn around<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        match &self.0 {
            Some(context) => Either::Left(future.with_context(context.clone())),
            None => Either::Right(future),
        }
    }

    /// A link to its span, for a related span that is not its child.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        let context = self.0.as_ref()?.span().span_context().clone();
        context.is_valid().then(|| Link::with_context(context))
    }

    /// The context that another process has written with [`inject`]; empty if there is none or if it cannot
    /// be parsed.
    #[must_use]
    pub fn extract(headers: &dyn Extractor) -> Self {
        let extract = || {
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Bounded(headers))
        };
        Self(TRACER.get().map(|_| extract()))
    }

    /// Starts a child span. `describe` is not called if tracing is off.
    #[must_use = "the span ends when this is dropped"]
    pub fn span(&self, describe: impl FnOnce() -> SpanBuilder) -> Span {
        let Some(tracer) = TRACER.get() else { return Span(Self(None)) };
        let nothing = Context::new();
        let parent = self.0.as_ref().unwrap_or(&nothing);
        Span(Self(Some(parent.with_span(tracer.build_with_context(describe(), parent)))))
    }

    /// Starts the clock for stages that are recorded after they have ended.
    #[must_use]
    pub fn stages(&self) -> Stages {
        let now = self.0.is_some().then(SystemTime::now);
        Stages { context: self.clone(), next: now }
    }
}

/// Consecutive stages, each timed by its caller. Empty if tracing is off.
#[derive(Debug)]
pub struct Stages {
    context: TraceContext,
    /// When the next stage started.
    next: Option<SystemTime>,
}

impl Stages {
    /// Records that the next stage took `took`.
    pub fn record(&mut self, name: &'static str, took: Duration) {
        self.record_as(took, || SpanBuilder::from_name(name));
    }

    /// As [`Stages::record`], with attributes.
    pub fn record_as(&mut self, took: Duration, describe: impl FnOnce() -> SpanBuilder) {
        let Some(start) = self.next else { return };
        let span = self.context.span(|| describe().with_start_time(start));
        span.with(|span| span.end_with_timestamp(start + took));
        self.skip(took);
    }

    /// Leaves out `took`, in which something else was done.
    pub fn skip(&mut self, took: Duration) {
        self.next = self.next.map(|start| start + took);
    }

    /// Records that the next stage has failed now.
    pub fn fail(&mut self, name: &'static str, why: impl FnOnce() -> String) {
        let Some(start) = self.next else { return };
        let span = self.context.span(|| SpanBuilder::from_name(name).with_start_time(start));
        span.fail(name, why);
    }
}

/// Headers without those that are too long.
struct Bounded<'a>(&'a dyn Extractor);

impl Extractor for Bounded<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).filter(|value| value.len() <= LONGEST_TRACE_STATE)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys()
    }
}

/// Starts a child of the current span. `describe` is not called if tracing is off.
#[must_use = "the span ends when this is dropped"]
pub fn span(describe: impl FnOnce() -> SpanBuilder) -> Span {
    TraceContext::current().span(describe)
}

/// Writes the current span into the headers of a message or a request (`traceparent` and `tracestate`, W3C
/// Trace Context). Does nothing if tracing is off.
pub fn inject(headers: &mut dyn Injector) {
    if TRACER.get().is_some() {
        TraceContextPropagator::new().inject_context(&Context::current(), headers);
    }
}

/// The ids of a trace and a span, as log lines carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceIds {
    /// Of the whole trace: 32 hexadecimal digits.
    pub trace_id: TraceId,
    /// Of the span: 16 hexadecimal digits.
    pub span_id: SpanId,
}

/// The ids of the current span, if there is one.
#[must_use]
pub fn current_ids() -> Option<TraceIds> {
    TRACER.get()?;
    Context::map_current(|context| ids(context.span().span_context()))
}

fn ids(context: &SpanContext) -> Option<TraceIds> {
    let (trace_id, span_id) = (context.trace_id(), context.span_id());
    context.is_valid().then_some(TraceIds { trace_id, span_id })
}

/// A span that ends when this is dropped, or nothing if tracing is off.
#[derive(Debug)]
pub struct Span(TraceContext);

impl Span {
    /// The context for child spans.
    #[must_use]
    pub fn context(&self) -> &TraceContext {
        &self.0
    }

    /// Runs `future` within this span: spans that it starts are children, and its log lines carry the ids.
    pub fn around<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        self.0.around(future)
    }

    /// Adds attributes. `attributes` is not called if the span is not exported.
    pub fn set<const N: usize>(&self, attributes: impl FnOnce() -> [KeyValue; N]) {
        self.with(|span| span.set_attributes(attributes()));
    }

    /// Marks the span as failed. `error_type` has few values; `why` is the message.
    pub fn fail(&self, error_type: impl Into<StringValue>, why: impl FnOnce() -> String) {
        self.with(|span| {
            span.set_attribute(KeyValue::new("error.type", error_type.into()));
            span.set_status(Status::error(why()));
        });
    }

    /// Calls `apply` with the span if there is one that will be exported.
    fn with(&self, apply: impl FnOnce(SpanRef<'_>)) {
        if let Some(context) = &self.0.0
            && context.span().is_recording()
        {
            apply(context.span());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // Child contexts may still hold the span. Ending it twice changes nothing.
        self.with(|span| span.end());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// No test of this crate starts tracing.
    #[tokio::test]
    async fn with_tracing_off_nothing_is_allocated() {
        let unwanted = || -> SpanBuilder { panic!("a span is described that is not exported") };
        let span = span(unwanted);
        assert!(span.context().0.is_none());
        span.set(|| -> [KeyValue; 1] { panic!("an attribute is computed that is not exported") });
        span.fail("x", || panic!("a message is formatted that is not exported"));
        let mut stages = span.context().stages();
        stages.record_as(Duration::from_millis(1), unwanted);
        assert!(stages.next.is_none(), "a timestamp was taken");

        let (ids, headers) = span
            .around(async {
                let mut headers = HashMap::<String, String>::new();
                inject(&mut headers);
                (current_ids(), headers)
            })
            .await;
        assert_eq!((ids, headers), (None, HashMap::new()));
        let carried = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
        let carried =
            HashMap::from(carried.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert!(TraceContext::extract(&carried).0.is_none());
    }

    #[test]
    fn a_header_that_is_too_long_is_ignored() {
        let headers = |length| HashMap::from([("tracestate".to_owned(), "x".repeat(length))]);
        let taken = |length| Bounded(&headers(length)).get("tracestate").map(str::len);
        assert_eq!(taken(LONGEST_TRACE_STATE), Some(LONGEST_TRACE_STATE));
        assert_eq!(taken(LONGEST_TRACE_STATE + 1), None);
    }
}
