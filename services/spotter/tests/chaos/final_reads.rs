//! What is read after a scenario, when everything is healed: every task and batch from every source, dead letters, and
//! webhooks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use domain::{TaskId, TaskRecord};
use futures_util::{StreamExt, stream};
use messaging::{DeadLetterId, Ended, Messaging, MessagingConfig, MessagingError, Role};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    environment::Environment,
    load::Load,
    load::client::get_with_retry,
    load::submission::TILES,
    verdict::{
        batch_view::BatchView,
        checker::count_runs,
        history::History,
        terminal_state::TerminalState,
        webhook::{FoundWebhooks, Webhook},
    },
};

/// How often a stream is read until it answers; each attempt takes up to the request timeout of 5 s.
const READ_ATTEMPTS: usize = 6;
/// The pause before a batch is read again.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Reads the system after a scenario.
pub(crate) struct FinalReads<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) load: &'a Load,
    /// The scenario's name.
    pub(crate) name: &'static str,
}

impl FinalReads<'_> {
    /// The tasks whose jobs are among the dead letters, with their pictures.
    pub(crate) fn dead_letters(&self) -> BTreeSet<TaskId> {
        self.load.runtime.block_on(async {
            let letters = connect(self.environment.nats.url()).await.dead_letters();
            let mut dead = BTreeSet::new();
            let mut last = 0;
            loop {
                let page = with_retry(async || letters.list_after(last).await).await;
                let Some(letter) = page.last() else { return dead };
                last = letter.sequence;
                let whole = page.iter().filter(|letter| letter.picture.bytes().is_some());
                dead.extend(whole.filter_map(|letter| match letter.id() {
                    DeadLetterId::Task(id) => Some(id),
                    DeadLetterId::Sequence(_) => None,
                }));
            }
        })
    }

    /// What became of the webhooks of the tasks and batches that have a callback.
    pub(crate) fn webhooks(&self) -> FoundWebhooks {
        let history = &self.load.history;
        let taken = self.environment.receiver.taken();
        for webhook in taken.unreadable {
            history.unexpected(format!("no webhook of a terminal state: {webhook}"));
        }
        let mut found = FoundWebhooks { taken_batches: taken.batches, ..FoundWebhooks::default() };
        self.find_dead_webhooks(&mut found);
        for (id, states) in taken.states {
            found.tasks.insert(id, Webhook::Taken(states.len()));
            for state in states {
                history.observe(id, "webhook", Some(state));
            }
        }
        found
    }

    fn find_dead_webhooks(&self, found: &mut FoundWebhooks) {
        self.load.runtime.block_on(async {
            let dead = connect(self.environment.nats.url()).await.dead_webhooks();
            let mut last = 0;
            loop {
                let page = with_retry(async || dead.list_after(last).await).await;
                let Some(webhook) = page.last() else { return };
                last = webhook.sequence;
                for webhook in &page {
                    match &webhook.ended {
                        Ended::Task(record) => {
                            found.tasks.insert(record.job.task_id, Webhook::Dead);
                        }
                        Ended::Batch(record) => {
                            let dead = found.dead_batches.entry(record.batch_id).or_default();
                            dead.extend(BatchView::from_record(record));
                        }
                    }
                }
            }
        });
    }

    /// Reads every batch and task once more from every source, and the workers' logs.
    pub(crate) fn gather(&self) -> BTreeMap<TaskId, u32> {
        let history = &self.load.history;
        self.load.runtime.block_on(self.read_batches());
        let ids = history.ids();
        self.load.runtime.block_on(async {
            let tasks = connect(self.environment.nats.url()).await.tasks();
            let http = self.environment.http();
            let bases = self.environment.bases();
            stream::iter(&ids)
                .for_each_concurrent(8, async |id| {
                    let record = tasks.get(*id).await.expect("the bucket can be read");
                    history.observe(
                        *id,
                        "record",
                        record.as_ref().and_then(TerminalState::from_record),
                    );
                    for base in &bases {
                        ask_the_api(history, &http, base, *id).await;
                    }
                })
                .await;
        });
        for id in ids {
            if let Some(copy) = self.environment.redis.get(&format!("spotter:task:{id}")) {
                let record: TaskRecord = serde_json::from_str(&copy).expect("a copy is a record");
                history.observe(id, "Redis", TerminalState::from_record(&record));
            }
        }
        let lines = self.environment.lines();
        if let Ok(folder) = std::env::var("CHAOS_LOGS") {
            let path = format!("{folder}/{}.log", self.name.replace(' ', "-"));
            std::fs::write(path, lines.join("\n")).expect("CHAOS_LOGS is a folder");
        }
        count_runs(&lines)
    }

    /// Reads every batch and its results from each API.
    async fn read_batches(&self) {
        let (history, client) = (&self.load.history, self.load.client());
        let bases = self.environment.bases();
        let batches = history.batches();
        let everywhere =
            batches.iter().flat_map(|batch| bases.iter().map(move |base| (base, batch)));
        stream::iter(everywhere)
            .for_each_concurrent(8, async |(base, (id, submission))| {
                for _ in 0..READ_ATTEMPTS {
                    if let Some((view, lines)) = client.read_batch(base, *id, submission).await {
                        return history.batch_ended(*id, view, lines);
                    }
                    sleep(READ_PAUSE).await;
                }
                history.unexpected(format!("batch {id} cannot be read after the scenario"));
            })
            .await;
    }
}

