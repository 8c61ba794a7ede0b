//! Shadow runs in a worker: which jobs get them, what comes of them, and that jobs are not touched by them.

use domain::{
    DetectionSettings, Job, ModelComparison, RunReport, TaskId, TaskRecord, TaskState, TileOverlap,
    Tiling,
};
use testkit::{eventually, free_address};
use time::OffsetDateTime;

use crate::{
    fixture::{HeldTask, Queue, TIMEOUT, Worker, bus, job},
    models::{
        installed::{ModelsFolder, answered_by, job_for},
        metric,
    },
};

/// A queue, and a worker that serves the models `one` and `two`, the latter also as the shadow model of all jobs.
struct Shadowed {
    queue: Queue,
    models: ModelsFolder,
    address: String,
}

impl Shadowed {
    /// Both models are the same, and call what they find by the same names.
    async fn start() -> Self {
        let this = Self {
            queue: Queue::start().await,
            models: ModelsFolder::with(&["one"]),
            address: free_address(),
        };
        this.models.install_labelled("two", "d-fine", "one 1");
        this
    }

    async fn worker(&self, more: &[(&str, &str)]) -> Worker {
        let mut settings = self.models.settings("one");
        settings.extend([("SHADOW_MODEL", "two"), ("SHADOW_SHARE", "1")]);
        settings.push(("PROBES_ADDRESS", &self.address));
        settings.extend(more);
        self.queue.worker(&settings).await
    }

    async fn submit(&self, jobs: usize) -> Vec<TaskId> {
        let mut ids = Vec::new();
        for _ in 0..jobs {
            ids.push(self.queue.submit_job(job_for("one"), bus()).await);
        }
        ids
    }

    /// Waits until the tasks have ended, as if there were no shadow model. A job that arrives while the worker is busy may
    /// have been handed back, which is no attempt.
    async fn assert_untouched(&self, ids: &[TaskId]) {
        for id in ids {
            let record = self.queue.ended(*id).await;
            assert_eq!((answered_by(&record).0.as_str(), record.attempts), ("one 1", 1));
        }
        self.queue.drained().await;
    }

    async fn shadow_runs(&self, outcome: &str) -> u64 {
        let label = format!("outcome=\"{outcome}\"");
        metric(&self.address, "spotter_shadow_runs_total", &[&label]).await
    }

    async fn shadow_jobs(&self, outcome: &str) -> u64 {
        let label = format!("outcome=\"{outcome}\"");
        metric(&self.address, "spotter_shadow_jobs_total", &[&label]).await
    }

    /// Waits until so many shadow jobs were taken and have ended with this outcome.
    async fn runs_become(&self, outcome: &str, count: u64) {
        eventually(TIMEOUT, async || (self.shadow_runs(outcome).await == count).then_some(()))
            .await;
    }

    /// The comparisons with jobs of the model `one`.
    async fn comparisons(&self) -> Vec<ModelComparison> {
        let [one, two] = ["one", "two"].map(|name| name.parse().unwrap());
        self.queue.messaging.comparisons().of(&one, &two).await.unwrap()
    }
}

#[tokio::test]
async fn a_shadow_model_that_finds_the_same_is_equal() {
    const JOBS: usize = 6;
    let shadowed = Shadowed::start().await;
    let _worker = shadowed.worker(&[]).await;
    let mut ids = shadowed.submit(JOBS).await;
    // These are no candidates: a job of the shadow model, one in tiles, and one that fails.
    let tiling = Tiling { tiles: "2x2".parse().unwrap(), overlap: TileOverlap::default() };
    let settings = DetectionSettings { tiling: Some(tiling), ..DetectionSettings::default() };
    let tiled = Job { settings, ..job_for("one") };
    for (job, picture) in
        [(job_for("two"), bus()), (tiled, bus()), (job_for("one"), b"no picture".to_vec())]
    {
        shadowed.queue.ended(shadowed.queue.submit_job(job, picture).await).await;
    }
    shadowed.assert_untouched(&ids).await;
    shadowed.runs_become("equal", JOBS as u64).await;
    assert_eq!(shadowed.shadow_jobs("published").await, JOBS as u64);
    let mut compared = shadowed.comparisons().await;
    compared.sort_by_key(|comparison| comparison.task_id);
    ids.sort();
    assert_eq!(compared.iter().map(|one| one.task_id).collect::<Vec<_>>(), ids);
    let record = shadowed.queue.ended(ids[0]).await;
    let TaskState::Success { objects, run: Some(run), .. } = &record.state else {
        panic!("{record:?}")
    };
    let first = &compared[0];
    assert_eq!(first.comparison.matched() as usize, objects.len());
    assert_eq!((first.comparison.disputed(), first.comparison.mean_iou), (0, 1.0));
    assert_eq!((first.a.digest, first.a.infer_ms), (answered_by(&record).1, run.infer_ms));
    assert!(first.b.infer_ms > 0.0 && first.b.digest != first.a.digest, "{first:?}");
    let by_both = metric(&shadowed.address, "spotter_shadow_objects_total", &["found_by=\"both\""]);
    assert_eq!(by_both.await, (objects.len() * JOBS) as u64);
}

