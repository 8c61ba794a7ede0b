//! The upload code without a server round it, for the fuzz targets under `fuzz/`. It is compiled
//! for them only: cargo-fuzz sets `cfg(fuzzing)`.

#![allow(clippy::expect_used, reason = "a panic is how a fuzz target reports")]

use std::{io::Cursor, sync::Arc, time::Duration};

use domain::picture::PictureLimits;
use poem::{Body, IntoResponse, Request};
use poem_openapi::{ApiExtractor, ExtractParamOptions};
use tokio::{io::AsyncReadExt, sync::Semaphore};

use crate::{
    error::{StartTaskError, SubmitFailure},
    original::OriginalApi,
    upload::{PictureForm, SubmissionRoute, UploadError, UploadRules},
    v1::V1Api,
};

/// A submission as it comes over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// The `Content-Type` header.
    pub content_type: Option<&'a str>,
    /// The `Content-Length` header, true or not.
    pub content_length: Option<u64>,
    /// The body.
    pub body: &'a [u8],
    /// The body comes in two packets, the first of this many bytes.
    pub torn_at: usize,
}

/// The statuses by which both submission routes would answer; 200 where they would queue the picture.
///
/// Limits are small, so that a short input can pass them: 4 KiB and a megapixel.
#[must_use]
pub fn status_of(upload: &Upload<'_>) -> [u16; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime without sockets");
    let original = runtime.block_on(extract::<OriginalApi>(upload));
    let v1 = runtime.block_on(extract::<V1Api>(upload));
    [status(original, StartTaskError::from), status(v1, SubmitFailure::from)]
}

fn status<R, E: IntoResponse>(form: PictureForm<R>, refusal: fn(UploadError) -> E) -> u16 {
    form.0.map_or_else(|error| refusal(error).into_response().status().as_u16(), |_| 200)
}

async fn extract<R: SubmissionRoute>(upload: &Upload<'_>) -> PictureForm<R> {
    let (first, second) = upload.body.split_at(upload.torn_at);
    let packets = Cursor::new(first.to_vec()).chain(Cursor::new(second.to_vec()));
    let mut request = Request::builder();
    if let Some(content_type) = upload.content_type {
        request = request.content_type(content_type);
    }
    if let Some(content_length) = upload.content_length {
        request = request.header("content-length", content_length);
    }
    let mut request = request.body(Body::from_async_read(packets));
    request.extensions_mut().insert(UploadRules {
        backpressure: crate::backpressure::Backpressure::default(),
        limits: PictureLimits { max_bytes: 4096, max_pixels: 1_000_000 },
        timeout: Duration::from_secs(10),
        slots: Arc::new(Semaphore::new(1)),
        digests: true,
    });
    let (request, mut body) = request.split();
    let form = PictureForm::from_request(&request, &mut body, ExtractParamOptions::default()).await;
    form.expect("extracting never fails: each route words its own errors")
}
