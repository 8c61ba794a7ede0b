//! Where the end of a task is reported.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The URL that a client wants to be called when its task ends. Whoever creates one has checked it by the rules for
/// URLs that clients name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallbackUrl(String);

impl CallbackUrl {
    /// A URL that was checked.
    #[must_use]
    pub fn new(checked: String) -> Self {
        Self(checked)
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CallbackUrl {
    /// Not the URL: it may contain a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackUrl(…)")
    }
}