#[tokio::test]
async fn a_shadow_model_that_names_other_classes_differs() {
    let shadowed = Shadowed::start().await;
    shadowed.models.install("two", "d-fine", "1");
    let _worker = shadowed.worker(&[]).await;
    let ids = shadowed.submit(2).await;
    shadowed.assert_untouched(&ids).await;
    shadowed.runs_become("differs", 2).await;
    for compared in shadowed.comparisons().await {
        let comparison = compared.comparison;
        assert_eq!(comparison.matched(), 0, "{comparison:?}");
        assert!(comparison.confused() > 0, "{comparison:?}");
        assert!(comparison.confusions.iter().all(
            |confusion| confusion.a.starts_with("one 1 ") && confusion.b.starts_with("two 1 ")
        ));
    }
}

#[tokio::test]
async fn a_shadow_model_that_cannot_be_loaded_changes_nothing() {
    let shadowed = Shadowed::start().await;
    shadowed.models.damage("two");
    let _worker = shadowed.worker(&[]).await;
    let ids = shadowed.submit(4).await;
    shadowed.assert_untouched(&ids).await;
    shadowed.runs_become("failed", 4).await;
    assert_eq!(shadowed.comparisons().await, []);
}

/// There is room for the sessions of one model: that of each slot, and the one on all cores.
#[tokio::test]
async fn no_model_is_dropped_from_memory_for_the_shadow_model() {
    const SESSION_BYTES: u64 = 100 * 160 * 160;
    let shadowed = Shadowed::start().await;
    let file = shadowed.models.folder("one").join("model.onnx").metadata().unwrap();
    let budget = (file.len() + 3 * SESSION_BYTES).to_string();
    let _worker = shadowed.worker(&[("MODEL_MEMORY_BYTES", &budget)]).await;
    let ids = shadowed.submit(4).await;
    shadowed.assert_untouched(&ids).await;
    shadowed.runs_become("dropped", 4).await;
    for name in ["spotter_model_evictions_total", "spotter_model_loads_total"] {
        let count = metric(&shadowed.address, name, &["model=\"two\""]).await;
        assert_eq!(count, 0, "{name}");
    }
    assert_eq!(metric(&shadowed.address, "spotter_model_evictions_total", &[]).await, 0);
}

#[tokio::test]
async fn a_worker_that_does_not_serve_the_shadow_model_leaves_its_shadow_jobs() {
    let shadowed = Shadowed::start().await;
    let _worker = shadowed.worker(&[("MODELS", "one")]).await;
    let ids = shadowed.submit(3).await;
    shadowed.assert_untouched(&ids).await;
    eventually(TIMEOUT, async || (shadowed.shadow_jobs("published").await == 3).then_some(()))
        .await;
    assert_eq!(shadowed.queue.nats.stream("SHADOW_JOBS").unwrap().messages, 3);
    // Another worker does.
    let mut settings = shadowed.models.settings("two");
    settings.extend([("MODELS", "two"), ("SHADOW_MODEL", "two")]);
    let _other = shadowed.queue.worker(&settings).await;
    eventually(TIMEOUT, async || (shadowed.comparisons().await.len() == 3).then_some(())).await;
}

#[tokio::test]
async fn pictures_beyond_a_message_are_left_out() {
    let mut shadowed = Shadowed::start().await;
    shadowed.queue = Queue::for_held_tasks().await;
    let _worker = shadowed.worker(&[]).await;
    let ids = shadowed.submit(2).await;
    shadowed.assert_untouched(&ids).await;
    assert_eq!(
        (shadowed.shadow_jobs("too_large").await, shadowed.shadow_jobs("published").await),
        (2, 0)
    );
}

/// A task whose job a worker of the model `yolov8n` has run.
async fn already_run(queue: &Queue) -> TaskId {
    let run = RunReport {
        worker: "another".to_owned(),
        decode_ms: 1.0,
        letterbox_ms: 1.0,
        infer_ms: 1.0,
        postprocess_ms: 1.0,
    };
    let record = TaskRecord::queued(job()).with_state(TaskState::Success {
        started_at: None,
        finished_at: OffsetDateTime::now_utc(),
        objects: Vec::new(),
        width: 810,
        height: 1080,
        warnings: Vec::new(),
        run: Some(run),
        model_digest: Some([1; 32].into()),
        drawing: None,
        cached: false,
    });
    queue.messaging.tasks().finish(&record).await.unwrap();
    record.job.task_id
}

#[tokio::test]
async fn a_shadow_job_waits_while_a_job_has_the_only_slot() {
    let (queue, models) = (Queue::for_held_tasks().await, ModelsFolder::with(&["yolov8n", "two"]));
    let [model, shadow_model] = ["yolov8n", "two"].map(|name| name.parse().unwrap());
    let id = already_run(&queue).await;
    let held = HeldTask::submit(&queue).await;
    let mut settings = models.settings("yolov8n");
    settings.extend([("CONCURRENCY", "1"), ("SHADOW_MODEL", "two")]);
    let _worker = queue.worker(&settings).await;
    eventually(TIMEOUT, async || {
        let depth = queue.messaging.queue().depth().await.unwrap();
        (depth.in_progress == 1).then_some(())
    })
    .await;
    queue.messaging.shadow_jobs().publish(&shadow_model, id, bus().into()).await.unwrap();
    // A second after it began.
    held.started(&queue).await;
    held.release(&queue);
    let held = queue.ended(held.id).await;
    let compared = eventually(TIMEOUT, async || {
        queue.messaging.comparisons().of(&model, &shadow_model).await.unwrap().pop()
    })
    .await;
    assert_eq!(compared.task_id, id);
    assert!(Some(compared.compared_at) > held.state.finished_at(), "{compared:?} beside {held:?}");
}
