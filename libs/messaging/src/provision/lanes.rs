//! Lanes: the jobs of each model and priority have subjects and a consumer of their own, in one stream. So a worker
//! gets the jobs of the models that it serves, and those of other models wait for another worker.
//!
//! Jobs of normal priority keep the subjects that all jobs had before there were priorities.

use domain::{Job, ModelName, Priority};

use super::names::JOBS_SUBJECT;

/// The consumers of older versions, each of which delivers the jobs of one priority and of all models.
pub(crate) const SHARED_CONSUMERS: [&str; 3] = ["worker", "worker_high", "worker_low"];

/// The jobs of one model and one priority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Lane {
    pub(crate) model: ModelName,
    pub(crate) priority: Priority,
}

impl Lane {
    /// The lanes of a model, in the order of [`Priority::ALL`].
    pub(crate) fn of_model(model: &ModelName) -> [Self; Priority::ALL.len()] {
        Priority::ALL.map(|priority| Self { model: model.clone(), priority })
    }

    pub(crate) fn of_job(job: &Job) -> Self {
        Self { model: job.model.clone(), priority: job.priority }
    }

    /// The lane of the consumer with this name; `None` for a consumer of another kind.
    pub(crate) fn of_consumer(name: &str) -> Option<Self> {
        Priority::ALL.into_iter().find_map(|priority| {
            let model = name.strip_prefix(priority.name())?.strip_prefix('-')?;
            Some(Self { model: model.parse().ok()?, priority })
        })
    }

    /// The lane of the job with this subject; `None` for other subjects.
    pub(crate) fn of_subject(subject: &str) -> Option<Self> {
        let (model, _, priority) = parse(subject)?;
        Some(Self { model: model.parse().ok()?, priority })
    }

    /// The name of its durable consumer, which all workers share that serve the model.
    pub(crate) fn consumer(&self) -> String {
        format!("{}-{}", self.priority, self.model)
    }

    /// The subjects of its jobs.
    pub(crate) fn subjects(&self) -> String {
        subject(self.model.as_str(), "*", self.priority)
    }
}

/// The subjects of the jobs of all models and one priority.
pub(crate) fn subjects(priority: Priority) -> String {
    subject("*", "*", priority)
}

/// `jobs.<model>.<task_id>`, and the priority behind it where that is not normal.
pub(crate) fn subject(model: &str, task_id: &str, priority: Priority) -> String {
    match priority {
        Priority::Normal => format!("{JOBS_SUBJECT}.{model}.{task_id}"),
        Priority::High | Priority::Low => format!("{JOBS_SUBJECT}.{model}.{task_id}.{priority}"),
    }
}

/// Model, task and priority, as the subject of a job tells them; `None` for other subjects.
pub(crate) fn parse(subject: &str) -> Option<(&str, &str, Priority)> {
    let mut tokens = subject.strip_prefix(JOBS_SUBJECT)?.strip_prefix('.')?.split('.');
    let (model, task_id) = (tokens.next()?, tokens.next()?);
    let priority = match tokens.next() {
        None => Priority::Normal,
        Some(name) => name.parse().ok().filter(|priority: &Priority| !priority.is_normal())?,
    };
    tokens.next().is_none().then_some((model, task_id, priority))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_tells_model_task_and_priority() {
        for priority in Priority::ALL {
            let subject = subject("yolov8n", "0198", priority);
            assert_eq!(parse(&subject), Some(("yolov8n", "0198", priority)), "{subject}");
        }
        for other in ["jobs", "jobs.a", "jobs.a.b.normal", "jobs.a.b.urgent", "jobs.a.b.low.c"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn normal_jobs_keep_their_subjects() {
        assert_eq!(subjects(Priority::Normal), "jobs.*.*");
        assert_eq!(subjects(Priority::High), "jobs.*.*.high");
        assert_eq!(subjects(Priority::Low), "jobs.*.*.low");
    }

    #[test]
    fn each_lane_has_a_consumer_of_its_own() {
        // Names that look like those of other lanes.
        for model in ["yolov8n", "high-yolov8n", "low", "-", "worker_high"] {
            let lanes = Lane::of_model(&model.parse().unwrap());
            for lane in lanes {
                assert_eq!(Lane::of_consumer(&lane.consumer()), Some(lane.clone()));
                let subject = lane.subjects().replace('*', "0198");
                assert_eq!(Lane::of_subject(&subject), Some(lane));
            }
        }
        let [high, normal, low] = Lane::of_model(&"yolov8n".parse().unwrap());
        assert_eq!(high.consumer(), "high-yolov8n");
        assert_eq!(
            (normal.consumer(), normal.subjects()),
            ("normal-yolov8n".into(), "jobs.yolov8n.*".into())
        );
        assert_eq!(low.subjects(), "jobs.yolov8n.*.low");
        for other in
            SHARED_CONSUMERS.into_iter().chain(["normal-", "High-a", "urgent-a", "low-a.b"])
        {
            assert_eq!(Lane::of_consumer(other), None, "{other}");
        }
    }
}
