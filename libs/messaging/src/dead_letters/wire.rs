//! The wire format of a dead letter: the original message, and headers that say why it is one.

use async_nats::{
    HeaderMap,
    header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID},
};
use domain::{Job, TaskId};

use crate::{
    jobs::wire::{JOB, PICTURE_OBJECT},
    provision::names::DEAD_LETTER_SUBJECT,
};

const REASON: &str = "Spotter-Reason";
const ORIGINAL_SUBJECT: &str = "Spotter-Subject";
const DELIVERIES: &str = "Spotter-Deliveries";
const PIECES: &str = "Spotter-Picture-Pieces";
const PIECES_BYTES: &str = "Spotter-Picture-Bytes";

/// The last token of the subject of dead letters that are not jobs.
const UNREADABLE: &str = "unreadable";

/// The longest reason that is written into a header, in bytes.
const LONGEST_REASON: usize = 1024;

/// What is known of a message when it becomes a dead letter.
#[derive(Debug)]
pub(crate) struct DeadLetterInfo<'a> {
    /// `None` for a message that is not a job.
    pub(crate) task_id: Option<TaskId>,
    pub(crate) reason: &'a str,
    /// How often it was delivered.
    pub(crate) deliveries: u32,
    /// Where its picture is, if that is not in the message itself.
    pub(crate) pieces: Option<&'a PicturePieces>,
}

/// A dead letter's picture that is stored in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PicturePieces {
    /// The subject of all its pieces.
    pub(crate) subject: String,
    /// The length of the whole picture.
    pub(crate) bytes: u64,
}

/// The contents of a dead letter's headers.
#[derive(Debug, PartialEq)]
pub(crate) struct DeadLetterHeaders {
    /// `None` if the message was not a job.
    pub(crate) job: Option<Job>,
    pub(crate) reason: String,
    pub(crate) deliveries: u32,
    pub(crate) original_subject: String,
    pub(crate) pieces: Option<PicturePieces>,
}

/// The subject of a task's dead letter.
pub(crate) fn dead_letter_subject(task_id: TaskId) -> String {
    format!("{DEAD_LETTER_SUBJECT}.{task_id}")
}

/// The subject and headers of a dead letter; its payload is that of the original.
pub(crate) fn dead_letter(
    message: &async_nats::Message,
    letter: &DeadLetterInfo<'_>,
) -> (String, HeaderMap) {
    let mut headers = HeaderMap::new();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        let lower = name.to_string().to_ascii_lowercase();
        // The server acts on its own headers: an expected sequence or a TTL of the original must not apply
        // to the copy. A job's object is deleted once the dead letter is stored.
        let is_left_out = lower.starts_with("nats-")
            || (letter.task_id.is_some() && lower == PICTURE_OBJECT.to_ascii_lowercase());
        if !is_left_out {
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    headers.insert(REASON, header_text(letter.reason));
    headers.insert(DELIVERIES, letter.deliveries.to_string());
    headers.insert(ORIGINAL_SUBJECT, header_text(message.subject.as_str()));
    if let Some(pieces) = letter.pieces {
        headers.insert(PIECES, pieces.subject.clone());
        headers.insert(PIECES_BYTES, pieces.bytes.to_string());
    }
    let Some(task_id) = letter.task_id else {
        return (format!("{DEAD_LETTER_SUBJECT}.{UNREADABLE}"), headers);
    };
    // A second copy, sent because the confirmation of the first was lost, is dropped by its id within the
    // duplicate window, and refused after it because the first is stored.
    headers.insert(NATS_MESSAGE_ID, task_id.to_string());
    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    (dead_letter_subject(task_id), headers)
}

/// Parses the headers that [`dead_letter`] wrote. Missing headers are empty.
pub(crate) fn read_dead_letter(subject: &str, headers: &HeaderMap) -> DeadLetterHeaders {
    let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    let job = text(JOB).and_then(|json| serde_json::from_str::<Job>(&json).ok());
    let pieces = text(PIECES)
        .zip(text(PIECES_BYTES).and_then(|bytes| bytes.parse().ok()))
        .map(|(subject, bytes)| PicturePieces { subject, bytes });
    DeadLetterHeaders {
        // A message whose job was not that of its subject is unreadable.
        job: job.filter(|job| subject == dead_letter_subject(job.task_id)),
        reason: text(REASON).unwrap_or_default(),
        deliveries: text(DELIVERIES).and_then(|count| count.parse().ok()).unwrap_or(0),
        original_subject: text(ORIGINAL_SUBJECT).unwrap_or_default(),
        pieces,
    }
}

/// `text` as one line of bounded length.
fn header_text(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST_REASON);
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::jobs::wire::{
        PictureSource, encode, job_subject, object_name,
        tests::{job, message},
    };

    #[test]
    fn a_dead_letter_has_no_headers_that_the_server_acts_on() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", "7");
        headers.insert("X-Kept", "yes");
        let original = message("jobs.x".to_owned(), Some(headers), Bytes::new());
        let letter =
            DeadLetterInfo { task_id: None, reason: "two\nlines", deliveries: 1, pieces: None };
        let (subject, headers) = dead_letter(&original, &letter);
        assert_eq!(subject, "dlq.unreadable");
        assert!(headers.get("Nats-Expected-Last-Sequence").is_none());
        assert_eq!(headers.get("X-Kept").unwrap().as_str(), "yes");
        let read = read_dead_letter(&subject, &headers);
        let expected = DeadLetterHeaders {
            job: None,
            reason: "two lines".to_owned(),
            deliveries: 1,
            original_subject: "jobs.x".to_owned(),
            pieces: None,
        };
        assert_eq!(read, expected);
        let long = "é".repeat(LONGEST_REASON);
        assert!(header_text(&long).len() <= LONGEST_REASON);
    }

    #[test]
    fn a_dead_letter_keeps_all_that_is_known_of_its_job() {
        let job = job("bus.jpg");
        let object = PictureSource::Object(object_name(job.task_id));
        let (mut headers, payload) = encode(&job, object).unwrap();
        headers.insert("traceparent", "00-a-b-01");
        let original = message(job_subject(&job), Some(headers), payload);
        let pieces = PicturePieces { subject: "x.y".to_owned(), bytes: 5_000_000 };
        let task_id = Some(job.task_id);
        let letter =
            DeadLetterInfo { task_id, reason: "poison", deliveries: 6, pieces: Some(&pieces) };
        let (subject, headers) = dead_letter(&original, &letter);
        assert!(headers.get(PICTURE_OBJECT).is_none(), "the object will not be there");
        assert!(headers.get("traceparent").is_some(), "its trace can still be found");
        let read = read_dead_letter(&subject, &headers);
        assert_eq!((read.deliveries, read.reason.as_str()), (6, "poison"));
        assert_eq!((read.job.as_ref(), read.pieces), (Some(&job), Some(pieces)));
        assert_eq!(read_dead_letter("dlq.unreadable", &headers).job, None);
    }
}
