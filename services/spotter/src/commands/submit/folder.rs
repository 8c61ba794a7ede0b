//! `spotter submit --folder`: sends the pictures of a folder, and appends what became of each to a file of results.
//!
//! The file is all that the command remembers. A picture is skipped where the file has its content, and is otherwise
//! submitted with a key that follows from its content: one that was sent before the command was killed has its task
//! already, and is not run again.

mod line;
mod result_file;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use client::{Client, ClientError, Submission};
use domain::{
    DetectionSettings, Priority, Sha256Digest, Sha256Hasher, TaskId, picture::PictureLimits,
};
use futures_util::{Stream, StreamExt, stream};
use indicatif::ProgressBar;
use service::lifecycle::shutdown;
use tokio::{
    sync::{mpsc, watch},
    task::spawn_blocking,
};

use self::{
    line::{Outcome, ResultLine},
    result_file::{EarlierResults, Known, ResultFile, line_at},
};
use super::activity::silence;
use crate::{
    cli::SubmitOptions,
    commands::api_connection::of_any_request,
    error::CliError,
    output::{notice, progress::progress_bar_without_length},
    pictures::{pictures_in, read_picture},
};

const CONTINUE: &str = "the same command continues";

/// Sends the pictures, until each has a line, or the command is interrupted, or nothing happens for too long.
pub(super) async fn submit(
    api: &Client,
    options: &SubmitOptions,
    folder: &Path,
    out: &Path,
) -> Result<(), CliError> {
    let interrupted = shutdown::on_signal()?;
    tokio::select! {
        outcome = open_and_run(api, options, folder, out) => outcome,
        () = interrupted.cancelled() => {
            Err(CliError::Interrupted(format!("interrupted; {CONTINUE}")))
        }
    }
}

/// Reads the file of results, however long that takes: only then is there an API that could be silent.
async fn open_and_run(
    api: &Client,
    options: &SubmitOptions,
    folder: &Path,
    out: &Path,
) -> Result<(), CliError> {
    if !folder.is_dir() {
        return Err(CliError::Usage(format!("--folder {}: no folder", folder.display())));
    }
    let settings = DetectionSettings::from(options.settings);
    let (path, of_file) = (out.to_owned(), settings.clone());
    let opened = spawn_blocking(move || ResultFile::open(&path, &of_file)).await;
    let (file, earlier) = opened.map_err(std::io::Error::other)??;
    let run = Run {
        api,
        folder,
        out,
        settings,
        priority: options.priority,
        key: options.idempotency_key.as_deref().unwrap_or_default(),
        parallel: options.parallel.get(),
        earlier,
    };
    let (activity, seen) = watch::channel(());
    let limit = Duration::from_secs(options.timeout);
    let counts = tokio::select! {
        counts = run.all(file, &activity) => counts?,
        () = silence(seen, limit) => {
            return Err(CliError::Unavailable(format!("nothing has happened for {limit:?}; {CONTINUE}")));
        }
    };
    counts.report(folder, out)
}

/// One run of the command.
struct Run<'a> {
    api: &'a Client,
    folder: &'a Path,
    out: &'a Path,
    settings: DetectionSettings,
    priority: Priority,
    /// What the user has added to the keys of the pictures.
    key: &'a str,
    parallel: usize,
    earlier: EarlierResults,
}

/// What became of a picture in this run.
enum Ended {
    /// It has a line from an earlier run.
    Earlier {
        is_found: bool,
    },
    Now(Box<ResultLine>),
}

impl Ended {
    fn now(line: ResultLine) -> Self {
        Self::Now(Box::new(line))
    }
}

/// How many pictures there are, and what became of them.
#[derive(Default)]
struct Counts {
    all: usize,
    failed: usize,
    earlier: usize,
}

