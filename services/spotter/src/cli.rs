//! The command line: commands, options and their help.

mod key;
mod model;
mod shell;
mod submit;
mod tasks;

use std::{num::NonZero, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use domain::{
    AnnotationFormat, ConfidenceThreshold, DetectionSettings, IouThreshold, MaxDetections,
    ModelName, TaskId, TileOverlap, Tiles, Tiling,
};
use messaging::DeadLetterId;
use service::config::{host::Host, is_set, secret::Secret};

use crate::{bench::BenchOptions, paths::PathsOptions};

pub(crate) use self::{
    key::{KeyChoice, KeyCommand, KeyCreateOptions, KeyListOptions},
    model::{
        ModelAddOptions, ModelCommand, ModelCompareOptions, ModelInstallOptions, ModelPullOptions,
        ModelSearchOptions, ModelVerifyOptions,
    },
    shell::{CompletionsOptions, ManOptions},
    submit::SubmitOptions,
    tasks::{CancelOptions, TasksOptions},
};

/// Finds objects in pictures, on your own machines.
#[derive(Debug, Parser)]
#[command(
    name = "spotter",
    version,
    propagate_version = true,
    after_help = "Start here:\n  \
        spotter detect test_images/bus.jpg      find objects in a picture, no server needed\n  \
        spotter up                              start queue, cache, API and worker on this machine\n  \
        spotter submit test_images/bus.jpg      send a picture to the running API"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// Parses the command line. An empty variable counts as not set, as in every other setting; clap by
    /// itself would use the empty value.
    ///
    /// # Errors
    /// A usage error, or the help or version that was asked for.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut matches = without_empty_variables(Self::command()).try_get_matches()?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut Self::command()))
    }
}

fn without_empty_variables(command: clap::Command) -> clap::Command {
    command.mut_subcommands(without_empty_variables).mut_args(|arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        let empty = value.is_some_and(|value| value.to_str().is_some_and(|text| !is_set(text)));
        if empty { arg.env(None) } else { arg }
    })
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start everything on this machine: NATS, Redis, API and workers
    ///
    /// Reads HOST, PORT, WORKERS, CONCURRENCY and MODEL from the environment and from the file
    /// `.env`; the environment takes precedence over the file, and options over both. Ctrl-C stops
    /// everything.
    Up(UpOptions),
    /// Find the objects in pictures, without any server
    Detect(DetectOptions),
    /// Send pictures to a running API and wait for the results
    Submit(SubmitOptions),
    /// List the tasks of a running API, the newest first
    Tasks(TasksOptions),
    /// Cancel tasks: jobs that wait are not run, and those that run are stopped
    Cancel(CancelOptions),
    /// Show queue, workers and rates of a running API as they change; q ends
    ///
    /// Where requests need an API key, it needs one with the scope `admin`.
    Watch(ApiOptions),
    /// Install, list and check models
    #[command(subcommand)]
    Model(ModelCommand),
    /// List, show, requeue or drop dead letters: jobs that were given up
    ///
    /// A job that repeatedly crashed or failed its worker is given up: its task fails with the reason
    /// `poison`, and the job is kept as a dead letter for seven days, with its picture.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// List, show or replay webhooks that were given up
    ///
    /// A webhook that its receiver did not accept after all tries is given up, and kept for seven days.
    #[command(subcommand)]
    Webhooks(WebhooksCommand),
    /// Create, list or revoke API keys
    ///
    /// An API with `AUTH=keys` serves requests with a key only.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Benchmark this machine: the model, the queue end to end, uploads, status reads
    ///
    /// Starts a system of its own and removes it afterwards. Run it on an otherwise idle machine.
    /// Variants that are compared are measured in alternation.
    Bench(BenchOptions),
    /// Run only the API (settings from the environment)
    Api,
    /// Run only a worker (settings from the environment)
    Worker,
    /// Run only the notifier, which delivers webhooks (settings from the environment)
    Notifier,
    /// Provision streams, buckets and the consumers, then exit (settings from the environment)
    ///
    /// Needed where API and worker log in to NATS as users that may not create them. Elsewhere API and
    /// worker create what is missing.
    Setup,
    /// Print the API's OpenAPI document
    Openapi,
    /// Print the script that completes the command line in a shell
    Completions(CompletionsOptions),
    /// Write a manual page for each command into a folder
    Man(ManOptions),
}

