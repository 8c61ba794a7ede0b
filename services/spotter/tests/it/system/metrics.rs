//! Checks that the documentation, the dashboard and the alerts use metrics that exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use reqwest::multipart::{Form, Part};
use serde_json::Value;
use service::files::find_on_path;
use testkit::{HttpServer, Output, eventually, free_address, http_answer, picture, workspace_root};

use crate::harness::{Ended, System, TIMEOUT, spotter};

/// The words of PromQL that are not names of metrics.
const WORDS: [&str; 16] = [
    "absent",
    "and",
    "by",
    "count",
    "delta",
    "histogram_quantile",
    "increase",
    "max",
    "min",
    "on",
    "or",
    "rate",
    "sum",
    "time",
    "unless",
    "without",
];

/// Metrics of other programs. `up` is set by Prometheus itself.
const OTHERS: [&str; 1] = ["up"];

/// The metrics of all services after a few pictures.
struct Scraped {
    api: String,
    worker: String,
    notifier: String,
}

impl Scraped {
    async fn after_a_few_pictures() -> Self {
        let receiver = HttpServer::start(|_| Some(http_answer("200 OK", "", b"")));
        let origin = receiver.origin();
        let settings =
            [("RECONCILE_SECONDS", "1"), ("WEBHOOKS", "on"), ("WEBHOOK_ALLOW", &*origin)];
        let system = System::start_with(&settings);
        let notifier_address = free_address();
        let _notifier = spotter(["notifier"])
            .env("NATS_URL", system.nats.url())
            .env("PROBES_ADDRESS", &notifier_address)
            .env("WEBHOOK_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .env("WEBHOOK_ALLOW", &origin)
            .start();
        let bytes = fs::read(picture("bus.jpg")).unwrap();
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(system.start_task("bus.jpg", bytes.clone()).await);
        }
        let file = Part::bytes(bytes.clone()).file_name("bus.jpg");
        let form = Form::new().text("callback_url", origin.clone()).part("file", file);
        let submitted = system.http.post(format!("{}/v1/tasks", system.base)).multipart(form);
        assert_eq!(submitted.send().await.unwrap().status().as_u16(), 202);
        // Jobs that wait for the worker, so that it runs some of them in a batch.
        let address = free_address();
        let settings = [("PROBES_ADDRESS", address.as_str()), ("MAX_BATCH", "2")];
        let _worker = system.worker_with(&settings);
        for id in &ids {
            system.terminal(*id).await;
        }
        let ask = async |url: String| {
            let answer = system.http.get(url).send().await.unwrap();
            answer.text().await.unwrap()
        };
        let of_keys = metrics_of_keys(&system).await;
        eventually(TIMEOUT, async || {
            let mut api = ask(format!("{}/metrics", system.base)).await;
            api.push_str(&of_keys);
            let worker = ask(format!("http://{address}/metrics")).await;
            let notifier = ask(format!("http://{notifier_address}/metrics")).await;
            // Metrics that appear after a while: of the reconciler, and of the queue.
            let is_whole = api.contains("spotter_reconciler_last_round_timestamp_seconds{")
                && api.contains("spotter_queue_oldest_job_age_seconds{")
                && worker.contains("stage=\"store\"")
                && notifier.contains("spotter_webhook_delay_seconds_count");
            is_whole.then_some(Self { api, worker, notifier })
        })
        .await
    }

    /// Each metric with its type and its services.
    fn metrics(&self) -> BTreeMap<String, (String, &'static str)> {
        let mut found = BTreeMap::new();
        let services = [("API", &self.api), ("worker", &self.worker), ("notifier", &self.notifier)];
        for (who, text) in services {
            for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
                let (name, kind) = line.split_once(' ').unwrap();
                let of = if found.contains_key(name) { "both" } else { who };
                found.insert(name.to_owned(), (kind.to_owned(), of));
            }
        }
        found
    }

    fn has_label(&self, label: &str) -> bool {
        [&self.api, &self.worker, &self.notifier].iter().any(|text| text.contains(label))
    }
}

/// What an API that requires keys has besides the others' metrics.
async fn metrics_of_keys(system: &System) -> String {
    let url = system.nats.url();
    let created = Ended::of(spotter(["key", "create", "--name", "a", "--nats-url", &url]));
    assert_eq!(created.code, Some(0), "{created:?}");
    let api = spotter(["api"]).env("PORT", "0").env("NATS_URL", url).env("AUTH", "keys").start();
    let line = api.wait_for_line(|line| line.output == Output::Stdout, TIMEOUT).text;
    let base = line.strip_prefix("listening on ").unwrap();
    let answer = system.http.get(format!("{base}/metrics")).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let is_of_keys =
        |line: &&str| line.contains("spotter_api_key") || line.contains("spotter_requests_refused");
    text.lines().filter(is_of_keys).flat_map(|line| [line, "\n"]).collect()
}