impl Run<'_> {
    async fn all(
        &self,
        mut file: ResultFile,
        activity: &watch::Sender<()>,
    ) -> Result<Counts, CliError> {
        let bar = progress_bar_without_length("pictures{msg}, {per_sec}, {eta} left");
        count_in_background(self.folder, &bar);
        let ended = walk(self.folder, self.parallel)
            .map(|found| self.picture(found))
            .buffer_unordered(self.parallel);
        let mut ended = std::pin::pin!(ended);
        let mut counts = Counts::default();
        while let Some(ended) = ended.next().await {
            let ended = ended?;
            counts.add(&ended);
            if let Ended::Now(line) = &ended {
                file.append(line)?;
            }
            activity.send_replace(());
            bar.inc(1);
            if counts.failed > 0 {
                bar.set_message(format!(", {} failed", counts.failed));
            }
        }
        bar.finish_and_clear();
        Ok(counts)
    }

    /// Sends a picture, unless the file of results has its content.
    async fn picture(&self, found: Found) -> Result<Ended, CliError> {
        let path = match found {
            Found::Picture(path) => path,
            Found::Unreadable(path, error) => return Ok(self.unreadable(&path, error)),
        };
        let file = path.clone();
        let read = spawn_blocking(move || {
            let bytes = read_picture(&file, &PictureLimits::default())?;
            Ok((Sha256Digest::of(&bytes), bytes))
        });
        let (sha256, bytes) = match read.await.map_err(std::io::Error::other)? {
            Ok(read) => read,
            Err(error) => return Ok(self.unreadable(&path, error)),
        };
        let name = self.name_of(&path);
        match self.earlier.of(&name, sha256) {
            Known::Line { is_found } => Ok(Ended::Earlier { is_found }),
            Known::Elsewhere { offset } => {
                let line = line_at(self.out, offset)?;
                Ok(Ended::now(ResultLine { path: name, ..line }))
            }
            Known::Nothing { failed_task } => {
                let submission = self.submission(sha256, bytes, failed_task)?;
                self.run(name, sha256, submission).await.map(Ended::now)
            }
        }
    }

    /// The path below the folder.
    fn name_of(&self, path: &Path) -> String {
        path.strip_prefix(self.folder).unwrap_or(path).to_string_lossy().into_owned()
    }

    fn unreadable(&self, path: &Path, error: String) -> Ended {
        Ended::now(ResultLine {
            path: self.name_of(path),
            sha256: None,
            task_id: None,
            state: "UNREADABLE".to_owned(),
            outcome: Outcome::retryable(error),
            settings: self.settings.clone(),
        })
    }

    /// The picture, under the same key and name wherever it lies: a key stands for one submission, which includes the
    /// name. After a task that failed, it has another key.
    fn submission(
        &self,
        sha256: Sha256Digest,
        bytes: Vec<u8>,
        failed_task: Option<TaskId>,
    ) -> Result<Submission, CliError> {
        let what = "the settings of a picture";
        let options = (&self.settings, self.priority, failed_task, self.key);
        let options =
            serde_json::to_vec(&options).map_err(|source| CliError::Json { what, source })?;
        let mut key = Sha256Hasher::new();
        key.update(sha256.as_bytes());
        key.update(options);
        Ok(Submission {
            settings: Some(self.settings.clone()),
            priority: self.priority,
            idempotency_key: Some(key.finish().to_string()),
            ..Submission::new(sha256.to_string(), bytes)
        })
    }

    /// Submits a picture and waits for the end of its task.
    async fn run(
        &self,
        path: String,
        sha256: Sha256Digest,
        submission: Submission,
    ) -> Result<ResultLine, CliError> {
        let line = |task_id, state: &str, outcome| ResultLine {
            path,
            sha256: Some(sha256),
            task_id,
            state: state.to_owned(),
            outcome,
            settings: self.settings.clone(),
        };
        let accepted = self.api.submit_when_accepted(&submission).await;
        let mut task = match accepted {
            Ok(task) => task,
            Err(ClientError::Refused { status: 400 | 413 | 415 | 422, message }) => {
                return Ok(line(None, "REFUSED", Outcome::permanent(message)));
            }
            Err(error) => return Err(not_accepted(&error)),
        };
        drop(submission);
        let id = Some(task.task_id);
        if !task.is_terminal() {
            task = match self.api.await_terminal(task.task_id).await {
                Ok(task) => task,
                Err(ClientError::Refused { status: 404 | 410, message }) => {
                    return Ok(line(id, "GONE", Outcome::retryable(message)));
                }
                Err(error) => return Err(not_accepted(&error)),
            };
        }
        Ok(line(id, &task.state.to_string(), Outcome::of(task)))
    }
}

/// Why the API takes no picture at all.
fn not_accepted(error: &ClientError) -> CliError {
    match of_any_request(error) {
        CliError::Unavailable(text) => CliError::Unavailable(format!("{text}; {CONTINUE}")),
        other => other,
    }
}

impl Counts {
    fn add(&mut self, ended: &Ended) {
        self.all += 1;
        let is_found = match ended {
            Ended::Earlier { is_found } => {
                self.earlier += 1;
                *is_found
            }
            Ended::Now(line) => line.outcome.is_found(),
        };
        self.failed += usize::from(!is_found);
    }

    fn report(self, folder: &Path, out: &Path) -> Result<(), CliError> {
        let Self { all, failed, earlier } = self;
        if all == 0 {
            return Err(CliError::Usage(format!("no picture in {}", folder.display())));
        }
        notice(format_args!(
            "{all} pictures in {}: {} with a result, {failed} failed; {earlier} of them in an earlier run",
            out.display(),
            all - failed,
        ));
        if failed == 0 { Ok(()) } else { Err(CliError::Pictures { failed, all }) }
    }
}

/// What is in the folder.
enum Found {
    Picture(PathBuf),
    /// A folder or a link, and why it cannot be read.
    Unreadable(PathBuf, String),
}

/// The pictures of a folder, found while others are sent.
fn walk(folder: &Path, ahead: usize) -> impl Stream<Item = Found> + use<> {
    let (sender, mut receiver) = mpsc::channel(ahead);
    let folder = folder.to_owned();
    spawn_blocking(move || {
        for entry in pictures_in(&folder) {
            let found = match entry {
                Ok(path) => Found::Picture(path),
                Err(error) => {
                    let path = error.path().unwrap_or(&folder).to_owned();
                    Found::Unreadable(path, error.to_string())
                }
            };
            // The command has ended.
            if sender.blocking_send(found).is_err() {
                return;
            }
        }
    });
    stream::poll_fn(move |context| receiver.poll_recv(context))
}

/// Gives the bar its length once all pictures have been counted. Where nobody sees it, nothing is counted.
fn count_in_background(folder: &Path, bar: &ProgressBar) {
    if bar.is_hidden() {
        return;
    }
    // The bar goes away with the command, also while this goes on.
    let (folder, bar) = (folder.to_owned(), bar.downgrade());
    spawn_blocking(move || {
        let pictures = pictures_in(&folder).count();
        if let Some(bar) = bar.upgrade() {
            bar.set_length(pictures as u64);
        }
    });
}
