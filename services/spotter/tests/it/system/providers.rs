//! Execution providers, a worker without the one it needs, and weights that cannot be shared.

use std::fs;

use testkit::{picture, workspace_root};

use crate::{
    harness::{Ended, System, TIMEOUT, spotter},
    reference::assert_bus,
};

#[test]
fn a_provider_that_is_not_available_ends_the_worker_with_an_explanation() {
    let cpu = workspace_root().join(".cache/lib/libonnxruntime.so");
    let cpu = cpu.to_str().unwrap();
    let absent = "/absent/libonnxruntime.so";
    let cases = [
        ("cuda", cpu, ["no CUDA provider", "scripts/setup --provider cuda"]),
        ("tensorrt", cpu, ["no TensorRT provider", "ORT_DYLIB_PATH"]),
        ("openvino", absent, ["with the OpenVINO provider is not at", absent]),
        ("gpu", cpu, ["EXECUTION_PROVIDER", "cpu, openvino, cuda, tensorrt"]),
    ];
    for (provider, library, expected) in cases {
        let worker = spotter(["worker"]).env("EXECUTION_PROVIDER", provider);
        let ended = Ended::of(worker.env("ORT_DYLIB_PATH", library));
        assert_eq!(ended.code, Some(64), "{provider}: {ended:?}");
        let said = ended.stderr.join("\n");
        for text in expected {
            assert!(said.contains(text), "{provider}: {text} is not in\n{said}");
        }
    }
}

#[tokio::test]
async fn openvino_gives_the_results_of_the_cpu() {
    if !workspace_root().join(".cache/lib/openvino/libonnxruntime.so").exists() {
        eprintln!(
            "SKIPPED: OpenVINO is not installed; scripts/setup --provider openvino fetches it"
        );
        return;
    }
    let system = System::start();
    let worker = spotter(["worker"]).env("EXECUTION_PROVIDER", "openvino");
    let worker = worker.env("NATS_URL", system.nats.url()).env("CONCURRENCY", "1").start();
    worker.wait_for_line(|line| line.text == "ready", TIMEOUT);
    let id = system.start_task("bus.jpg", fs::read(picture("bus.jpg")).unwrap()).await;
    system.terminal(id).await;
    assert_bus(&system.result(id).await["result"]);
}

#[tokio::test]
async fn where_no_temporary_file_can_be_written_each_slot_has_weights_of_its_own() {
    let system = System::start();
    let worker = spotter(["worker"]).env("TMPDIR", "/absent").env("CONCURRENCY", "1");
    let worker = worker.env("NATS_URL", system.nats.url()).start();
    worker.wait_for_line(|line| line.text.contains("a copy of the model's weights"), TIMEOUT);
    worker.wait_for_line(|line| line.text == "ready", TIMEOUT);
    let id = system.start_task("bus.jpg", fs::read(picture("bus.jpg")).unwrap()).await;
    system.terminal(id).await;
    assert_bus(&system.result(id).await["result"]);
}
