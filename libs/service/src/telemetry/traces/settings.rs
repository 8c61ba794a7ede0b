//! OpenTelemetry's standard variables for traces (`OTEL_…`).

use std::{collections::HashMap, fmt, str::FromStr, time::Duration};

use hyper::Uri;
use opentelemetry_sdk::trace::Sampler;

use crate::config::{Reader, address::redact, secret::Secret};

/// The endpoint if `OTEL_TRACES_EXPORTER` is `otlp` and no endpoint is set.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";

/// Whether and how a process exports its traces. The default is not to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TraceSettings {
    /// `None`: nothing is exported, because `OTEL_SDK_DISABLED` is `true`, `OTEL_TRACES_EXPORTER` is `none`,
    /// or neither that is `otlp` nor an endpoint is set.
    pub export: Option<ExportSettings>,
    /// `OTEL_SERVICE_NAME`: the service's name in traces. Default `spotter-api`, `spotter-worker`.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`: further attributes of the service: `name=value`, separated by commas.
    pub resource: Vec<(String, String)>,
}

/// Where spans are exported to, and which ones.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportSettings {
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or `OTEL_EXPORTER_OTLP_ENDPOINT` and `/v1/traces`.
    pub endpoint: Endpoint,
    /// `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, or `OTEL_EXPORTER_OTLP_HEADERS`: request headers, such as a
    /// token.
    pub headers: HashMap<String, Secret>,
    /// `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT`, or `OTEL_EXPORTER_OTLP_TIMEOUT`, in milliseconds: the timeout of
    /// one export. Default 10 s.
    pub timeout: Duration,
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`: which traces are exported.
    pub sampler: TraceSampler,
}

impl TraceSettings {
    /// Reads the variables. `reader` collects what is wrong with them.
    #[must_use]
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let resource = reader.read_secret("OTEL_RESOURCE_ATTRIBUTES");
        let Pairs(resource) = resource.unwrap_or_default();
        let service_name = reader.read_optional("OTEL_SERVICE_NAME");
        let export = read_export(reader);
        let is_disabled = reader.read("OTEL_SDK_DISABLED", Flag(false)).0;
        Self { export: export.filter(|_| !is_disabled), service_name, resource }
    }
}

fn read_export(reader: &mut Reader<'_>) -> Option<ExportSettings> {
    let own = reader.read_secret("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    let general = reader.read_secret("OTEL_EXPORTER_OTLP_ENDPOINT").map(Endpoint::for_traces);
    let endpoint = own.or(general);
    for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
        let _: Option<HttpProtobuf> = reader.read_optional(name);
    }
    for name in ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"] {
        let _: Option<NoCompression> = reader.read_optional(name);
    }
    let Pairs(headers) = reader
        .read_secret("OTEL_EXPORTER_OTLP_TRACES_HEADERS")
        .or_else(|| reader.read_secret("OTEL_EXPORTER_OTLP_HEADERS"))
        .unwrap_or_default();
    let general = reader.milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000);
    let general = u64::try_from(general.as_millis()).unwrap_or(u64::MAX);
    let timeout = reader.milliseconds("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", general);
    let sampler = read_sampler(reader);
    let endpoint = match reader.read_optional("OTEL_TRACES_EXPORTER") {
        Some(Exporter::None) => None,
        Some(Exporter::Otlp) => {
            endpoint.or_else(|| DEFAULT_ENDPOINT.parse().ok().map(Endpoint::for_traces))
        }
        None => endpoint,
    };
    Some(ExportSettings {
        endpoint: endpoint?,
        headers: headers.into_iter().map(|(name, value)| (name, value.into())).collect(),
        timeout,
        sampler,
    })
}

/// `OTEL_TRACES_EXPORTER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exporter {
    Otlp,
    None,
}

impl FromStr for Exporter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "otlp" => Ok(Self::Otlp),
            "none" => Ok(Self::None),
            _ => Err("expected 'otlp' or 'none'"),
        }
    }
}

/// The only supported protocol. The variable is read so that another one is rejected and not ignored.
struct HttpProtobuf;

impl FromStr for HttpProtobuf {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let advice = "expected 'http/protobuf'; every collector accepts it, usually on port 4318";
        if text == "http/protobuf" { Ok(Self) } else { Err(advice) }
    }
}

/// The only supported compression: the collector runs nearby.
struct NoCompression;

impl FromStr for NoCompression {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self) } else { Err("expected 'none'") }
    }
}

/// OpenTelemetry's booleans: `true` in upper or lower case is true, every other value is false.
struct Flag(bool);

impl FromStr for Flag {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.eq_ignore_ascii_case("true")))
    }
}

/// `http://host[:port][/path]`: a collector's endpoint for OTLP over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl Endpoint {
    /// The endpoint for traces, if this is the base of all endpoints.
    fn for_traces(self) -> Self {
        let base = self.0.to_string();
        let traces = format!("{}/v1/traces", base.trim_end_matches('/'));
        // An address that was parsed can be parsed with a path, too.
        traces.parse().unwrap_or(self)
    }

    /// The URL for the exporter, with its login.
    pub(super) fn url(&self) -> String {
        self.0.to_string()
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected http://host:port, such as http://127.0.0.1:4318";
        let uri: Uri = text.parse().map_err(|error| format!("{error}; {expected}"))?;
        match uri.scheme_str() {
            Some("http") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(Self(uri)),
            Some("https") => Err(
                "TLS to a collector is not supported; run a collector nearby that forwards over \
                     TLS, and name that one: http://127.0.0.1:4318"
                    .to_owned(),
            ),
            _ => Err(expected.to_owned()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0.to_string()))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `name=value,name=value`, with percent-encoded values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Pairs(Vec<(String, String)>);

impl FromStr for Pairs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = |pair: &str| {
            let expected = || "expected name=value, separated by commas".to_owned();
            let (name, value) = pair.split_once('=').ok_or_else(expected)?;
            let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8();
            let value = value.map_err(|_| expected())?.into_owned();
            let name = name.trim().to_owned();
            if name.is_empty() { Err(expected()) } else { Ok((name, value)) }
        };
        let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
        pairs.map(pair).collect::<Result<_, _>>().map(Self)
    }
}

