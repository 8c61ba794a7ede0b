//! The wire format of a job.
//!
//! The payload is the picture's bytes as the client sent them, never base64. Headers hold the job as JSON,
//! and for a large picture the name of its object instead of a payload.

use async_nats::{
    HeaderMap,
    header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID},
};
use bytes::Bytes;
use domain::{Job, TaskId};
use serde::Serialize;

use crate::provision::lanes;

pub(crate) const JOB: &str = "Spotter-Job";
pub(crate) const PICTURE_OBJECT: &str = "Spotter-Picture-Object";

/// Where a job's picture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PictureSource {
    /// In the message's payload.
    Inline(Bytes),
    /// In the object store, under this name.
    Object(String),
}

pub(crate) fn job_subject(job: &Job) -> String {
    lanes::subject(job.model.as_str(), &job.task_id.to_string(), job.priority)
}

pub(crate) fn object_name(task_id: TaskId) -> String {
    task_id.to_string()
}

/// The headers and the payload of a job.
pub(crate) fn encode(
    job: &Job,
    source: PictureSource,
) -> Result<(HeaderMap, Bytes), serde_json::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, job.task_id.to_string());
    headers.insert(JOB, ascii_json(job)?);
    let payload = match source {
        PictureSource::Inline(picture) => picture,
        PictureSource::Object(name) => {
            headers.insert(PICTURE_OBJECT, name);
            Bytes::new()
        }
    };
    Ok((headers, payload))
}

/// The headers of a job that the queue has lost and whose picture is in the object store. Without a message
/// id, which the duplicate window may still have; stored only if the subject has no message.
pub(crate) fn encode_lost(job: &Job) -> Result<HeaderMap, serde_json::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    headers.insert(JOB, ascii_json(job)?);
    headers.insert(PICTURE_OBJECT, object_name(job.task_id));
    Ok(headers)
}

/// Reads a job from a message. `Err` says why the message is not a job.
pub(crate) fn decode(message: &async_nats::Message) -> Result<(Job, PictureSource), String> {
    let headers = message.headers.as_ref().ok_or("it has no headers")?;
    let json = headers.get(JOB).ok_or_else(|| format!("it has no {JOB} header"))?;
    let job: Job = serde_json::from_str(json.as_str())
        .map_err(|error| format!("its {JOB} header is not a job: {error}"))?;
    // Dead letters and filters by model go by the subject.
    if message.subject.as_str() != job_subject(&job) {
        return Err(format!("its subject is '{}', not '{}'", message.subject, job_subject(&job)));
    }
    let source = match headers.get(PICTURE_OBJECT) {
        Some(name) => PictureSource::Object(name.as_str().to_owned()),
        None => PictureSource::Inline(message.payload.clone()),
    };
    Ok((job, source))
}

/// `value` as JSON of ASCII characters only. Headers must not contain line breaks, and file names come from
/// clients; serde_json escapes control characters, but not é and 猫.
fn ascii_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(value)?;
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            // JSON has characters outside ASCII only inside strings, where \u is an escape.
            for unit in character.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Ok(ascii)
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::DetectionSettings;
    use time::OffsetDateTime;

    use super::*;

    pub(crate) fn job(picture_name: &str) -> Job {
        Job {
            submitted_at: OffsetDateTime::UNIX_EPOCH,
            ..Job::new(
                picture_name.to_owned(),
                "yolov8n".parse().unwrap(),
                DetectionSettings::default(),
            )
        }
    }

    pub(crate) fn message(
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> async_nats::Message {
        let length = payload.len();
        let (reply, status, description) = (None, None, None);
        let subject = subject.into();
        async_nats::Message { subject, reply, payload, headers, status, description, length }
    }

    #[test]
    fn every_file_name_survives_the_header() {
        let names = ["bus.jpg", "a\r\nX-Evil: 1", "\"\\\u{0}\u{7f}", "café 猫 🚌.jpg", ""];
        for name in names {
            let job = job(name);
            let source = PictureSource::Inline(Bytes::from_static(b"picture"));
            let (headers, payload) = encode(&job, source.clone()).unwrap();
            let text = headers.get(JOB).unwrap().as_str();
            assert!(text.bytes().all(|byte| (b' '..=0x7f).contains(&byte)), "{text}");
            let message = message(job_subject(&job), Some(headers), payload);
            assert_eq!(decode(&message), Ok((job, source)), "{name}");
        }
    }

    #[test]
    fn a_large_picture_is_sent_by_name() {
        let job = job("bus.jpg");
        let source = PictureSource::Object(object_name(job.task_id));
        let (headers, payload) = encode(&job, source.clone()).unwrap();
        assert!(payload.is_empty());
        let message = message(job_subject(&job), Some(headers), payload);
        assert_eq!(decode(&message), Ok((job, source)));
    }

    #[test]
    fn a_message_that_is_not_a_job_is_refused() {
        let job = job("bus.jpg");
        let (headers, _) = encode(&job, PictureSource::Inline(Bytes::new())).unwrap();
        let mut broken = HeaderMap::new();
        broken.insert(JOB, "{}");
        let cases = [
            (job_subject(&job), None),
            (job_subject(&job), Some(HeaderMap::new())),
            (job_subject(&job), Some(broken)),
            (format!("jobs.yolov8n.{}", TaskId::generate()), Some(headers)),
        ];
        for (subject, headers) in cases {
            assert!(decode(&message(subject, headers, Bytes::new())).is_err());
        }
    }
}
