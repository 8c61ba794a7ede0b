//! Checks what the holder of another API key is answered. Pure code, as `checker.rs`.
//!
//! A task or a batch is for another key as if it were not there. An API that serves a key which was made after another
//! one was revoked refuses that one.

use reqwest::StatusCode;
use serde_json::Value;

/// What a stranger asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// A route of `/v1` for one task or batch of the load.
    One,
    /// The original route for a task of the load.
    Original,
    /// A list of tasks.
    List,
}

/// What an answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing, as it should.
    Nothing,
    /// The API does not know the key, or cannot answer.
    NoAnswer,
    /// That there is a task or a batch.
    Something,
}

/// A violation of what API keys promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leak {
    /// A key was told of what belongs to another one.
    Seen(String),
    /// A key was served by an API that knew that it was revoked.
    RevokedServed(String),
}

/// What the answer to a stranger tells.
pub(crate) fn told(question: Question, status: StatusCode, body: &Value) -> Told {
    let nothing = match question {
        Question::One => status == StatusCode::NOT_FOUND,
        Question::Original => status == StatusCode::BAD_REQUEST,
        Question::List => {
            status == StatusCode::OK && body["tasks"].as_array().is_some_and(Vec::is_empty)
        }
    };
    match status {
        _ if nothing => Told::Nothing,
        StatusCode::UNAUTHORIZED | StatusCode::SERVICE_UNAVAILABLE => Told::NoAnswer,
        _ => Told::Something,
    }
}

mod controls {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_that_tells_of_another_keys_tasks_is_detected() {
        let (none, one) = (json!({ "tasks": [] }), json!({ "tasks": [{}] }));
        let cases = [
            (Question::One, 404, &Value::Null, Told::Nothing),
            (Question::One, 200, &Value::Null, Told::Something),
            // Also that there was one, or that it has ended.
            (Question::One, 410, &Value::Null, Told::Something),
            (Question::One, 409, &Value::Null, Told::Something),
            (Question::One, 403, &Value::Null, Told::Something),
            (Question::One, 401, &Value::Null, Told::NoAnswer),
            (Question::One, 503, &Value::Null, Told::NoAnswer),
            (Question::Original, 400, &Value::Null, Told::Nothing),
            (Question::Original, 200, &Value::Null, Told::Something),
            (Question::List, 200, &none, Told::Nothing),
            (Question::List, 200, &one, Told::Something),
            (Question::List, 200, &Value::Null, Told::Something),
        ];
        for (question, status, body, expected) in cases {
            let status = StatusCode::from_u16(status).expect("it is a status");
            assert_eq!(told(question, status, body), expected, "{question:?} {status} {body}");
        }
    }
}
