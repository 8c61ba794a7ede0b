//! Reads the changes of all records since the last time. The bucket keeps one value for each key, so this costs what has
//! changed, and the first time as many reads as there are records.

use async_nats::jetstream::stream::State;
use bytes::Bytes;
use domain::TaskId;
use time::OffsetDateTime;

use crate::{
    Messaging, MessagingError,
    provision::names::{TASK_BUCKET, TASK_STREAM},
    stream_range::{self, Payloads, StreamRange},
};

/// How many records are read at a time.
const PAGE: usize = 1000;

/// How far the records have been read.
pub(crate) struct RecordLog {
    messaging: Messaging,
    /// When the bucket was created.
    created_at: Option<OffsetDateTime>,
    /// The last sequence that was read.
    read_to: u64,
}

/// What has changed.
pub(crate) enum Change {
    /// Everything: it is a new bucket, or an older state of it after a restore or a crash.
    All,
    /// This record. Without payload, it was deleted.
    Record { id: TaskId, sequence: u64, payload: Bytes },
}

impl RecordLog {
    pub(crate) fn new(messaging: Messaging) -> Self {
        Self { messaging, created_at: None, read_to: 0 }
    }

    /// Hands each change since the last call to `apply`, oldest first. Returns the first sequence that is left: records
    /// with a lower one have expired.
    pub(crate) async fn read_changes(
        &mut self,
        mut apply: impl FnMut(Change),
    ) -> Result<u64, MessagingError> {
        let what = "ask for the state of the task records";
        let jetstream = self.messaging.jetstream();
        let stream = self.messaging.within(what, jetstream.get_stream_no_info(TASK_STREAM)).await?;
        let info = self.messaging.within(what, stream.get_info()).await?;
        if self.created_at != Some(info.created) || info.state.last_sequence < self.read_to {
            apply(Change::All);
            self.read_to = 0;
            self.created_at = Some(info.created);
        }
        self.read_up_to(&info.state, &mut apply).await?;
        Ok(info.state.first_sequence)
    }

    async fn read_up_to(
        &mut self,
        state: &State,
        apply: &mut impl FnMut(Change),
    ) -> Result<(), MessagingError> {
        self.read_to = self.read_to.max(state.first_sequence.saturating_sub(1));
        while self.read_to < state.last_sequence {
            let range = StreamRange {
                stream: TASK_STREAM,
                subject: format!("$KV.{TASK_BUCKET}.>"),
                from: self.read_to + 1,
                most: PAGE,
                payloads: Payloads::Read,
            };
            let page = stream_range::read(&self.messaging, &range).await?;
            // A lagging replica has fewer; the next call reads the rest.
            let Some(last) = page.last() else { return Ok(()) };
            self.read_to = last.sequence;
            for stored in page {
                let key = stored.message.subject.rsplit('.').next().unwrap_or_default();
                if let Ok(id) = key.parse() {
                    let payload = stored.message.payload;
                    apply(Change::Record { id, sequence: stored.sequence, payload });
                }
            }
        }
        Ok(())
    }
}
