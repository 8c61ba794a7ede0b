//! The options of `spotter key`.

use std::str::FromStr;

use clap::{Args, Subcommand};
use domain::{KeyId, KeyName, Rate, Scope};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::NatsOptions;

/// The longest time that a key may have, in days: a hundred years.
const MOST_DAYS: i64 = 36_500;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Create a key and print it, this once only
    ///
    /// Standard output has the key alone. Only a digest of its secret is stored.
    Create(KeyCreateOptions),
    /// List the keys, the oldest first
    List(KeyListOptions),
    /// Revoke keys: every API refuses them within a second
    Revoke(KeyChoice),
}

impl KeyCommand {
    pub(crate) fn server(&self) -> &NatsOptions {
        match self {
            Self::Create(options) => &options.server,
            Self::List(options) => &options.server,
            Self::Revoke(choice) => &choice.server,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct KeyCreateOptions {
    /// What the key is for, such as the name of its holder
    #[arg(long)]
    pub(crate) name: KeyName,
    /// What it may be used for: submit, read or admin, which is everything on the tasks of all keys; may be given more
    /// than once [default: submit and read]
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
    pub(crate) scopes: Vec<Scope>,
    /// How many requests it may send: 10/s, 600/m, 1000/h, or with a burst 10/s,burst=50 [default: any number]
    #[arg(long, value_name = "RATE")]
    pub(crate) rate: Option<Rate>,
    /// How many of its jobs may be in the queue at a time [default: as many as fit]
    #[arg(long, value_name = "JOBS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) quota: Option<u32>,
    /// When it expires: after a time (90d, 12h), or at one (2030-01-31T00:00:00Z) [default: never]
    #[arg(long, value_name = "WHEN")]
    pub(crate) expires: Option<Expiry>,
    #[command(flatten)]
    pub(crate) server: NatsOptions,
}

#[derive(Debug, Args)]
pub(crate) struct KeyListOptions {
    /// Print one JSON object per key instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: NatsOptions,
}

/// The keys that a command applies to.
#[derive(Debug, Args)]
pub(crate) struct KeyChoice {
    /// The keys' ids: `spotter key list` shows them, and each key has its own behind `spotter_`
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<KeyId>,
    #[command(flatten)]
    pub(crate) server: NatsOptions,
}

/// When a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    After(Duration),
    At(OffsetDateTime),
}

impl Expiry {
    /// The time, for a key that is created at `now`.
    pub(crate) fn after(self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            Self::After(duration) => now.saturating_add(duration),
            Self::At(time) => time,
        }
    }
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "'{text}' is neither a number of days (90d) or hours (12h), up to a hundred years, nor a time such as \
                 2030-01-31T00:00:00Z"
            )
        };
        let number = |digits: &str, most: i64| {
            digits.parse::<i64>().ok().filter(|number| (1..=most).contains(number))
        };
        if let Some(days) = text.strip_suffix('d') {
            return number(days, MOST_DAYS)
                .map(Duration::days)
                .map(Self::After)
                .ok_or_else(expected);
        }
        if let Some(hours) = text.strip_suffix('h') {
            let hours = number(hours, 24 * MOST_DAYS).map(Duration::hours);
            return hours.map(Self::After).ok_or_else(expected);
        }
        OffsetDateTime::parse(text, &Rfc3339).map(Self::At).map_err(|_| expected())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn an_expiry_is_a_duration_or_a_time() {
        let now = datetime!(2026-01-01 12:00 UTC);
        let cases = [
            ("1d", datetime!(2026-01-02 12:00 UTC)),
            ("12h", datetime!(2026-01-02 00:00 UTC)),
            ("36500d", now + Duration::days(36_500)),
            ("2030-01-31T00:00:00Z", datetime!(2030-01-31 00:00 UTC)),
            ("2030-01-31T02:00:00+02:00", datetime!(2030-01-31 00:00 UTC)),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Expiry>().unwrap().after(now), expected, "{text}");
        }
        for text in ["", "d", "0d", "-1d", "1.5h", "36501d", "7", "2030-01-31", "tomorrow", "1é"] {
            assert!(text.parse::<Expiry>().is_err(), "{text}");
        }
    }
}
