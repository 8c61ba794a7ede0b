//! Webhooks that were given up, for operators.

mod error;

use domain::TaskId;
use messaging::DeadWebhook;
use poem::web::Data;
use poem_openapi::{
    ApiResponse, Object, OpenApi,
    param::{Path, Query},
    payload::Json,
    types::Example,
};
use time::OffsetDateTime;

use self::error::{unavailable, unknown};
use super::{
    cursor,
    shared_error::{ChangeError, ReadError},
};
use crate::{
    given_up::{GivenUp, Page},
    routes::tag::Tag,
};

/// How many webhooks a page has, unless its client says otherwise.
const DEFAULT_LIMIT: u8 = 20;

/// The routes of webhooks.
pub(crate) struct WebhooksApi;

#[OpenApi(prefix_path = "/v1", tag = "Tag::V1")]
impl WebhooksApi {
    /// List webhooks that were given up
    ///
    /// Those that no receiver has accepted in ten tries; the oldest first, in pages, without their URLs. Needs the scope
    /// `admin`, where requests need a key.
    #[oai(path = "/webhooks/dead-letters", method = "get")]
    async fn dead_webhooks(
        &self,
        given_up: Data<&GivenUp>,
        /// How many webhooks a page has at most, from 1 to 100. Default 20.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<Option<u8>>,
        /// `next` of a page: the page after it.
        cursor: Query<Option<String>>,
    ) -> Result<Json<DeadWebhookList>, ReadError> {
        let limit = usize::from(limit.0.unwrap_or(DEFAULT_LIMIT));
        let after = cursor::parse(cursor.0).map_err(ReadError::cursor)?;
        match given_up.webhooks(after, limit).await {
            Ok(page) => Ok(Json(page.into())),
            Err(error) => Err(ReadError::unavailable(unavailable(&error))),
        }
    }

    /// Replay a webhook that was given up
    ///
    /// It is delivered again, with all its tries.
    #[oai(path = "/webhooks/dead-letters/:task_id/replay", method = "post")]
    async fn replay_webhook(
        &self,
        given_up: Data<&GivenUp>,
        /// The task or the batch whose end it reports.
        task_id: Path<String>,
    ) -> Result<ReplayResponse, ChangeError> {
        let id: TaskId = task_id.parse().map_err(|_| ChangeError::Unknown(unknown(&task_id)))?;
        match given_up.replay(id).await {
            Ok(true) => Ok(ReplayResponse::Queued),
            Ok(false) => Err(ChangeError::Unknown(unknown(&task_id))),
            Err(error) => Err(ChangeError::unavailable(unavailable(&error))),
        }
    }
}

#[derive(ApiResponse)]
enum ReplayResponse {
    /// The webhook will be delivered again.
    #[oai(status = 202)]
    Queued,
}

/// A page of webhooks that were given up.
#[derive(Object)]
#[oai(skip_serializing_if_is_none, example)]
struct DeadWebhookList {
    /// The oldest first.
    dead_letters: Vec<DeadWebhookEntry>,
    /// The `cursor` of the next page. Absent on the last one.
    next: Option<String>,
}

/// A webhook that was given up.
#[derive(Object)]
#[oai(rename = "DeadWebhook")]
struct DeadWebhookEntry {
    /// The task or the batch whose end it reports.
    task_id: String,
    /// When it was given up.
    given_up_at: OffsetDateTime,
    /// How often it was tried.
    attempts: u32,
    /// Why the last try failed.
    reason: String,
    /// The state that it reports.
    state: String,
}

impl From<Page<DeadWebhook>> for DeadWebhookList {
    fn from(Page { members, next }: Page<DeadWebhook>) -> Self {
        let dead_letters = members.into_iter().map(DeadWebhookEntry::from).collect();
        Self { dead_letters, next: next.map(|next| next.to_string()) }
    }
}

impl From<DeadWebhook> for DeadWebhookEntry {
    fn from(webhook: DeadWebhook) -> Self {
        Self {
            task_id: webhook.ended.id().to_string(),
            given_up_at: webhook.given_up_at,
            attempts: webhook.attempts,
            state: webhook.ended.state().to_owned(),
            reason: webhook.reason,
        }
    }
}

impl Example for DeadWebhookList {
    fn example() -> Self {
        let webhook = DeadWebhookEntry {
            task_id: "0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47".to_owned(),
            given_up_at: OffsetDateTime::UNIX_EPOCH,
            attempts: 10,
            reason: "the receiver answered 500".to_owned(),
            state: "SUCCESS".to_owned(),
        };
        Self { dead_letters: vec![webhook], next: Some("17".to_owned()) }
    }
}
