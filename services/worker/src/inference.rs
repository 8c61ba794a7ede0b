//! Slots: OS threads that each hold loaded models and run one picture, or one batch, at a time.
//!
//! Async code hands a picture over and awaits the reply; it never blocks on a model.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
    sync::{Arc, mpsc as blocking},
    thread,
    time::Duration,
};

use bytes::Bytes;
use detector::{
    BatchItem, Canceller, DetectError, Detector, Found, ModelError, PreparedPicture, Runtime,
    RuntimeError,
};
use domain::{DetectionSettings, ModelName, picture::PictureLimits};
use service::{failpoints, telemetry::traces::TraceContext};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::{models::LoadedModels, prepare::Preparation, run_spans::RunSpans};

/// How long a cancelled run may take to notice. ONNX Runtime looks between two operators.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// Why a slot gave no detections.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InferenceError {
    #[error("{0}")]
    Detect(#[from] DetectError),
    #[error("{0}")]
    Runtime(#[from] RuntimeError),
    #[error("{0}")]
    Model(#[from] ModelError),
    #[error("the detector panicked: {0}")]
    Panicked(String),
    #[error("the model did not finish within {0:?}")]
    DeadlineExceeded(Duration),
    #[error("this worker is broken: no slot takes a picture any more")]
    Broken,
    #[error("the model hangs: it neither finished within {0:?} nor could be cancelled")]
    Hung(Duration),
    #[error("the batch this picture was in failed: {0}")]
    Batch(String),
}

impl InferenceError {
    /// What is said to each of `pictures` that were run together. Never that something is wrong with
    /// one of them for good: each is tried again, alone.
    pub(crate) fn for_each_of(self, pictures: usize) -> Vec<Self> {
        if pictures <= 1 {
            return vec![self];
        }
        let each = || match &self {
            Self::Hung(deadline) => Self::Hung(*deadline),
            Self::DeadlineExceeded(deadline) => Self::DeadlineExceeded(*deadline),
            other => Self::Batch(other.to_string()),
        };
        std::iter::repeat_with(each).take(pictures).collect()
    }
}

/// How much of the worker one picture may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Its slot's part of the cores.
    Slot,
    /// Every core: nothing else is to be done.
    WholeWorker,
}

/// What a slot is to do.
pub(crate) struct Work {
    pub(crate) picture: Bytes,
    /// The picture as the model takes it, where that has been made already.
    pub(crate) prepared: Option<PreparedPicture>,
    pub(crate) share: Share,
    pub(crate) model: ModelName,
    pub(crate) settings: DetectionSettings,
    /// Where its job stands in its trace.
    pub(crate) trace: TraceContext,
}

impl Work {
    /// `None` if the picture is still to be prepared: it cannot be part of a batch.
    fn batch_item(&self) -> Option<BatchItem<'_>> {
        Some(BatchItem { prepared: self.prepared.as_ref()?, settings: &self.settings })
    }
}

/// Pictures on their way through a slot's thread, to be run together.
struct Request {
    batch: Vec<Work>,
    canceller: Canceller,
    reply: oneshot::Sender<Result<Vec<Found>, InferenceError>>,
}

/// The worker's slots. The model works on as many pictures at a time as there are slots.
pub(crate) struct Slots {
    idle: Mutex<mpsc::Receiver<Slot>>,
    home: mpsc::Sender<Slot>,
    count: usize,
}

struct Slot {
    requests: blocking::SyncSender<Request>,
    runtime: Runtime,
}

