//! The body of a request in the manner of another server, which is read once it is known who has sent it: the bytes of a
//! picture, or JSON with pictures in it. The API key may be in the JSON; its start is read first then.

use bytes::BytesMut;
use domain::Sha256Hasher;
use poem::{Request, RequestBody};
use serde::de::DeserializeOwned;

use super::{
    error::{UploadError, json_error},
    fetch::PictureUrl,
    form::FoundPicture,
    incoming_body::{IncomingBody, OpenBody},
    pace::UploadPace,
    plain_body::{checked, file_name, read_picture},
    rules::{UploadRules, max_form_bytes, max_json_bytes},
    sent_picture::SentPicture,
    slots::{json_slots, slots_for},
    uploaded::{UploadSlot, UploadedPicture},
};

/// How much of a JSON body is read before it is known who has sent it, in bytes, and how much a body without pictures
/// may have.
const START_BYTES: usize = 4 * 1024;

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnreadKind {
    /// The bytes of a picture.
    Picture,
    /// JSON.
    Json,
}

/// The body of a request, unread.
pub(crate) struct UnreadBody<'a> {
    /// The file name of a picture.
    name: String,
    body: IncomingBody<'a>,
}

impl<'a> UnreadBody<'a> {
    /// The body of this request.
    ///
    /// # Errors
    /// [`UploadError`] if it cannot be accepted.
    pub(crate) fn of(
        request: &Request,
        body: &mut RequestBody,
        rules: &'a UploadRules,
        kind: UnreadKind,
    ) -> Result<Self, UploadError> {
        let most = match kind {
            UnreadKind::Picture => max_form_bytes(&rules.limits),
            UnreadKind::Json => max_json_bytes(&rules.limits),
        };
        let body = IncomingBody::of(request, body, rules, most)?;
        Ok(Self { name: file_name(request.headers())?, body })
    }

    /// How fast it must arrive.
    pub(crate) fn pace(&self) -> UploadPace {
        self.body.pace()
    }

    /// Reads it as a picture.
    ///
    /// # Errors
    /// [`UploadError`] if there is no place, or the queue would reject its job; if it is no complete picture within the
    /// limits.
    pub(crate) async fn picture(&mut self) -> Result<UploadedPicture, UploadError> {
        let OpenBody { bytes, length, hasher, rules } = self.body.open();
        let slot = slots_for(rules, 1)?;
        let found = read_picture(bytes, self.name.clone(), length, &rules.limits, hasher);
        let FoundPicture { name, bytes, sha256 } = found.await?;
        Ok(UploadedPicture { name, bytes, sha256, slot })
    }

    /// It as JSON.
    pub(crate) fn json(&mut self) -> JsonBody<'_> {
        JsonBody { body: self.body.open(), text: BytesMut::new() }
    }
}

/// JSON, while it is read.
pub(crate) struct JsonBody<'a> {
    body: OpenBody<'a>,
    /// What was read of it.
    text: BytesMut,
}

impl JsonBody<'_> {
    /// Its first bytes: all of it, if it has no pictures.
    ///
    /// # Errors
    /// [`UploadError`] if it cannot be read.
    pub(crate) async fn start(&mut self) -> Result<&[u8], UploadError> {
        while self.text.len() < START_BYTES {
            let Some(segment) = self.body.bytes.next().await? else { break };
            self.text.extend_from_slice(&segment);
        }
        Ok(&self.text)
    }

    /// Reads and parses all of it. Only now it takes a place among the uploads.
    ///
    /// # Errors
    /// [`UploadError`] if there is no place, or the queue would reject its jobs; if it is no such JSON.
    pub(crate) async fn read<T: DeserializeOwned + Send + 'static>(
        self,
    ) -> Result<(T, BodyPictures), UploadError> {
        let OpenBody { mut bytes, length, hasher, rules } = self.body;
        let slot = slots_for(rules, json_slots(length))?;
        let text = bytes.read_to_end(self.text, length).await?;
        // Parsing and decoding a large body would block other requests.
        let parsing = tokio::task::spawn_blocking(move || parse(&text));
        let parsed = parsing.await.map_err(|error| UploadError::Json(error.to_string()))??;
        let pictures = BodyPictures { slot, hasher, rules: rules.clone() };
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
