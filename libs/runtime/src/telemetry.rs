//! Logs: one line an event on standard error, as text for people or JSON for machines.

use std::{fmt, io::IsTerminal, str::FromStr};

use tracing_subscriber::EnvFilter;

use crate::config::Reader;

/// What is logged where `RUST_LOG` does not say: what we do ourselves, and only what goes wrong in
/// those whose every step would be news.
const DEFAULT_FILTER: &str =
    "info,async_nats=warn,poem=warn,opentelemetry=off,opentelemetry_sdk=off";

/// How log lines are written. Set by `LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people: `LOG_FORMAT=text`, the default.
    #[default]
    Text,
    /// For machines, an object a line: `LOG_FORMAT=json`.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("expected 'text' or 'json'".to_owned()),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Which events are logged: the directives of `RUST_LOG`, known to be well formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl Default for LogFilter {
    fn default() -> Self {
        Self(DEFAULT_FILTER.to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "expected a level such as 'debug', or 'info,messaging=debug'";
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("{error}; {wanted}")),
        }
    }
}

impl From<&LogFilter> for EnvFilter {
    fn from(filter: &LogFilter) -> Self {
        Self::new(&filter.0)
    }
}

/// How a process logs. The default is `info` and above, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// `LOG_FORMAT`: `text` or `json`. Default `text`.
    pub format: LogFormat,
    /// `RUST_LOG`: what is logged. Default `info`, and less of what libraries say.
    pub filter: LogFilter,
}

impl LogSettings {
    /// Reads `LOG_FORMAT` and `RUST_LOG`. What is wrong with them is left with `reader`.
    #[must_use]
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            format: reader.read("LOG_FORMAT", LogFormat::default()),
            filter: reader.read_optional("RUST_LOG").unwrap_or_default(),
        }
    }
}

/// Starts logging to standard error.
///
/// A second call in one process changes nothing.
pub fn start(settings: &LogSettings) {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from(&settings.filter))
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // An error means that a subscriber is already set, as in a test that starts two services.
    let _ = match settings.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::ConfigError;

    fn read(name: &str, value: &str) -> Result<LogSettings, ConfigError> {
        let source = HashMap::from([(name.to_owned(), value.to_owned())]);
        let mut reader = Reader::new(&source);
        let settings = LogSettings::read(&mut reader);
        reader.finish(settings)
    }

    #[test]
    fn what_cannot_be_a_filter_is_a_bad_setting() {
        for good in ["debug", "info,messaging=debug", "off", "worker[job{id=1}]=trace", ""] {
            assert!(read("RUST_LOG", good).is_ok(), "{good}");
        }
        for bad in ["a=b=c", "worker=loud", "info,x=y"] {
            let ConfigError(problems) = read("RUST_LOG", bad).unwrap_err();
            assert_eq!(problems[0].name, "RUST_LOG", "{bad}");
        }
        assert!(read("LOG_FORMAT", "xml").is_err());
        assert_eq!(read("LOG_FORMAT", "json").unwrap().format, LogFormat::Json);
    }

    #[test]
    fn the_default_filter_is_well_formed() {
        assert_eq!(DEFAULT_FILTER.parse(), Ok(LogFilter::default()));
    }
}
