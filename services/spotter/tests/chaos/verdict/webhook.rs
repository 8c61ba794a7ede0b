//! What became of webhooks.

use std::collections::BTreeMap;

use domain::{BatchId, TaskId};

use super::batch_view::BatchView;

/// What became of the webhook of a task or a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Webhook {
    /// There is none: no callback was asked for.
    None,
    /// It was taken so many times.
    Taken(usize),
    /// It was not taken, and is among the dead webhooks.
    Dead,
    Lost,
}

/// The webhooks that were found at the end of a scenario.
#[derive(Debug, Default)]
pub(crate) struct FoundWebhooks {
    pub(crate) tasks: BTreeMap<TaskId, Webhook>,
    /// The ends that each batch was reported with.
    pub(crate) taken_batches: BTreeMap<BatchId, Vec<BatchView>>,
    pub(crate) dead_batches: BTreeMap<BatchId, Vec<BatchView>>,
}

impl FoundWebhooks {
    /// What became of the webhook of this end of a batch. One that broke off and was continued has ended before.
    pub(crate) fn of_batch(&self, id: BatchId, end: &BatchView) -> Webhook {
        let count = |found: &BTreeMap<BatchId, Vec<BatchView>>| {
            let reported = found.get(&id).into_iter().flatten();
            reported.filter(|reported| reported.is_same_end(end)).count()
        };
        match (count(&self.taken_batches), count(&self.dead_batches)) {
            (0, 0) => Webhook::Lost,
            (0, _) => Webhook::Dead,
            (times, _) => Webhook::Taken(times),
        }
    }
}

mod controls {
    use domain::BatchCounts;

    use super::*;

    #[test]
    fn a_webhook_of_another_end_of_a_batch_is_not_that_of_its_end() {
        let id = BatchId::generate();
        let end = BatchView {
            state: "FINISHED".to_owned(),
            received: 2,
            counts: BatchCounts { succeeded: 2, ..BatchCounts::default() },
            cancelled: false,
            interruption: None,
            refused: Vec::new(),
        };
        let counts = BatchCounts { succeeded: 1, ..BatchCounts::default() };
        let earlier = BatchView { received: 1, counts, ..end.clone() };
        let mut found = FoundWebhooks::default();
        assert_eq!(found.of_batch(id, &end), Webhook::Lost);
        found.taken_batches.insert(id, vec![earlier.clone()]);
        found.taken_batches.insert(BatchId::generate(), vec![end.clone()]);
        assert_eq!(found.of_batch(id, &end), Webhook::Lost);
        assert_eq!(found.of_batch(id, &earlier), Webhook::Taken(1));
        found.dead_batches.insert(id, vec![end.clone()]);
        assert_eq!(found.of_batch(id, &end), Webhook::Dead);
        found.taken_batches.insert(id, vec![end.clone(), end.clone()]);
        assert_eq!(found.of_batch(id, &end), Webhook::Taken(2));
    }
}
