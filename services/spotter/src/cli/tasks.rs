//! The options of `spotter tasks` and `spotter cancel`.

use std::num::NonZero;

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use client::State;
use domain::{ModelName, TaskId};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::ApiOptions;

/// The states that a list can be of, by their names on the command line.
const STATES: [(&str, State); 6] = [
    ("queued", State::Queued),
    ("started", State::Started),
    ("success", State::Success),
    ("failure", State::Failure),
    ("revoked", State::Revoked),
    ("expired", State::Expired),
];

#[derive(Debug, Args)]
pub(crate) struct TasksOptions {
    /// Tasks in this state; may be given more than once, for any of these
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', ignore_case = true,
        value_parser = PossibleValuesParser::new(STATES.map(|(name, _)| name)).try_map(parse_state))]
    pub(crate) states: Vec<State>,
    /// Tasks for this model
    #[arg(long)]
    pub(crate) model: Option<ModelName>,
    /// Tasks submitted at this time or later, such as 2030-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) submitted_after: Option<OffsetDateTime>,
    /// Tasks submitted before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) submitted_before: Option<OffsetDateTime>,
    /// Tasks whose metadata have this key, or this value of it; may be given more than once, for all of these
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) metadata: Vec<String>,
    /// How many tasks are listed at the most
    #[arg(long, value_name = "COUNT", default_value = "20")]
    pub(crate) limit: NonZero<usize>,
    /// Print one JSON object per task instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ApiOptions,
}

#[derive(Debug, Args)]
pub(crate) struct CancelOptions {
    /// The tasks' ids: `spotter tasks` shows them
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<TaskId>,
    #[command(flatten)]
    pub(crate) server: ApiOptions,
}

fn parse_state(text: String) -> Result<State, String> {
    let known = STATES.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(&text));
    known.map(|(_, state)| state).ok_or_else(|| format!("there is no state {text}"))
}

fn parse_time(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| format!("'{text}' is not a time such as 2030-01-31T00:00:00Z"))
}
