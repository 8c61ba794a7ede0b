//! The options of `spotter bench`.

use std::{fmt, num::NonZero, path::PathBuf};

use clap::{Args, ValueEnum};
use domain::ModelName;
use service::config::secret::Secret;

use crate::paths::PathsOptions;

#[derive(Debug, Args)]
pub(crate) struct BenchOptions {
    /// What to measure [default: all]
    #[arg(long, value_name = "SECTION", value_delimiter = ',', hide_default_value = true,
        default_values_t = BenchSection::ALL)]
    pub(crate) only: Vec<BenchSection>,
    /// Measure a running system through its API; sections that need processes of their own are left out
    #[arg(long, value_name = "URL")]
    pub(crate) target: Option<String>,
    /// The API key for it, where it requires one
    // Help does not show the key that is set.
    #[arg(long, value_name = "KEY", env = "SPOTTER_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<Secret>,
    /// The picture to send
    #[arg(long, value_name = "FILE", default_value = "test_images/bus.jpg")]
    pub(crate) picture: PathBuf,
    /// The model to run, by the name it is installed under
    #[arg(long, env = "MODEL", default_value_t)]
    pub(crate) model: ModelName,
    /// The file the model was installed from, for comparison [default: the file that set-up fetched]
    #[arg(long, value_name = "FILE.onnx")]
    pub(crate) plain: Option<PathBuf>,
    /// The number of rounds of the throughput section
    #[arg(long, value_name = "COUNT", default_value = "5")]
    pub(crate) rounds: NonZero<usize>,
    /// How long each variant is measured in one round
    #[arg(long, default_value = "8")]
    pub(crate) seconds: NonZero<u64>,
    /// How many jobs the messages are counted over
    #[arg(long, value_name = "COUNT", default_value = "1000")]
    pub(crate) jobs: NonZero<usize>,
    /// How long uploads are measured at each rate
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    pub(crate) upload_seconds: NonZero<u64>,
    /// Also write the report as JSON into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// The folder for the queue's data; it is kept in a new subfolder that is removed afterwards
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data_dir: PathBuf,
    #[command(flatten)]
    pub(crate) paths: PathsOptions,
}

/// One section of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchSection {
    /// Pictures a second: bare model, detector, queue
    Throughput,
    /// Messages and stores of each job, counted by NATS
    Messages,
    /// One picture at a time
    Latency,
    /// Uploads at fixed rates while workers are busy
    Uploads,
    /// Status reads, with Redis and without
    Reads,
    /// More workers, longer queues
    Growth,
}

impl BenchSection {
    const ALL: [Self; 6] =
        [Self::Throughput, Self::Messages, Self::Latency, Self::Uploads, Self::Reads, Self::Growth];
}

impl fmt::Display for BenchSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throughput => "throughput",
            Self::Messages => "messages",
            Self::Latency => "latency",
            Self::Uploads => "uploads",
            Self::Reads => "reads",
            Self::Growth => "growth",
        })
    }
}
