//! A picture and how it is to be processed.

use std::time::Duration;

use bytes::Bytes;
use domain::{DetectionSettings, Priority};

use crate::query::query;

/// A picture and how it is to be processed. Cheap to clone: the picture's bytes are shared.
#[derive(Clone)]
pub struct Submission {
    /// The picture's bytes: JPEG, PNG, WebP, BMP or GIF.
    pub picture: Bytes,
    /// The file name that the task shows.
    pub name: String,
    /// The thresholds; the API's own if `None`.
    pub settings: Option<DetectionSettings>,
    /// How soon to run the job.
    pub priority: Priority,
    /// How long the job may wait for a worker, in whole seconds; as long as the API allows if `None`.
    pub deadline: Option<Duration>,
    /// The same key with the same picture and settings is the same task.
    pub idempotency_key: Option<String>,
    /// Whether the result of an earlier run will do.
    pub cache_control: CacheControl,
}

/// Whether the result of an earlier run on the same picture will do: the header `Cache-Control`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheControl {
    /// The API answers with the known result where there is one.
    #[default]
    UseCached,
    /// The picture is run in any case (`no-cache`).
    NoCache,
    /// As `NoCache`, and the result is not kept for others who send the same picture (`no-store`).
    NoStore,
}

impl CacheControl {
    /// The header's value; `None` where the header is left out.
    pub(crate) fn header(self) -> Option<&'static str> {
        match self {
            Self::UseCached => None,
            Self::NoCache => Some("no-cache"),
            Self::NoStore => Some("no-store"),
        }
    }
}

impl Submission {
    /// A picture with the API's own settings, and without a key.
    #[must_use]
    pub fn new(name: impl Into<String>, picture: impl Into<Bytes>) -> Self {
        Self {
            picture: picture.into(),
            name: name.into(),
            settings: None,
            priority: Priority::default(),
            deadline: None,
            idempotency_key: None,
            cache_control: CacheControl::default(),
        }
    }

    /// The request's query, with its question mark; empty where everything is left to the API.
    pub(crate) fn query(&self) -> String {
        query(self.settings.as_ref(), self.priority, self.deadline)
    }
}
