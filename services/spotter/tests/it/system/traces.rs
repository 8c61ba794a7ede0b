//! Traces of the whole system, as a real collector receives them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
};

use client::Task;
use domain::TaskId;
use reqwest::{
    StatusCode,
    multipart::{Form, Part},
};
use testkit::{Collector, Line, Process, ReceivedSpan, eventually, picture};

use crate::harness::{System, TIMEOUT};

/// Settings that export spans to a collector without delay.
fn exporting(endpoint: &str) -> [(&str, &str); 3] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("LOG_FORMAT", "json"),
    ]
}

fn api_settings<'a>(exporting: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [("RESPONSE_CACHE_SECONDS", "0")].iter().chain(exporting).copied().collect()
}

/// The spans of the trace in which the job of this task was sent, once it has spans of all these names. Each process
/// exports its spans in several batches, which the collector may reorder.
async fn trace_of(collector: &Collector, task_id: TaskId, names: &[&str]) -> Vec<ReceivedSpan> {
    eventually(TIMEOUT, async || {
        let spans = collector.spans();
        let task_id = task_id.to_string();
        let is_about = |span: &&ReceivedSpan| {
            span.attributes.get("messaging.message.id").is_some_and(|id| *id == task_id)
        };
        let sent = spans.iter().filter(is_about).find(|span| span.kind == "Producer")?;
        let of_trace = spans.iter().filter(|span| span.trace_id == sent.trace_id);
        let trace: Vec<ReceivedSpan> = of_trace.cloned().collect();
        let has = |name: &&str| trace.iter().any(|span| span.name == *name);
        names.iter().all(has).then_some(trace)
    })
    .await
}

fn only<'a>(trace: &'a [ReceivedSpan], name: &str) -> &'a ReceivedSpan {
    let mut found = trace.iter().filter(|span| span.name == name);
    match (found.next(), found.next()) {
        (Some(span), None) => span,
        _ => panic!("not one '{name}' in {trace:#?}"),
    }
}

/// The name of a span's parent; empty if it is not in the trace.
fn parent<'a>(trace: &'a [ReceivedSpan], span: &ReceivedSpan) -> &'a str {
    let above = trace.iter().find(|above| above.span_id == span.parent_id);
    above.map_or("", |above| above.name.as_str())
}

fn logged(process: &Process, message: &str) -> serde_json::Value {
    let about = |line: &Line| line.json().filter(|json| json["message"] == message);
    let line = process.wait_for_line(|line| about(line).is_some(), TIMEOUT);
    line.json().expect("it is JSON")
}

