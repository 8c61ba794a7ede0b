//! What jobs' models and shadow models have found in the same pictures: the latest 10,000 comparisons, for a week.

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream::message::PublishMessage};
use domain::{ModelComparison, ModelName};

use crate::{
    ErrorKind, Messaging, MessagingError,
    provision::names::{COMPARISON_STREAM, COMPARISON_SUBJECT},
    stream_range::{self, Payloads, StreamRange},
};

/// How many are read at a time.
const PAGE: usize = 1000;

/// The comparisons. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Comparisons {
    messaging: Messaging,
}

impl Comparisons {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging }
    }

    /// Stores a comparison. When there are too many, the oldest is deleted.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn store(&self, comparison: &ModelComparison) -> Result<(), MessagingError> {
        let what = "store a comparison";
        let ModelComparison { task_id, a, b, .. } = comparison;
        let json =
            serde_json::to_vec(comparison).map_err(|error| MessagingError::failed(what, error))?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, format!("{task_id}.{}", b.model));
        let message = PublishMessage::build().headers(headers).payload(json.into());
        let subject = format!("{}.{task_id}", subject_of(&a.model, &b.model));
        let publish =
            async { self.messaging.jetstream().send_publish(subject, message).await?.await };
        self.messaging.within(what, publish).await.map(drop)
    }

    /// All comparisons of jobs of model `a` that the shadow model `b` has run as well, oldest first. Those that cannot be
    /// parsed are left out. Empty if no process ever had a shadow model.
    ///
    /// # Errors
    /// [`MessagingError::Failed`] or [`MessagingError::Timeout`].
    pub async fn of(
        &self,
        a: &ModelName,
        b: &ModelName,
    ) -> Result<Vec<ModelComparison>, MessagingError> {
        let (mut comparisons, mut from) = (Vec::new(), 1);
        loop {
            let range = StreamRange {
                stream: COMPARISON_STREAM,
                subject: format!("{}.*", subject_of(a, b)),
                from,
                most: PAGE,
                payloads: Payloads::Read,
            };
            let page = match stream_range::read(&self.messaging, &range).await {
                Err(error) if error.kind() == ErrorKind::NotProvisioned => return Ok(Vec::new()),
                page => page?,
            };
            let Some(last) = page.last() else { return Ok(comparisons) };
            from = last.sequence + 1;
            let parsed = page.iter().map(|stored| serde_json::from_slice(&stored.message.payload));
            comparisons.extend(parsed.filter_map(Result::ok));
        }
    }
}

fn subject_of(a: &ModelName, b: &ModelName) -> String {
    format!("{COMPARISON_SUBJECT}.{a}.{b}")
}