#[derive(Debug, Args)]
pub(crate) struct UpOptions {
    /// The address the API listens on [default: HOST, or 127.0.0.1]
    #[arg(long)]
    pub(crate) host: Option<Host>,
    /// The API's port; if it is in use, a free one is chosen [default: PORT, or 5000]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Worker processes [default: WORKERS, or 1]
    #[arg(long)]
    pub(crate) workers: Option<NonZero<usize>>,
    /// Pictures at a time in each worker [default: CONCURRENCY, or cores / workers]
    #[arg(long)]
    pub(crate) concurrency: Option<NonZero<usize>>,
    /// The model to run, by the name it is installed under [default: MODEL, or yolov8n]
    #[arg(long)]
    pub(crate) model: Option<ModelName>,
    /// The folder for the queue and the servers' logs
    #[arg(long, default_value = "data")]
    pub(crate) data_dir: PathBuf,
    /// A file of settings, one `NAME=value` per line; the environment takes precedence [default: `.env`]
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
}

/// The thresholds, as options of `detect`, `submit` and `model compare`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct SettingsOptions {
    /// The minimum confidence of a reported object, from 0 to 1 [default: 0.25]
    #[arg(long = "conf", value_name = "SCORE")]
    pub(crate) confidence: Option<ConfidenceThreshold>,
    /// Boxes of one class whose overlap (IoU) is above this are one object, from 0 to 1 [default: 0.7]
    #[arg(long, value_name = "OVERLAP")]
    pub(crate) iou: Option<IouThreshold>,
    /// The maximum number of objects reported per picture, from 1 to 1000 [default: 300]
    #[arg(long, value_name = "COUNT", value_parser = parse_max_detections)]
    pub(crate) max_detections: Option<MaxDetections>,
    /// Also run overlapping tiles of each picture, for small objects: auto, or columns and rows as in 3x2
    #[arg(long)]
    pub(crate) tiles: Option<Tiles>,
    /// The share of a tile that it has in common with its neighbour, from 0 to 0.5 [default: 0.2]
    #[arg(long, value_name = "SHARE", requires = "tiles")]
    pub(crate) overlap: Option<TileOverlap>,
}

impl SettingsOptions {
    /// The names of those that are on the command line.
    pub(crate) fn given(&self) -> Vec<&'static str> {
        let Self { confidence, iou, max_detections, tiles, overlap } = self;
        let all = [
            ("--conf", confidence.is_some()),
            ("--iou", iou.is_some()),
            ("--max-detections", max_detections.is_some()),
            ("--tiles", tiles.is_some()),
            ("--overlap", overlap.is_some()),
        ];
        all.into_iter().filter_map(|(name, is_given)| is_given.then_some(name)).collect()
    }
}

impl From<SettingsOptions> for DetectionSettings {
    fn from(options: SettingsOptions) -> Self {
        let SettingsOptions { confidence, iou, max_detections, tiles, overlap } = options;
        let tiling = tiles.map(|tiles| Tiling { tiles, overlap: overlap.unwrap_or_default() });
        Self {
            confidence: confidence.unwrap_or_default(),
            iou: iou.unwrap_or_default(),
            max_detections: max_detections.unwrap_or_default(),
            tiling,
            ..Self::default()
        }
    }
}

fn parse_max_detections(text: &str) -> Result<MaxDetections, String> {
    let count: u16 = text
        .parse()
        .map_err(|error| format!("'{text}' is not a number from 1 to 1000: {error}"))?;
    MaxDetections::try_from(count)
}