#[tokio::test]
async fn one_upload_is_one_tree_over_two_processes() {
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    let system = System::start_with(&api_settings(&exporting(&endpoint)));
    let worker = system.worker_with(&exporting(&endpoint));
    for path in ["/health/live", "/health/ready", "/metrics"] {
        let answer = system.http.get(format!("{}{path}", system.base)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let id = system.start_task("bus.jpg", fs::read(picture("bus.jpg")).unwrap()).await;
    // Name, kind, and the name of the parent.
    let expected = [
        ("POST /start_task", "Server", ""),
        ("receive picture", "Internal", "POST /start_task"),
        ("send jobs", "Producer", "POST /start_task"),
        ("process jobs", "Consumer", "send jobs"),
        ("decode", "Internal", "process jobs"),
        ("letterbox", "Internal", "process jobs"),
        ("infer", "Internal", "process jobs"),
        ("postprocess", "Internal", "process jobs"),
        ("store", "Internal", "process jobs"),
        ("settle jobs", "Client", "process jobs"),
    ];
    let trace = trace_of(&collector, id, &expected.map(|(name, ..)| name)).await;
    let found: BTreeSet<_> = trace
        .iter()
        .map(|span| (span.name.as_str(), span.kind.as_str(), parent(&trace, span)))
        .collect();
    assert_eq!(found, BTreeSet::from(expected));
    assert_eq!(trace.len(), expected.len(), "{trace:#?}");
    assert!(trace.iter().all(|span| span.times.0 <= span.times.1 && !span.is_error), "{trace:#?}");

    let service = |name: &str, key: &str| only(&trace, name).resource[key].clone();
    assert_eq!(service("POST /start_task", "service.name"), "spotter-api");
    assert_eq!(service("process jobs", "service.name"), "spotter-worker");
    let instances = ["POST /start_task", "infer"].map(|name| service(name, "service.instance.id"));
    assert_ne!(instances[0], instances[1]);

    let subject = format!("jobs.yolov8n.{id}");
    let has = |name: &str, key: &str, value: &str| {
        let attributes = &only(&trace, name).attributes;
        assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{name}: {attributes:?}");
    };
    has("POST /start_task", "http.request.method", "POST");
    has("POST /start_task", "http.route", "/start_task");
    has("POST /start_task", "http.response.status_code", "202");
    for name in ["send jobs", "process jobs", "settle jobs"] {
        has(name, "messaging.system", "nats");
        has(name, "messaging.destination.name", &subject);
        has(name, "messaging.destination.template", "jobs.{model}.{task_id}");
        has(name, "messaging.operation.type", name.split(' ').next().unwrap());
    }
    has("process jobs", "spotter.job.delivery", "1");
    has("process jobs", "spotter.job.outcome", "stored");

    let line = logged(&worker, "detected");
    let process = only(&trace, "process jobs");
    assert_eq!(line["trace_id"], process.trace_id.as_str(), "{line}");
    assert_eq!(line["span_id"], process.span_id.as_str(), "{line}");
    for span in collector.spans() {
        assert!(!span.name.contains(&id.to_string()), "{span:?}");
        let path = span.attributes.get("url.path").map(String::as_str).unwrap_or_default();
        assert!(path != "/metrics" && !path.starts_with("/health/"), "{span:?}");
    }
}

#[tokio::test]
async fn a_callers_trace_is_continued() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const CALLER: &str = "00f067aa0ba902b7";
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    let system = System::start_with(&api_settings(&exporting(&endpoint)));
    let _worker = system.worker_with(&exporting(&endpoint));
    let upload = async |traceparent: String| {
        let part = Part::bytes(fs::read(picture("bus.jpg")).unwrap()).file_name("bus.jpg");
        let form = Form::new().part("file", part);
        let request = system.http.post(format!("{}/v1/tasks", system.base)).multipart(form);
        let answer = request.header("traceparent", traceparent).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        answer.json::<Task>().await.unwrap().task_id
    };
    // A trace that its caller does not sample, and an invalid header.
    upload(format!("00-{}-{CALLER}-00", "a".repeat(32))).await;
    let of_nonsense = upload("00-nonsense".to_owned()).await;
    let id = upload(format!("00-{TRACE}-{CALLER}-01")).await;
    let trace = trace_of(&collector, id, &["POST /v1/tasks", "infer", "process jobs"]).await;
    assert!(trace.iter().all(|span| span.trace_id == TRACE), "{trace:#?}");
    assert_eq!(only(&trace, "POST /v1/tasks").parent_id, CALLER);
    let own = trace_of(&collector, of_nonsense, &["POST /v1/tasks"]).await;
    assert_eq!(only(&own, "POST /v1/tasks").parent_id, "");
    let unwanted = collector.spans().into_iter().filter(|span| span.trace_id.starts_with("aaaa"));
    assert_eq!(unwanted.count(), 0);
}

#[tokio::test]
async fn a_redelivered_job_stays_in_its_trace() {
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    let mut settings = api_settings(&exporting(&endpoint));
    // Longer than a process is delayed on a busy machine: it must keep its job.
    settings.push(("ACK_WAIT_SECONDS", "6"));
    let system = System::start_with(&settings);
    settings.push(("FAILPOINTS", "worker-before-store=crash"));
    let mut doomed = system.worker_with(&settings);
    let id = system.start_task("bus.jpg", fs::read(picture("bus.jpg")).unwrap()).await;
    doomed.wait_exit(TIMEOUT);
    settings.pop();
    let _heir = system.worker_with(&settings);
    let trace = trace_of(&collector, id, &["send jobs", "process jobs"]).await;
    let process = only(&trace, "process jobs");
    assert_eq!(parent(&trace, process), "send jobs");
    assert_eq!(process.attributes["spotter.job.delivery"], "2", "{process:#?}");
}

#[tokio::test]
async fn pictures_that_run_together_are_linked_to_their_run() {
    const PICTURES: usize = 6;
    let collector = Collector::start();
    let endpoint = collector.endpoint();
    let system = System::start_with(&api_settings(&exporting(&endpoint)));
    let bytes = fs::read(picture("bus.jpg")).unwrap();
    let mut ids = Vec::new();
    for _ in 0..PICTURES {
        ids.push(system.start_task("bus.jpg", bytes.clone()).await);
    }
    let mut settings = exporting(&endpoint).to_vec();
    settings.push(("MAX_BATCH", "3"));
    let _worker = system.worker_with(&settings);
    let mut runs: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for id in &ids {
        let trace = trace_of(&collector, *id, &["infer", "process jobs"]).await;
        let infer = only(&trace, "infer");
        assert_eq!(parent(&trace, infer), "process jobs");
        // A picture that ran alone was in no batch.
        if let [link] = &infer.links[..] {
            let process = only(&trace, "process jobs").span_id.clone();
            runs.entry(link.clone()).or_default().insert(process);
        }
    }
    assert!(runs.values().any(|jobs| jobs.len() > 1), "{runs:?}");
    for ((trace_id, span_id), jobs) in runs {
        let run = eventually(TIMEOUT, async || {
            collector.spans().into_iter().find(|span| span.span_id == span_id)
        })
        .await;
        assert_eq!((run.name.as_str(), &run.trace_id), ("run batch", &trace_id));
        assert_eq!(run.parent_id, "");
        let linked: BTreeSet<String> = run.links.iter().map(|(_, span)| span.clone()).collect();
        assert!(linked.is_superset(&jobs) && linked.len() <= 3, "{run:?}, {jobs:?}");
        assert_eq!(run.attributes["spotter.batch.size"], linked.len().to_string());
    }
}

/// A process with an unusable collector works as usual.
async fn assert_no_process_waits_for(endpoint: &str) {
    let mut settings = exporting(endpoint).to_vec();
    // A process that waited for it would wait longer than this test.
    settings.push(("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"));
    let mut system = System::start_with(&api_settings(&settings));
    let mut worker = system.worker_with(&settings);
    let bytes = fs::read(picture("bus.jpg")).unwrap();
    for _ in 0..20 {
        let id = system.start_task("bus.jpg", bytes.clone()).await;
        system.terminal(id).await;
        assert_eq!(system.result(id).await["status"], "SUCCESS");
    }
    for process in [&mut worker, &mut system.api] {
        process.terminate();
        // The last spans are exported for at most three seconds.
        let status = process.wait_exit(TIMEOUT);
        assert!(status.success(), "{status}");
    }
}

#[tokio::test]
async fn no_process_waits_for_a_collector_that_hangs() {
    // The kernel accepts connections, and nothing answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_no_process_waits_for(&format!("http://{}", silent.local_addr().unwrap())).await;
}

#[tokio::test]
async fn no_process_waits_for_an_absent_collector() {
    let absent = testkit::free_port();
    assert_no_process_waits_for(&format!("http://127.0.0.1:{absent}")).await;
}
