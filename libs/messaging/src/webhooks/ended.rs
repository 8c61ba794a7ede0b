//! What a webhook reports.

use domain::{BatchRecord, CallbackUrl, TaskId, TaskRecord};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A task or a batch that has ended. As JSON, its record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ended {
    /// A task.
    Task(Box<TaskRecord>),
    /// A batch.
    Batch(Box<BatchRecord>),
}

impl Ended {
    /// The id of the task or the batch.
    #[must_use]
    pub fn id(&self) -> TaskId {
        match self {
            Self::Task(record) => record.job.task_id,
            Self::Batch(record) => record.batch_id.uuid(),
        }
    }

    /// Identifies what is reported: a batch that broke off ends again when it was continued.
    #[must_use]
    pub fn message_id(&self) -> String {
        match self {
            Self::Batch(record) if record.attempt > 1 => {
                format!("{}_{}", record.batch_id, record.attempt)
            }
            Self::Task(_) | Self::Batch(_) => self.id().to_string(),
        }
    }

    /// The URL that is called.
    #[must_use]
    pub fn callback_url(&self) -> Option<&CallbackUrl> {
        match self {
            Self::Task(record) => record.job.callback_url.as_ref(),
            Self::Batch(record) => record.callback_url.as_ref(),
        }
    }

    /// When it ended.
    #[must_use]
    pub fn finished_at(&self) -> Option<OffsetDateTime> {
        match self {
            Self::Task(record) => record.state.finished_at(),
            Self::Batch(record) => record.end.map(|end| end.finished_at),
        }
    }

    /// How it ended, as its clients see it.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::Task(record) => record.state.name(),
            Self::Batch(_) => "FINISHED",
        }
    }
}

impl From<TaskRecord> for Ended {
    fn from(record: TaskRecord) -> Self {
        Self::Task(Box::new(record))
    }
}

impl From<BatchRecord> for Ended {
    fn from(record: BatchRecord) -> Self {
        Self::Batch(Box::new(record))
    }
}

#[cfg(test)]
mod tests {
    use domain::{BatchId, DetectionSettings, Job, Reception};

    use super::*;

    #[test]
    fn a_message_tells_which_it_is() {
        let job = Job::new("a.jpg".to_owned(), "m".parse().unwrap(), DetectionSettings::default());
        let task = Ended::from(TaskRecord::queued(job));
        let batch = BatchRecord::new(BatchId::generate(), Reception::Complete);
        let again = Ended::from(BatchRecord { attempt: 2, ..batch.clone() });
        let batch = Ended::from(batch);
        for ended in [&task, &batch, &again] {
            let json = serde_json::to_string(ended).unwrap();
            assert_eq!(serde_json::from_str::<Ended>(&json).unwrap(), *ended);
        }
        assert_eq!(batch.message_id(), batch.id().to_string());
        assert_eq!(again.message_id(), format!("{}_2", again.id()));
        // What older versions have stored.
        let Ended::Task(record) = &task else { panic!("it is a task") };
        assert_eq!(serde_json::to_value(record).unwrap(), serde_json::to_value(&task).unwrap());
    }
}
