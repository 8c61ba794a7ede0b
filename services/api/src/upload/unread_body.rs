//! The body of a request in the manner of another server, which is read once it is known who has sent it: the bytes of a
//! picture, or JSON with pictures in it. The API key may be in the JSON; its start is read first then.

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
};

use bytes::{Bytes, BytesMut};
use domain::Sha256Hasher;
use futures_util::{StreamExt, stream::BoxStream};
use poem::{Request, RequestBody, http::header};
use serde::de::DeserializeOwned;

use super::{
    cache_control::CacheControl,
    error::{UploadError, json_error},
    fetch::PictureUrl,
    form::FoundPicture,
    limited_body::LimitedBody,
    pace::UploadPace,
    picture_form::{check_encoding, json_slots, slots_for},
    plain_body::{checked, file_name, read_picture},
    rules::{INITIAL_CAPACITY, UploadRules, max_form_bytes, max_json_bytes},
    sent_picture::SentPicture,
    uploaded::{UploadSlot, UploadedPicture},
};

/// How much of a JSON body is read before it is known who has sent it, in bytes, and how much a body without pictures
/// may have.
const START_BYTES: usize = 4 * 1024;

type Segments = BoxStream<'static, io::Result<Bytes>>;

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnreadKind {
    /// The bytes of a picture.
    Picture,
    /// JSON.
    Json,
}

/// The body of a request, unread.
pub(crate) struct UnreadBody {
    /// The file name of a picture.
    name: String,
    length: Option<u64>,
    /// How many bytes it may have.
    most: u64,
    segments: Segments,
    hasher: Option<Sha256Hasher>,
    rules: UploadRules,
    arrived: Arc<AtomicU64>,
}

impl UnreadBody {
    /// The body of this request.
    ///
    /// # Errors
    /// [`UploadError`] if it cannot be accepted.
    pub(crate) fn of(
        request: &Request,
        body: &mut RequestBody,
        rules: &UploadRules,
        kind: UnreadKind,
    ) -> Result<Self, UploadError> {
        let headers = request.headers();
        check_encoding(headers)?;
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let most = match kind {
            UnreadKind::Picture => max_form_bytes(&rules.limits),
            UnreadKind::Json => max_json_bytes(&rules.limits),
        };
        if length.is_some_and(|length: u64| length > most) {
            return Err(UploadError::FormTooLarge { most, max_bytes: rules.limits.max_bytes });
        }
        let is_kept = rules.digests && !CacheControl::of(headers).no_store;
        Ok(Self {
            name: file_name(headers)?,
            length,
            most,
            segments: body.take().unwrap_or_default().into_bytes_stream().boxed(),
            hasher: is_kept.then(Sha256Hasher::new),
            rules: rules.clone(),
            arrived: Arc::default(),
        })
    }

    /// How fast it must arrive.
    pub(crate) fn pace(&self) -> UploadPace {
        UploadPace { timeout: self.rules.timeout, arrived: Arc::clone(&self.arrived) }
    }

    /// Reads it as a picture.
    ///
    /// # Errors
    /// [`UploadError`] if there is no place, or the queue would reject its job; if it is no complete picture within the
    /// limits.
    pub(crate) async fn picture(&mut self) -> Result<UploadedPicture, UploadError> {
        let slot = slots_for(&self.rules, 1)?;
        let limits = &self.rules.limits;
        let body = LimitedBody::new(&mut self.segments, limits, self.most, &self.arrived);
        let found = read_picture(body, self.name.clone(), self.length, limits, self.hasher.clone());
        let FoundPicture { name, bytes, sha256 } = found.await?;
        Ok(UploadedPicture { name, bytes, sha256, slot })
    }

    /// It as JSON.
    pub(crate) fn json(&mut self) -> JsonBody<'_> {
        let limits = &self.rules.limits;
        let body = LimitedBody::new(&mut self.segments, limits, self.most, &self.arrived);
        JsonBody {
            body,
            text: BytesMut::new(),
            length: self.length,
            hasher: self.hasher.clone(),
            rules: &self.rules,
        }
    }
}

/// JSON, while it is read.
pub(crate) struct JsonBody<'a> {
    body: LimitedBody<'a, &'a mut Segments>,
    text: BytesMut,
    length: Option<u64>,
    hasher: Option<Sha256Hasher>,
    rules: &'a UploadRules,
}

impl JsonBody<'_> {
    /// Its first bytes: all of it, if it has no pictures.
    ///
    /// # Errors
    /// [`UploadError`] if it cannot be read.
    pub(crate) async fn start(&mut self) -> Result<&[u8], UploadError> {
        while self.text.len() < START_BYTES {
            let Some(segment) = self.body.next().await? else { break };
            self.text.extend_from_slice(&segment);
        }
        Ok(&self.text)
    }

    /// Reads and parses all of it. Only now it takes a place among the uploads.
    ///
    /// # Errors
    /// [`UploadError`] if there is no place, or the queue would reject its jobs; if it is no such JSON.
    pub(crate) async fn read<T: DeserializeOwned + Send + 'static>(
        mut self,
    ) -> Result<(T, BodyPictures), UploadError> {
        let slot = slots_for(self.rules, json_slots(self.length))?;
        let expected = usize::try_from(self.length.unwrap_or(INITIAL_CAPACITY)).unwrap_or_default();
        self.text.reserve(expected.saturating_sub(self.text.len()));
        while let Some(segment) = self.body.next().await? {
            self.text.extend_from_slice(&segment);
        }
        let text = self.text;
        // Parsing and decoding a large body would block other requests.
        let parsing = tokio::task::spawn_blocking(move || parse(&text));
        let parsed = parsing.await.map_err(|error| UploadError::Json(error.to_string()))??;
        let pictures = BodyPictures { slot, hasher: self.hasher, rules: self.rules.clone() };
        Ok((parsed, pictures))
    }
}

/// Parses JSON, whose pictures are decoded on the way.
///
/// # Errors
/// [`UploadError::Json`].
pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, UploadError> {
    serde_json::from_slice(text).map_err(|error| UploadError::Json(json_error(&error)))
}

/// What makes uploads of the pictures that a body has.
pub(crate) struct BodyPictures {
    /// The place of all of them. One after the other is in memory beside the body.
    slot: UploadSlot,
    hasher: Option<Sha256Hasher>,
    rules: UploadRules,
}

impl BodyPictures {
    /// The picture, checked; it is fetched if it was not sent.
    ///
    /// # Errors
    /// [`UploadError`] if it is no complete picture within the limits, or cannot be fetched.
    pub(crate) async fn complete(
        &self,
        picture: SentPicture,
    ) -> Result<UploadedPicture, UploadError> {
        let Self { slot, hasher, rules } = self;
        let (slot, hasher) = (slot.clone(), hasher.clone());
        match picture {
            SentPicture::Bytes(bytes) => {
                let found = checked(&bytes, &rules.limits, hasher).await?;
                let FoundPicture { name, bytes, sha256 } = found;
                Ok(UploadedPicture { name, bytes, sha256, slot })
            }
            SentPicture::Url(url) => {
                PictureUrl::new(&url, rules.clone(), hasher, slot)?.fetch().await
            }
        }
    }
}
