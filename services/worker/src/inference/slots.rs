//! Slots: OS threads that each run one picture, or one batch, at a time.
//!
//! Async code sends a batch to a slot and awaits the answers; it never blocks on a model.

use std::{
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc as blocking},
    thread,
    time::{Duration, Instant},
};

use detector::{BatchItem, Canceller, DetectError, Detector, OnnxRuntime};
use domain::Priority;
use service::lifecycle::failpoints;
use tokio::{runtime::Handle, sync::oneshot};

use super::{
    error::{InferenceError, panic_message},
    pool::{Lease, Pool},
    preprocessing::{PictureFile, Preprocessing},
    run_spans::{RunSpans, RunningWork},
    work::{Batch, JobResult, Picture, Reply, Work},
};
use crate::models::{RunShape, SlotId};

/// How long a cancelled run may take to stop. ONNX Runtime checks between two operators.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// What the thread of a slot does.
type Task = Box<dyn FnOnce(SlotId, &Canceller) -> Result<(), InferenceError> + Send>;

/// A task on its way through a slot's thread.
struct Request {
    task: Task,
    canceller: Canceller,
    /// Signals the end of the run. On success all jobs of the batch have been answered by then.
    done: oneshot::Sender<Result<(), InferenceError>>,
}

/// Slots of the worker. Models work on as many batches at a time as there are slots.
pub(crate) struct Slots {
    pool: Pool<Slot>,
    count: usize,
    preprocessing: Arc<Preprocessing>,
}

struct Slot {
    requests: blocking::SyncSender<Request>,
    runtime: OnnxRuntime,
}

impl Slots {
    /// Starts the slots that run jobs.
    ///
    /// # Errors
    /// If the operating system gives no more threads.
    pub(crate) fn start(runtime: &OnnxRuntime, count: NonZero<usize>) -> std::io::Result<Self> {
        Self::of((0..count.get()).map(SlotId::Jobs), runtime)
    }

    /// Starts the slot of shadow runs. Whatever becomes of it, those of jobs are as they were.
    ///
    /// # Errors
    /// If the operating system gives no more threads.
    pub(crate) fn start_shadow(runtime: &OnnxRuntime) -> std::io::Result<Self> {
        Self::of([SlotId::Shadow], runtime)
    }

    fn of(ids: impl IntoIterator<Item = SlotId>, runtime: &OnnxRuntime) -> std::io::Result<Self> {
        let mut slots = Vec::new();
        for id in ids {
            let (requests, inbox) = blocking::sync_channel(1);
            thread::Builder::new().name(id.thread_name()).spawn(move || serve(&inbox, id))?;
            slots.push(Slot { requests, runtime: runtime.clone() });
        }
        let count = slots.len();
        Ok(Self { pool: Pool::new(slots), count, preprocessing: Arc::default() })
    }

    /// Prepares pictures for the slots.
    pub(crate) fn preprocessing(&self) -> &Arc<Preprocessing> {
        &self.preprocessing
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How many of them are in use, or hang.
    pub(crate) fn busy(&self) -> usize {
        self.count.saturating_sub(self.pool.idle())
    }

    /// Waits for an idle slot, behind those that wait with the same or a higher priority. Cancel-safe.
    pub(crate) async fn lease(&self, priority: Priority) -> SlotLease {
        let preprocessing = Arc::clone(&self.preprocessing);
        SlotLease { slot: self.pool.lease(priority).await, run: None, preprocessing }
    }
}

/// A run of a slot.
struct Run {
    canceller: Canceller,
    /// Completes with the run.
    outcome: oneshot::Receiver<Result<(), InferenceError>>,
}

/// A slot in use. Dropping the lease stops its run and returns the slot, also on a panic, unless it hangs.
pub(crate) struct SlotLease {
    slot: Lease<Slot>,
    run: Option<Run>,
    preprocessing: Arc<Preprocessing>,
}

impl SlotLease {
    /// Runs the detector on a batch and answers each of its jobs. After [`InferenceError::Hung`] the
    /// slot is lost.
    pub(crate) async fn run(&mut self, batch: Batch, deadline: Duration) {
        let replies: Vec<Reply> = batch.works().iter().map(|work| work.reply.clone()).collect();
        let preprocessing = Arc::clone(&self.preprocessing);
        let task: Task = Box::new(move |slot, canceller| {
            let outcome = run_batch(slot, &batch, canceller);
            recycle(batch, &preprocessing);
            outcome
        });
        if let Err(error) = self.run_within(deadline, task).await {
            fail(&replies, error);
        }
    }

    /// Preprocesses a picture and runs the detector on it, both on the slot's thread.
    ///
    /// # Errors
    /// [`InferenceError`]. After [`InferenceError::Hung`] the slot is lost.
    pub(crate) async fn run_file(&mut self, file: PictureFile, deadline: Duration) -> JobResult {
        let preprocessing = Arc::clone(&self.preprocessing);
        let (reply, answer) = Reply::new();
        let task: Task = Box::new(move |slot, canceller| {
            let picture = preprocessing.preprocess_here(file)?;
            let batch = Batch::of(Work { picture, since: Instant::now(), reply });
            let outcome = run_batch(slot, &batch, canceller);
            recycle(batch, &preprocessing);
            outcome
        });
        self.run_within(deadline, task).await?;
        answer.detections().await
    }

