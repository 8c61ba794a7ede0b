//! How a job looks on the wire.
//!
//! The payload is the picture's bytes as they came, never base64. Beside it, in headers: the job as
//! JSON, and for a large picture the name of its object instead of a payload.

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID};
use bytes::Bytes;
use domain::{Job, TaskId};
use serde::Serialize;

use crate::layout::{DEAD_LETTER_SUBJECT, JOBS_SUBJECT};

const JOB: &str = "Spotter-Job";
const PICTURE_OBJECT: &str = "Spotter-Picture-Object";
const REASON: &str = "Spotter-Reason";
const ORIGINAL_SUBJECT: &str = "Spotter-Subject";

/// The last part of a dead letter's subject when there is no task to name.
const UNREADABLE: &str = "unreadable";

/// The longest reason that is written into a header, in bytes.
const LONGEST_REASON: usize = 1024;

/// Where a job's picture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PictureSource {
    /// In the message's payload.
    Inline(Bytes),
    /// In the object store, under this name.
    Object(String),
}

pub(crate) fn job_subject(job: &Job) -> String {
    format!("{JOBS_SUBJECT}.{}.{}", job.model, job.task_id)
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

/// Reads a message back into a job, or tells why it is none.
pub(crate) fn decode(message: &async_nats::Message) -> Result<(Job, PictureSource), String> {
    let headers = message.headers.as_ref().ok_or("it has no headers")?;
    let json = headers.get(JOB).ok_or_else(|| format!("it has no {JOB} header"))?;
    let job: Job = serde_json::from_str(json.as_str())
        .map_err(|error| format!("its {JOB} header is no job: {error}"))?;
    // Were they to differ, dead letters and filters by model would speak of another job than this.
    if message.subject.as_str() != job_subject(&job) {
        return Err(format!("its subject is '{}', not '{}'", message.subject, job_subject(&job)));
    }
    let source = match headers.get(PICTURE_OBJECT) {
        Some(name) => PictureSource::Object(name.as_str().to_owned()),
        None => PictureSource::Inline(message.payload.clone()),
    };
    Ok((job, source))
}

/// The subject and headers of the copy that goes to the dead letters; its payload is the original's.
pub(crate) fn dead_letter(
    message: &async_nats::Message,
    task_id: Option<TaskId>,
    reason: &str,
) -> (String, HeaderMap) {
    let mut headers = HeaderMap::new();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        // The server acts on its own headers: an expected sequence or a time to live of the original
        // must not be obeyed a second time.
        if !name.to_string().to_ascii_lowercase().starts_with("nats-") {
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    headers.insert(REASON, header_text(reason));
    headers.insert(ORIGINAL_SUBJECT, header_text(message.subject.as_str()));
    let last = match task_id {
        Some(task_id) => {
            // A second copy, made because the first one's confirmation was lost, is dropped.
            headers.insert(NATS_MESSAGE_ID, task_id.to_string());
            task_id.to_string()
        }
        None => UNREADABLE.to_owned(),
    };
    (format!("{DEAD_LETTER_SUBJECT}.{last}"), headers)
}

/// `value` as JSON of ASCII characters only. A header may hold no line break, and file names come
/// from clients; serde_json escapes control characters but leaves é and 猫 as they are.
fn ascii_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let json = serde_json::to_string(value)?;
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            // Outside ASCII, JSON has characters only inside its strings, where \u is understood.
            for unit in character.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Ok(ascii)
}

/// `text` as one line of bounded length.
fn header_text(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST_REASON);
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use domain::DetectionSettings;
    use time::OffsetDateTime;

    use super::*;

    fn job(picture_name: &str) -> Job {
        Job {
            task_id: TaskId::generate(),
            picture_name: picture_name.to_owned(),
            model: "yolov8n".parse().unwrap(),
            settings: DetectionSettings::default(),
            submitted_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    fn message(subject: String, headers: Option<HeaderMap>, payload: Bytes) -> async_nats::Message {
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
    fn a_large_picture_is_named_instead_of_carried() {
        let job = job("bus.jpg");
        let source = PictureSource::Object(object_name(job.task_id));
        let (headers, payload) = encode(&job, source.clone()).unwrap();
        assert!(payload.is_empty());
        let message = message(job_subject(&job), Some(headers), payload);
        assert_eq!(decode(&message), Ok((job, source)));
    }

    #[test]
    fn what_is_no_job_is_told_apart() {
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

    #[test]
    fn a_dead_letter_keeps_no_order_to_the_server() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", "7");
        headers.insert("X-Kept", "yes");
        let original = message("jobs.x".to_owned(), Some(headers), Bytes::new());
        let (subject, headers) = dead_letter(&original, None, "two\nlines");
        assert_eq!(subject, "dlq.unreadable");
        assert!(headers.get("Nats-Expected-Last-Sequence").is_none());
        assert_eq!(headers.get("X-Kept").unwrap().as_str(), "yes");
        assert_eq!(headers.get(REASON).unwrap().as_str(), "two lines");
        let long = "é".repeat(LONGEST_REASON);
        assert!(header_text(&long).len() <= LONGEST_REASON);
    }
}
