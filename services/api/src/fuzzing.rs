//! The upload code, the choice of a result's format and other parsers, without a server, for the fuzz targets under `fuzz/`. Compiled for them and for tests
//! only: cargo-fuzz sets `cfg(fuzzing)`.

#![allow(clippy::expect_used, reason = "a panic is how a fuzz target reports")]

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use bytes::Bytes;
use domain::picture::PictureLimits;
use futures_util::stream;
use poem::{
    Body, IntoResponse, Request, RequestBody,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};
use poem_openapi::{ApiExtractor, ExtractParamOptions};
use service::config::Reader;
use tokio::sync::Semaphore;

use crate::{
    auth::presented,
    routes::{
        error::StartTaskError,
        held_error::status_of,
        legacy::LegacyApi,
        open_inference::pictures::InferenceRequest,
        rejection::Rejection,
        roboflow::request::{InferenceRequest as ImageRequest, member},
        v1::{V1Api, error::SubmitError, formats, list::ListParameters},
    },
    tasks::{events::EventId, viewer::Viewer},
    upload::{
        ArrivedPicture, BatchLimits, BatchUpload, FetchConfig, JSON_LENGTH, PictureFetcher,
        PictureForm, SentPicture, SubmissionRoute, Submitted, SubmittedPicture, TensorBody,
        UnreadBody, UnreadKind, UploadError, UploadRules,
        zip::{Event as ZipEvent, Parser, ZipLimits},
    },
};

/// Parses the texts by which a client says where it was: the id of an event, and the place in a list with filters, one
/// a line, the cursor last.
pub fn places(text: &str) {
    if let Ok(id) = text.parse::<EventId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    let (filters, cursor) = text.rsplit_once('\n').unwrap_or(("", text));
    let list = |cursor: Option<String>| {
        let metadata = filters.lines().map(str::to_owned).collect();
        ListParameters { metadata, cursor, ..ListParameters::default() }.query(Viewer::All)
    };
    let (Ok(query), Ok(first)) = (list(Some(cursor.to_owned())), list(None)) else { return };
    assert_eq!((query.filter, first.after), (first.filter, None));
    assert!(query.after.is_some(), "a cursor leads to a place");
}

/// Reads the headers by which a request presents a key: `Authorization`, and behind a line break `X-API-Key`. Whatever is
/// there, a request has one key or none.
pub fn credentials(input: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    for name in [header::AUTHORIZATION, HeaderName::from_static("x-api-key")] {
        // Bytes that no header can have do not reach the API.
        if let Some(Ok(value)) = lines.next().map(HeaderValue::from_bytes) {
            headers.append(name, value);
        }
    }
    if let Ok(key) = presented(&headers) {
        let text = String::from_utf8_lossy(input);
        assert!(text.contains(&format!("spotter_{}_", key.id)), "the key is not in the headers");
        headers.append("x-api-key", HeaderValue::from_static("spotter_"));
        assert!(presented(&headers).is_err(), "one of two keys was taken");
    }
}

/// A submission as a client sends it.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// The `Content-Type` header.
    pub content_type: Option<&'a str>,
    /// The `Content-Length` header, true or not.
    pub content_length: Option<u64>,
    /// The `Content-Encoding` header.
    pub content_encoding: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
    /// The body arrives in two segments, the first of this many bytes.
    pub split_at: usize,
}

impl<'a> Upload<'a> {
    /// Builds it from a fuzzer's input. The first byte selects the headers, the next two where the body is
    /// split; the rest is the body.
    #[must_use]
    pub fn from_input(input: &'a [u8]) -> Option<Self> {
        let ([choice, low, high], body) = input.split_first_chunk()?;
        let content_type = match choice & 0x07 {
            0 => None,
            1 => Some("multipart/form-data"),
            2 => Some("multipart/form-data; boundary="),
            3 => Some("image/png"),
            4 => Some("multipart/form-data; boundary=\"X\"; charset=\"\\\""),
            6 => Some("application/json"),
            7 => Some("application/zip"),
            _ => Some("multipart/form-data; boundary=X"),
        };
        let content_length = match choice >> 3 & 0x07 {
            0 => Some(body.len() as u64),
            1 => Some(0),
            2 => Some(u64::MAX),
            _ => None,
        };
        let content_encoding = match choice >> 6 {
            3 => Some("gzip"),
            2 => Some("identity"),
            _ => None,
        };
        let split_at = usize::from(u16::from_le_bytes([*low, *high])).min(body.len());
        Some(Self { content_type, content_length, content_encoding, body, split_at })
    }
}

