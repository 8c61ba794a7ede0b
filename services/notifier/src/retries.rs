//! When a webhook is tried again.

use std::{str::FromStr, time::Duration};

/// The longest delay that a receiver can ask for by `Retry-After`.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The delays before the second try, the third, and so on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries(Vec<Duration>);

impl Default for Retries {
    /// The schedule of Standard Webhooks: ten tries within 75 hours.
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let hours = |hours: u64| minutes(hours * 60);
        Self(vec![
            Duration::from_secs(5),
            minutes(5),
            minutes(30),
            hours(2),
            hours(5),
            hours(10),
            hours(14),
            hours(20),
            hours(24),
        ])
    }
}

impl FromStr for Retries {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let delay = |text: &str| match text.trim().parse::<u32>() {
            Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
            Err(_) => Err("expected seconds, separated by commas, such as 5,300,1800".to_owned()),
        };
        text.split(',').map(delay).collect::<Result<_, _>>().map(Self)
    }
}

impl Retries {
    /// The delay after the `attempt`th try, which has failed; `None` after the last one. `jitter`, from 0 to 1, adds up
    /// to a fifth, so that webhooks that failed together are not tried together again.
    pub(crate) fn delay(
        &self,
        attempt: u32,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        let index = usize::try_from(attempt.saturating_sub(1)).ok()?;
        let delay = self.0.get(index)?.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 5.0);
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        Some(delay.max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_that_of_the_specification() {
        let retries = Retries::default();
        let delays: Vec<u64> = (1..)
            .map_while(|attempt| retries.delay(attempt, None, 0.0))
            .map(|d| d.as_secs())
            .collect();
        assert_eq!(delays, [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]);
        assert!(delays.iter().sum::<u64>() / 3600 == 75);
        let later = retries.delay(1, None, 1.0).unwrap();
        assert_eq!(later, Duration::from_secs(6));
    }

    #[test]
    fn retry_after_is_obeyed_within_limits() {
        let retries: Retries = "5, 300".parse().unwrap();
        let seconds =
            |after| retries.delay(1, Some(Duration::from_secs(after)), 0.0).unwrap().as_secs();
        assert_eq!([seconds(1), seconds(60), seconds(1_000_000)], [5, 60, 86_400]);
        assert_eq!(retries.delay(3, Some(Duration::from_secs(60)), 0.0), None);
        assert!("5,soon".parse::<Retries>().is_err());
    }
}
