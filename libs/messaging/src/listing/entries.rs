//! What the index knows of each task: enough to leave out nearly all that a filter does not match.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    ops::Bound,
};

use domain::{
    KeyTag, Metadata, MetadataFilter, ModelName, StateKind, TaskFilter, TaskId, plain_text,
};
use serde_json::Value;

/// How many entries are looked at before others get their turn: less than a millisecond's worth.
const SCAN: usize = 20_000;

/// The tasks that have records, by id.
#[derive(Debug, Default)]
pub(super) struct Entries {
    tasks: BTreeMap<TaskId, Entry>,
    /// Those in any state but SUCCESS, which has nearly all after a while.
    without_success: BTreeSet<TaskId>,
    /// Those with an owner, by its tag: the tasks of one key may be few among many.
    owned: HashMap<KeyTag, BTreeSet<TaskId>>,
    models: Models,
    /// Tasks up to this id may be missing, as there were too many.
    complete_after: Option<TaskId>,
}

/// A task, in 32 bytes and 8 more for each key and each pair of its metadata.
#[derive(Debug)]
struct Entry {
    /// The sequence of its record.
    sequence: u64,
    metadata: Option<Box<[u64]>>,
    model: u32,
    state: StateKind,
}

/// Names of models, each of which is kept once.
#[derive(Debug, Default)]
struct Models {
    numbers: HashMap<ModelName, u32>,
}

/// What an entry is made of.
pub(super) struct Indexed<'a> {
    pub(super) model: ModelName,
    pub(super) metadata: Option<&'a Metadata>,
    pub(super) state: StateKind,
    pub(super) has_owner: bool,
}

/// A part of a scan.
#[derive(Debug, Default)]
pub(super) struct Scanned {
    /// Newest first. They may not match after all.
    pub(super) ids: Vec<TaskId>,
    /// Where the next scan begins; `None` if there are no older tasks.
    pub(super) rest_before: Option<TaskId>,
}

impl Models {
    fn number(&mut self, model: ModelName) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap_or(u32::MAX);
        *self.numbers.entry(model).or_insert(next)
    }
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Notes the newest record of a task. Beyond `most` tasks, the oldest is dropped.
    pub(super) fn insert(&mut self, id: TaskId, sequence: u64, indexed: Indexed<'_>, most: usize) {
        if self.complete_after.is_some_and(|oldest| id <= oldest) {
            return;
        }
        let Indexed { model, metadata, state, has_owner } = indexed;
        let metadata = metadata.map(hashes).filter(|hashes| !hashes.is_empty());
        let entry = Entry { sequence, metadata, model: self.models.number(model), state };
        self.tasks.insert(id, entry);
        match state {
            StateKind::Success => self.without_success.remove(&id),
            _ => self.without_success.insert(id),
        };
        if has_owner {
            self.owned.entry(id.owner_tag()).or_default().insert(id);
        }
        if self.tasks.len() > most
            && let Some((oldest, _)) = self.tasks.pop_first()
        {
            self.forget(oldest);
            self.complete_after = Some(oldest);
        }
    }

    pub(super) fn remove(&mut self, id: TaskId) {
        self.tasks.remove(&id);
        self.forget(id);
    }

    /// Removes the task from what refers to it.
    fn forget(&mut self, id: TaskId) {
        self.without_success.remove(&id);
        if let Some(tasks) = self.owned.get_mut(&id.owner_tag()) {
            tasks.remove(&id);
            if tasks.is_empty() {
                self.owned.remove(&id.owner_tag());
            }
        }
    }

    /// Whether it is certain that the task has no record.
    pub(super) fn lacks(&self, id: TaskId) -> bool {
        self.complete_after.is_none_or(|oldest| id > oldest) && !self.tasks.contains_key(&id)
    }

    /// Removes the records before this sequence: they have expired.
    pub(super) fn expire(&mut self, first_sequence: u64) {
        self.tasks.retain(|_, entry| entry.sequence >= first_sequence);
        self.without_success.retain(|id| self.tasks.contains_key(id));
        self.owned.retain(|_, tasks| {
            tasks.retain(|id| self.tasks.contains_key(id));
            !tasks.is_empty()
        });
    }

    /// Up to `most` tasks with ids below `before` that the filter may match.
    pub(super) fn scan(&self, filter: &TaskFilter, before: Option<TaskId>, most: usize) -> Scanned {
        let mut scanned = Scanned::default();
        let Some(wanted) = self.wanted(filter) else { return scanned };
        let upper = [filter.before, before].into_iter().flatten().min();
        let upper = upper.map_or(Bound::Unbounded, Bound::Excluded);
        let lower = filter.from.map_or(Bound::Unbounded, Bound::Included);
        if is_empty(lower, upper) {
            return scanned;
        }
        let entries = self.range(filter, (lower, upper));
        for (looked_at, (id, entry)) in entries.enumerate() {
            if scanned.ids.len() == most || looked_at == SCAN {
                return scanned;
            }
            scanned.rest_before = Some(*id);
            if wanted.matches(entry) {
                scanned.ids.push(*id);
            }
        }
        scanned.rest_before = None;
        scanned
    }

    /// The entries of these ids, newest first: all, or of a smaller set that has all that the filter matches.
    fn range(
        &self,
        filter: &TaskFilter,
        bounds: (Bound<TaskId>, Bound<TaskId>),
    ) -> Box<dyn Iterator<Item = (&TaskId, &Entry)> + '_> {
        let ids = match filter.owner {
            Some(owner) => self.owned.get(&owner.tag()),
            None if !filter.has_state(StateKind::Success) => Some(&self.without_success),
            None => return Box::new(self.tasks.range(bounds).rev()),
        };
        let ids = ids.into_iter().flat_map(move |ids| ids.range(bounds).rev());
        Box::new(ids.filter_map(|id| self.tasks.get_key_value(id)))
    }

    /// `None` if no entry can match.
    fn wanted<'a>(&self, filter: &'a TaskFilter) -> Option<Wanted<'a>> {
        let model = match &filter.model {
            Some(model) => Some(*self.models.numbers.get(model)?),
            None => None,
        };
        let metadata = filter.metadata.iter().map(hash_of_filter).collect();
        Some(Wanted { filter, model, metadata })
    }
}