#[derive(Debug, Args)]
pub(crate) struct DetectOptions {
    /// The pictures: JPEG, PNG, WebP, BMP or GIF files
    #[arg(required = true, value_name = "PICTURE")]
    pub(crate) pictures: Vec<PathBuf>,
    /// Print one JSON object per picture instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the objects of one picture in a format of other tools: coco, csv, yolo, yolo-conf or voc
    #[arg(long, value_name = "FORMAT", conflicts_with = "json")]
    pub(crate) format: Option<AnnotationFormat>,
    /// The model to run, by the name it is installed under
    #[arg(long, env = "MODEL", default_value_t)]
    pub(crate) model: ModelName,
    /// Also write each picture with boxes and labels drawn into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) save: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: SettingsOptions,
    #[command(flatten)]
    pub(crate) paths: PathsOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List the dead letters, the oldest first
    List(DlqListOptions),
    /// Show one dead letter: when and why it was given up, and its job
    Show(DlqShowOptions),
    /// Requeue jobs, each as a new task
    ///
    /// The old task keeps its terminal state. The dead letter is removed once the new job is stored.
    Requeue(DlqChoice),
    /// Delete dead letters and their pictures
    Drop(DlqChoice),
}

impl DlqCommand {
    pub(crate) fn server(&self) -> &NatsOptions {
        match self {
            Self::List(options) => &options.server,
            Self::Show(options) => &options.server,
            Self::Requeue(choice) | Self::Drop(choice) => &choice.server,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct DlqListOptions {
    /// Print one JSON object per dead letter instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: NatsOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DlqShowOptions {
    /// The task's id, or the sequence number of a message that is not a job
    #[arg(value_name = "ID")]
    pub(crate) id: DeadLetterId,
    /// Also write its picture, as the client sent it, into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: NatsOptions,
}

/// The dead letters that a command applies to.
#[derive(Debug, Args)]
pub(crate) struct DlqChoice {
    /// The tasks' ids, or the sequence numbers of messages that are not jobs
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) ids: Vec<DeadLetterId>,
    /// All dead letters; requires --yes
    #[arg(long)]
    pub(crate) all: bool,
    /// Confirm --all
    #[arg(long, requires = "all")]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) server: NatsOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// List the webhooks that were given up, the oldest first
    List(DlqListOptions),
    /// Show one as JSON: when and why it was given up, and its task's record
    Show(WebhookShowOptions),
    /// Have webhooks delivered again, with all their tries
    Replay(WebhookChoice),
}

impl WebhooksCommand {
    pub(crate) fn server(&self) -> &NatsOptions {
        match self {
            Self::List(options) => &options.server,
            Self::Show(options) => &options.server,
            Self::Replay(choice) => &choice.server,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct WebhookShowOptions {
    /// The task's id
    #[arg(value_name = "ID")]
    pub(crate) id: TaskId,
    #[command(flatten)]
    pub(crate) server: NatsOptions,
}

/// The webhooks that a command applies to.
#[derive(Debug, Args)]
pub(crate) struct WebhookChoice {
    /// The tasks' ids
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) ids: Vec<TaskId>,
    /// All webhooks that were given up
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) server: NatsOptions,
}

/// The API that a command talks to.
#[derive(Debug, Args)]
pub(crate) struct ApiOptions {
    /// The address of the API
    #[arg(
        long,
        env = "SPOTTER_API",
        hide_env_values = true,
        default_value = "http://127.0.0.1:5000"
    )]
    pub(crate) api: String,
    /// The API key, where the API requires one; SPOTTER_API_KEY keeps it out of the list of processes
    // Help does not show the key that is set.
    #[arg(long, value_name = "KEY", env = "SPOTTER_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<Secret>,
}

/// The queue's server.
#[derive(Debug, Args)]
pub(crate) struct NatsOptions {
    /// The address of the NATS server; NATS_CREDENTIALS_FILE is read as well
    // Help does not show the address that is set: it may contain a password.
    #[arg(
        long,
        value_name = "URL",
        env = "NATS_URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    pub(crate) nats_url: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_states_the_settings_that_count_without_options() {
        let cli = Cli::try_parse_from(["spotter", "detect", "a.jpg"]).unwrap();
        let Command::Detect(options) = cli.command else { panic!("another command") };
        assert!(options.settings.given().is_empty());
        let settings = DetectionSettings::from(options.settings);
        assert_eq!(settings, DetectionSettings::default());
        let help = Cli::try_parse_from(["spotter", "detect", "--help"]).unwrap_err().to_string();
        // It has line breaks anywhere.
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let (confidence, iou) = (settings.confidence.to_string(), settings.iou.to_string());
        for value in [confidence, iou, settings.max_detections.get().to_string()] {
            assert!(help.contains(&format!("[default: {value}]")), "{value}: {help}");
        }
    }
}
