//! What `spotter submit` shows of each picture: what became of it.

use std::{path::Path, time::Duration};

use client::{State, Task};
use domain::DetectedObject;

use crate::{
    error::CliError,
    output::results::{Format, PictureResult},
};

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
