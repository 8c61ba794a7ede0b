//! A batch as a client submits it: a form, a zip archive, or a list of URLs.

use std::{collections::BTreeSet, io, time::Duration};

use domain::Priority;
use flate2::Crc;
use futures_util::{StreamExt, stream};
use reqwest::Body;
use serde_json::json;
use tokio::time::sleep;

use crate::load::{pictures::Upload, submission::Expected};

/// How many files a batch has.
pub(crate) const FEWEST_FILES: usize = 2;
pub(crate) const MOST_FILES: usize = 6;

const BOUNDARY: &str = "chaos-boundary";

/// The parameter of the metadata by which tasks of a batch are found, without its value and the end, percent-encoded.
const METADATA: (&str, &str) = ("metadata=%7B%22load%22%3A%22", "%22%7D");

/// One batch and how a client submits it.
pub(crate) struct BatchSubmission {
    /// No other one has it. It is the idempotency key, if there is one, and in the metadata otherwise.
    pub(crate) name: String,
    pub(crate) items: Vec<BatchFile>,
    pub(crate) body: BodyKind,
    pub(crate) is_keyed: bool,
    /// Where its end is reported to.
    pub(crate) callback_url: Option<String>,
    /// What its tasks may come to.
    pub(crate) expected: Expected,
    /// Seconds.
    pub(crate) deadline: Option<u64>,
    pub(crate) priority: Priority,
    /// Before each picture.
    pub(crate) pause: Duration,
    /// The first request's.
    pub(crate) connection: Connection,
    /// Whether it prefers to wait for the end.
    pub(crate) waits: bool,
}

/// A file of a batch.
pub(crate) enum BatchFile {
    Picture(Upload),
    NoPicture,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    Form,
    Zip,
    /// Of URLs that begin so.
    List,
}

/// What becomes of the connection of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    Holds,
    /// The client breaks it in the middle of the body.
    Breaks,
}

impl BodyKind {
    pub(crate) const ALL: [Self; 3] = [Self::Form, Self::Zip, Self::List];
}

impl BatchFile {
    fn name(&self) -> &'static str {
        match self {
            Self::Picture(upload) => upload.name,
            Self::NoPicture => "notes.txt",
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Picture(upload) => &upload.bytes,
            Self::NoPicture => b"These are notes, and no picture.",
        }
    }
}

impl BatchSubmission {
    /// The indices of files that are no pictures.
    pub(crate) fn no_pictures(&self) -> BTreeSet<u16> {
        let numbered = (0..).zip(&self.items);
        numbered.filter(|(_, file)| matches!(file, BatchFile::NoPicture)).map(|(i, _)| i).collect()
    }

    /// Whether its tasks are found by its name.
    pub(crate) fn has_metadata(&self) -> bool {
        !self.is_keyed || self.expected == Expected::Cancelled
    }

    /// The query of its requests.
    pub(crate) fn parameters(&self) -> String {
        let (before, after) = METADATA;
        let metadata = self.has_metadata().then(|| format!("{before}{}{after}", self.name));
        let deadline = self.deadline.map(|seconds| format!("deadline={seconds}"));
        let priority = (!self.priority.is_normal()).then(|| format!("priority={}", self.priority));
        let callback_url = self.callback_url.as_ref().map(|url| format!("callback_url={url}"));
        let given = [metadata, deadline, priority, callback_url, Some("confidence=0.3".to_owned())];
        given.into_iter().flatten().collect::<Vec<_>>().join("&")
    }

    pub(crate) fn content_type(&self) -> String {
        match self.body {
            BodyKind::Form => format!("multipart/form-data; boundary={BOUNDARY}"),
            BodyKind::Zip => "application/zip".to_owned(),
            BodyKind::List => "application/json".to_owned(),
        }
    }

    /// Its body, written picture by picture. `pictures`: where URLs begin.
    pub(crate) fn body(&self, pictures: &str, connection: Connection) -> Body {
        let mut parts = self.parts(pictures);
        let end = match connection {
            Connection::Holds => None,
            Connection::Breaks => {
                parts.truncate(parts.len() / 2);
                Some(Err(io::Error::other("the client breaks the connection")))
            }
        };
        let pause = self.pause;
        let parts =
            stream::iter(parts.into_iter().map(Ok).chain(end)).then(move |part| async move {
                sleep(pause).await;
                part
            });
        Body::wrap_stream(parts)
    }

    /// A part for each file, and one for the end.
    fn parts(&self, pictures: &str) -> Vec<Vec<u8>> {
        let named = self.items.iter().enumerate();
        let files: Vec<_> =
            named.map(|(i, file)| (format!("{i}-{}", file.name()), file.bytes())).collect();
        match self.body {
            BodyKind::Form => form(&files),
            BodyKind::Zip => zip(&files),
            BodyKind::List => {
                let urls = files.iter().map(|(name, _)| format!("{pictures}/{name}"));
                let list = json!({ "items": urls.collect::<Vec<_>>() }).to_string().into_bytes();
                list.chunks(list.len() / 2 + 1).map(<[u8]>::to_vec).collect()
            }
        }
    }
}

fn form(files: &[(String, &[u8])]) -> Vec<Vec<u8>> {
    let part = |(name, bytes): &(String, &[u8])| {
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
        );
        [head.as_bytes(), bytes, b"\r\n"].concat()
    };
    let end = format!("--{BOUNDARY}--\r\n").into_bytes();
    files.iter().map(part).chain([end]).collect()
}

/// An archive of entries that are stored, not deflated.
fn zip(files: &[(String, &[u8])]) -> Vec<Vec<u8>> {
    let (mut parts, mut directory, mut offset) = (Vec::new(), Vec::new(), 0u32);
    for (name, bytes) in files {
        let mut crc = Crc::new();
        crc.update(bytes);
        let size = (bytes.len() as u32).to_le_bytes();
        // Version, flags, method, time and date; then the sizes and lengths.
        let mut shared = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        shared.extend(crc.sum().to_le_bytes());
        shared.extend([size, size].concat());
        shared.extend((name.len() as u16).to_le_bytes());
        shared.extend([0, 0]);
        let entry = [b"PK\x03\x04", shared.as_slice(), name.as_bytes(), bytes].concat();
        directory.extend([b"PK\x01\x02\x14\x00", shared.as_slice(), &[0; 10]].concat());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
        offset += entry.len() as u32;
        parts.push(entry);
    }
    let count = (files.len() as u16).to_le_bytes();
    let mut end = [b"PK\x05\x06\x00\x00\x00\x00".as_slice(), &count, &count].concat();
    end.extend((directory.len() as u32).to_le_bytes());
    end.extend(offset.to_le_bytes());
    end.extend([0, 0]);
    parts.push([directory, end].concat());
    parts
}