/// The responses of both submission routes: status and body. If they would queue the picture, 200 and its
/// name.
///
/// Limits are small, so that a short input can exceed them: 4 KiB and a megapixel.
#[must_use]
pub fn answers(upload: &Upload<'_>) -> [(u16, String); 2] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without sockets");
    runtime.block_on(async {
        [
            answer(extract::<LegacyApi>(upload).await, StartTaskError::from).await,
            answer(extract::<V1Api>(upload).await, SubmitError::from).await,
        ]
    })
}

/// An entry of an archive: its name, its content, and whether that is complete. Otherwise it is left out: how much of it is
/// inflated before the fault is found depends on the segments.
pub type Entry = (Vec<u8>, Vec<u8>, bool);

/// The entries of a zip archive that arrives in two segments, the first of `split_at` bytes, and whether it ends as it
/// should. Limits are small: 16 entries, a mebibyte.
#[must_use]
pub fn entries(archive: &[u8], split_at: usize) -> (Vec<Entry>, bool) {
    let (first, second) = archive.split_at(split_at);
    let mut segments = [first, second].into_iter();
    let mut parser = Parser::new(ZipLimits { max_entries: 16, max_bytes: 1 << 20 });
    let mut entries: Vec<Entry> = Vec::new();
    let mut bytes = 0;
    loop {
        match parser.next() {
            Ok(ZipEvent::NeedsMore) => match segments.next() {
                Some(segment) => parser.feed(segment),
                None => parser.finish(),
            },
            Ok(ZipEvent::Entry(name)) => entries.push((name, Vec::new(), false)),
            Ok(ZipEvent::Content(content)) => {
                bytes += content.len();
                entries.last_mut().expect("content is of an entry").1.extend(content);
            }
            Ok(ZipEvent::EntryEnd(end)) => {
                entries.last_mut().expect("an entry ends after it begins").2 = end.is_ok();
            }
            Ok(ZipEvent::End) => return (complete(entries), true),
            Err(_) => return (complete(entries), false),
        }
        assert!(entries.len() <= 16 && bytes <= 1 << 20, "the limits are kept");
    }
}

fn complete(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.iter_mut().filter(|entry| !entry.2).for_each(|entry| entry.1.clear());
    entries
}

/// How many pictures a body for a batch has, and the status if it were answered then. Each picture is complete, or refused.
/// Nothing is fetched.
#[must_use]
pub fn batch(upload: &Upload<'_>) -> (usize, u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without sockets").block_on(read_batch(upload))
}

async fn read_batch(upload: &Upload<'_>) -> (usize, u16) {
    let (request, mut body) = upload.request().split();
    let rules = request.data::<UploadRules>().expect("the request has rules");
    let time = Duration::from_secs(10);
    let limits = BatchLimits { max_items: 8, max_bytes: 1 << 20, timeout: time, wait: time };
    let status = |error: UploadError| {
        SubmitError::from(Rejection::from(error)).into_response().status().as_u16()
    };
    let mut upload = match BatchUpload::of(&request, &mut body, rules, limits, V1Api::PARAMETERS) {
        Ok(upload) => upload,
        Err(error) => return (0, status(error)),
    };
    let mut pictures = match upload.pictures().await {
        Ok(pictures) => pictures,
        Err(error) => return (0, status(error)),
    };
    let mut count = 0;
    while count < 8 {
        match pictures.next().await {
            Ok(Some(arrived)) => {
                count += 1;
                if let ArrivedPicture::Sent(picture) = arrived.picture {
                    assert!(picture.bytes.len() <= 4096, "the limit of a picture is kept");
                }
            }
            Ok(None) => return (count, 200),
            Err(error) => return (count, status(error)),
        }
    }
    (count, 200)
}

/// An inference request from a fuzzer's input: the length of its JSON in two bytes, of which the largest number is no
/// header, and then as [`Upload::from_input`] has it.
#[must_use]
pub fn inference_from(input: &[u8]) -> Option<(Upload<'_>, Option<u64>)> {
    let ([low, high], input) = input.split_first_chunk()?;
    let json_length = u16::from_le_bytes([*low, *high]);
    let json_length = (json_length < u16::MAX).then_some(u64::from(json_length));
    Some((Upload::from_input(input)?, json_length))
}

/// How many pictures an inference request has, and the status if it were answered then. `json_length` is the header with
/// the length of its JSON.
#[must_use]
pub fn inference(upload: &Upload<'_>, json_length: Option<u64>) -> (usize, u16) {
    let mut request = upload.request();
    if let Some(length) = json_length {
        request.headers_mut().insert(JSON_LENGTH, length.into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without sockets").block_on(async {
        let (request, mut body) = request.split();
        let rules = request.data::<UploadRules>().expect("the request has rules");
        let body = match TensorBody::read(&request, &mut body, rules).await {
            Ok(body) => body,
            Err(error) => return (0, status_of(Rejection::from(error).kind()).as_u16()),
        };
        match InferenceRequest::parse(body, &rules.limits) {
            Ok(InferenceRequest { pictures, .. }) => {
                let bytes: usize = pictures.iter().map(|picture| picture.bytes.len()).sum();
                assert!(bytes <= upload.body.len(), "more than was sent");
                (pictures.len(), 200)
            }
            Err(error) => (0, status_of(error.kind()).as_u16()),
        }
    })
}

