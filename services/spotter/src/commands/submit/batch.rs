//! `spotter submit --batch`: sends all pictures as one batch, follows it, and prints the results in order.

use std::{
    cell::OnceCell,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use client::{
    Batch, BatchNotReceived, BatchSubmission, Client, ClientError, ItemResult, PictureFile,
};
use domain::BatchId;
use service::{config::address, lifecycle::shutdown};
use time::OffsetDateTime;
use tokio::{sync::watch, task::spawn_blocking, time::timeout};

use super::{
    batch_files::{BatchFiles, path_of},
    report::{print_task, progress_bar, succeeded},
};
use crate::{
    cli::SubmitOptions,
    error::CliError,
    output::{
        notice,
        results::{Format, print_failure},
    },
};

/// A batch that began so long before the command was sent by an earlier one. Clocks may differ by less.
const EARLIER: time::Duration = time::Duration::minutes(1);

/// Sends the batch and prints its results, until it is finished, interrupted, or nothing happens for too long.
pub(super) async fn submit(api: &Client, options: &SubmitOptions) -> Result<(), CliError> {
    let id = OnceCell::new();
    let (activity, seen) = watch::channel(());
    let interrupted = shutdown::on_signal()?;
    let limit = Duration::from_secs(options.timeout);
    tokio::select! {
        outcome = run(api, options, &id, &activity) => outcome,
        () = interrupted.cancelled() => {
            Err(CliError::Interrupted(format!("interrupted; {}", what_next(options, id.get()))))
        }
        () = silence(seen, limit) => Err(CliError::Unavailable(format!(
            "nothing has happened for {limit:?}; {}",
            what_next(options, id.get())
        ))),
    }
}

/// Returns once nothing has happened for so long.
async fn silence(mut seen: watch::Receiver<()>, limit: Duration) {
    while let Ok(Ok(())) = timeout(limit, seen.changed()).await {}
}

/// How an interrupted command goes on.
fn what_next(options: &SubmitOptions, id: Option<&BatchId>) -> String {
    let Some(id) = id else {
        return "the pictures that have arrived are run, and the same command sends the others"
            .to_owned();
    };
    let url = url_of(options, *id);
    format!(
        "batch {id} goes on. The same command waits for its results; `curl -N {url}/events` follows it, and \
         `curl -X DELETE {url}` cancels it"
    )
}

fn url_of(options: &SubmitOptions, id: BatchId) -> String {
    format!("{}/v1/batches/{id}", address::redact(options.api.trim_end_matches('/')))
}

async fn run(
    api: &Client,
    options: &SubmitOptions,
    id: &OnceCell<BatchId>,
    activity: &watch::Sender<()>,
) -> Result<(), CliError> {
    let began_at = OffsetDateTime::now_utc();
    let paths = options.pictures.clone();
    let files = spawn_blocking(move || BatchFiles::read(&paths)).await;
    let files = files.map_err(std::io::Error::other)?;
    let sent = files.sendable();
    if sent.is_empty() {
        return print_results(&files, &sent, None, options).await;
    }
    let batch = send(api, options, &files, activity).await?;
    let _ = id.set(batch.batch_id);
    notice(format_args!("batch {}", batch.batch_id));
    if began_at - batch.created_at > EARLIER {
        notice(format_args!(
            "the same pictures were sent at {}: these are their results. --idempotency-key sends them again",
            batch.created_at
        ));
    }
    let finished = follow(api, &batch, activity).await?;
    print_results(&files, &sent, Some((api, &finished)), options).await
}

async fn send(
    api: &Client,
    options: &SubmitOptions,
    files: &BatchFiles,
    activity: &watch::Sender<()>,
) -> Result<Batch, CliError> {
    let settings = options.settings.into();
    let idempotency_key = match &options.idempotency_key {
        Some(key) => key.clone(),
        None => files.key(&settings, options.priority)?,
    };
    let submission = BatchSubmission {
        pictures: files.sendable(),
        settings: Some(settings),
        priority: options.priority,
        idempotency_key,
    };
    let bar = progress_bar(submission.pictures.len(), "sent, {eta} left");
    let (shown, activity, most) = (bar.clone(), activity.clone(), Arc::new(AtomicUsize::new(0)));
    let on_sent = move |sent| {
        shown.set_position(u64::try_from(sent).unwrap_or(u64::MAX));
        // To send the same pictures once more is nothing new.
        if most.fetch_max(sent, Ordering::Relaxed) < sent {
            activity.send_replace(());
        }
    };
    let received = api.submit_batch_when_accepted(&submission, on_sent).await;
    bar.finish_and_clear();
    received.map_err(|why| not_received(&why, options))
}

/// Why not all of the batch was received, and what of it is run.
fn not_received(why: &BatchNotReceived, options: &SubmitOptions) -> CliError {
    let text = match &why.batch {
        Some(batch) => format!(
            "{why}; only the first {} pictures are in batch {}, which is run: `curl {}/results` shows them",
            batch.received,
            batch.batch_id,
            url_of(options, batch.batch_id)
        ),
        None => why.to_string(),
    };
    match why.error {
        ClientError::NoAnswer(_) => {
            CliError::Unavailable(format!("{text}; {}", what_next(options, None)))
        }
        _ => CliError::BatchNotReceived(text),
    }
}

/// The batch, once each of its tasks has ended.
async fn follow(
    api: &Client,
    batch: &Batch,
    activity: &watch::Sender<()>,
) -> Result<Batch, CliError> {
    let received = usize::try_from(batch.received).unwrap_or(usize::MAX);
    let bar = progress_bar(received, "finished{msg}, {per_sec}, {eta} left");
    let mut before = None;
    let finished = api.await_batch(batch.batch_id, |batch| {
        bar.set_length(batch.received.into());
        bar.set_position(batch.ended().into());
        if batch.failed() > 0 {
            bar.set_message(format!(", {} failed", batch.failed()));
        }
        // A connection that is made again tells the same once more.
        if before.replace(batch.ended()) != Some(batch.ended()) {
            activity.send_replace(());
        }
    });
    let finished = finished.await;
    bar.finish_and_clear();
    finished.map_err(|error| CliError::Unavailable(error.to_string()))
}

/// Prints what became of each file, in order. `finished`: the batch of those that were sent; `None`: none was.
async fn print_results(
    files: &BatchFiles,
    sent: &[PictureFile],
    finished: Option<(&Client, &Batch)>,
    options: &SubmitOptions,
) -> Result<(), CliError> {
    let mut printer = Printer { format: Format::new(options.json), failed: 0, all: 0 };
    let mut files = files.files.iter();
    if let Some((api, batch)) = finished {
        let mut results = api.batch_results(batch.batch_id, batch.received);
        let unreadable = |error: ClientError| CliError::Unavailable(error.to_string());
        while let Some(result) = results.next().await.map_err(unreadable)? {
            // The files before this one, up to the next one that was sent.
            for (path, error) in files.by_ref().map_while(|file| file.as_ref().err()) {
                printer.failure(path, error)?;
            }
            printer.result(sent, result)?;
        }
    }
    for (path, error) in files.filter_map(|file| file.as_ref().err()) {
        printer.failure(path, error)?;
    }
    match printer {
        Printer { failed: 0, .. } => Ok(()),
        Printer { failed, all, .. } => Err(CliError::Pictures { failed, all }),
    }
}

/// Prints results and counts them.
struct Printer {
    format: Format,
    failed: usize,
    all: usize,
}

impl Printer {
    fn failure(&mut self, path: &Path, error: &str) -> Result<(), CliError> {
        (self.failed, self.all) = (self.failed + 1, self.all + 1);
        print_failure(path, error, self.format)
    }

    fn result(&mut self, sent: &[PictureFile], result: ItemResult) -> Result<(), CliError> {
        let ItemResult { index, name, outcome } = result;
        let path = path_of(sent, index, &name);
        let task = match outcome.and_then(|task| succeeded(*task)) {
            Ok(task) => task,
            Err(why) => return self.failure(path, &why),
        };
        self.all += 1;
        let took = task.finished_at.map(|at| at - task.submitted_at).unwrap_or_default();
        print_task(path, &task, took.try_into().unwrap_or_default(), self.format)
    }
}
