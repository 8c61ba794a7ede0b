//! Clients that submit pictures by both APIs and ask for the ends, until told to stop.

use std::{sync::Arc, time::Duration};

use domain::TaskId;
use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use reqwest::{
    Client, StatusCode,
    multipart::{Form, Part},
};
use serde_json::Value;
use tokio::{
    runtime::Runtime,
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    end::End,
    history::History,
    pictures::{Upload, uploads},
};

/// Longer than the API ever makes a client wait: two publishes of 5 s, and the record.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How much load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadPlan {
    pub(crate) clients: usize,
    /// The longest pause of one client between two pictures, in milliseconds.
    pub(crate) pause_ms: u64,
    /// How many tasks may be open at a time.
    pub(crate) open: usize,
    /// How many pictures are sent in all, at most.
    pub(crate) pictures: usize,
}

impl Default for LoadPlan {
    fn default() -> Self {
        Self { clients: 4, pause_ms: 150, open: 60, pictures: 20_000 }
    }
}

/// A load being applied.
pub(crate) struct Load {
    pub(crate) runtime: Runtime,
    pub(crate) history: Arc<History>,
    stop: CancellationToken,
    give_up: CancellationToken,
    clients: JoinSet<()>,
}

/// What all clients share.
struct Shared {
    http: Client,
    bases: Vec<String>,
    uploads: Vec<Upload>,
    history: Arc<History>,
    open: Arc<Semaphore>,
    left: Semaphore,
    pause_ms: u64,
    stop: CancellationToken,
    give_up: CancellationToken,
}

impl Load {
    pub(crate) fn start(plan: LoadPlan, bases: Vec<String>, seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let history = Arc::new(History::new());
        let (stop, give_up) = (CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Shared {
            http: Client::builder().timeout(REQUEST_TIMEOUT).build().expect("a client"),
            bases,
            uploads: uploads(),
            history: Arc::clone(&history),
            open: Arc::new(Semaphore::new(plan.open)),
            left: Semaphore::new(plan.pictures),
            pause_ms: plan.pause_ms,
            stop: stop.clone(),
            give_up: give_up.clone(),
        });
        let mut clients = JoinSet::new();
        for client in 0..plan.clients {
            let rng = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(client as u64 + 1));
            clients.spawn_on(Arc::clone(&shared).submit_until_stopped(rng), runtime.handle());
        }
        Self { runtime, history, stop, give_up, clients }
    }

    /// Ends the submissions; asking for ends goes on. Waits for the last answers.
    pub(crate) fn stop(&mut self) {
        self.stop.cancel();
        let clients = &mut self.clients;
        self.runtime.block_on(async {
            while let Some(client) = clients.join_next().await {
                client.expect("a client does not panic");
            }
        });
    }

    /// Ends everything and returns what was told.
    pub(crate) fn end(self) -> History {
        self.give_up.cancel();
        // Ends the tasks that still ask, and with them their hold on the history.
        self.runtime.shutdown_timeout(Duration::from_secs(10));
        drop(self.clients);
        Arc::into_inner(self.history).expect("no client is left")
    }
}

impl Shared {
    async fn submit_until_stopped(self: Arc<Self>, mut rng: Xoshiro256PlusPlus) {
        while !self.stop.is_cancelled() {
            let Ok(picture) = self.left.try_acquire() else { return };
            picture.forget();
            let open = Arc::clone(&self.open).acquire_owned();
            let open = tokio::select! {
                open = open => open.expect("it is never closed"),
                () = self.stop.cancelled() => return,
            };
            if let Some(id) = self.submit(&mut rng).await {
                let asking = Arc::clone(&self);
                let rng = Xoshiro256PlusPlus::seed_from_u64(rng.random());
                tokio::spawn(async move {
                    asking.ask_until_ended(id, rng).await;
                    drop(open);
                });
            }
            let pause = Duration::from_millis(rng.random_range(0..=self.pause_ms));
            let _ = timeout(pause, self.stop.cancelled()).await;
        }
    }

    /// Submits one picture; the id if it was accepted.
    async fn submit(&self, rng: &mut Xoshiro256PlusPlus) -> Option<TaskId> {
        let upload = self.choose(rng);
        let route = if rng.random_bool(0.5) { "start_task" } else { "v1/tasks" };
        let part = Part::bytes(upload.bytes.clone()).file_name(upload.name);
        let url = format!("{}/{route}", self.base(rng));
        let fault = self.history.fault();
        let request = self.http.post(url).multipart(Form::new().part("file", part));
        let answer = async {
            let answer = request.send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        };
        match answer.await {
            Ok((StatusCode::ACCEPTED, body)) => {
                let id = serde_json::from_str::<Value>(&body).ok();
                let id = id.and_then(|body| body["task_id"].as_str()?.parse().ok());
                match id {
                    Some(id) => self.history.accepted(id, fault),
                    None => self.history.odd(format!("202 without an id: {body}")),
                }
                id
            }
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => {
                self.history.refused(fault);
                None
            }
            Ok((status, body)) => {
                self.history.odd(format!("{status} to a good picture on {route}: {body}"));
                None
            }
            Err(_) => {
                self.history.unanswered(fault);
                None
            }
        }
    }

    async fn ask_until_ended(&self, id: TaskId, mut rng: Xoshiro256PlusPlus) {
        while !self.give_up.is_cancelled() {
            let wait = if rng.random_bool(0.5) { "?wait=2" } else { "" };
            let url = format!("{}/v1/tasks/{id}{wait}", self.base(&mut rng));
            match ask(&self.http, &url).await {
                Some((StatusCode::OK, task)) => {
                    if let Some(end) = End::from_v1(&task) {
                        self.history.saw(id, "API", Some(end));
                        return;
                    }
                }
                Some((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => self.history.denied(id),
                Some((StatusCode::SERVICE_UNAVAILABLE, _)) | None => {}
                Some((status, body)) => {
                    self.history.odd(format!("{status} when asked for {id}: {body}"));
                }
            }
            let pause = Duration::from_millis(rng.random_range(20..200));
            let _ = timeout(pause, self.give_up.cancelled()).await;
        }
    }

    fn choose(&self, rng: &mut Xoshiro256PlusPlus) -> &Upload {
        let mut at = rng.random_range(0..self.uploads.iter().map(|upload| upload.weight).sum());
        let chosen = self.uploads.iter().find(|upload| {
            let found = at < upload.weight;
            at = at.saturating_sub(upload.weight);
            found
        });
        chosen.unwrap_or(&self.uploads[0])
    }

    fn base(&self, rng: &mut Xoshiro256PlusPlus) -> &str {
        &self.bases[rng.random_range(0..self.bases.len())]
    }
}

/// One question; `None` without an answer.
pub(crate) async fn ask(http: &Client, url: &str) -> Option<(StatusCode, Value)> {
    let answer = http.get(url).send().await.ok()?;
    let status = answer.status();
    Some((status, answer.json().await.ok()?))
}

/// Asks again and again until there is an answer that is no 503.
pub(crate) async fn insist(http: &Client, url: &str) -> Option<(StatusCode, Value)> {
    for _ in 0..50 {
        match ask(http, url).await {
            Some((StatusCode::SERVICE_UNAVAILABLE, _)) | None => {
                sleep(Duration::from_millis(100)).await;
            }
            answer => return answer,
        }
    }
    None
}
