//! The options of `spotter model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use detector::preprocess::letterbox::Resampling;
use domain::{ModelName, Sha256Digest};

use super::{NatsOptions, SettingsOptions};
use crate::paths::PathsOptions;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Install an ONNX file as a model
    ///
    /// Recognises the family (YOLOv5 to YOLO26, YOLOX, RT-DETR, D-FINE, DEIM or RF-DETR) and reads the class
    /// names from the file, optimises the graph where possible, and checks that it runs.
    Add(ModelAddOptions),
    /// Download a model of the catalogue and install it
    ///
    /// Checks the file's sha256, and continues a download that broke off. Models whose licence is not
    /// permissive need --accept-licence.
    Pull(ModelPullOptions),
    /// List the models that can be pulled
    Search(ModelSearchOptions),
    /// List the installed models
    List(PathsOptions),
    /// Check installed models against the checksums of their installation
    Verify(ModelVerifyOptions),
    /// Compare what two models find, and how long they take
    ///
    /// With pictures, runs both installed models on them, without any server. Without pictures, prints what workers
    /// with SHADOW_MODEL=B have compared: jobs that model A has run, and B as well, with the settings of each task. So
    /// --conf, --iou, --max-detections and --tiles need pictures.
    Compare(ModelCompareOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ModelAddOptions {
    /// The ONNX file
    #[arg(value_name = "FILE.onnx")]
    pub(crate) file: PathBuf,
    /// The name to install it under [default: the file's name without its extension]
    #[arg(long)]
    pub(crate) name: Option<ModelName>,
    #[command(flatten)]
    pub(crate) install: ModelInstallOptions,
}

/// How to install a file, wherever it comes from.
#[derive(Debug, Args)]
pub(crate) struct ModelInstallOptions {
    /// A file of class names, one per line, for a model file that does not contain them
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// The licence of its weights, such as AGPL-3.0 [default: from the catalogue, or the file]
    #[arg(long, alias = "licence")]
    pub(crate) license: Option<String>,
    /// How pictures are scaled: 'bilinear' as OpenCV, 'antialiased' as Pillow, or 'bilinear-float' as PyTorch [default: as
    /// the family's reference]
    #[arg(long, value_parser = resampling, value_name = "METHOD")]
    pub(crate) resampling: Option<Resampling>,
    /// Keep the graph unchanged, even where removing its head would make it faster
    #[arg(long)]
    pub(crate) keep_plain: bool,
    /// Replace an installed model of the same name
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) paths: PathsOptions,
}

fn resampling(text: &str) -> Result<Resampling, &'static str> {
    match text {
        "bilinear" => Ok(Resampling::Bilinear),
        "antialiased" => Ok(Resampling::Antialiased),
        "bilinear-float" => Ok(Resampling::BilinearFloat),
        _ => Err("expected 'bilinear', 'antialiased' or 'bilinear-float'"),
    }
}

#[derive(Debug, Args)]
pub(crate) struct ModelPullOptions {
    /// The model's name in the catalogue; with --from, any name
    #[arg(value_name = "NAME")]
    pub(crate) name: ModelName,
    /// The file to install, or the URL to download it from [default: where the catalogue says]
    #[arg(long, value_name = "URL|FILE")]
    pub(crate) from: Option<String>,
    /// The sha256 that the file must have [default: from the catalogue]
    #[arg(long, value_name = "HEX")]
    pub(crate) sha256: Option<Sha256Digest>,
    /// The server to use in place of the hub, with the same paths
    #[arg(long, value_name = "URL", env = "MODEL_MIRROR", hide_env_values = true)]
    pub(crate) mirror: Option<String>,
    /// Accept the licence of the weights
    #[arg(long, alias = "accept-license")]
    pub(crate) accept_licence: bool,
    /// A catalogue of your own, such as models/catalogue.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) catalogue: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) install: ModelInstallOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ModelSearchOptions {
    /// A part of the name, the family or the licence [default: all models]
    #[arg(value_name = "TEXT")]
    pub(crate) text: Option<String>,
    /// A catalogue of your own, such as models/catalogue.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) catalogue: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) paths: PathsOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ModelVerifyOptions {
    /// The models to check [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<ModelName>,
    #[command(flatten)]
    pub(crate) paths: PathsOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ModelCompareOptions {
    /// The model in use
    #[arg(value_name = "A")]
    pub(crate) a: ModelName,
    /// The model that it is compared with
    #[arg(value_name = "B")]
    pub(crate) b: ModelName,
    /// The pictures to run both models on, or folders of pictures [default: those that workers have compared]
    #[arg(value_name = "PICTURE")]
    pub(crate) pictures: Vec<PathBuf>,
    /// Print one JSON object instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsOptions,
    #[command(flatten)]
    pub(crate) paths: PathsOptions,
    #[command(flatten)]
    pub(crate) server: NatsOptions,
}
