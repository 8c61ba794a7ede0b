//! Logs: one line per event on standard error, as text for people or JSON for machines. Lines within a traced
//! request or job carry the ids of the trace and the span.

use std::{fmt, io::IsTerminal, iter, str::FromStr};

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter,
    filter::{Directive, LevelFilter},
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{JsonFields, Writer},
    },
    registry::LookupSpan,
};

use super::traces::{self, TraceIds};
use crate::config::Reader;

/// How log lines are written. Set by `LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people: `LOG_FORMAT=text`, the default.
    #[default]
    Text,
    /// For machines, one JSON object per line: `LOG_FORMAT=json`.
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

/// Which events are logged: the directives of `RUST_LOG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(Vec<Directive>);

impl Default for LogFilter {
    /// The service's own events from `info` on, and only warnings of the libraries that log every step.
    fn default() -> Self {
        let libraries =
            ["async_nats=warn", "poem=warn", "opentelemetry=off", "opentelemetry_sdk=off"];
        let own = Directive::from(LevelFilter::INFO);
        let libraries = libraries.iter().filter_map(|directive| directive.parse().ok());
        Self(iter::once(own).chain(libraries).collect())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let directives = text.split(',').filter(|directive| !directive.is_empty());
        directives.map(str::parse).collect::<Result<_, _>>().map(Self).map_err(|error| {
            format!("{error}; expected a level such as 'debug', or 'info,messaging=debug'")
        })
    }
}

impl From<&LogFilter> for EnvFilter {
    fn from(filter: &LogFilter) -> Self {
        if filter.0.is_empty() {
            return Self::default();
        }
        // A target that no directive names is not logged.
        let nothing = Self::default().add_directive(LevelFilter::OFF.into());
        filter.0.iter().cloned().fold(nothing, Self::add_directive)
    }
}

/// How a process logs. The default is `info` and above, for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// `LOG_FORMAT`: `text` or `json`. Default `text`.
    pub format: LogFormat,
    /// `RUST_LOG`: the filter. Default `info`, with fewer events of libraries.
    pub filter: LogFilter,
}

impl LogSettings {
    /// Reads `LOG_FORMAT` and `RUST_LOG`. `reader` collects what is wrong with them.
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
        // It would panic if a line cannot be written, as on a full disk.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    // Set explicitly: lines are formatted in memory first, where no terminal can be detected.
    let format = tracing_subscriber::fmt::format()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal());
    // An error means that a subscriber is set already, as in a test that starts two services.
    let _ = match settings.format {
        LogFormat::Text => lines.event_format(WithTrace { format, add: add_to_text }).try_init(),
        LogFormat::Json => {
            let format = format.json().flatten_event(true);
            let lines = lines.fmt_fields(JsonFields::new());
            lines.event_format(WithTrace { format, add: add_to_json }).try_init()
        }
    };
}

/// Formats lines as `format` does, and adds the ids of the current trace and span.
struct WithTrace<F> {
    format: F,
    /// Adds the ids to a whole line, without its line break.
    add: fn(&mut String, &TraceIds),
}

impl<S, N, F> FormatEvent<S, N> for WithTrace<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(ids) = traces::current_ids() else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        line.truncate(line.trim_end().len());
        (self.add)(&mut line, &ids);
        writeln!(writer, "{line}")
    }
}

fn add_to_text(line: &mut String, TraceIds { trace_id, span_id }: &TraceIds) {
    *line += &format!(" trace_id={trace_id} span_id={span_id}");
}

/// `line` is an object with at least one field, the time.
fn add_to_json(line: &mut String, TraceIds { trace_id, span_id }: &TraceIds) {
    if line.pop() == Some('}') {
        *line += &format!(r#","trace_id":"{trace_id}","span_id":"{span_id}"}}"#);
    }
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
    fn a_filter_is_the_one_that_the_library_makes_of_the_same_text() {
        let own = LogFilter::default();
        let text = "info,async_nats=warn,poem=warn,opentelemetry=off,opentelemetry_sdk=off";
        assert_eq!(Ok(own), text.parse());
        let sorted = |filter: EnvFilter| {
            let text = filter.to_string();
            let mut directives: Vec<_> = text.split(',').map(str::to_owned).collect();
            directives.sort_unstable();
            directives
        };
        for text in
            [text, "debug", "messaging=debug", "off", ",", "a[b{c=1}]=trace,warn", "x=info,,y=off"]
        {
            let made = EnvFilter::from(&text.parse::<LogFilter>().unwrap());
            let expected = EnvFilter::try_new(text).unwrap();
            assert_eq!(made.max_level_hint(), expected.max_level_hint(), "{text}");
            let (mut made, expected) = (sorted(made), sorted(expected));
            // The base directive, which the library leaves out if the text names others.
            made.retain(|directive| directive != "off" || expected.contains(directive));
            assert_eq!(made, expected, "{text}");
        }
    }

    #[test]
    fn a_line_within_a_trace_names_it() {
        let ids = TraceIds { trace_id: 0x4bf9_2f35_u128.into(), span_id: 0x00f0_67aa_u64.into() };
        let mut text = "2026-11-25T10:00:00Z  INFO detected".to_owned();
        add_to_text(&mut text, &ids);
        assert!(
            text.ends_with(" trace_id=0000000000000000000000004bf92f35 span_id=0000000000f067aa")
        );
        let mut json = r#"{"level":"INFO","message":"a } in it"}"#.to_owned();
        add_to_json(&mut json, &ids);
        let expected = concat!(
            r#"{"level":"INFO","message":"a } in it","trace_id":"0000000000000000000000004bf92f35","#,
            r#""span_id":"0000000000f067aa"}"#
        );
        assert_eq!(json, expected);
    }
}