    async fn run_within(&mut self, deadline: Duration, task: Task) -> Result<(), InferenceError> {
        let slot = self.slot.item().ok_or(InferenceError::SlotEnded)?;
        let canceller = slot.runtime.canceller()?;
        let (done, outcome) = oneshot::channel();
        let request = Request { task, canceller: canceller.clone(), done };
        slot.requests.try_send(request).map_err(|_| InferenceError::SlotEnded)?;
        let run = self.run.insert(Run { canceller, outcome });
        if let Ok(outcome) = tokio::time::timeout(deadline, &mut run.outcome).await {
            self.run = None;
            return outcome.map_err(|_| InferenceError::SlotEnded)?;
        }
        run.canceller.cancel();
        let stopped = tokio::time::timeout(CANCEL_GRACE, &mut run.outcome).await;
        self.run = None;
        match stopped {
            Ok(_) => Err(InferenceError::DeadlineExceeded(deadline)),
            Err(_) => {
                self.slot.lose();
                Err(InferenceError::Hung(deadline))
            }
        }
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        if let (Some(Run { canceller, outcome }), Ok(runtime)) =
            (self.run.take(), Handle::try_current())
        {
            // Nobody waits for this run any more: its task was revoked, or the worker releases it.
            canceller.cancel();
            let slot = self.slot.take();
            runtime.spawn(async move {
                // A run that hangs makes the slot's next one report that.
                let _ = tokio::time::timeout(CANCEL_GRACE, outcome).await;
                drop(slot);
            });
        }
    }
}

/// Answers jobs that were run together and have no answer yet. An error of a batch is permanent for
/// none of its jobs: each is retried, alone.
fn fail(replies: &[Reply], error: InferenceError) {
    if let [reply] = replies {
        return reply.send(Err(error));
    }
    let error = Arc::new(error);
    for reply in replies {
        reply.send(Err(match *error {
            InferenceError::Hung(deadline) => InferenceError::Hung(deadline),
            InferenceError::DeadlineExceeded(deadline) => {
                InferenceError::DeadlineExceeded(deadline)
            }
            _ => InferenceError::Batch(Arc::clone(&error)),
        }));
    }
}

/// A slot's thread: one task after another until the slot is dropped.
fn serve(inbox: &blocking::Receiver<Request>, slot: SlotId) {
    while let Ok(Request { task, canceller, done }) = inbox.recv() {
        if done.is_closed() {
            continue;
        }
        // A detector overwrites its buffers with each run, so a panic leaves nothing behind for the next.
        let outcome = match catch_unwind(AssertUnwindSafe(|| task(slot, &canceller))) {
            Ok(outcome) => outcome,
            Err(panic) => Err(InferenceError::Panicked(panic_message(&*panic))),
        };
        // Fails when the jobs were requeued and no longer wait.
        let _ = done.send(outcome);
    }
}

/// Keeps the memory of pictures that have been run.
fn recycle(batch: Batch, preprocessing: &Preprocessing) {
    for work in batch.into_works() {
        preprocessing.recycle(work.picture.prepared);
    }
}

fn run_batch(slot: SlotId, batch: &Batch, canceller: &Canceller) -> Result<(), InferenceError> {
    let works = batch.works();
    for work in works {
        failpoints::reach_with(failpoint(slot), &work.picture.file);
    }
    let Some(first) = works.first() else { return Ok(()) };
    let Picture { model, parallelism, .. } = &first.picture;
    let (size, pictures) = (first.picture.size(), works.len());
    let run = RunShape { slot, parallelism: *parallelism, size, pictures };
    model.with(&run, |detector, each| {
        works.chunks(each).try_for_each(|works| Ok(detect(detector, works, each, canceller)?))
    })
}

/// Where a test can make a run of this slot fail.
fn failpoint(slot: SlotId) -> &'static str {
    match slot {
        SlotId::Jobs(_) => "worker-detect",
        SlotId::Shadow => "worker-detect-shadow",
    }
}

/// Answers every job of `works` with its own detections, or none of them, by a run of `pictures` pictures.
fn detect(
    detector: &mut Detector,
    works: &[Work],
    pictures: usize,
    canceller: &Canceller,
) -> Result<(), DetectError> {
    let mut spans = RunSpans::start(works);
    let mut items: Vec<BatchItem<'_, RunningWork<'_>>> = works
        .iter()
        .map(|work| BatchItem {
            prepared: &work.picture.prepared,
            settings: &work.picture.settings,
            owner: RunningWork::start(work),
        })
        .collect();
    match detector.detect_padded(&mut items, pictures, canceller) {
        Ok(detected) => {
            for (running, detections) in detected {
                spans.detected(running, &detections.timings);
                running.work.picture.model.run_times().record(detections.timings.infer);
                running.work.reply.send(Ok(detections));
            }
            Ok(())
        }
        Err(error) => {
            spans.failed(&mut items, &error);
            Err(error)
        }
    }
}
