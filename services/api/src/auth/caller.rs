//! Who sends a request.

use std::sync::Arc;

use domain::Scope;

use super::key_ring::{KeyRing, KnownKey};
use crate::tasks::{submit::Submitter, viewer::Viewer};

/// Who sends a request.
#[derive(Clone)]
pub(crate) enum Caller {
    /// Anybody, where the API runs without keys.
    Anybody,
    /// The holder of this key.
    Holder(Arc<KnownKey>),
}

impl Caller {
    /// Whose tasks the caller may see.
    pub(crate) fn viewer(&self) -> Viewer {
        match self {
            Self::Anybody => Viewer::All,
            Self::Holder(known) if known.key.scopes.permit(Scope::Admin) => Viewer::All,
            Self::Holder(known) => Viewer::Owner(known.key.id),
        }
    }

    /// Whether the caller's key, if it has one, has neither expired nor been revoked since its request.
    pub(crate) fn is_still_admitted(&self, ring: Option<&KeyRing>) -> bool {
        match (self, ring) {
            (Self::Holder(known), Some(ring)) => ring.usable(known.key.id).is_ok(),
            (Self::Anybody | Self::Holder(_), _) => true,
        }
    }

    /// Whose tasks the caller's submissions are.
    pub(crate) fn submitter(&self) -> Option<Submitter> {
        match self {
            Self::Anybody => None,
            Self::Holder(known) => Some(Submitter { key: known.key.id, quota: known.key.quota }),
        }
    }
}
