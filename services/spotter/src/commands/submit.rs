//! `spotter submit`: sends pictures to a running API and prints the results.

mod activity;
mod batch;
mod batch_files;
mod folder;
mod report;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use client::{Client, Submission, Task};
use domain::picture::PictureLimits;
use futures_util::{StreamExt, stream};
use tokio::{task::spawn_blocking, time::timeout};

use self::report::{print_task, succeeded};
use crate::{
    cli::SubmitOptions,
    commands::api_connection::connect,
    error::CliError,
    output::{
        progress::progress_bar,
        results::{Format, print_failure},
    },
    pictures::read_picture,
};

pub(crate) fn submit(options: SubmitOptions) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(submit_all(&options));
    // A thread may still read from a pipe without a writer, for a picture whose timeout has passed.
    runtime.shutdown_background();
    outcome
}

async fn submit_all(options: &SubmitOptions) -> Result<(), CliError> {
    let api = connect(&options.server).await?;
    if options.batch {
        return batch::submit(&api, options).await;
    }
    if let (Some(folder), Some(out)) = (&options.folder, &options.out) {
        return folder::submit(&api, options, folder, out).await;
    }
    let format = Format::new(options.json);
    let progress = progress_bar(options.pictures.len(), "pictures, {per_sec}, {eta} left");
    let results = stream::iter(&options.pictures)
        .map(|picture| detect(&api, options, picture))
        // In the order of the arguments.
        .buffered(options.parallel.get());
    let mut results = std::pin::pin!(results);
    let mut failed = 0;
    while let Some((picture, outcome)) = results.next().await {
        progress.inc(1);
        progress.suspend(|| match &outcome {
            Ok((task, took)) => print_task(picture, task, *took, format),
            Err(error) => {
                failed += 1;
                print_failure(picture, error, format)
            }
        })?;
    }
    progress.finish_and_clear();
    match failed {
        0 => Ok(()),
        failed => Err(CliError::Pictures { failed, all: options.pictures.len() }),
    }
}

async fn detect<'a>(
    api: &Client,
    options: &SubmitOptions,
    picture: &'a Path,
) -> (&'a Path, Result<(Task, Duration), String>) {
    let started = Instant::now();
    let limit = Duration::from_secs(options.timeout);
    let outcome = match timeout(limit, run(api, options, picture)).await {
        Ok(outcome) => outcome.map(|task| (task, started.elapsed())),
        Err(_) => Err(format!("not done within {limit:?}")),
    };
    (picture, outcome)
}

async fn run(api: &Client, options: &SubmitOptions, picture: &Path) -> Result<Task, String> {
    let bytes = read(picture.to_owned()).await?;
    let name = picture.file_name().unwrap_or_default().to_string_lossy();
    let submission = Submission {
        settings: Some(options.settings.into()),
        priority: options.priority,
        ..Submission::new(name, bytes)
    };
    let accepted = api.submit_when_accepted(&submission).await;
    let mut task = accepted.map_err(|error| error.to_string())?;
    drop(submission);
    if !task.is_terminal() {
        let terminal = api.await_terminal(task.task_id).await;
        task = terminal.map_err(|error| error.to_string())?;
    }
    succeeded(task)
}

/// Reads a picture on a thread that may block.
async fn read(picture: PathBuf) -> Result<Vec<u8>, String> {
    let read = spawn_blocking(move || read_picture(&picture, &PictureLimits::default()));
    read.await.map_err(|error| error.to_string())?
}
