//! Traces: spans that tell how long each step of a request or a job took, over all processes it
//! went through, sent to an OpenTelemetry collector.
//!
//! They are on only where the environment names a collector ([`TraceSettings`]). Off, [`span`] looks
//! at one variable and makes nothing: no name, no attribute, no time of day.

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

/// Set once, by the first [`Traces::start`] that turns them on.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// How long the last spans may take to be delivered when a process stops. A collector that does not
/// answer must not keep anybody from stopping.
const FLUSH_PATIENCE: Duration = Duration::from_secs(3);

/// The longest `tracestate` that is taken over from others, in bytes: what the W3C's text asks to be
/// passed on at least.
const LONGEST_TRACE_STATE: usize = 512;

/// The exporter of this process's spans, or nothing where traces are off.
#[must_use = "the last spans are delivered by `stop`"]
pub struct Traces(Option<SdkTracerProvider>);

/// Why traces could not be started.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be exported: {0}")]
pub struct TracesError(String);

impl Traces {
    /// Starts exporting the spans of this process, if `settings` say so. `service` is what it is
    /// called where they give no name. Must be called within a tokio runtime, which delivers them.
    ///
    /// # Errors
    /// [`TracesError`] if the exporter refuses its settings.
    pub fn start(settings: &TraceSettings, service: &'static str) -> Result<Self, TracesError> {
        let Some(export) = &settings.export else { return Ok(Self(None)) };
        let exporter = collector::exporter(export, Handle::current())
            .map_err(|error| TracesError(error.to_string()))?;
        let provider = SdkTracerProvider::builder()
            .with_sampler(export.sampler.to_sdk())
            .with_resource(resource(settings, service))
            .with_batch_exporter(exporter)
            .build();
        // Where two services share a process, as in a test, the first one's exporter is used.
        let _ = TRACER.set(provider.tracer("spotter"));
        tracing::info!(collector = %export.endpoint, sampler = %export.sampler, "traces are exported");
        Ok(Self(Some(provider)))
    }

    /// Delivers the spans that have ended, for three seconds at most.
    pub async fn stop(self) {
        let Self(Some(provider)) = self else { return };
        let stopping = move || provider.shutdown_with_timeout(FLUSH_PATIENCE);
        match tokio::task::spawn_blocking(stopping).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last spans were not delivered"),
            Err(error) => tracing::error!(%error, "the exporter of traces has broken off"),
        }
    }
}

fn resource(settings: &TraceSettings, service: &'static str) -> Resource {
    // Tells the replicas of a service apart; no name of a machine has to be asked for.
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

/// A place in a trace, which spans are started under: within a span of this process or of another
/// one, or nowhere yet.
#[derive(Debug, Clone, Default)]
pub struct TraceContext(Option<Context>);

impl TraceContext {
    /// The span that runs at the moment.
    #[must_use]
    pub fn current() -> Self {
        Self(TRACER.get().map(|_| Context::current()))
    }

    /// Runs `future` there; as it is, where traces are off.
    pub fn around<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        match &self.0 {
            Some(context) => Either::Left(future.with_context(context.clone())),
            None => Either::Right(future),
        }
    }

    /// A link to its span, for another that has to do with it and is no part of it.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        let context = self.0.as_ref()?.span().span_context().clone();
        context.is_valid().then(|| Link::with_context(context))
    }

    /// What another process has written with [`inject`]; nothing if it wrote nothing, or nonsense.
    #[must_use]
    pub fn extract(headers: &dyn Extractor) -> Self {
        let extract = || {
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Bounded(headers))
        };
        Self(TRACER.get().map(|_| extract()))
    }

    /// Starts a span under it. `describe` is not called where traces are off.
    #[must_use = "the span ends when this is dropped"]
    pub fn span(&self, describe: impl FnOnce() -> SpanBuilder) -> Span {
        let Some(tracer) = TRACER.get() else { return Span(Self(None)) };
        let nothing = Context::new();
        let parent = self.0.as_ref().unwrap_or(&nothing);
        Span(Self(Some(parent.with_span(tracer.build_with_context(describe(), parent)))))
    }

    /// Starts the clock for stages that are told of when they are over.
    #[must_use]
    pub fn stages(&self) -> Stages {
        let now = self.0.is_some().then(SystemTime::now);
        Stages { context: self.clone(), next: now }
    }
}

/// Stages one behind the other, timed by whoever ran them. Nothing where traces are off.
#[derive(Debug)]
pub struct Stages {
    context: TraceContext,
    /// When the next one began.
    next: Option<SystemTime>,
}

impl Stages {
    /// The next stage took `took`.
    pub fn tell(&mut self, name: &'static str, took: Duration) {
        self.tell_as(took, || SpanBuilder::from_name(name));
    }