/// The table of docs/telemetry.md.
fn documented() -> BTreeMap<String, (String, &'static str)> {
    let text = fs::read_to_string(workspace_root().join("docs/telemetry.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.filter_map(|(name, rest)| {
        let mut cells = rest.split(" | ");
        let (kind, who) = (cells.next()?, cells.next()?);
        let who = ["API", "worker", "notifier", "both"].into_iter().find(|known| *known == who)?;
        Some((name.to_owned(), (kind.to_owned(), who)))
    })
    .filter(|(name, _)| name.starts_with("spotter_") || name.starts_with("http_"))
    .collect()
}

/// Every query of the dashboard and the alerts, with its file.
fn queries() -> Vec<(&'static str, String)> {
    let dashboard = "deploy/grafana/dashboards/spotter.json";
    let text = fs::read_to_string(workspace_root().join(dashboard)).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let panels = json["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut queries: Vec<_> =
        targets.map(|target| (dashboard, target["expr"].as_str().unwrap().to_owned())).collect();
    let alerts = "deploy/prometheus/alerts.yml";
    let text = fs::read_to_string(workspace_root().join(alerts)).unwrap();
    for rule in text.split("- alert: ").skip(1) {
        let (_, rest) = rule.split_once("expr: ").unwrap();
        // The expression ends at the next key, which is one of these.
        let end =
            ["\n        for:", "\n        labels:"].iter().filter_map(|key| rest.find(key)).min();
        queries.push((alerts, rest[..end.unwrap()].trim_start_matches(">-").to_owned()));
    }
    queries
}

/// The parts between each `open` and the next `close`, and the text without them.
fn cut(text: &str, open: &str, close: char) -> (Vec<String>, String) {
    let (mut inside, mut outside) = (Vec::new(), String::new());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(open) {
        outside += before;
        let (found, behind) = after.split_once(close).expect("it is closed");
        inside.push(found.to_owned());
        rest = behind;
    }
    outside += rest;
    (inside, outside)
}

/// The names of metrics in a query.
fn names(query: &str) -> BTreeSet<String> {
    let (_, mut text) = cut(query, "{", '}');
    (_, text) = cut(&text, "[", ']');
    for grouping in ["by (", "without (", "on ("] {
        (_, text) = cut(&text, grouping, ')');
    }
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_of_name(c))
        .filter(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()))
        .filter(|word| !WORDS.contains(word))
        .map(str::to_owned)
        .collect()
}

/// The label matchers of a query, in the format of `/metrics`.
fn labels(query: &str) -> Vec<String> {
    let (matchers, _) = cut(query, "{", '}');
    let pairs = matchers.iter().flat_map(|matchers| matchers.split(','));
    let exact = pairs.filter_map(|pair| pair.trim().split_once("=\""));
    exact.map(|(name, value)| format!("{}=\"{value}", name.trim_end_matches('!'))).collect()
}

#[tokio::test]
async fn documented_and_queried_metrics_exist() {
    let scraped = Scraped::after_a_few_pictures().await;
    let found = scraped.metrics();
    assert_eq!(documented(), found, "docs/telemetry.md (left) and /metrics (right) differ");

    let queries = queries();
    assert!(queries.len() > 40, "{} queries", queries.len());
    for (file, query) in queries {
        let names = names(&query);
        assert!(!names.is_empty(), "{file}: no metric in {query}");
        for name in names {
            let parts = ["_bucket", "_count", "_sum"];
            let base = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(&name);
            let is_part = found.get(base).is_some_and(|(kind, _)| kind == "histogram");
            let is_known = found.contains_key(&name) || is_part || OTHERS.contains(&name.as_str());
            assert!(is_known, "{file}: there is no {name}, asked for in {query}");
        }
        for label in labels(&query) {
            // `job` is set by Prometheus.
            let is_known = label.starts_with("job=") || scraped.has_label(&label);
            assert!(is_known, "{file}: nothing has {label}, asked for in {query}");
        }
    }
}

#[test]
fn names_are_separated_from_the_rest_of_a_query() {
    let query = "histogram_quantile(0.5, sum by (le, stage) (rate(a_bucket{b=\"c\"}[5m]))) \
                 / sum(d) unless on () max(e) > 0";
    assert_eq!(names(query), ["a_bucket", "d", "e"].map(str::to_owned).into());
    assert_eq!(labels("a{b=\"c\", d!=\"e\",f=~\"g|h\"}"), ["b=\"c\"", "d=\"e\""]);
}

#[test]
fn alerts_fire_as_specified() {
    let fetched = workspace_root().join(".cache/bin/promtool");
    let found = if fetched.is_file() { Some(fetched) } else { find_on_path("promtool") };
    let Some(promtool) = found else {
        eprintln!("SKIPPED: promtool is not installed; scripts/fetch-promtool fetches it");
        return;
    };
    let folder = workspace_root().join("deploy/prometheus");
    for arguments in [["check", "config", "prometheus.yml"], ["test", "rules", "alerts.test.yml"]] {
        let ended = Command::new(&promtool).args(arguments).current_dir(&folder).output().unwrap();
        assert!(ended.status.success(), "{arguments:?}: {ended:?}");
    }
}