/// `BTreeMap::range` panics if the bounds are in the wrong order.
fn is_empty(lower: Bound<TaskId>, upper: Bound<TaskId>) -> bool {
    matches!((lower, upper), (Bound::Included(from), Bound::Excluded(before)) if before <= from)
}

/// A filter in terms of entries.
struct Wanted<'a> {
    filter: &'a TaskFilter,
    model: Option<u32>,
    metadata: Vec<u64>,
}

impl Wanted<'_> {
    fn matches(&self, entry: &Entry) -> bool {
        let hashes = entry.metadata.as_deref().unwrap_or_default();
        self.model.is_none_or(|model| model == entry.model)
            && self.filter.has_state(entry.state)
            && self.metadata.iter().all(|wanted| hashes.contains(wanted))
    }
}

fn hash_of_filter(filter: &MetadataFilter) -> u64 {
    hash(&filter.key, filter.value.as_deref())
}

/// One hash for each key, and one for each key with a plain value. Two that are equal by chance cost a read.
fn hashes(metadata: &Metadata) -> Box<[u64]> {
    let of_pair = |(key, value): (&String, &Value)| {
        let with_value = plain_text(value).map(|value| hash(key, Some(&value)));
        std::iter::once(hash(key, None)).chain(with_value)
    };
    metadata.as_map().iter().flat_map(of_pair).collect()
}

