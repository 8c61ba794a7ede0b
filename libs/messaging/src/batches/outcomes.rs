//! What became of the pictures of a batch, as far as it is known.

use domain::{BatchCounts, ItemOutcome};

/// The outcome of each picture, by its index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes(Vec<Option<ItemOutcome>>);

impl Outcomes {
    /// That of the picture at `index`; `None`: there is none yet.
    #[must_use]
    pub fn get(&self, index: u16) -> Option<ItemOutcome> {
        self.0.get(usize::from(index)).copied().flatten()
    }

    /// Notes an outcome. A task that has ended was not refused, although that was stored: an API that was taken for dead
    /// has stored its job after all.
    pub fn note(&mut self, index: u16, outcome: ItemOutcome) {
        let index = usize::from(index);
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        if matches!(self.0[index], None | Some(ItemOutcome::Refused)) {
            self.0[index] = Some(outcome);
        }
    }

    /// The counts of the first `received` pictures.
    #[must_use]
    pub fn counts(&self, received: u32) -> BatchCounts {
        BatchCounts::of(self.first(received))
    }

    /// Whether each of the first `received` pictures has an outcome.
    #[must_use]
    pub fn is_complete(&self, received: u32) -> bool {
        self.first(received).all(|outcome| outcome.is_some())
    }

    /// The indices of the first `received` pictures that have no outcome.
    pub fn pending(&self, received: u32) -> impl Iterator<Item = u16> {
        let numbered = (0..=u16::MAX).zip(self.first(received));
        numbered.filter(|(_, outcome)| outcome.is_none()).map(|(index, _)| index)
    }

    /// The indices of the first `received` pictures that were refused.
    pub fn refused(&self, received: u32) -> impl Iterator<Item = u16> {
        let numbered = (0..=u16::MAX).zip(self.first(received));
        numbered
            .filter(|(_, outcome)| *outcome == Some(ItemOutcome::Refused))
            .map(|(index, _)| index)
    }

    fn first(&self, received: u32) -> impl Iterator<Item = Option<ItemOutcome>> {
        let received = usize::try_from(received).unwrap_or(usize::MAX);
        (0..received).map(|index| self.0.get(index).copied().flatten())
    }
}

impl FromIterator<(u16, ItemOutcome)> for Outcomes {
    fn from_iter<T: IntoIterator<Item = (u16, ItemOutcome)>>(found: T) -> Self {
        let mut outcomes = Self::default();
        for (index, outcome) in found {
            outcomes.note(index, outcome);
        }
        outcomes
    }
}

/// The index and the outcome in the last tokens of a key or a subject; `None` if it is of something else.
pub(super) fn parse(key: &str) -> Option<(u16, ItemOutcome)> {
    let mut tokens = key.rsplit('.');
    let outcome = ItemOutcome::named(tokens.next()?)?;
    Some((tokens.next()?.parse().ok()?, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_pending() {
        let mut outcomes: Outcomes =
            [(3, ItemOutcome::Failed), (1, ItemOutcome::Refused)].into_iter().collect();
        assert_eq!(outcomes.pending(5).collect::<Vec<_>>(), [0, 2, 4]);
        assert_eq!(outcomes.refused(5).collect::<Vec<_>>(), [1]);
        let counts = outcomes.counts(5);
        assert_eq!((counts.pending, counts.failed, counts.refused), (3, 1, 1));
        assert!(outcomes.is_complete(0) && !outcomes.is_complete(5));
        // The first outcome of a task is final, and more true than a refusal.
        outcomes.note(3, ItemOutcome::Succeeded);
        outcomes.note(1, ItemOutcome::Succeeded);
        outcomes.note(1, ItemOutcome::Refused);
        assert_eq!(outcomes.get(3), Some(ItemOutcome::Failed));
        assert_eq!(outcomes.get(1), Some(ItemOutcome::Succeeded));
    }

    #[test]
    fn an_outcome_is_read_from_its_subject() {
        let cases = [
            ("b.7.failed", Some((7, ItemOutcome::Failed))),
            ("batch_records.b.65535.refused", Some((65535, ItemOutcome::Refused))),
            ("b.65536.refused", None),
            ("b.head", None),
            ("b.open", None),
            ("failed", None),
            ("", None),
        ];
        for (key, expected) in cases {
            assert_eq!(parse(key), expected, "{key}");
        }
    }
}
