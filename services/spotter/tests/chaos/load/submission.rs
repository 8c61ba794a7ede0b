//! What a client submits, and what may become of it.

use domain::Priority;

use crate::load::pictures::{Poison, Upload, poisoned};

/// The tiles of a picture that is run in tiles.
pub(crate) const TILES: &str = "2x1";

/// One picture and how a client submits it.
pub(crate) struct Submission {
    pub(crate) upload: Upload,
    pub(crate) expected: Expected,
    /// Seconds.
    pub(crate) deadline: Option<u64>,
    pub(crate) key: Option<String>,
    pub(crate) priority: Priority,
    /// Where its end is reported to.
    pub(crate) callback_url: Option<String>,
    /// Whether the objects are drawn in.
    pub(crate) annotated: bool,
    /// Whether it is also run in tiles: several runs of the model in one job.
    pub(crate) tiled: bool,
}

/// The terminal states that a submission may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// SUCCESS.
    Success,
    /// SUCCESS, or EXPIRED: its deadline is near.
    InTime,
    /// SUCCESS, or REVOKED: it is cancelled.
    Cancelled,
    /// FAILURE, and a dead letter: no worker survives it.
    Poison,
}

impl Submission {
    pub(crate) fn new(upload: Upload, expected: Expected) -> Self {
        Self {
            upload,
            expected,
            deadline: None,
            key: None,
            priority: Priority::Normal,
            callback_url: None,
            annotated: false,
            tiled: false,
        }
    }

    /// What the original route does not take, as parameters of `/v1`. None needs an encoding.
    pub(crate) fn parameters(&self) -> Vec<String> {
        let deadline = self.deadline.map(|seconds| format!("deadline={seconds}"));
        let priority = (!self.priority.is_normal()).then(|| format!("priority={}", self.priority));
        let callback_url = self.callback_url.as_ref().map(|url| format!("callback_url={url}"));
        let annotated = self.annotated.then(|| "annotated=true".to_owned());
        let tiles = self.tiled.then(|| format!("tiles={TILES}"));
        [deadline, priority, callback_url, annotated, tiles].into_iter().flatten().collect()
    }

    /// A picture that no worker survives.
    pub(crate) fn poison(poison: Poison) -> Self {
        Self::new(poisoned(poison), Expected::Poison)
    }
}