fn hash(key: &str, value: Option<&str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use domain::KeyId;
    use serde_json::json;

    use super::*;

    fn ids(count: usize) -> Vec<TaskId> {
        let mut ids: Vec<_> = (0..count).map(|_| TaskId::generate()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        ids
    }

    fn insert(entries: &mut Entries, id: TaskId, state: StateKind, metadata: serde_json::Value) {
        let metadata = Metadata::try_from(metadata).unwrap();
        let model = "m".parse().unwrap();
        let indexed = Indexed { model, metadata: Some(&metadata), state, has_owner: false };
        entries.insert(id, 7, indexed, 1_000_000);
    }

    fn all(entries: &Entries, filter: &TaskFilter, page: usize) -> Vec<TaskId> {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let scanned = entries.scan(filter, before, page);
            found.extend(scanned.ids);
            match scanned.rest_before {
                Some(rest) => before = Some(rest),
                None => return found,
            }
        }
    }

    #[test]
    fn tasks_are_found_newest_first_in_pages_of_any_size() {
        let mut entries = Entries::default();
        let mut ids = ids(7);
        for id in &ids {
            insert(&mut entries, *id, StateKind::Queued, json!({}));
        }
        ids.reverse();
        for page in 1..9 {
            assert_eq!(all(&entries, &TaskFilter::default(), page), ids, "pages of {page}");
        }
        let part = TaskFilter { from: Some(ids[5]), before: Some(ids[1]), ..TaskFilter::default() };
        assert_eq!(all(&entries, &part, 2), ids[2..6]);
        let nothing = TaskFilter { from: Some(ids[1]), before: Some(ids[1]), ..part.clone() };
        assert_eq!(all(&entries, &nothing, 2), []);
        let turned = TaskFilter { from: Some(ids[1]), before: Some(ids[5]), ..part };
        assert_eq!(all(&entries, &turned, 2), []);
    }

    #[test]
    fn a_scan_without_matches_ends_and_goes_on() {
        let mut entries = Entries::default();
        let ids = ids(SCAN + 10);
        for id in &ids {
            insert(&mut entries, *id, StateKind::Success, json!({}));
        }
        insert(&mut entries, ids[3], StateKind::Failure, json!({}));
        insert(&mut entries, ids[4], StateKind::Success, json!({ "a": 1 }));
        let metadata = vec!["a".parse().unwrap()];
        let filter = TaskFilter { metadata, ..TaskFilter::default() };
        let first = entries.scan(&filter, None, 5);
        assert_eq!((first.ids.len(), first.rest_before), (0, Some(ids[10])));
        assert_eq!(entries.scan(&filter, first.rest_before, 5).ids, [ids[4]]);
        let filter = TaskFilter { states: vec![StateKind::Failure], ..TaskFilter::default() };
        assert_eq!(entries.scan(&filter, None, 5).ids, [ids[3]], "only those are looked at");
    }

    #[test]
    fn filters_match_the_newest_record() {
        let mut entries = Entries::default();
        let ids = ids(2);
        insert(&mut entries, ids[0], StateKind::Queued, json!({ "a": 1, "b": ["x"] }));
        insert(&mut entries, ids[1], StateKind::Queued, json!({ "a": 2 }));
        let with = |filter: &str| TaskFilter {
            metadata: vec![filter.parse().unwrap()],
            ..TaskFilter::default()
        };
        assert_eq!(all(&entries, &with("a"), 9), [ids[1], ids[0]]);
        assert_eq!(all(&entries, &with("a=1"), 9), [ids[0]]);
        assert_eq!(all(&entries, &with("b"), 9), [ids[0]]);
        assert_eq!(all(&entries, &with("c"), 9), []);
        let other = TaskFilter { model: Some("x".parse().unwrap()), ..TaskFilter::default() };
        assert_eq!(all(&entries, &other, 9), []);
        insert(&mut entries, ids[0], StateKind::Success, json!({ "a": 1 }));
        let queued = TaskFilter { states: vec![StateKind::Queued], ..TaskFilter::default() };
        assert_eq!(all(&entries, &queued, 9), [ids[1]]);
        let success = TaskFilter { states: vec![StateKind::Success], ..TaskFilter::default() };
        assert_eq!(all(&entries, &success, 9), [ids[0]]);
        entries.remove(ids[1]);
        assert_eq!(all(&entries, &queued, 9), []);
        entries.expire(8);
        assert_eq!(entries.len(), 0);
    }

    #[test]
    fn the_oldest_of_too_many_tasks_is_dropped_for_good() {
        let mut entries = Entries::default();
        let ids = ids(4);
        let indexed = || unowned(StateKind::Queued);
        for id in [0, 2, 1, 3, 0].map(|index| ids[index]) {
            entries.insert(id, 1, indexed(), 2);
        }
        assert_eq!(all(&entries, &TaskFilter::default(), 9), [ids[3], ids[2]]);
    }

    fn unowned(state: StateKind) -> Indexed<'static> {
        Indexed { model: "m".parse().unwrap(), metadata: None, state, has_owner: false }
    }

    #[test]
    fn the_tasks_of_a_key_are_found_without_a_look_at_all_others() {
        let mut entries = Entries::default();
        let owner = KeyId::from_bytes([1; 6]);
        let owned = [(); 3].map(|()| TaskId::generate_for(owner));
        for id in owned {
            let indexed = Indexed { has_owner: true, ..unowned(StateKind::Success) };
            entries.insert(id, 7, indexed, 1_000_000);
        }
        for id in ids(SCAN + 10) {
            entries.insert(id, 7, unowned(StateKind::Success), 1_000_000);
        }
        let mut filter = TaskFilter { owner: Some(owner), ..TaskFilter::default() };
        let found = entries.scan(&filter, None, 5);
        assert_eq!((found.ids, found.rest_before), (vec![owned[2], owned[1], owned[0]], None));
        filter.states = vec![StateKind::Queued];
        assert_eq!(all(&entries, &filter, 5), []);
        entries.insert(
            owned[1],
            9,
            Indexed { has_owner: true, ..unowned(StateKind::Queued) },
            1_000_000,
        );
        assert_eq!(all(&entries, &filter, 5), [owned[1]]);
        filter.states.clear();
        entries.remove(owned[2]);
        entries.expire(8);
        assert_eq!(all(&entries, &filter, 5), [owned[1]]);
        entries.remove(owned[1]);
        assert!(entries.owned.is_empty());
        filter.owner = Some(KeyId::from_bytes([2; 6]));
        assert_eq!(all(&entries, &filter, 5), []);
    }

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<(TaskId, Entry)>() <= 48, "{}", size_of::<(TaskId, Entry)>());
    }
}
