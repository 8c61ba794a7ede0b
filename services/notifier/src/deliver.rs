//! One webhook from its arrival to its settlement.

use std::time::Duration;

use domain::CallbackUrl;
use hyper::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use messaging::{CloudEvents, Ended, MessagingError, WebhookDelivery};
use outbound::{Client, RequestError, Response};
use time::OffsetDateTime;

use crate::{metrics::NotifierMetrics, payload, retries::Retries, signature::Secrets};

/// The first and the longest delay of a webhook whose host has as many requests in progress as it may.
const BUSY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// What every webhook of this notifier shares.
pub(crate) struct Context {
    /// Where the end of each task is stored as an event, if anywhere.
    pub(crate) events: Option<CloudEvents>,
    pub(crate) client: Client,
    pub(crate) secrets: Secrets,
    pub(crate) retries: Retries,
    pub(crate) metrics: NotifierMetrics,
}

/// The delay before an event is stored again.
const EVENT_RETRY_DELAY: Duration = Duration::from_secs(5);

/// The outcome of one try.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// No webhook is wanted: only the event.
    NoCallback,
    /// A 2xx.
    Delivered,
    /// It was not tried: its host is busy.
    Busy,
    /// It is tried again, not before `retry_after`.
    Failed { reason: String, retry_after: Option<Duration> },
    /// It is not tried again.
    Refused { reason: String },
}

/// Stores the event of the end of a task, tries to deliver its webhook, and settles it.
pub(crate) async fn deliver(context: &Context, delivery: WebhookDelivery) {
    let id = delivery.ended.id();
    if let Err(error) = store_event(context, &delivery).await {
        context.metrics.count_event("failed");
        tracing::warn!(%id, %error, "an event was not stored; retrying");
        // Else it comes again after `ack_wait`.
        let _ = delivery.postpone(EVENT_RETRY_DELAY).await;
        return;
    }
    let outcome = match delivery.ended.callback_url() {
        Some(url) => attempt(context, &delivery.ended, url).await,
        None => Outcome::NoCallback,
    };
    if let Err(error) = settle(context, delivery, outcome).await {
        tracing::warn!(%id, %error, "a webhook is delivered again: it was not settled");
    }
}

/// Once for each task or batch, if there are events.
async fn store_event(context: &Context, delivery: &WebhookDelivery) -> Result<(), EventError> {
    let Some(events) = context.events.as_ref().filter(|_| delivery.attempt == 1) else {
        return Ok(());
    };
    events.publish(payload::event(&delivery.ended)?).await?;
    context.metrics.count_event("stored");
    Ok(())
}

/// Why an event was not stored.
#[derive(Debug, thiserror::Error)]
enum EventError {
    #[error("it cannot be written: {0}")]
    Unwritable(#[from] serde_json::Error),
    #[error(transparent)]
    Messaging(#[from] MessagingError),
}

async fn attempt(context: &Context, ended: &Ended, url: &CallbackUrl) -> Outcome {
    let refused = |reason: String| Outcome::Refused { reason };
    let target = match context.client.rules().check(url.as_str()) {
        Ok(target) => target,
        Err(error) => return refused(format!("its URL is not called: {error}")),
    };
    if context.secrets.is_empty() {
        return refused("it cannot be signed: WEBHOOK_SECRETS is not set".to_owned());
    }
    let body = match payload::body(ended) {
        Ok(body) => body,
        Err(error) => return refused(format!("its body cannot be written: {error}")),
    };
    let headers = match headers(context, ended, &body) {
        Ok(headers) => headers,
        Err(error) => return refused(format!("its headers cannot be written: {error}")),
    };
    let answer = context.client.post(&target, &headers, body.into()).await;
    of_answer(answer.as_ref().map(|answer| (answer.status(), retry_after(answer))))
}

fn headers(
    context: &Context,
    ended: &Ended,
    body: &[u8],
) -> Result<HeaderMap, hyper::header::InvalidHeaderValue> {
    // The same for every try; no `.` in it, which separates what is signed.
    let id = format!("msg_{}", ended.message_id());
    let timestamp = OffsetDateTime::now_utc().unix_timestamp();
    let signature = context.secrets.sign(&id, timestamp, body);
    let name = HeaderName::from_static;
    Ok(HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (name("webhook-id"), HeaderValue::from_str(&id)?),
        (name("webhook-timestamp"), HeaderValue::from(timestamp)),
        (name("webhook-signature"), HeaderValue::from_str(&signature)?),
    ]))
}

