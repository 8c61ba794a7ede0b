//! The header `Prefer` (RFC 7240): how long a client will wait for the result of its submission.

use std::time::Duration;

/// Maximum duration of a wait.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The preferences that apply here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preference {
    /// `wait=N`: to get the finished task, after at most so long.
    Wait(Duration),
    /// `respond-async`: to get the accepted task, which is the default too.
    RespondAsync,
}

impl Preference {
    /// The first preference in `header` that applies. Others are ignored, as the RFC requires, and so are values that
    /// are no number. A wait of 0 seconds is none.
    pub(super) fn of(header: &str) -> Option<Self> {
        header.split(',').find_map(|preference| {
            // What follows a semicolon are parameters, of which `wait` has none.
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("respond-async") {
                return Some(Self::RespondAsync);
            }
            let seconds: u64 = value.parse().ok().filter(|seconds| *seconds > 0)?;
            let wait = Duration::from_secs(seconds).min(LONGEST_WAIT);
            name.eq_ignore_ascii_case("wait").then_some(Self::Wait(wait))
        })
    }

    /// The value of `Preference-Applied`.
    pub(super) fn applied(self) -> String {
        match self {
            Self::Wait(wait) => format!("wait={}", wait.as_secs()),
            Self::RespondAsync => "respond-async".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_read_as_the_rfc_writes_it() {
        let cases = [
            ("wait=10", Some("wait=10")),
            ("Wait = \"10\"; x=y, respond-async", Some("wait=10")),
            ("respond-async, wait=10", Some("respond-async")),
            ("return=minimal,wait=600", Some("wait=60")),
            ("wait=0", None),
            ("wait=-1", None),
            ("wait=soon", None),
            ("wait", None),
            ("", None),
            (",;=,", None),
        ];
        for (header, expected) in cases {
            let applied = Preference::of(header).map(Preference::applied);
            assert_eq!(applied.as_deref(), expected, "{header}");
        }
    }
}
