//! Lanes: the jobs of each priority have subjects and a consumer of their own, in one stream.
//!
//! Jobs of normal priority keep the subjects that all jobs had before there were priorities, so that workers of an
//! older version run them during an upgrade.

use domain::Priority;

use super::names::JOBS_SUBJECT;

/// The durable consumer of a lane, which all workers share.
pub(crate) fn consumer(lane: Priority) -> &'static str {
    match lane {
        Priority::High => "worker_high",
        Priority::Normal => "worker",
        Priority::Low => "worker_low",
    }
}

/// The subjects of a lane's jobs.
pub(crate) fn subjects(lane: Priority) -> String {
    subject("*", "*", lane)
}

/// `jobs.<model>.<task_id>`, and the priority behind it where that is not normal.
pub(crate) fn subject(model: &str, task_id: &str, lane: Priority) -> String {
    match lane {
        Priority::Normal => format!("{JOBS_SUBJECT}.{model}.{task_id}"),
        Priority::High | Priority::Low => format!("{JOBS_SUBJECT}.{model}.{task_id}.{lane}"),
    }
}

/// Model, task and priority, as the subject of a job tells them; `None` for other subjects.
pub(crate) fn parse(subject: &str) -> Option<(&str, &str, Priority)> {
    let mut tokens = subject.strip_prefix(JOBS_SUBJECT)?.strip_prefix('.')?.split('.');
    let (model, task_id) = (tokens.next()?, tokens.next()?);
    let lane = match tokens.next() {
        None => Priority::Normal,
        Some(name) => name.parse().ok().filter(|lane: &Priority| !lane.is_normal())?,
    };
    tokens.next().is_none().then_some((model, task_id, lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_tells_model_task_and_priority() {
        for lane in Priority::ALL {
            let subject = subject("yolov8n", "0198", lane);
            assert_eq!(parse(&subject), Some(("yolov8n", "0198", lane)), "{subject}");
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
}
