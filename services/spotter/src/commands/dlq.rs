//! `spotter dlq`: lists, shows, requeues and drops dead letters.

mod render;

use std::{fs, path::Path};

use messaging::{DeadLetter, DeadLetterId, DeadLetters, Messaging};

use crate::{
    cli::{DlqChoice, DlqCommand, DlqListOptions, DlqShowOptions},
    commands::queue_connection::connect,
    error::CliError,
    output::{self, results::Format},
};

const NONE: &str = "no dead letters: no job has been given up in the last seven days";

pub(crate) fn dlq(command: DlqCommand) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(command))
}

async fn run(command: DlqCommand) -> Result<(), CliError> {
    let messaging = connect(command.server()).await?;
    let letters = messaging.dead_letters();
    let outcome = match command {
        DlqCommand::List(options) => list(&letters, &options).await,
        DlqCommand::Show(options) => show(&messaging, &letters, &options).await,
        DlqCommand::Requeue(choice) => requeue(&letters, &choice).await,
        DlqCommand::Drop(choice) => discard(&letters, &choice).await,
    };
    messaging.close().await;
    outcome
}

async fn list(letters: &DeadLetters, options: &DlqListOptions) -> Result<(), CliError> {
    let all = all(letters).await?;
    match Format::new(options.json) {
        Format::Json => all.iter().try_for_each(render::json),
        Format::Table if all.is_empty() => {
            output::notice(NONE);
            Ok(())
        }
        Format::Table => render::table(&all),
    }
}

async fn show(
    messaging: &Messaging,
    letters: &DeadLetters,
    options: &DlqShowOptions,
) -> Result<(), CliError> {
    let letter = find(letters, options.id).await?;
    let record = match &letter.job {
        Some(job) => messaging.tasks().get(job.task_id).await?,
        None => None,
    };
    render::details(&letter, record.as_ref())?;
    match &options.save {
        Some(path) => save(letters, &letter, path).await,
        None => Ok(()),
    }
}

async fn save(letters: &DeadLetters, letter: &DeadLetter, path: &Path) -> Result<(), CliError> {
    let picture = letters.picture(letter).await?;
    let picture = picture.ok_or_else(|| CliError::PictureGone(letter.id()))?;
    fs::write(path, &picture)
        .map_err(|source| CliError::Write { path: path.to_owned(), source })?;
    output::notice(format_args!("{} bytes written to {}", picture.len(), path.display()));
    Ok(())
}

async fn requeue(letters: &DeadLetters, choice: &DlqChoice) -> Result<(), CliError> {
    let chosen = chosen(letters, choice, "requeue").await?;
    // `--all` means all that are jobs.
    let (jobs, others): (Vec<_>, Vec<_>) =
        chosen.iter().partition(|letter| !choice.all || letter.job.is_some());
    let mut failed = 0;
    for letter in &jobs {
        match letters.requeue(letter).await {
            Ok(new) => output::line(format_args!("{} is requeued as {new}", letter.id()))?,
            Err(error) => {
                failed += 1;
                output::notice(format_args!("{}  failed: {error}", letter.id()));
            }
        }
    }
    if !others.is_empty() {
        output::notice(format_args!("{} that are not jobs remain: drop them", others.len()));
    }
    done(failed, jobs.len())
}

async fn discard(letters: &DeadLetters, choice: &DlqChoice) -> Result<(), CliError> {
    let chosen = chosen(letters, choice, "drop").await?;
    let mut failed = 0;
    for letter in &chosen {
        match letters.discard(letter).await {
            Ok(()) => output::line(format_args!("{} is dropped", letter.id()))?,
            Err(error) => {
                failed += 1;
                output::notice(format_args!("{}  failed: {error}", letter.id()));
            }
        }
    }
    done(failed, chosen.len())
}

fn done(failed: usize, all: usize) -> Result<(), CliError> {
    if failed == 0 { Ok(()) } else { Err(CliError::DeadLetters { failed, all }) }
}

/// The dead letters that were named. All are looked up before the first one is changed.
async fn chosen(
    letters: &DeadLetters,
    choice: &DlqChoice,
    verb: &str,
) -> Result<Vec<DeadLetter>, CliError> {
    if !choice.all {
        let mut chosen: Vec<DeadLetter> = Vec::new();
        for id in &choice.ids {
            let letter = find(letters, *id).await?;
            // One dead letter may be named twice, or by its task and by its sequence number.
            if chosen.iter().all(|other| other.sequence != letter.sequence) {
                chosen.push(letter);
            }
        }
        return Ok(chosen);
    }
    let all = all(letters).await?;
    if all.is_empty() {
        output::notice(NONE);
    } else if !choice.yes {
        return Err(CliError::Usage(format!(
            "--all would {verb} {}: add --yes to do it",
            render::count(all.len())
        )));
    }
    Ok(all)
}

async fn find(letters: &DeadLetters, id: DeadLetterId) -> Result<DeadLetter, CliError> {
    letters.get(id).await?.ok_or_else(|| {
        CliError::Usage(format!("there is no dead letter {id}: see `spotter dlq list`"))
    })
}

async fn all(letters: &DeadLetters) -> Result<Vec<DeadLetter>, CliError> {
    let mut all: Vec<DeadLetter> = Vec::new();
    loop {
        let page = letters.list_after(all.last().map_or(0, |letter| letter.sequence)).await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}
