//! Pictures by URL: fetched by the rules of the crate `outbound`, and checked as an upload is.

use std::time::Duration;

use domain::{Sha256Hasher, picture::PictureError};
use opentelemetry::{KeyValue, trace::SpanBuilder};
use outbound::{Client, RequestError, Response, Target};
use percent_encoding::percent_decode_str;
use poem::http::{
    HeaderMap,
    header::{ACCEPT, CONTENT_LENGTH, HeaderValue},
};
use service::telemetry::traces;
use tokio::time::sleep;

use super::{
    arriving::ArrivingPicture,
    error::UploadError,
    fetcher::PictureFetcher,
    form::FoundPicture,
    multipart::without_controls,
    plain_body::file_name,
    rules::{INITIAL_CAPACITY, MAX_FILE_NAME_CHARS, UploadRules},
    uploaded::{UploadSlot, UploadedPicture},
};

/// The outcome of a fetch that failed.
fn outcome(error: &UploadError) -> &'static str {
    match error {
        UploadError::Fetch(error) => match error {
            RequestError::Url(_) | RequestError::Redirect(_) | RequestError::Refused(_) => {
                "refused"
            }
            RequestError::Status(_) => "status",
            RequestError::TimedOut => "timed_out",
            RequestError::Busy => "busy",
            RequestError::TooManyRedirects(_)
            | RequestError::NoLocation
            | RequestError::Unreachable(_)
            | RequestError::Encoded => "unreachable",
        },
        _ => "invalid",
    }
}

/// A picture that is to be fetched.
pub(crate) struct PictureUrl {
    target: Target,
    fetcher: PictureFetcher,
    rules: UploadRules,
    hasher: Option<Sha256Hasher>,
    slot: UploadSlot,
}

impl PictureUrl {
    /// The picture at `url`, if that is one that may be fetched.
    ///
    /// # Errors
    /// [`UploadError`] if it is not, or if no pictures are fetched.
    pub(super) fn new(
        url: &str,
        rules: UploadRules,
        hasher: Option<Sha256Hasher>,
        slot: UploadSlot,
    ) -> Result<Self, UploadError> {
        let fetcher = rules.fetcher.clone().ok_or(UploadError::NoFetching)?;
        let target = fetcher.client().rules().check(url)?;
        Ok(Self { target, fetcher, rules, hasher, slot })
    }

    /// Fetches it.
    ///
    /// # Errors
    /// [`UploadError`] if there is no such picture.
    pub(crate) async fn fetch(self) -> Result<UploadedPicture, UploadError> {
        let FoundPicture { name, bytes, sha256 } = self.fetch_once().await?;
        Ok(UploadedPicture { name, bytes, sha256, slot: self.slot })
    }

    /// Fetches it, and waits while too many others are fetched: `tries` times with `pause` in between.
    ///
    /// # Errors
    /// [`UploadError`] if there is no such picture.
    pub(crate) async fn fetch_in_turn(
        self,
        tries: u32,
        pause: Duration,
    ) -> Result<UploadedPicture, UploadError> {
        for _ in 1..tries {
            match self.fetch_once().await {
                Err(UploadError::Fetch(RequestError::Busy)) => sleep(pause).await,
                Err(error) => return Err(error),
                Ok(FoundPicture { name, bytes, sha256 }) => {
                    return Ok(UploadedPicture { name, bytes, sha256, slot: self.slot });
                }
            }
        }
        self.fetch().await
    }

    async fn fetch_once(&self) -> Result<FoundPicture, UploadError> {
        let Self { target, fetcher, rules, hasher, slot: _ } = self;
        let span = traces::span(|| {
            // Not the URL: it may contain a token.
            let host = KeyValue::new("server.address", target.host().to_string());
            SpanBuilder::from_name("fetch picture").with_attributes([host])
        });
        let fetching = fetch(fetcher.client(), target.clone(), rules, hasher.clone());
        let fetched = span.around(fetching).await;
        match &fetched {
            Ok(picture) => {
                let bytes = i64::try_from(picture.bytes.len()).unwrap_or(i64::MAX);
                span.set(|| [KeyValue::new("spotter.picture.bytes", bytes)]);
                fetcher.count("fetched");
            }
            Err(error) => {
                span.fail("not fetched", || error.to_string());
                fetcher.count(outcome(error));
            }
        }
        fetched
    }
}

async fn fetch(
    client: &Client,
    target: Target,
    rules: &UploadRules,
    hasher: Option<Sha256Hasher>,
) -> Result<FoundPicture, UploadError> {
    let last_segment = name_in(target.url().path());
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("image/*, */*;q=0.1"))]);
    let mut response = client.get(target, &headers).await?;
    let name = file_name(response.headers()).ok().filter(|name| !name.is_empty());
    let name = name.unwrap_or(last_segment);
    let rejected = |error| UploadError::Picture { filename: name.clone(), error };
    let length = length(&response);
    let max_bytes = rules.limits.max_bytes;
    if length.is_some_and(|length| length > max_bytes) {
        return Err(rejected(PictureError::TooManyBytes { max_bytes }));
    }
    let mut picture =
        ArrivingPicture::new(&rules.limits, length.unwrap_or(INITIAL_CAPACITY), hasher);
    loop {
        match response.next().await {
            Ok(Some(bytes)) => picture.push(&bytes).map_err(rejected)?,
            Ok(None) => break,
            Err(error) => {
                // An incomplete bomb is reported as a bomb.
                picture.check().map_err(rejected)?;
                return Err(error.into());
            }
        }
    }
    let (bytes, sha256) = picture.finish().map_err(rejected)?;
    Ok(FoundPicture { name, bytes, sha256 })
}

fn length(response: &Response) -> Option<u64> {
    response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The last segment of a path, decoded, as a file name.
fn name_in(path: &str) -> String {
    let segment = path.rsplit('/').next().unwrap_or_default();
    let name = percent_decode_str(segment).decode_utf8_lossy();
    without_controls(&name).chars().take(MAX_FILE_NAME_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_segment_of_the_path_is_the_name() {
        for (path, name) in [
            ("/a/b/bus.jpg", "bus.jpg"),
            ("/caf%C3%A9%20.png", "café .png"),
            ("/", ""),
            ("/a/", ""),
            ("/%00%1b%0A", "\u{FFFD}\u{FFFD}\u{FFFD}"),
            ("/%ff", "\u{FFFD}"),
        ] {
            assert_eq!(name_in(path), name, "{path}");
        }
        assert_eq!(name_in(&format!("/{}", "a".repeat(1000))).len(), MAX_FILE_NAME_CHARS);
    }
}