/// Which traces are exported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceSampler {
    /// The decision for a trace that starts here.
    of_new: Share,
    /// Whether the parent's decision applies to a trace that started elsewhere.
    follows_parent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Share {
    All,
    None,
    Ratio(f64),
}

impl Default for TraceSampler {
    /// `parentbased_always_on`.
    fn default() -> Self {
        Self { of_new: Share::All, follows_parent: true }
    }
}

impl TraceSampler {
    pub(super) fn to_sdk(self) -> Sampler {
        let of_new = match self.of_new {
            Share::All => Sampler::AlwaysOn,
            Share::None => Sampler::AlwaysOff,
            Share::Ratio(ratio) => Sampler::TraceIdRatioBased(ratio),
        };
        if self.follows_parent { Sampler::ParentBased(Box::new(of_new)) } else { of_new }
    }
}

impl fmt::Display for TraceSampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parent_based = if self.follows_parent { "parentbased_" } else { "" };
        match self.of_new {
            Share::All => write!(f, "{parent_based}always_on"),
            Share::None => write!(f, "{parent_based}always_off"),
            Share::Ratio(ratio) => write!(f, "{parent_based}traceidratio {ratio}"),
        }
    }
}

fn read_sampler(reader: &mut Reader<'_>) -> TraceSampler {
    let name = "OTEL_TRACES_SAMPLER";
    let ratio = reader.within("OTEL_TRACES_SAMPLER_ARG", 0.0, 1.0, 1.0);
    let Some(text) = reader.read_optional::<String>(name) else { return TraceSampler::default() };
    let (follows_parent, rest) = match text.strip_prefix("parentbased_") {
        Some(rest) => (true, rest),
        None => (false, text.as_str()),
    };
    let of_new = match rest {
        "always_on" => Share::All,
        "always_off" => Share::None,
        "traceidratio" => Share::Ratio(ratio),
        _ => {
            let expected = "expected always_on, always_off or traceidratio, optionally with the \
                            prefix 'parentbased_'";
            reader.problem(name, expected.to_owned());
            return TraceSampler::default();
        }
    };
    TraceSampler { of_new, follows_parent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigError;

    type Variables<'a> = &'a [(&'a str, &'a str)];

    fn read(variables: Variables<'_>) -> Result<TraceSettings, ConfigError> {
        let source: HashMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut reader = Reader::new(&source);
        let settings = TraceSettings::read(&mut reader);
        reader.finish(settings)
    }

    /// Where traces go with these variables; `None`: nowhere.
    fn endpoint(variables: Variables<'_>) -> Option<String> {
        read(variables).unwrap().export.map(|export| export.endpoint.url())
    }

    #[test]
    fn traces_are_on_where_a_collector_is_named() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        const TRACES: (&str, &str) = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other:1/x");
        let cases: [(Variables<'_>, Option<&str>); 8] = [
            (&[], None),
            (&[ENDPOINT], Some("http://collector:4318/v1/traces")),
            (&[TRACES], Some("http://other:1/x")),
            (&[ENDPOINT, TRACES], Some("http://other:1/x")),
            (&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")], None),
            (&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")], None),
            (&[("OTEL_TRACES_EXPORTER", "otlp")], Some("http://localhost:4318/v1/traces")),
            (&[("OTEL_SERVICE_NAME", "x"), ("OTEL_TRACES_SAMPLER", "always_on")], None),
        ];
        for (variables, expected) in cases {
            assert_eq!(endpoint(variables).as_deref(), expected, "{variables:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let bad = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ];
        for (name, value) in bad {
            let ConfigError(problems) = read(&[(name, value)]).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].name, name);
        }
    }

    #[test]
    fn a_token_does_not_reach_a_log() {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret,x-team=a"),
        ];
        let settings = read(&variables).unwrap();
        let headers = &settings.export.as_ref().unwrap().headers;
        assert_eq!(headers["authorization"].expose(), "Bearer s3cret");
        assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
        let bad = [
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "Bearer s3cret"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:s3cret@collector"),
        ];
        let problems = read(&bad).unwrap_err();
        assert!(problems.0.len() == 2 && !problems.to_string().contains("s3cret"), "{problems}");
    }

    #[test]
    fn samplers_are_told_by_their_agreed_names() {
        let names = ["always_on", "always_off", "parentbased_always_on", "parentbased_always_off"];
        for name in names {
            let settings = read(&[("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_TRACES_SAMPLER", name)]);
            assert_eq!(settings.unwrap().export.unwrap().sampler.to_string(), name);
        }
        let variables = [
            ("OTEL_TRACES_EXPORTER", "otlp"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ];
        let sampler = read(&variables).unwrap().export.unwrap().sampler;
        assert_eq!(sampler.to_string(), "parentbased_traceidratio 0.25");
    }
}
