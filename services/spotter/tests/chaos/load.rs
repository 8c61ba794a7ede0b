//! Clients that submit pictures by both routes and poll the tasks, until they are stopped.

pub(crate) mod batch_submission;
pub(crate) mod client;
pub(crate) mod pictures;
pub(crate) mod submission;

mod batches;
mod shared;
mod stranger;

use std::{sync::Arc, time::Duration};

use domain::{Priority, TaskId};
use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use tokio::{
    runtime::Runtime,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::shared::LoadPlan;
use crate::{
    environment::Environment,
    load::pictures::{Upload, strip},
    load::{
        client::Client,
        shared::Shared,
        stranger::Stranger,
        submission::{Expected, Submission},
    },
    verdict::history::History,
};

/// How often a client retries a submission with a key that was not answered with an id.
const KEYED_ATTEMPTS: usize = 5;

/// How often one picture is submitted until it is accepted, and the pause between.
const SEND_ATTEMPTS: usize = 200;
const SEND_PAUSE: Duration = Duration::from_millis(100);

/// The longest time between a submission and its cancellation: jobs are cancelled while they wait and while they run.
const LONGEST_BEFORE_CANCEL_MS: u64 = 400;

/// A load being applied.
pub(crate) struct Load {
    pub(crate) runtime: Runtime,
    pub(crate) history: Arc<History>,
    shared: Arc<Shared>,
    clients: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(plan: LoadPlan, environment: &Environment, seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let history = Arc::new(History::new());
        let shared = Arc::new(Shared {
            client: Client::new(environment, Arc::clone(&history)),
            history: Arc::clone(&history),
            uploads: environment.pictures.uploads.clone(),
            open: Arc::new(Semaphore::new(plan.open)),
            open_batches: Arc::new(Semaphore::new(plan.open_batches)),
            left: Semaphore::new(plan.pictures),
            plan,
            receiver: environment.receiver.origin(),
            batches: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        let mut clients = JoinSet::new();
        for client in 0..plan.clients {
            let rng = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(client as u64 + 1));
            clients.spawn_on(Arc::clone(&shared).submit_until_stopped(rng), runtime.handle());
        }
        if environment.plan.keys {
            let stranger = Stranger::new(environment, Arc::clone(&history));
            let stop = shared.stop.clone();
            let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
            let asking = async move {
                stop.run_until_cancelled(stranger.ask(rng)).await;
            };
            clients.spawn_on(asking, runtime.handle());
        }
        Self { runtime, history, shared, clients }
    }

    /// Submits one picture with one key many times at once. Does not wait for the answers.
    pub(crate) fn storm(&mut self, times: usize, key: String, rng: &mut Xoshiro256PlusPlus) {
        for _ in 0..times {
            let submission = Submission {
                key: Some(key.clone()),
                ..Submission::new(strip(), Expected::Success)
            };
            let rng = Xoshiro256PlusPlus::seed_from_u64(rng.random());
            let shared = Arc::clone(&self.shared);
            let sending = async move { shared.submit_with_retry(submission, None, rng).await };
            self.clients.spawn_on(sending, self.runtime.handle());
        }
    }

    /// Submits a picture until it is accepted, with a callback. Does not wait for that.
    pub(crate) fn send(&mut self, submission: Submission, rng: &mut Xoshiro256PlusPlus) {
        let callback_url = Some(self.shared.receiver.clone());
        let submission = Submission { callback_url, ..submission };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(rng.random());
        let shared = Arc::clone(&self.shared);
        let sending = async move {
            for _ in 0..SEND_ATTEMPTS {
                if let Some(task) = shared.client.submit(&submission, &mut rng).await {
                    tokio::spawn(
                        async move { shared.client.poll_until_terminal(task.id, rng).await },
                    );
                    return;
                }
                sleep(SEND_PAUSE).await;
            }
        };
        self.clients.spawn_on(sending, self.runtime.handle());
    }

    pub(crate) fn client(&self) -> &Client {
        &self.shared.client
    }

    /// How many batches are sent or followed.
    pub(crate) fn open_batches(&self) -> usize {
        self.shared.batches.len()
    }

    /// Stops the submissions and waits for their answers, but for those of batches. Polling continues.
    pub(crate) fn stop(&mut self) {
        self.shared.stop.cancel();
        let clients = &mut self.clients;
        self.runtime.block_on(async {
            while let Some(client) = clients.join_next().await {
                client.expect("a client does not panic");
            }
        });
    }

    /// Stops everything and returns the history.
    pub(crate) fn end(self) -> History {
        self.shared.client.give_up();
        // Ends the tasks that still poll, which hold the history.
        self.runtime.shutdown_timeout(Duration::from_secs(10));
        drop((self.clients, self.shared));
        Arc::into_inner(self.history).expect("no client is left")
    }
}

impl Shared {
    async fn submit_until_stopped(self: Arc<Self>, mut rng: Xoshiro256PlusPlus) {
        while !self.stop.is_cancelled() {
            let Ok(picture) = self.left.try_acquire() else { return };
            picture.forget();
            let open_batch = Arc::clone(&self.open_batches).try_acquire_owned().ok();
            if let Some(open) = open_batch.filter(|_| rng.random_bool(self.plan.batches)) {
                let batch = self.choose_batch(&mut rng);
                let batch_rng = Xoshiro256PlusPlus::seed_from_u64(rng.random());
                self.batches.spawn(Arc::clone(&self).submit_batch(batch, open, batch_rng));
                self.pause_between(&mut rng).await;
                continue;
            }
            let open = Arc::clone(&self.open).acquire_owned();
            let open = tokio::select! {
                open = open => open.expect("it is never closed"),
                () = self.stop.cancelled() => return,
            };
            let shared = Arc::clone(&self);
            let submission = self.choose(&mut rng);
            let task_rng = Xoshiro256PlusPlus::seed_from_u64(rng.random());
            if submission.key.is_some() {
                shared.submit_with_retry(submission, Some(open), task_rng).await;
            } else if let Some(task) = self.client.submit(&submission, &mut rng).await {
                tokio::spawn(async move {
                    shared.follow(task.id, submission.expected, task_rng).await;
                    drop(open);
                });
            }
            self.pause_between(&mut rng).await;
        }
    }

    async fn pause_between(&self, rng: &mut Xoshiro256PlusPlus) {
        let pause = Duration::from_millis(rng.random_range(0..=self.plan.pause_ms));
        let _ = timeout(pause, self.stop.cancelled()).await;
    }

    /// Cancels the task if it is one of those, and polls it to its end.
    async fn follow(&self, id: TaskId, expected: Expected, mut rng: Xoshiro256PlusPlus) {
        if expected == Expected::Cancelled {
            sleep(Duration::from_millis(rng.random_range(0..=LONGEST_BEFORE_CANCEL_MS))).await;
            self.client.cancel(id, &mut rng).await;
        }
        self.client.poll_until_terminal(id, rng).await;
    }

    /// Retries the same submission, as its key allows, until it is answered with an id.
    async fn submit_with_retry(
        self: Arc<Self>,
        submission: Submission,
        open: Option<OwnedSemaphorePermit>,
        mut rng: Xoshiro256PlusPlus,
    ) {
        for _ in 0..KEYED_ATTEMPTS {
            let Some(task) = self.client.submit(&submission, &mut rng).await else { continue };
            if task.is_new {
                let shared = Arc::clone(&self);
                tokio::spawn(async move {
                    shared.client.poll_until_terminal(task.id, rng).await;
                    drop(open);
                });
            }
            return;
        }
    }

    /// A random submission: one in four has a key, some have a near deadline or are to be cancelled, some have a
    /// callback or a drawing, some are run in tiles. Their priority is random.
    fn choose(&self, rng: &mut Xoshiro256PlusPlus) -> Submission {
        let plan = &self.plan;
        let mut submission = Submission::new(self.choose_upload(rng).clone(), Expected::Success);
        submission.callback_url = rng.random_bool(plan.callbacks).then(|| self.receiver.clone());
        submission.annotated = rng.random_bool(plan.drawings);
        submission.tiled = rng.random_bool(plan.tiled);
        submission.priority = Priority::ALL[rng.random_range(0..Priority::ALL.len())];
        if rng.random_bool(plan.deadlines) {
            submission.deadline = Some(rng.random_range(1..=5));
            submission.expected = Expected::InTime;
        } else if rng.random_bool(plan.cancels) {
            submission.expected = Expected::Cancelled;
        } else if rng.random_bool(0.25) {
            submission.key = Some(format!("key-{:016x}", rng.random::<u64>()));
        }
        submission
    }

    fn choose_upload(&self, rng: &mut Xoshiro256PlusPlus) -> &Upload {
        let mut at = rng.random_range(0..self.uploads.iter().map(|upload| upload.weight).sum());
        let chosen = self.uploads.iter().find(|upload| {
            let found = at < upload.weight;
            at = at.saturating_sub(upload.weight);
            found
        });
        chosen.unwrap_or(&self.uploads[0])
    }
}
