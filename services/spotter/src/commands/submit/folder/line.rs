//! The lines of the file of results.

use client::{Failure, State, Task};
use domain::{DetectionSettings, FailureReason, Sha256Digest, TaskId};
use serde::{
    Deserialize, Serialize,
    de::{IntoDeserializer, value::StrDeserializer},
};

use crate::output::results::ObjectJson;

/// How each line begins, as far as it tells a line of such a file from any other text.
const START: &[u8] = b"{\"path\":\"";

/// What became of a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ResultLine {
    /// Its path below the folder. It is the first field: [`START`].
    pub(super) path: String,
    /// The digest of its content; absent where it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<Sha256Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) task_id: Option<TaskId>,
    /// The state of its task; `REFUSED`, `UNREADABLE` or `GONE` where there is none.
    pub(super) state: String,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
    /// What it was submitted with.
    pub(super) settings: DetectionSettings,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Outcome {
    Found {
        model: String,
        width: u32,
        height: u32,
        objects: Vec<ObjectJson<'static>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    Failed {
        error: String,
        /// The reason of a failure in one word, such as `poison`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Whether the next run of the command tries it again.
        retryable: bool,
    },
}

impl Outcome {
    /// A failure that the next run of the command would meet again.
    pub(super) fn permanent(error: impl Into<String>) -> Self {
        Self::Failed { error: error.into(), reason: None, retryable: false }
    }

    /// A failure that the next run of the command may not meet.
    pub(super) fn retryable(error: impl Into<String>) -> Self {
        Self::Failed { error: error.into(), reason: None, retryable: true }
    }

    /// The outcome of a terminal task.
    pub(super) fn of(task: Task) -> Self {
        match (task.state, task.failure) {
            (State::Success, _) => Self::Found {
                model: task.model,
                width: task.width,
                height: task.height,
                objects: task.objects.into_iter().map(ObjectJson::from).collect(),
                warnings: task.warnings,
            },
            (_, Some(Failure { reason, message })) => {
                let retryable = !is_permanent(&reason);
                Self::Failed { error: message, reason: Some(reason), retryable }
            }
            // The deadline or a client ended the task, not the picture.
            (state, None) => Self::retryable(format!("the task ended as {state}")),
        }
    }

    pub(super) fn is_found(&self) -> bool {
        matches!(self, Self::Found { .. })
    }
}

/// Whether the API's name of a reason is one that another run would meet again. A newer API may have more reasons.
fn is_permanent(reason: &str) -> bool {
    let reason: StrDeserializer<'_, serde::de::value::Error> = reason.into_deserializer();
    FailureReason::deserialize(reason).is_ok_and(FailureReason::is_permanent)
}

impl ResultLine {
    /// Whether this may be the beginning of a line that was cut off.
    pub(super) fn may_begin_with(text: &[u8]) -> bool {
        text.starts_with(START) || START.starts_with(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(fields: &str) -> Task {
        let text = format!(
            r#"{{"task_id":"0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47","picture_name":"x","model":"yolov8n",
                "submitted_at":"2026-01-01T00:00:00Z","attempts":1,{fields}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn line(outcome: Outcome) -> ResultLine {
        ResultLine {
            path: "a/\"b\".jpg".to_owned(),
            sha256: Some([7; 32].into()),
            task_id: None,
            state: "SUCCESS".to_owned(),
            outcome,
            settings: DetectionSettings::default(),
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let found = r#""state":"SUCCESS","width":4,"height":3,"objects":[{"label":"bus","class_id":5,
            "confidence":0.87,"bbox":{"x1":0.1,"y1":1,"x2":2,"y2":3}}]"#;
        for outcome in [Outcome::of(task(found)), Outcome::permanent("no picture")] {
            let written = serde_json::to_string(&line(outcome.clone())).unwrap();
            assert!(written.as_bytes().starts_with(START), "{written}");
            assert_eq!(serde_json::from_str::<ResultLine>(&written).unwrap(), line(outcome));
        }
    }

    #[test]
    fn a_failure_that_is_not_of_the_picture_is_retryable() {
        let failure = |reason: &str| {
            format!(r#""state":"FAILURE","failure":{{"reason":"{reason}","message":"why"}}"#)
        };
        let cases = [
            (failure("poison"), false),
            (failure("undecodable_picture"), false),
            (failure("unknown_class"), false),
            (failure("too_many_tiles"), false),
            (failure("lost"), true),
            (failure("of_a_newer_api"), true),
            (failure("model_not_loadable"), true),
            (r#""state":"EXPIRED""#.to_owned(), true),
            (r#""state":"REVOKED""#.to_owned(), true),
        ];
        for (fields, expected) in cases {
            let outcome = Outcome::of(task(&fields));
            let Outcome::Failed { retryable, .. } = outcome else { panic!("{outcome:?}") };
            assert_eq!(retryable, expected, "{fields}");
        }
    }

    #[test]
    fn a_torn_line_is_told_from_other_texts() {
        for torn in ["{", "{\"path\":\"", "{\"path\":\"a.jpg\",\"sha"] {
            assert!(ResultLine::may_begin_with(torn.as_bytes()), "{torn}");
        }
        for other in ["[", "{\"name\":1", "hello", "{}"] {
            assert!(!ResultLine::may_begin_with(other.as_bytes()), "{other}");
        }
    }
}