/// How many pictures the JSON of Roboflow's client has, and the status if it were answered then. Nothing is fetched.
#[must_use]
pub fn images(upload: &Upload<'_>) -> (usize, u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without sockets").block_on(async {
        let (request, mut body) = upload.request().split();
        match read_images(upload, &request, &mut body).await {
            Ok(images) => {
                let bytes_of = |image: &SentPicture| match image {
                    SentPicture::Bytes(bytes) => bytes.len(),
                    SentPicture::Url(url) => url.len(),
                };
                let bytes: usize = images.iter().map(bytes_of).sum();
                assert!(bytes <= upload.body.len(), "more than was sent");
                (images.len(), 200)
            }
            Err(error) => (0, status_of(error.kind()).as_u16()),
        }
    })
}

async fn read_images(
    upload: &Upload<'_>,
    request: &Request,
    body: &mut RequestBody,
) -> Result<Vec<SentPicture>, Rejection> {
    let rules = request.data::<UploadRules>().expect("the request has rules");
    let mut body = UnreadBody::of(request, body, rules, UnreadKind::Json)?;
    let mut json = body.json();
    // As a guard does that does not know yet who sends it.
    let key = member(json.start().await?, "api_key");
    assert!(key.is_none_or(|key| key.len() <= upload.body.len()), "a key that was not sent");
    let (request, _) = json.read::<ImageRequest>().await?;
    request.settings()?;
    Ok(request.image.images)
}

/// The media type of the answer to a request for a result with this header `Accept`; `None`: 406.
#[must_use]
pub fn accepted(accept: &[u8]) -> Option<&'static str> {
    let mut headers = HeaderMap::new();
    // Bytes that no header can have do not reach the API.
    if let Ok(value) = HeaderValue::from_bytes(accept) {
        headers.insert(header::ACCEPT, value);
    }
    formats::media_type(&headers)
}

async fn answer<R, E: IntoResponse>(
    form: PictureForm<R>,
    render: fn(Rejection) -> E,
) -> (u16, String) {
    match form.0 {
        Ok(Submitted { picture: SubmittedPicture::Sent(picture), .. }) => (200, picture.name),
        // Nothing is fetched.
        Ok(Submitted { picture: SubmittedPicture::At(_), .. }) => (200, "a URL".to_owned()),
        Err(error) => {
            let answer = render(error.into()).into_response();
            let status = answer.status().as_u16();
            (status, answer.into_body().into_string().await.expect("JSON is UTF-8"))
        }
    }
}

async fn extract<R: SubmissionRoute>(upload: &Upload<'_>) -> PictureForm<R> {
    let (request, mut body) = upload.request().split();
    let form = PictureForm::from_request(&request, &mut body, ExtractParamOptions::default()).await;
    form.expect("the extractor never fails: each route renders its own errors")
}

impl Upload<'_> {
    fn request(&self) -> Request {
        let (first, second) = self.body.split_at(self.split_at);
        let segments =
            [first, second].map(|segment| Ok::<_, io::Error>(Bytes::copy_from_slice(segment)));
        let mut request = Request::builder();
        if let Some(content_type) = self.content_type {
            request = request.content_type(content_type);
        }
        if let Some(content_length) = self.content_length {
            request = request.header("content-length", content_length);
        }
        if let Some(content_encoding) = self.content_encoding {
            request = request.header("content-encoding", content_encoding);
        }
        let mut request = request.body(Body::from_bytes_stream(stream::iter(segments)));
        request.extensions_mut().insert(UploadRules {
            backpressure: crate::tasks::backpressure::Backpressure::default(),
            limits: PictureLimits { max_bytes: 4096, max_pixels: 1_000_000 },
            timeout: Duration::from_secs(10),
            slots: Arc::new(Semaphore::new(1)),
            max_slots: 1,
            digests: true,
            fetcher: Some(fetcher()),
        });
        request
    }
}

fn fetcher() -> PictureFetcher {
    let settings = HashMap::<String, String>::new();
    let config = FetchConfig::read(&mut Reader::new(&settings)).expect("fetching is on by default");
    PictureFetcher::new(config, &opentelemetry::global::meter("fuzzing"))
}

#[cfg(test)]
mod tests;