impl Slots {
    /// Gives each set of models a thread of its own.
    ///
    /// # Errors
    /// If the operating system gives no more threads.
    pub(crate) fn start(
        runtime: &Runtime,
        models: Vec<LoadedModels>,
        limits: PictureLimits,
        preparation: &Arc<Preparation>,
    ) -> std::io::Result<Self> {
        let count = models.len();
        let (home, idle) = mpsc::channel(count.max(1));
        for (index, models) in models.into_iter().enumerate() {
            let (requests, inbox) = blocking::sync_channel(1);
            let preparation = Arc::clone(preparation);
            thread::Builder::new()
                .name(format!("slot-{index}"))
                .spawn(move || serve(&inbox, models, limits, &preparation))?;
            // The channel has room for every slot there is, so this cannot fail.
            let _ = home.try_send(Slot { requests, runtime: runtime.clone() });
        }
        Ok(Self { idle: Mutex::new(idle), home, count })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Waits for a slot with nothing to do; the first to ask is the first to get one. Cancel-safe.
    pub(crate) async fn lease(&self) -> SlotLease {
        // Never `None`: this holds a sender.
        let slot = self.idle.lock().await.recv().await;
        SlotLease { slot, home: self.home.clone() }
    }
}

/// A slot in use. It goes back when the lease is dropped, also by a panic, unless it hangs.
pub(crate) struct SlotLease {
    slot: Option<Slot>,
    home: mpsc::Sender<Slot>,
}

impl SlotLease {
    /// Runs the detector on pictures, which are prepared and of one size if they are several, and
    /// gives what was found in each.
    ///
    /// # Errors
    /// [`InferenceError`]; after [`InferenceError::Hung`] the slot is lost.
    pub(crate) async fn detect(
        &mut self,
        batch: Vec<Work>,
        deadline: Duration,
    ) -> Result<Vec<Found>, InferenceError> {
        let gone = || InferenceError::Panicked("the slot's thread has ended".to_owned());
        let slot = self.slot.as_ref().ok_or_else(gone)?;
        let canceller = slot.runtime.canceller()?;
        let (reply, mut answer) = oneshot::channel();
        let request = Request { batch, canceller: canceller.clone(), reply };
        slot.requests.try_send(request).map_err(|_| gone())?;
        if let Ok(answer) = tokio::time::timeout(deadline, &mut answer).await {
            return answer.map_err(|_| gone())?;
        }
        canceller.cancel();
        match tokio::time::timeout(CANCEL_GRACE, answer).await {
            Ok(_) => Err(InferenceError::DeadlineExceeded(deadline)),
            Err(_) => {
                self.slot = None;
                Err(InferenceError::Hung(deadline))
            }
        }
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // Fails only when the worker has stopped listening for idle slots: it is shutting down.
            let _ = self.home.try_send(slot);
        }
    }
}

/// A slot's thread: one run after another until the worker lets go of the slot.
fn serve(
    inbox: &blocking::Receiver<Request>,
    mut models: LoadedModels,
    limits: PictureLimits,
    preparation: &Preparation,
) {
    while let Ok(Request { batch, canceller, reply }) = inbox.recv() {
        if reply.is_closed() {
            continue;
        }
        // A detector overwrites its buffers with each picture, so one that a panic left half done
        // does no harm to the next.
        let run = || detect(&mut models, &batch, &limits, &canceller);
        let outcome = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(outcome) => outcome,
            Err(panic) => Err(InferenceError::Panicked(panic_message(&*panic))),
        };
        // Nobody waits any more when the job's deadline has passed.
        let _ = reply.send(outcome);
        for prepared in batch.into_iter().filter_map(|work| work.prepared) {
            preparation.recycle(prepared);
        }
    }
}

fn detect(
    models: &mut LoadedModels,
    batch: &[Work],
    limits: &PictureLimits,
    canceller: &Canceller,
) -> Result<Vec<Found>, InferenceError> {
    for work in batch {
        failpoints::reach_with("worker-detect", &work.picture);
    }
    match batch {
        [] => Ok(Vec::new()),
        [work] => Ok(vec![detect_one(models, work, limits, canceller)?]),
        [first, ..] => {
            let items: Vec<BatchItem<'_>> = batch.iter().filter_map(Work::batch_item).collect();
            let run = |detector: &mut Detector| {
                let spans = RunSpans::start(batch);
                let outcome = detector.detect_batch(&items, canceller);
                spans.tell(&outcome);
                outcome
            };
            Ok(models.with(&first.model, first.share, run)??)
        }
    }
}

fn detect_one(
    models: &mut LoadedModels,
    work: &Work,
    limits: &PictureLimits,
    canceller: &Canceller,
) -> Result<Found, InferenceError> {
    let Work { picture, prepared, share, model, settings, .. } = work;
    let found = models.with(model, *share, |detector| {
        let spans = RunSpans::start(slice::from_ref(work));
        let outcome = match prepared {
            Some(prepared) => detector.detect_prepared(prepared, settings, canceller),
            None => detector.detect_cancellable(picture, limits, settings, canceller),
        };
        spans.tell(&outcome.as_ref().map(slice::from_ref));
        outcome
    });
    Ok(found??)
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
