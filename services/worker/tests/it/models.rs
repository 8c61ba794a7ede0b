//! Several models in one worker.

pub(crate) mod installed;

use std::{collections::HashMap, fs};

use domain::{ClassId, FailureReason, TaskId, TaskState};
use messaging::DescribedInput;
use testkit::{eventually, free_address};

use self::installed::{ModelsFolder, answered_by, job_for};
use crate::{
    fixture::{Queue, TIMEOUT, bus},
    probes::ask,
};

/// The input of the small models.
const SMALL_INPUT: DescribedInput = DescribedInput::Fixed { width: 160, height: 160 };

/// The sum of the series of a metric of the worker that have these labels.
pub(crate) async fn metric(address: &str, name: &str, labels: &[&str]) -> u64 {
    let metrics = ask(address, "/metrics").await;
    let series = metrics.lines().filter(|line| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    });
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

impl Queue {
    async fn submit_for(&self, model: &str) -> TaskId {
        self.submit_job(job_for(model), bus()).await
    }

    /// Waits until jobs of `model` are answered by `version`.
    async fn answered_by(&self, model: &str, version: &str) {
        let expected = format!("{model} {version}");
        eventually(TIMEOUT, async || {
            let record = self.ended(self.submit_for(model).await).await;
            let is_answered = matches!(record.state, TaskState::Success { .. });
            (is_answered && answered_by(&record).0 == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_model_is_loaded_once_for_the_jobs_that_come_together() {
    const JOBS: usize = 12;
    let (queue, models) = (Queue::start().await, ModelsFolder::with(&["one", "two"]));
    let mut tasks = Vec::new();
    for _ in 0..JOBS {
        tasks.push(queue.submit_for("two").await);
    }
    let address = free_address();
    let mut settings = models.settings("one");
    settings.push(("PROBES_ADDRESS", &address));
    let _worker = queue.worker(&settings).await;
    for id in tasks {
        let record = queue.ended(id).await;
        assert_eq!(answered_by(&record).0, "two 1");
        assert_eq!(record.attempts, 1);
    }
    for model in ["one", "two"] {
        let labels = [format!("model=\"{model}\""), "outcome=\"loaded\"".to_owned()];
        let labels = labels.each_ref().map(String::as_str);
        assert_eq!(metric(&address, "spotter_model_loads_total", &labels).await, 1, "{model}");
    }
    let runs = metric(&address, "spotter_model_run_seconds_count", &["model=\"two\""]).await;
    assert_eq!(runs, JOBS as u64);
}

/// The budget has room for no model, so each is dropped as soon as no job holds it.
#[tokio::test]
async fn models_beyond_the_budget_take_turns_and_none_is_dropped_in_use() {
    const NAMES: [&str; 3] = ["one", "two", "three"];
    let (queue, models) = (Queue::start().await, ModelsFolder::with(&NAMES));
    let mut tasks = Vec::new();
    for _ in 0..10 {
        for model in NAMES {
            tasks.push((model, queue.submit_for(model).await));
        }
    }
    let address = free_address();
    let mut settings = models.settings("one");
    settings.extend([("MODEL_MEMORY_BYTES", "1"), ("PROBES_ADDRESS", &address)]);
    let _worker = queue.worker(&settings).await;
    for (model, id) in tasks {
        let record = queue.ended(id).await;
        assert_eq!(answered_by(&record).0, format!("{model} 1"));
        assert_eq!(record.attempts, 1);
    }
    // No job holds a model any more.
    let all_are_dropped = async || {
        let bytes = metric(&address, "spotter_model_memory_bytes", &[]).await;
        (bytes == 0).then_some(())
    };
    eventually(TIMEOUT, all_are_dropped).await;
    let evictions = metric(&address, "spotter_model_evictions_total", &[]).await;
    assert!(evictions >= NAMES.len() as u64, "{evictions}");
    for model in NAMES {
        queue.answered_by(model, "1").await;
    }
    let loads = metric(&address, "spotter_model_loads_total", &["outcome=\"loaded\""]).await;
    assert!(loads >= evictions + NAMES.len() as u64, "{loads} loads, {evictions} evictions");
}

#[tokio::test]
async fn a_replaced_model_answers_new_jobs_and_each_record_says_which_version_ran() {
    let (queue, models) = (Queue::start().await, ModelsFolder::with(&["one", "two"]));
    let mut versions = HashMap::new();
    for (model, version) in [("one", "1"), ("two", "1")] {
        let digest = models.install(model, "d-fine", version);
        versions.insert(format!("{model} {version}"), digest);
    }
    let _worker = queue.worker(&models.settings("one")).await;
    queue.answered_by("two", "1").await;
    for (version, family) in [("2", "rf-detr"), ("3", "rt-detr-transformers")] {
        let mut tasks = Vec::new();
        for _ in 0..10 {
            tasks.extend([queue.submit_for("one").await, queue.submit_for("two").await]);
        }
        for model in ["one", "two"] {
            let digest = models.install(model, family, version);
            versions.insert(format!("{model} {version}"), digest);
        }
        for model in ["one", "two"] {
            queue.answered_by(model, version).await;
        }
        for id in tasks {
            let record = queue.ended(id).await;
            let (answered_by, digest) = answered_by(&record);
            assert!(answered_by.starts_with(record.job.model.as_str()), "{answered_by}");
            assert_eq!(versions.get(&answered_by), Some(&digest), "{answered_by}");
        }
    }
}

#[tokio::test]
async fn an_added_model_is_served_once_its_files_are_complete() {
    let (queue, models) = (Queue::start().await, ModelsFolder::with(&["one"]));
    let address = free_address();
    let mut settings = models.settings("one");
    settings.push(("PROBES_ADDRESS", &address));
    let _worker = queue.worker(&settings).await;
    // As a copy in progress: the description, and a part of the weights.
    let elsewhere = ModelsFolder::with(&["two"]);
    let weights = fs::read(elsewhere.folder("two").join("model.onnx")).unwrap();
    let (from, to) = (elsewhere.folder("two"), models.folder("two"));
    fs::create_dir(&to).unwrap();
    fs::write(to.join("model.onnx"), &weights[..weights.len() / 2]).unwrap();
    fs::copy(from.join("model.toml"), to.join("model.toml")).unwrap();
    let is_served = async || metric(&address, "spotter_model_info", &["model=\"two\""]).await == 1;
    // A model that is added later and complete is served before.
    models.install("three", "d-fine", "1");
    queue.answered_by("three", "1").await;
    assert!(!is_served().await);
    fs::write(to.join("model.onnx"), &weights).unwrap();
    eventually(TIMEOUT, async || is_served().await.then_some(())).await;
    queue.answered_by("two", "1").await;
    queue.answered_by("one", "1").await;
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_fails_its_jobs_only() {
    let (queue, models) = (Queue::start().await, ModelsFolder::with(&["one", "two"]));
    models.damage("two");
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.extend([queue.submit_for("two").await, queue.submit_for("one").await]);
    }
    let _worker = queue.worker(&models.settings("one")).await;
    for id in tasks {
        let record = queue.ended(id).await;
        if record.job.model.as_str() == "one" {
            assert_eq!(answered_by(&record).0, "one 1");
            continue;
        }
        let TaskState::Failure { reason, message, .. } = &record.state else {
            panic!("{record:?}")
        };
        assert_eq!(*reason, FailureReason::ModelNotLoadable, "{message}");
        assert!(message.contains("sha256"), "{message}");
    }
    // It is tried again once it was installed again.
    models.install("two", "d-fine", "2");
    eventually(TIMEOUT, async || {
        let record = queue.ended(queue.submit_for("two").await).await;
        matches!(record.state, TaskState::Success { .. }).then_some(())
    })
    .await;
    queue.answered_by("two", "2").await;
}

/// The model that replaces one in memory cannot be loaded: jobs still get the one before.
#[tokio::test]
async fn a_damaged_replacement_is_not_taken() {
    let (queue, models) = (Queue::start().await, ModelsFolder::with(&["one", "two"]));
    let _worker = queue.worker(&models.settings("one")).await;
    queue.answered_by("one", "1").await;
    let damaged = ModelsFolder::with(&[]);
    damaged.install("one", "rf-detr", "2");
    damaged.damage("one");
    for file in ["model.onnx", "model.toml"] {
        fs::copy(damaged.folder("one").join(file), models.folder("one").join(file)).unwrap();
    }
    // By then the folder has been searched since.
    models.install("three", "d-fine", "1");
    queue.answered_by("three", "1").await;
    queue.answered_by("one", "1").await;
}

#[tokio::test]
async fn a_worker_serves_only_the_models_that_it_is_given() {
    let (queue, models) = (Queue::start().await, ModelsFolder::with(&["one", "two", "three"]));
    let address = free_address();
    let mut settings = models.settings("two");
    settings.extend([("MODELS", "two,three"), ("PROBES_ADDRESS", &address)]);
    let _worker = queue.worker(&settings).await;
    queue.answered_by("three", "1").await;
    for (model, expected) in [("one", 0), ("two", 1), ("three", 1)] {
        let label = format!("model=\"{model}\"");
        assert_eq!(metric(&address, "spotter_model_info", &[&label]).await, expected, "{model}");
    }
    let descriptions = queue.messaging.model_descriptions();
    assert_eq!(descriptions.get(&"one".parse().unwrap()).await.unwrap(), None);
    let two = descriptions.get(&"two".parse().unwrap()).await.unwrap().expect("it is served");
    assert_eq!(two.labels.get(ClassId(0)), Some("two 1 0"));
    assert_eq!((two.head.as_str(), two.input), ("rt-detr", SMALL_INPUT));
}

#[tokio::test]
async fn a_removed_model_is_not_served_any_more() {
    let (queue, models) = (Queue::start().await, ModelsFolder::with(&["one", "two"]));
    let address = free_address();
    let mut settings = models.settings("one");
    settings.push(("PROBES_ADDRESS", &address));
    let _worker = queue.worker(&settings).await;
    queue.answered_by("two", "1").await;
    fs::remove_dir_all(models.folder("two")).unwrap();
    eventually(TIMEOUT, async || {
        let info = metric(&address, "spotter_model_info", &["model=\"two\""]).await;
        (info == 0).then_some(())
    })
    .await;
    queue.answered_by("one", "1").await;
}
