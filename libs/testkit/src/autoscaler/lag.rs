//! The lag as KEDA's `nats-jetstream` scaler reads it on a server's monitoring port.

use serde_json::Value;

use super::settings::Trigger;

/// Why the lag is unknown. KEDA up to 2.19 computed a missing consumer's lag from the stream's last sequence, and scaled
/// to the maximum; since then it is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoLag {
    /// The server did not answer.
    NoAnswer,
    /// It has no such stream in that account.
    NoStream,
    /// The stream lacks one of the consumers.
    NoConsumer,
}

/// The state of the queue, from one answer of `/jsz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queue {
    /// Not delivered yet: the consumers' `num_pending`.
    pub waiting: u64,
    /// Delivered and not settled: `num_ack_pending`.
    pub in_progress: u64,
    /// All messages that were ever published.
    pub published: u64,
    /// Those that are no longer stored. In a work queue, these are settled.
    pub drained: u64,
}

impl Queue {
    /// The lag that KEDA scales by: jobs in progress count.
    #[must_use]
    pub fn lag(self) -> u64 {
        self.waiting + self.in_progress
    }

    /// Reads an answer to [`path`].
    pub(super) fn read(answer: Option<&Value>, trigger: &Trigger) -> Result<Self, NoLag> {
        let answer = answer.ok_or(NoLag::NoAnswer)?;
        let account = named(&answer["account_details"], &trigger.account);
        let stream = account.and_then(|account| named(&account["stream_detail"], &trigger.stream));
        let stream = stream.ok_or(NoLag::NoStream)?;
        let consumers = trigger.consumers.iter();
        let consumers = consumers.map(|name| named(&stream["consumer_detail"], name));
        let consumers: Vec<_> = consumers.collect::<Option<_>>().ok_or(NoLag::NoConsumer)?;
        let number = |value: &Value, key: &str| value[key].as_u64().unwrap_or_default();
        let published = number(&stream["state"], "last_seq");
        Ok(Self {
            waiting: consumers.iter().map(|consumer| number(consumer, "num_pending")).sum(),
            in_progress: consumers.iter().map(|consumer| number(consumer, "num_ack_pending")).sum(),
            published,
            drained: published.saturating_sub(number(&stream["state"], "messages")),
        })
    }
}

/// The path that KEDA requests.
pub(super) fn path(trigger: &Trigger) -> String {
    format!("/jsz?acc={}&consumers=true&config=true", trigger.account)
}

fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|item| item["name"] == name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::settings::ScaledObject, *};

    fn answer(stream: &str, consumer: &str) -> Value {
        json!({"account_details": [
            {"name": "other", "stream_detail": [{"name": "JOBS", "state": {"last_seq": 1}}]},
            {"name": "$G", "stream_detail": [{
                "name": stream,
                "state": {"messages": 50, "last_seq": 1200},
                "consumer_detail": [
                    {"name": "another", "num_pending": 1, "num_ack_pending": 1},
                    {"name": consumer, "num_pending": 43, "num_ack_pending": 7},
                ],
            }]},
        ]})
    }

    fn read(answer: Option<&Value>) -> Result<Queue, NoLag> {
        Queue::read(answer, &ScaledObject::new("JOBS", "worker").trigger)
    }

    #[test]
    fn jobs_in_progress_count() {
        let queue = read(Some(&answer("JOBS", "worker"))).unwrap();
        assert_eq!((queue.lag(), queue.published, queue.drained), (50, 1200, 1150));
    }

    #[test]
    fn the_lags_of_several_consumers_are_added_up() {
        let mut trigger = ScaledObject::new("JOBS", "worker").trigger;
        trigger.consumers.push("another".to_owned());
        let lag = |trigger: &Trigger| {
            Queue::read(Some(&answer("JOBS", "worker")), trigger).map(Queue::lag)
        };
        assert_eq!(lag(&trigger), Ok(52));
        trigger.consumers.push("gone".to_owned());
        assert_eq!(lag(&trigger), Err(NoLag::NoConsumer));
    }

    #[test]
    fn a_missing_consumer_is_an_error() {
        let cases = [
            (Some(answer("JOBS", "gone")), NoLag::NoConsumer),
            (Some(answer("gone", "worker")), NoLag::NoStream),
            (Some(json!({})), NoLag::NoStream),
            (None, NoLag::NoAnswer),
        ];
        for (answer, expected) in cases {
            assert_eq!(read(answer.as_ref()), Err(expected), "{answer:?}");
        }
    }

    #[test]
    fn the_path_is_kedas() {
        let trigger = ScaledObject::new("JOBS", "worker").trigger;
        assert_eq!(path(&trigger), "/jsz?acc=$G&consumers=true&config=true");
    }
}
