//! A real OpenTelemetry collector, and the spans it received.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span, status::StatusCode},
};
use parking_lot::Mutex;
use prost::Message;

use crate::{
    START_TIMEOUT, files::server_program, network::ports::free_port, poll_until, process::Process,
};

/// A span as a collector received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedSpan {
    /// The resource attributes of its process: `service.name`, `service.instance.id` …
    pub resource: BTreeMap<String, String>,
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// Empty at the root of a trace.
    pub parent_id: String,
    /// Its name.
    pub name: String,
    /// `Internal`, `Server`, `Client`, `Producer` or `Consumer`.
    pub kind: String,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    /// Whether its status is an error.
    pub is_error: bool,
    /// Its start and its end, in nanoseconds since 1970.
    pub times: (u64, u64),
}

/// A collector that receives OTLP over HTTP and forwards it over HTTP to a listener in this process, which stores the
/// spans. Killed and reaped when dropped.
#[derive(Debug)]
pub struct Collector {
    _process: Process,
    port: u16,
    received: Arc<Mutex<Vec<ReceivedSpan>>>,
}

impl Collector {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// If the program is missing or does not come up.
    #[must_use]
    pub fn start() -> Self {
        let received = Arc::default();
        let sink = listen(Arc::clone(&received));
        let (grpc, port) = (free_port(), free_port());
        let arguments = [
            "start".to_owned(),
            format!("--otlp-grpc-endpoint=127.0.0.1:{grpc}"),
            format!("--otlp-http-endpoint=127.0.0.1:{port}"),
            "--exporter=otlp".to_owned(),
            "--otlp-exporter-protocol=http".to_owned(),
            format!("--otlp-exporter-traces-endpoint=http://127.0.0.1:{sink}/v1/traces"),
            // For signals that are not sent; the option is required.
            format!("--otlp-exporter-endpoint=http://127.0.0.1:{sink}"),
        ];
        let mut process = Process::builder(server_program("rotel")).args(arguments).start();
        let is_up = || match process.exit_status() {
            Some(_) => Some(false),
            None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(true),
        };
        let is_up = poll_until(START_TIMEOUT, is_up);
        assert_eq!(is_up, Some(true), "the collector wrote:\n{}", process.transcript());
        Self { _process: process, port, received }
    }

    /// The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The spans it has forwarded so far.
    #[must_use]
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.received.lock().clone()
    }
}

/// Receives what the collector forwards. Returns the port.
fn listen(received: Arc<Mutex<Vec<ReceivedSpan>>>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let port = listener.local_addr().expect("it listens").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let received = Arc::clone(&received);
            // Ends with the connection, which ends with the collector.
            thread::spawn(move || while receive_one(&stream, &received).is_some() {});
        }
    });
    port
}

/// Receives one request of a connection; `None` at its end.
fn receive_one(stream: &TcpStream, received: &Mutex<Vec<ReceivedSpan>>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(600))).ok()?;
    let mut reader = BufReader::new(stream);
    let (mut length, mut is_compressed) = (0, false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let (name, value) = line.trim_end().split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
        is_compressed |= name.eq_ignore_ascii_case("content-encoding") && value.trim() == "gzip";
        if line.trim_end().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    // The collector compresses requests in any case.
    if is_compressed {
        let compressed = std::mem::take(&mut body);
        GzDecoder::new(compressed.as_slice()).read_to_end(&mut body).expect("it is gzip");
    }
    let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("it is OTLP");
    received.lock().extend(request.resource_spans.into_iter().flat_map(spans_of));
    let answer = ExportTraceServiceResponse::default().encode_to_vec();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length:";
    let mut stream = stream;
    write!(stream, "{head} {}\r\n\r\n", answer.len()).ok()?;
    stream.write_all(&answer).ok()
}

fn spans_of(spans: ResourceSpans) -> Vec<ReceivedSpan> {
    let resource = spans.resource.map(|resource| texts(resource.attributes)).unwrap_or_default();
    let scopes = spans.scope_spans.into_iter();
    scopes.flat_map(|scope| scope.spans).map(|span| received_span(span, &resource)).collect()
}

fn received_span(span: Span, resource: &BTreeMap<String, String>) -> ReceivedSpan {
    let kind = format!("{:?}", span.kind());
    let is_error = span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
    ReceivedSpan {
        resource: resource.clone(),
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_id: hex(&span.parent_span_id),
        name: span.name,
        kind,
        attributes: texts(span.attributes),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        is_error,
        times: (span.start_time_unix_nano, span.end_time_unix_nano),
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|KeyValue { key, value, .. }| (key, text(value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
