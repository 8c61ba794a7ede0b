//! The options of `spotter submit`.

use std::{num::NonZero, path::PathBuf};

use clap::Args;
use domain::Priority;

use super::{ApiOptions, SettingsOptions};

#[derive(Debug, Args)]
pub(crate) struct SubmitOptions {
    /// The pictures: JPEG, PNG, WebP, BMP or GIF files
    #[arg(required_unless_present = "folder", value_name = "PICTURE")]
    pub(crate) pictures: Vec<PathBuf>,
    /// Send the pictures in this folder and in those below it; the same command continues where it broke off
    #[arg(
        long,
        value_name = "DIR",
        requires = "out",
        group = "resumable",
        conflicts_with_all = ["pictures", "json"]
    )]
    pub(crate) folder: Option<PathBuf>,
    /// Append one JSON object per picture of the folder to this file; pictures that it has are not sent again
    // Of an argument that conflicts with one that is given, clap requires nothing.
    #[arg(long, value_name = "FILE", requires = "folder", conflicts_with = "pictures")]
    pub(crate) out: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: ApiOptions,
    /// Print one JSON object per picture instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Send the pictures, and those in zip archives, as one batch; the same command continues one that broke off
    #[arg(long, group = "resumable", conflicts_with = "parallel")]
    pub(crate) batch: bool,
    /// Another key for the batch, or for the pictures of the folder, so that they are run again [default: by pictures
    /// and options, so that the same ones are not]
    #[arg(long, value_name = "KEY", requires = "resumable")]
    pub(crate) idempotency_key: Option<String>,
    /// The number of pictures in flight at a time
    #[arg(long, value_name = "COUNT", default_value = "16")]
    pub(crate) parallel: NonZero<usize>,
    /// Run the pictures before others (high) or after them (low) [default: normal]
    #[arg(long, value_name = "PRIORITY", default_value_t, hide_default_value = true)]
    pub(crate) priority: Priority,
    /// Give up on a picture after this many seconds, and on a batch or folder in which nothing has happened for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
    #[command(flatten)]
    pub(crate) settings: SettingsOptions,
}