/// The delay that a receiver asks for.
fn retry_after(answer: &Response) -> Option<Duration> {
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?;
    domain::retry_after(text, OffsetDateTime::now_utc())
}

fn of_answer(answer: Result<(u16, Option<Duration>), &RequestError>) -> Outcome {
    match answer {
        Ok((200..=299, _)) => Outcome::Delivered,
        Ok((410, _)) => {
            Outcome::Refused { reason: "its server answered with status 410".to_owned() }
        }
        Ok((status, retry_after)) => Outcome::Failed {
            reason: format!("its server answered with status {status}"),
            retry_after,
        },
        Err(RequestError::Busy) => Outcome::Busy,
        Err(error) => Outcome::Failed { reason: error.to_string(), retry_after: None },
    }
}

async fn settle(
    context: &Context,
    delivery: WebhookDelivery,
    outcome: Outcome,
) -> Result<(), MessagingError> {
    let (id, attempt) = (delivery.ended.id(), delivery.attempt);
    let (reason, delay) = match outcome {
        Outcome::NoCallback => return delivery.delivered().await,
        Outcome::Delivered => {
            if let Some(finished_at) = delivery.ended.finished_at() {
                let delay = OffsetDateTime::now_utc() - finished_at;
                context.metrics.record_delay(delay.as_seconds_f64().max(0.0));
            }
            context.metrics.count("delivered");
            tracing::info!(%id, attempt, "a webhook was delivered");
            return delivery.delivered().await;
        }
        Outcome::Busy => {
            context.metrics.count("postponed");
            let delay = busy_delay(delivery.deliveries, rand::random());
            return delivery.postpone(delay).await;
        }
        Outcome::Failed { reason, retry_after } => {
            let delay = context.retries.delay(attempt, retry_after, rand::random());
            (reason, delay)
        }
        Outcome::Refused { reason } => (reason, None),
    };
    match delay {
        Some(delay) => {
            context.metrics.count("failed");
            tracing::info!(%id, attempt, reason, ?delay, "a webhook is tried again");
            delivery.retry(delay).await
        }
        None => {
            context.metrics.count("given_up");
            tracing::warn!(%id, attempt, reason, "a webhook was given up");
            delivery.give_up(&reason).await
        }
    }
}

/// Grows with each time that the host was busy; `jitter` is from 0 to 1.
fn busy_delay(deliveries: u32, jitter: f64) -> Duration {
    let (first, longest) = BUSY;
    let delay = (first * 2_u32.pow(deliveries.min(16))).min(longest);
    delay.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_decides() {
        let after = Some(Duration::from_secs(7));
        let failed = |status: u16| Outcome::Failed {
            reason: format!("its server answered with status {status}"),
            retry_after: after,
        };
        for status in [200, 201, 204, 299] {
            assert_eq!(of_answer(Ok((status, after))), Outcome::Delivered, "{status}");
        }
        for status in [301, 302, 308, 400, 401, 404, 429, 500, 502, 503, 504] {
            assert_eq!(of_answer(Ok((status, after))), failed(status));
        }
        assert!(matches!(of_answer(Ok((410, after))), Outcome::Refused { .. }));
        assert_eq!(of_answer(Err(&RequestError::Busy)), Outcome::Busy);
        assert!(matches!(of_answer(Err(&RequestError::TimedOut)), Outcome::Failed { .. }));
    }

    #[test]
    fn a_busy_host_is_asked_less_and_less() {
        let milliseconds = |deliveries| busy_delay(deliveries, 1.0).as_millis();
        assert_eq!([1, 2, 3, 30].map(milliseconds), [500, 1000, 2000, 10_000]);
        assert_eq!(busy_delay(1, 0.0), Duration::from_millis(250));
    }
}