    /// As [`Stages::tell`], with more to say of it.
    pub fn tell_as(&mut self, took: Duration, describe: impl FnOnce() -> SpanBuilder) {
        let Some(start) = self.next else { return };
        let span = self.context.span(|| describe().with_start_time(start));
        span.with(|span| span.end_with_timestamp(start + took));
        self.skip(took);
    }

    /// For `took`, something else was done.
    pub fn skip(&mut self, took: Duration) {
        self.next = self.next.map(|start| start + took);
    }

    /// The next stage has failed just now.
    pub fn fail(&mut self, name: &'static str, why: impl FnOnce() -> String) {
        let Some(start) = self.next else { return };
        let span = self.context.span(|| SpanBuilder::from_name(name).with_start_time(start));
        span.fail(name, why);
    }
}

/// Headers of which one that is too long is not there.
struct Bounded<'a>(&'a dyn Extractor);

impl Extractor for Bounded<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).filter(|value| value.len() <= LONGEST_TRACE_STATE)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys()
    }
}

/// Starts a span under the one that runs at the moment. `describe` is not called where traces are off.
#[must_use = "the span ends when this is dropped"]
pub fn span(describe: impl FnOnce() -> SpanBuilder) -> Span {
    TraceContext::current().span(describe)
}

/// Writes the span that runs at the moment into the headers of a message or a request (`traceparent`
/// and `tracestate`, W3C Trace Context); nothing where traces are off.
pub fn inject(headers: &mut dyn Injector) {
    if TRACER.get().is_some() {
        TraceContextPropagator::new().inject_context(&Context::current(), headers);
    }
}

/// The two ids that a log line is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceIds {
    /// Of the whole trace: 32 hexadecimal digits.
    pub trace_id: TraceId,
    /// Of the span: 16 hexadecimal digits.
    pub span_id: SpanId,
}

/// The ids of the span that runs at the moment, if any does.
#[must_use]
pub fn current_ids() -> Option<TraceIds> {
    TRACER.get()?;
    Context::map_current(|context| ids(context.span().span_context()))
}

fn ids(context: &SpanContext) -> Option<TraceIds> {
    let (trace_id, span_id) = (context.trace_id(), context.span_id());
    context.is_valid().then_some(TraceIds { trace_id, span_id })
}

/// A span that lasts until this is dropped, or nothing where traces are off.
#[derive(Debug)]
pub struct Span(TraceContext);

impl Span {
    /// Within this span: what others are started under.
    #[must_use]
    pub fn context(&self) -> &TraceContext {
        &self.0
    }

    /// Runs `future` within this span: what it starts belongs under it, and what it logs names it.
    pub fn around<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        self.0.around(future)
    }

    /// Adds attributes. `attributes` is not called where nobody will read them.
    pub fn set<const N: usize>(&self, attributes: impl FnOnce() -> [KeyValue; N]) {
        self.with(|span| span.set_attributes(attributes()));
    }

    /// Marks it as failed. `error_type` is one of few words; `why` is for people.
    pub fn fail(&self, error_type: impl Into<StringValue>, why: impl FnOnce() -> String) {
        self.with(|span| {
            span.set_attribute(KeyValue::new("error.type", error_type.into()));
            span.set_status(Status::error(why()));
        });
    }

    /// Calls `tell` with the span if there is one that will be exported.
    fn with(&self, tell: impl FnOnce(SpanRef<'_>)) {
        if let Some(context) = &self.0.0
            && context.span().is_recording()
        {
            tell(context.span());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // Others may still hold it as their parent. One that has ended stays as it is.
        self.with(|span| span.end());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Nothing in this crate's tests starts them.
    #[tokio::test]
    async fn where_traces_are_off_nothing_is_made() {
        let unwanted = || -> SpanBuilder { panic!("a span is described that nobody wants") };
        let span = span(unwanted);
        assert!(span.context().0.is_none());
        span.set(|| -> [KeyValue; 1] { panic!("an attribute is made that nobody wants") });
        span.fail("x", || panic!("a text is made that nobody wants"));
        let mut stages = span.context().stages();
        stages.tell_as(Duration::from_millis(1), unwanted);
        assert!(stages.next.is_none(), "the time of day was asked for");

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
    fn a_header_without_bounds_is_not_passed_on() {
        let headers = |length| HashMap::from([("tracestate".to_owned(), "x".repeat(length))]);
        let taken = |length| Bounded(&headers(length)).get("tracestate").map(str::len);
        assert_eq!(taken(LONGEST_TRACE_STATE), Some(LONGEST_TRACE_STATE));
        assert_eq!(taken(LONGEST_TRACE_STATE + 1), None);
    }
}
