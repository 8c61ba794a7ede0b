//! Printing dead letters: a table or a list of fields for people, JSON for programs.

use domain::{DetectionSettings, Job, TaskId, TaskRecord, TaskState, Tiling};
use messaging::DeadLetter;
use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    error::CliError,
    output::{
        self,
        columns::{self, printable},
        times::to_second,
    },
};

/// The most characters of a picture's name in the table.
const LONGEST_NAME: usize = 32;

const HEADINGS: [&str; 5] = ["ID", "GIVEN UP", "DELIVERIES", "PICTURE", "REASON"];

#[derive(Serialize)]
struct LetterJson<'a> {
    id: String,
    sequence: u64,
    #[serde(rename = "buried_at", with = "time::serde::rfc3339")]
    dead_lettered_at: OffsetDateTime,
    reason: &'a str,
    deliveries: u32,
    subject: &'a str,
    picture_bytes: Option<u64>,
    job: Option<JobJson<'a>>,
}

#[derive(Serialize)]
struct JobJson<'a> {
    task_id: TaskId,
    picture_name: &'a str,
    model: &'a str,
    settings: DetectionSettings,
    #[serde(with = "time::serde::rfc3339")]
    submitted_at: OffsetDateTime,
}

impl<'a> From<&'a Job> for JobJson<'a> {
    fn from(job: &'a Job) -> Self {
        Self {
            task_id: job.task_id,
            picture_name: &job.picture_name,
            model: job.model.as_str(),
            settings: job.settings.clone(),
            submitted_at: job.submitted_at,
        }
    }
}

/// Prints one line of JSON.
pub(super) fn json(letter: &DeadLetter) -> Result<(), CliError> {
    let letter = LetterJson {
        id: letter.id().to_string(),
        sequence: letter.sequence,
        dead_lettered_at: letter.dead_lettered_at,
        reason: &letter.reason,
        deliveries: letter.deliveries,
        subject: &letter.original_subject,
        picture_bytes: letter.picture.bytes(),
        job: letter.job.as_ref().map(JobJson::from),
    };
    output::json("a dead letter", &letter)
}

/// Prints a table with a line for each.
pub(super) fn table(letters: &[DeadLetter]) -> Result<(), CliError> {
    let headings = HEADINGS.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(headings).chain(letters.iter().map(row)).collect();
    columns::print(&rows)?;
    output::notice(format_args!(
        "{}; look at one with `spotter dlq show ID`",
        count(letters.len())
    ));
    Ok(())
}

fn row(letter: &DeadLetter) -> [String; 5] {
    let name = letter.job.as_ref().map_or("not a job", |job| &job.picture_name);
    let mut shortened: String = printable(name).chars().take(LONGEST_NAME).collect();
    if name.chars().count() > LONGEST_NAME {
        shortened.push('…');
    }
    [
        letter.id().to_string(),
        to_second(letter.dead_lettered_at),
        letter.deliveries.to_string(),
        format!("{shortened} ({})", size(letter)),
        printable(&letter.reason),
    ]
}

/// Prints every field of one. `record` is its task's record, if it has not expired.
pub(super) fn details(letter: &DeadLetter, record: Option<&TaskRecord>) -> Result<(), CliError> {
    let field = |name: &str, text: String| output::line(format_args!("{name:<11} {text}"));
    field("id", letter.id().to_string())?;
    field("sequence", letter.sequence.to_string())?;
    field("given up", to_second(letter.dead_lettered_at))?;
    field("reason", printable(&letter.reason))?;
    field("deliveries", letter.deliveries.to_string())?;
    let Some(job) = &letter.job else {
        field("subject", printable(&letter.original_subject))?;
        return field("payload", size(letter));
    };
    let DetectionSettings { confidence, iou, max_detections, class_agnostic, classes, tiling } =
        &job.settings;
    field("picture", format!("{} ({})", printable(&job.picture_name), size(letter)))?;
    field("model", job.model.to_string())?;
    field("submitted", to_second(job.submitted_at))?;
    field(
        "thresholds",
        format!("confidence {confidence}, overlap {iou}, at most {} objects", max_detections.get()),
    )?;
    if *class_agnostic {
        field("overlap of", "boxes of all classes".to_owned())?;
    }
    if !classes.is_all() {
        field("classes", printable(&classes.to_string()))?;
    }
    if let Some(Tiling { tiles, overlap }) = tiling {
        field("tiles", format!("{tiles}, overlap {}", overlap.get()))?;
    }
    field("task", record.map_or_else(|| "its record has expired".to_owned(), state))
}

fn state(record: &TaskRecord) -> String {
    let name = record.state.name();
    match &record.state {
        TaskState::Failure { message, .. } => format!("{name}: {}", printable(message)),
        _ => name.to_owned(),
    }
}

/// A number of dead letters, in words.
pub(super) fn count(letters: usize) -> String {
    format!("{letters} dead letter{}", if letters == 1 { "" } else { "s" })
}

fn size(letter: &DeadLetter) -> String {
    match letter.picture.bytes() {
        Some(bytes) => format!("{bytes} bytes"),
        None => "gone".to_owned(),
    }
}
