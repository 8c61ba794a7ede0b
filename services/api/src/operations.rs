//! What the whole system does now, for operators: the state of the queue and the status of each process.
//!
//! All who look share one sample a second, and while nobody looks there is none.

pub(crate) mod own_status;
pub(crate) mod sample;

mod processes;
mod sampler;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub(crate) use self::sampler::Sources;
use self::{sample::Sample, sampler::Sampler};

/// The samples of this API. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Operations {
    sources: Arc<Sources>,
    samples: watch::Sender<Option<Arc<Sample>>>,
    /// `None` while nobody looks.
    sampling: Arc<Mutex<Option<JoinHandle<()>>>>,
    shutdown: CancellationToken,
}

/// Gets the newest sample; those that it is too slow for are left out.
pub(crate) struct Samples {
    newest: watch::Receiver<Option<Arc<Sample>>>,
    shutdown: CancellationToken,
}

impl Operations {
    /// Nothing is sampled yet.
    pub(crate) fn new(sources: Sources, shutdown: CancellationToken) -> Self {
        Self {
            sources: Arc::new(sources),
            samples: watch::Sender::new(None),
            sampling: Arc::default(),
            shutdown,
        }
    }

    /// The samples from now on; first the newest one, if others look.
    pub(crate) fn samples(&self) -> Samples {
        // Before the lock: sampling ends under the lock, when nobody is subscribed.
        let mut newest = self.samples.subscribe();
        newest.mark_changed();
        let mut sampling = self.sampling.lock();
        let is_sampling = sampling.as_ref().is_some_and(|task| !task.is_finished());
        if !is_sampling {
            *sampling = Some(tokio::spawn(self.clone().sample()));
        }
        Samples { newest, shutdown: self.shutdown.clone() }
    }

    /// Samples until shutdown, or until nobody looks.
    async fn sample(self) {
        let sampling = async {
            let mut sampler = Sampler::start(&self.sources).await;
            loop {
                let sample = sampler.next().await;
                self.samples.send_replace(Some(Arc::new(sample)));
                if sampler.has_lingered(self.samples.receiver_count()) && self.end() {
                    return;
                }
            }
        };
        self.shutdown.run_until_cancelled(sampling).await;
    }

    /// Ends the samples, unless somebody looks again.
    fn end(&self) -> bool {
        let mut sampling = self.sampling.lock();
        let is_unseen = self.samples.receiver_count() == 0;
        if is_unseen {
            // Whoever looks next gets a new one.
            self.samples.send_replace(None);
            *sampling = None;
        }
        is_unseen
    }
}

impl Samples {
    /// The newest sample that was not returned yet; `None` once the API shuts down. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Arc<Sample>> {
        let newest = &mut self.newest;
        let next = async {
            loop {
                newest.changed().await.ok()?;
                let sample = newest.borrow_and_update().clone();
                if sample.is_some() {
                    return sample;
                }
            }
        };
        self.shutdown.run_until_cancelled(next).await.flatten()
    }
}
