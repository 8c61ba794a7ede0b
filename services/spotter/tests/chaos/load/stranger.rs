//! The holder of another API key, who must not see anything of the load, and must not be served when the key is revoked.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use domain::{ApiKeyToken, TaskId};
use rand::{RngExt, rngs::Xoshiro256PlusPlus};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{
    environment::Environment,
    keys::KeyMaker,
    verdict::{
        history::History,
        keys::{Leak, Question, Told, told},
    },
};

/// Between two rounds, each with a request to each API.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a key is used until another one takes its place. Then it is revoked.
const USED_FOR: Duration = Duration::from_secs(1);

/// Somebody with a key of their own.
pub(crate) struct Stranger {
    http: reqwest::Client,
    apis: Vec<Api>,
    /// The servers' addresses.
    nats: String,
    history: Arc<History>,
}

/// What the stranger knows of an API.
struct Api {
    base: String,
    /// Whether it did not answer last time.
    was_down: bool,
    /// Whether it has served the present key, and so knows that the one before was revoked.
    knows_key: bool,
}

/// The keys of the stranger.
struct Keys {
    present: ApiKeyToken,
    since: Instant,
    /// Revoked before the present one was made.
    revoked: Option<ApiKeyToken>,
}

impl Stranger {
    pub(crate) fn new(environment: &Environment, history: Arc<History>) -> Self {
        let api = |base| Api { base, was_down: false, knows_key: false };
        Self {
            http: environment.http_without_key(),
            apis: environment.bases().into_iter().map(api).collect(),
            nats: environment.nats.url(),
            history,
        }
    }

    /// Asks every API for what belongs to the load, without an end.
    pub(crate) async fn ask(mut self, mut rng: Xoshiro256PlusPlus) {
        let keys = KeyMaker::connect(&self.nats).await.expect("NATS can be reached at the start");
        let mut held: Option<Keys> = None;
        loop {
            if held.as_ref().is_none_or(|held| held.since.elapsed() > USED_FOR) {
                held = self.next_key(&keys, held).await;
            }
            if let Some(held) = &held {
                for at in 0..self.apis.len() {
                    self.ask_one(at, held, &mut rng).await;
                }
            }
            sleep(PAUSE).await;
        }
    }

    /// Revokes the key, and makes the next one once that is stored. While NATS does not answer, the key stays; it is not
    /// known whether it was revoked.
    async fn next_key(&mut self, keys: &KeyMaker, held: Option<Keys>) -> Option<Keys> {
        if let Some(old) = &held
            && keys.revoke(&old.present).await.is_err()
        {
            return held;
        }
        let revoked = held.map(|old| old.present);
        // Without an answer it may be stored. It is used by nobody then.
        let present = keys.create("a stranger").await.ok()?;
        self.apis.iter_mut().for_each(|api| api.knows_key = false);
        Some(Keys { present, since: Instant::now(), revoked })
    }

    /// Asks one API with the present key, and then with the revoked one.
    async fn ask_one(&mut self, at: usize, keys: &Keys, rng: &mut Xoshiro256PlusPlus) {
        let (question, method, path) = self.choose(rng);
        let answer = self.send(at, &method, &path, &keys.present).await;
        let api = &mut self.apis[at];
        let was_down = std::mem::replace(&mut api.was_down, answer.is_none());
        let Some((status, body)) = answer else { return };
        api.knows_key |= status != StatusCode::UNAUTHORIZED;
        match told(question, status, &body) {
            Told::Nothing => self.history.count_stranger(|counts| {
                counts.unseen += 1;
                counts.after_a_restart += u64::from(was_down);
            }),
            Told::NoAnswer => {}
            Told::Something => {
                let seen = format!("{method} {path}: {status} {body}");
                self.history.leaked(Leak::Seen(seen));
            }
        }
        let Some(revoked) = keys.revoked.as_ref().filter(|_| self.apis[at].knows_key) else {
            return;
        };
        match self.send(at, &method, &path, revoked).await {
            Some((StatusCode::UNAUTHORIZED, _)) => {
                self.history.count_stranger(|counts| counts.refused += 1);
            }
            Some((status, body)) => {
                let served = format!("{method} {path}: {status} {body}");
                self.history.leaked(Leak::RevokedServed(served));
            }
            None => {}
        }
    }

    /// A random request for what belongs to the load.
    fn choose(&self, rng: &mut Xoshiro256PlusPlus) -> (Question, Method, String) {
        let (tasks, batches) = self.history.newest();
        let mut pick = |ids: &BTreeSet<TaskId>| {
            let at = rng.random_range(0..ids.len().max(1));
            ids.iter().nth(at).copied()
        };
        let (task, batch) = (pick(&tasks), pick(&batches));
        let of_a_task = task.map(|id| {
            let v1 = format!("/v1/tasks/{id}");
            [
                (Question::One, Method::GET, v1.clone()),
                (Question::One, Method::GET, format!("{v1}/image")),
                (Question::One, Method::GET, format!("{v1}/events")),
                (Question::One, Method::DELETE, v1),
                (Question::Original, Method::GET, format!("/task_result/{id}")),
            ]
        });
        let of_a_batch = batch.map(|id| {
            let v1 = format!("/v1/batches/{id}");
            [
                (Question::One, Method::GET, v1.clone()),
                (Question::One, Method::GET, format!("{v1}/results")),
                (Question::One, Method::GET, format!("{v1}/events")),
                (Question::One, Method::DELETE, v1),
            ]
        });
        let list = (Question::List, Method::GET, "/v1/tasks".to_owned());
        let of_a_task = of_a_task.into_iter().flatten();
        let mut all: Vec<_> = of_a_task.chain(of_a_batch.into_iter().flatten()).collect();
        all.push(list);
        all.swap_remove(rng.random_range(0..all.len()))
    }

    /// `None`: there is no answer. Its body is read as far as it is JSON.
    async fn send(
        &self,
        at: usize,
        method: &Method,
        path: &str,
        key: &ApiKeyToken,
    ) -> Option<(StatusCode, Value)> {
        let url = format!("{}{path}", self.apis[at].base);
        let request = self.http.request(method.clone(), url).header("X-API-Key", key.expose());
        let answer = request.send().await.ok()?;
        let status = answer.status();
        // A stream of events, which there must not be, has no end.
        let is_stream = status == StatusCode::OK && path.ends_with("/events");
        let body = if is_stream { None } else { answer.json().await.ok() };
        Some((status, body.unwrap_or_default()))
    }
}
