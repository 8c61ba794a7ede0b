//! How many requests a key may send.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The largest number of requests in a period.
const MOST: u32 = 1_000_000;

/// How many requests a key may send in a period, and how many at once: `10/s`, `600/m,burst=20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    /// How many requests in each period, on average.
    pub count: NonZeroU32,
    /// The period.
    pub period: RatePeriod,
    /// How many at once, after a time without requests.
    pub burst: NonZeroU32,
}

/// The period of a [`Rate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RatePeriod {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
}

/// A text that is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a rate is a number of requests from 1 to 1000000 a second, minute or hour, such as 10/s, 600/m, 1000/h or \
     10/s,burst=50, got '{0}'"
)]
pub struct InvalidRate(pub String);

impl Rate {
    /// The time in which one request more becomes possible.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.period.duration() / self.count.get()
    }
}

impl RatePeriod {
    const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    fn letter(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }

    fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        })
    }
}

impl FromStr for Rate {
    type Err = InvalidRate;

    /// Without a burst, all requests of a period may come at once.
    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        parse(text).ok_or_else(|| InvalidRate(text.chars().take(64).collect()))
    }
}

fn parse(text: &str) -> Option<Rate> {
    let number = |text: &str| text.parse().ok().filter(|number: &NonZeroU32| number.get() <= MOST);
    let (rate, burst) = match text.split_once(",burst=") {
        Some((rate, burst)) => (rate, Some(number(burst)?)),
        None => (text, None),
    };
    let (count, letter) = rate.split_once('/')?;
    let count = number(count)?;
    let period = RatePeriod::ALL.into_iter().find(|period| period.letter() == letter)?;
    Some(Rate { count, period, burst: burst.unwrap_or(count) })
}

impl TryFrom<String> for Rate {
    type Error = InvalidRate;

    fn try_from(text: String) -> Result<Self, InvalidRate> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.period.letter())?;
        if self.burst == self.count { Ok(()) } else { write!(f, ",burst={}", self.burst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_survives_its_text() {
        for text in ["10/s", "600/m", "1/h", "10/s,burst=50", "1000000/s,burst=1"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("10/s,burst=10".parse(), "10/s".parse::<Rate>());
        let of = |text: &str| text.parse::<Rate>().unwrap().interval();
        assert_eq!(of("10/s"), Duration::from_millis(100));
        assert_eq!(of("30/m"), Duration::from_secs(2));
        assert_eq!(of("1/h"), Duration::from_secs(3600));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in [
            "",
            "10",
            "0/s",
            "10/d",
            "-1/s",
            "1.5/s",
            "10/s,burst=0",
            "10/s,burst=",
            "1000001/s",
            "10/s,x=1",
            "10 /s",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
