//! `spotter tasks`: lists tasks.

use client::{Failure, Task, TaskQuery};

use crate::{
    cli::TasksOptions,
    commands::api_connection::{connect, of_any_request},
    error::CliError,
    output::{
        self,
        columns::{self, printable},
        results::Format,
        times::to_second,
    },
};

const HEADINGS: [&str; 7] = ["ID", "STATE", "PRIORITY", "SUBMITTED", "MODEL", "PICTURE", "OBJECTS"];

pub(crate) fn tasks(options: &TasksOptions) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(list(options))
}

async fn list(options: &TasksOptions) -> Result<(), CliError> {
    let api = connect(&options.server).await?;
    let mut pages = api.tasks(&query(options));
    let format = Format::new(options.json);
    let (mut listed, mut rows) = (0, vec![HEADINGS.map(str::to_owned)]);
    while listed < options.limit.get() {
        let left = options.limit.get() - listed;
        let page = pages.next(left).await.map_err(|error| of_any_request(&error))?;
        if page.is_empty() {
            break;
        }
        listed += page.len();
        match format {
            Format::Json => page.iter().try_for_each(|task| output::json("a task", task))?,
            Format::Table => rows.extend(page.iter().map(row)),
        }
    }
    if format == Format::Table && listed > 0 {
        columns::print(&rows)?;
    }
    if listed == 0 {
        output::notice("there are no such tasks");
    } else if pages.has_more() {
        output::notice(format_args!("there are more than these {listed}: see --limit"));
    }
    Ok(())
}

fn query(options: &TasksOptions) -> TaskQuery {
    TaskQuery {
        states: options.states.clone(),
        model: options.model.clone(),
        submitted_after: options.submitted_after,
        submitted_before: options.submitted_before,
        metadata: options.metadata.clone(),
    }
}

fn row(task: &Task) -> [String; 7] {
    let outcome = match (&task.failure, task.object_count) {
        (Some(Failure { reason, .. }), _) => printable(reason),
        (None, Some(count)) => count.to_string(),
        (None, None) => "-".to_owned(),
    };
    [
        task.task_id.to_string(),
        printable(&task.state.to_string()),
        task.priority.to_string(),
        to_second(task.submitted_at),
        printable(&task.model),
        printable(&task.picture_name),
        outcome,
    ]
}