/// Retries a read: a stream of a cluster may be without a leader for some seconds after the heal.
async fn with_retry<T>(read: impl AsyncFn() -> Result<T, MessagingError>) -> T {
    for _ in 0..READ_ATTEMPTS {
        match read().await {
            Ok(found) => return found,
            Err(error) => eprintln!("reading again: {error}"),
        }
    }
    panic!("a stream cannot be read");
}

/// A connection to the servers, without a proxy.
pub(crate) async fn connect(url: String) -> Messaging {
    let config = MessagingConfig::new(url.parse().unwrap(), Role::Cli);
    Messaging::connect(config).await.expect("NATS can be reached after the heal")
}

/// Reads a task by both routes. The second is answered from Redis if the first has filled it.
async fn ask_the_api(history: &Arc<History>, http: &reqwest::Client, base: &str, id: TaskId) {
    match get_with_retry(http, &format!("{base}/v1/tasks/{id}")).await {
        Some((StatusCode::OK, task)) => {
            history.observe(id, "API", TerminalState::from_v1(&task));
            if history.has_tiles(id) && task["tiles"] != TILES {
                history.unexpected(format!("no tiles in {task}"));
            }
        }
        Some((StatusCode::NOT_FOUND | StatusCode::GONE, _)) => history.denied(id),
        answer => history.unexpected(format!("{answer:?} when reading {id} after the scenario")),
    }
    let Some(first) = history.first(id) else { return };
    if history.has_drawing(id) {
        ask_for_the_drawing(history, http, base, id).await;
    }
    match get_with_retry(http, &format!("{base}/task_result/{id}")).await {
        Some((StatusCode::OK, task)) if first.matches_original(&task) => {}
        answer => history.unexpected(format!("/task_result/{id}: {answer:?}, but it is {first:?}")),
    }
}

/// A task that succeeds has its drawing, or a warning that says why not.
async fn ask_for_the_drawing(
    history: &Arc<History>,
    http: &reqwest::Client,
    base: &str,
    id: TaskId,
) {
    let url = format!("{base}/v1/tasks/{id}");
    let drawn = http.get(format!("{url}/image")).send().await;
    if drawn.as_ref().is_ok_and(|answer| answer.status() == StatusCode::OK) {
        return;
    }
    let task = get_with_retry(http, &url).await;
    let has_warning =
        |task: &Value| task["warnings"].to_string().contains("drawn objects is missing");
    if !task.as_ref().is_some_and(|(_, task)| has_warning(task)) {
        history.unexpected(format!("{drawn:?} for the drawing of {task:?}"));
    }
}
