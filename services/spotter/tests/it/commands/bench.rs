//! `spotter bench`: measures the requested sections on a system that it starts and removes.

use std::{fs, os::unix::fs::symlink, time::Duration};

use serde_json::Value;
use service::files::find_on_path;
use testkit::{ProcessBuilder, RedisServer};

use crate::harness::{Ended, System, spotter};

/// A benchmark runs hundreds of pictures, here in a debug build. Only one that hangs takes this long; the test runner
/// would stop it a minute later.
const LONGEST: Duration = Duration::from_secs(9 * 60);

/// Waits until the benchmark has exited.
fn measured(bench: ProcessBuilder) -> Ended {
    let mut process = bench.start();
    process.wait_exit(LONGEST);
    Ended::after(process)
}

fn numbers(report: &Value, pointers: &[&str]) -> Vec<f64> {
    let number = |pointer: &&str| {
        let found = report.pointer(pointer);
        found.and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {found:?}\n{report:#}"))
    };
    pointers.iter().map(number).collect()
}

#[test]
fn a_short_round_measures_everything_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (json, data) = (folder.path().join("bench.json"), folder.path().join("data"));
    let [json_text, data_text] = [&json, &data].map(|path| path.to_str().unwrap());
    // The file of another system, which must not be touched.
    fs::create_dir(&data).unwrap();
    fs::write(data.join("up.lock"), "").unwrap();
    let ended = measured(spotter([
        "bench",
        "--only",
        "throughput,messages,latency,uploads,reads",
        "--rounds",
        "1",
        "--jobs",
        "20",
        "--seconds",
        "3",
        "--upload-seconds",
        "1",
        "--json",
        json_text,
        "--data-dir",
        data_text,
    ]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let measured = numbers(
        &report,
        &[
            "/throughput/plain/0",
            "/throughput/cut/0",
            "/throughput/detector/0",
            "/throughput/queue/0",
            "/throughput/detector_cpu_ms",
            "/throughput/queue_cpu_ms/worker",
            "/throughput/beyond_detector_cpu_ms/0",
            "/throughput/stages_ms/infer",
            "/throughput/usages/NATS/peak_mib",
            "/latency/alone/p50_ms",
            "/latency/on_the_way/queue/p50_ms",
            "/latency/on_the_way/store/p50_ms",
            "/latency/model/p50_ms",
            "/latency/again/p99_ms",
            "/uploads/2/latency/p99_ms",
            "/reads/0/per_api_core_second",
            "/reads/1/reads/per_second",
        ],
    );
    assert!(measured.iter().all(|number| *number > 0.0), "{measured:?}\n{report:#}");
    check_messages(&report["messages"]);
    // While the queue is full they do not sleep: 0 is a good value.
    let idle = numbers(&report, &["/throughput/idle_share/0"])[0];
    assert!((0.0..1.0).contains(&idle), "{idle}");
    assert_eq!(report["machine"]["input"], serde_json::json!([480, 640]));
    let table = ended.stdout.join("\n");
    for text in [
        "queue, end to end",
        "beyond the detector",
        "20 jobs at once",
        "submit → result",
        "200/s",
        "bucket",
    ] {
        assert!(table.contains(text), "{text} is not in\n{table}");
    }
    let left: Vec<_> =
        fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["up.lock"]);
}

/// Each job is stored once, its picture is sent by the API and received by the worker, and its terminal record is
/// stored.
fn check_messages(measured: &Value) {
    for (place, (arrival, jobs)) in [("at_once", 20), ("one_at_a_time", 2)].into_iter().enumerate()
    {
        let of_arrival = &measured[place];
        assert_eq!(of_arrival["arrival"], arrival, "{measured:#}");
        assert_eq!(of_arrival["jobs"], jobs, "{measured:#}");
        assert_eq!(of_arrival["stores"]["JOBS"], 1.0, "{measured:#}");
        let least = [
            ("/stores/KV_tasks", 1.0),
            ("/roles/api/sent", 1.0),
            ("/roles/api/received", 1.0),
            ("/roles/api/sent_bytes", 100_000.0),
            ("/roles/worker/sent", 1.0),
            ("/roles/worker/received", 1.0),
            ("/roles/worker/received_bytes", 100_000.0),
            ("/cpu_ms/worker", 1.0),
        ];
        let found = numbers(of_arrival, &least.map(|(pointer, _)| pointer));
        for ((pointer, least), found) in least.into_iter().zip(found) {
            assert!(found >= least, "{pointer}: {found}\n{measured:#}");
        }
    }
}

#[test]
fn a_running_system_is_measured_through_its_api() {
    let system = System::start();
    let _worker = system.worker();
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("bench.json");
    let few =
        ["--only", "throughput,messages,latency,reads,growth", "--rounds", "1", "--seconds", "3"];
    let bench = spotter(["bench", "--target", &system.base]).args(few).arg("--json").arg(&json);
    let ended = measured(bench);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report: Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let pointers = ["/throughput/queue/0", "/latency/alone/p50_ms", "/reads/0/reads/per_second"];
    assert!(numbers(&report, &pointers).iter().all(|number| *number > 0.0), "{report:#}");
    // Nothing of this machine is measured.
    assert_eq!(report["throughput"]["detector"], serde_json::json!([]));
    assert!(report.get("growth").is_none() && report["latency"].get("model").is_none());
    assert!(report.get("messages").is_none(), "{report:#}");
    assert!(report["latency"].get("on_the_way").is_none(), "{report:#}");
    assert!(ended.stderr.iter().any(|line| line.contains("left out")), "{ended:?}");
}

#[test]
fn a_redis_server_in_the_environment_is_not_used() {
    let (redis, data) = (RedisServer::start(), tempfile::tempdir().unwrap());
    let bench = || {
        let few = ["bench", "--only", "reads", "--seconds", "1", "--data-dir"];
        spotter(few).arg(data.path()).env("REDIS_URL", redis.url())
    };
    // What starts processes is found, and redis-server is not.
    let path = tempfile::tempdir().unwrap();
    symlink(find_on_path("setpriv").unwrap(), path.path().join("setpriv")).unwrap();
    let without_redis_server = bench().env("PATH", path.path().to_str().unwrap());
    for bench in [bench(), without_redis_server] {
        let ended = measured(bench);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert_eq!(redis.keys("spotter:"), [""; 0], "what was measured without a cache had one");
    }
}

#[test]
fn errors_are_reported_before_anything_starts() {
    let ended = Ended::of(spotter(["bench", "--picture", "absent.jpg"]));
    assert_eq!(ended.code, Some(64), "{ended:?}");
    let said = ended.stderr.join("\n");
    assert!(said.contains("absent.jpg") && said.contains("--picture"), "{said}");
}
