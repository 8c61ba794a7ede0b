//! The priority of a job.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How soon a job is run, compared with the others that wait.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before the others: a user waits for the result.
    High,
    /// The default.
    #[default]
    Normal,
    /// After the others, which leave it a share of the workers: work in bulk.
    Low,
}

impl Priority {
    /// All priorities, highest first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Its name: `high`, `normal` or `low`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Whether it is the default.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no priority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("priority must be high, normal or low, got '{0}'")]
pub struct InvalidPriority(String);

impl FromStr for Priority {
    type Err = InvalidPriority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |priority: &Self| priority.name().eq_ignore_ascii_case(text.trim());
        let found = Self::ALL.into_iter().find(named);
        found.ok_or_else(|| InvalidPriority(text.chars().take(32).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_priority_is_read_by_its_name_and_no_other() {
        for priority in Priority::ALL {
            assert_eq!(priority.to_string().parse(), Ok(priority));
            let json = serde_json::to_value(priority).unwrap();
            assert_eq!(json, priority.name());
            assert_eq!(serde_json::from_value::<Priority>(json).unwrap(), priority);
        }
        assert_eq!(" High".parse(), Ok(Priority::High));
        let error = "urgent".parse::<Priority>().unwrap_err();
        assert_eq!(error.to_string(), "priority must be high, normal or low, got 'urgent'");
    }
}
