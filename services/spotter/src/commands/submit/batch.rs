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

use client::{Batch, BatchNotReceived, BatchSubmission, Client, ClientError, ItemResult};
use domain::BatchId;
use service::{config::address, lifecycle::shutdown};
use time::OffsetDateTime;
use tokio::{sync::watch, task::spawn_blocking};

use super::{
    activity::silence,
    batch_files::BatchFiles,
    report::{print_task, succeeded},
};
use crate::{
    cli::SubmitOptions,
    error::CliError,
    output::{
        notice,
        progress::progress_bar,
        results::{Format, print_failure},
    },
};

/// A batch that began so long before this command sent it is that of an earlier one. Clocks may differ by less.
const EARLIER: time::Duration = time::Duration::minutes(1);

/// Sends the batch and prints its results, until it is finished, interrupted, or nothing happens for too long.
pub(super) async fn submit(api: &Client, options: &SubmitOptions) -> Result<(), CliError> {
    let id = OnceCell::new();
    let interrupted = shutdown::on_signal()?;
    tokio::select! {
        outcome = read_and_run(api, options, &id) => outcome,
        () = interrupted.cancelled() => {
            Err(CliError::Interrupted(format!("interrupted; {}", what_next(options, id.get()))))
        }
    }
}

/// Reads the files, however long that takes: only then is there an API that could be silent.
async fn read_and_run(
    api: &Client,
    options: &SubmitOptions,
    id: &OnceCell<BatchId>,
) -> Result<(), CliError> {
    let paths = options.pictures.clone();
    let files = spawn_blocking(move || BatchFiles::read(&paths)).await;
    let files = files.map_err(std::io::Error::other)?;
    let (activity, seen) = watch::channel(());
    let limit = Duration::from_secs(options.timeout);
    tokio::select! {
        outcome = run(api, options, &files, id, &activity) => outcome,
        () = silence(seen, limit) => Err(CliError::Unavailable(format!(
            "nothing has happened for {limit:?}; {}",
            what_next(options, id.get())
        ))),
    }
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
    format!("{}/v1/batches/{id}", address::redact(options.server.api.trim_end_matches('/')))
}

async fn run(
    api: &Client,
    options: &SubmitOptions,
    files: &BatchFiles,
    id: &OnceCell<BatchId>,
    activity: &watch::Sender<()>,
) -> Result<(), CliError> {
    let began_at = OffsetDateTime::now_utc();
    if files.files.iter().all(Result::is_err) {
        return print_results(files, None, options, activity).await;
    }
    let batch = send(api, options, files, activity).await?;
    let _ = id.set(batch.batch_id);
    notice(format_args!("batch {}", batch.batch_id));
    if began_at - batch.created_at > EARLIER {
        notice(format_args!(
            "the same pictures were sent at {}: these are their results. --idempotency-key sends them again",
            batch.created_at
        ));
    }
    let finished = follow(api, &batch, activity).await?;
    print_results(files, Some((api, &finished)), options, activity).await
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
        // The same command would read another content, and make another batch of it.
        ClientError::File(_) => CliError::BatchNotReceived(format!(
            "{text}; the pictures before it that have arrived are run"
        )),
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
    finished: Option<(&Client, &Batch)>,
    options: &SubmitOptions,
    activity: &watch::Sender<()>,
) -> Result<(), CliError> {
    let format = Format::new(options.json);
    let mut printer = Printer { format, failed: 0, all: 0, activity };
    let mut left = files.files.iter();
    if let Some((api, batch)) = finished {
        let mut results = api.batch_results(batch.batch_id, batch.received);
        let unreadable = |error: ClientError| CliError::Unavailable(error.to_string());
        while let Some(result) = results.next().await.map_err(unreadable)? {
            // The files before this one, up to the next one that was sent.
            for (path, error) in left.by_ref().map_while(|file| file.as_ref().err()) {
                printer.failure(path, error)?;
            }
            printer.result(files, result)?;
        }
    }
    for (path, error) in left.filter_map(|file| file.as_ref().err()) {
        printer.failure(path, error)?;
    }
    match printer {
        Printer { failed: 0, .. } => Ok(()),
        Printer { failed, all, .. } => Err(CliError::Pictures { failed, all }),
    }
}

/// Prints results and counts them.
struct Printer<'a> {
    format: Format,
    failed: usize,
    all: usize,
    /// Is told each of them.
    activity: &'a watch::Sender<()>,
}

impl Printer<'_> {
    fn failure(&mut self, path: &Path, error: &str) -> Result<(), CliError> {
        (self.failed, self.all) = (self.failed + 1, self.all + 1);
        print_failure(path, error, self.format)?;
        self.activity.send_replace(());
        Ok(())
    }

    fn result(&mut self, files: &BatchFiles, result: ItemResult) -> Result<(), CliError> {
        let ItemResult { index, name, outcome } = result;
        let path = files.path_of(index, &name);
        let task = match outcome.and_then(|task| succeeded(*task)) {
            Ok(task) => task,
            Err(why) => return self.failure(path, &why),
        };
        self.all += 1;
        let took = task.finished_at.map(|at| at - task.submitted_at).unwrap_or_default();
        print_task(path, &task, took.try_into().unwrap_or_default(), self.format)?;
        self.activity.send_replace(());
        Ok(())
    }
}
