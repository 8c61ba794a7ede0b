//! What `spotter submit` shows: how far it is, and what became of each picture.

use std::{io::IsTerminal, path::Path, time::Duration};

use client::{State, Task};
use domain::DetectedObject;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    error::CliError,
    output::results::{Format, PictureResult},
};

/// A bar on standard error, with the numbers and then `text`. Hidden where nobody looks, and for one picture.
pub(super) fn progress_bar(pictures: usize, text: &str) -> ProgressBar {
    let target = if pictures > 1 && std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(pictures as u64), target);
    let style = ProgressStyle::with_template(&format!("{{wide_bar}} {{pos}}/{{len}} {text}"));
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}

/// The task, or why it has no result.
pub(super) fn succeeded(mut task: Task) -> Result<Task, String> {
    match (&task.state, task.failure.take()) {
        (State::Success, _) => Ok(task),
        (_, Some(failure)) => Err(failure.message),
        (state, None) => Err(format!("the task ended as {state}")),
    }
}

pub(super) fn print_task(
    picture: &Path,
    task: &Task,
    took: Duration,
    format: Format,
) -> Result<(), CliError> {
    let objects: Vec<_> = task.objects.iter().cloned().map(DetectedObject::from).collect();
    PictureResult {
        picture,
        model: &task.model,
        width: task.width,
        height: task.height,
        objects: &objects,
        warnings: &task.warnings,
        took_ms: took.as_millis(),
    }
    .print(format)
}
