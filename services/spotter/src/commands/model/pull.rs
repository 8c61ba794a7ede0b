//! `spotter model pull` and `search`: downloads models of the catalogue and installs them.

use std::{
    fs,
    io::{self, BufRead, IsTerminal},
    path::{Path, PathBuf},
    time::Duration,
};

use client::download::{self, Download, DownloadError, Expected, Progress};
use detector::ModelBundle;
use domain::Sha256Digest;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use service::config::address;

use super::add::{install_file, install_options};
use crate::{
    catalogue::{Catalogue, Entry, HUB},
    cli::{ModelPullOptions, ModelSearchOptions},
    error::CliError,
    output,
};

/// Where parts of downloads are kept, in the folder of models. No model can have this name.
const DOWNLOADS: &str = ".downloads";
/// The largest file whose size the catalogue does not state. ONNX files cannot be larger.
const MOST_BYTES: u64 = 2 << 30;
/// The wait before the first retry.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn search(options: &ModelSearchOptions) -> Result<(), CliError> {
    let catalogue = Catalogue::read(options.catalogue.as_deref())?;
    let text = options.text.as_deref().unwrap_or_default();
    let found: Vec<_> = catalogue.models.iter().filter(|entry| entry.matches(text)).collect();
    if found.is_empty() {
        output::notice(format_args!("no model matches '{text}'; there are: {}", catalogue.names()));
    }
    let models_dir = options.paths.models_dir();
    for entry in found {
        let is_installed = models_dir.join(entry.name.as_str()).exists();
        output::line(format_args!(
            "{:<14}  {:<16}  {:<8}  AP {:.1}  {:>6.1} MB  weights: {}{}",
            entry.name.as_str(),
            entry.title,
            entry.family,
            entry.ap,
            entry.megabytes(),
            entry.licence,
            if is_installed { "  (installed)" } else { "" },
        ))?;
    }
    Ok(())
}

pub(super) fn pull(options: &ModelPullOptions) -> Result<(), CliError> {
    let catalogue = Catalogue::read(options.catalogue.as_deref())?;
    let entry = catalogue.find(&options.name);
    if entry.is_none() && options.from.is_none() {
        return Err(CliError::Usage(format!(
            "the catalogue has no model '{}'; it has: {}; give the place of another with --from URL or FILE",
            options.name,
            catalogue.names()
        )));
    }
    let models_dir = options.install.paths.models_dir();
    if let Some(entry) = entry.filter(|_| !options.install.replace)
        && is_installed(&models_dir, entry)
    {
        return output::line(format_args!("{} is installed already", entry.name));
    }
    if let Some(entry) = entry {
        accept_licence(entry, options.accept_licence)?;
    }
    let licence = entry.map(|entry| entry.licence.as_str());
    let install = install_options(options.name.clone(), licence, &options.install)?;
    let wanted = Wanted { options, entry, models_dir: &models_dir };
    let (file, is_downloaded) = wanted.file()?;
    let installed = install_file(&file, &install, &options.install.paths);
    // Where its content is known, a file that was refused for want of an option need not be downloaded again.
    if is_downloaded && (installed.is_ok() || entry.is_none()) {
        let _ = fs::remove_file(&file);
        let _ = fs::remove_dir(models_dir.join(DOWNLOADS));
    }
    installed
}

/// Whether the entry's file is installed under its name.
fn is_installed(models_dir: &Path, entry: &Entry) -> bool {
    let bundle = ModelBundle::load(&models_dir.join(entry.name.as_str()));
    bundle.is_ok_and(|bundle| bundle.manifest().source_sha256 == entry.sha256)
}

/// Shows the licence, and asks for consent where there is a terminal and it is needed.
fn accept_licence(entry: &Entry, is_accepted: bool) -> Result<(), CliError> {
    output::notice(format_args!(
        "{}: {:.1} MB, the licence of its weights is {}",
        entry.title,
        entry.megabytes(),
        entry.licence
    ));
    if !entry.must_be_accepted() || is_accepted {
        return Ok(());
    }
    output::notice(
        "It may oblige you: the AGPL, for one, to offer the source of a service that runs such weights to its users.",
    );
    if io::stdin().is_terminal() {
        output::notice("Accept it? [y/N]");
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
    }
    Err(CliError::Usage(format!(
        "the licence {} was not accepted; to accept it, add --accept-licence",
        entry.licence
    )))
}

/// The file that is to be installed.
struct Wanted<'a> {
    options: &'a ModelPullOptions,
    entry: Option<&'a Entry>,
    models_dir: &'a Path,
}

impl Wanted<'_> {
    /// The path of the file, checked, and whether it was downloaded.
    fn file(&self) -> Result<(PathBuf, bool), CliError> {
        match &self.options.from {
            Some(from) if !from.contains("://") => {
                let path = PathBuf::from(from);
                self.check(&path)?;
                Ok((path, false))
            }
            Some(url) => Ok((self.download(url)?, true)),
            None => {
                let hub = self.options.mirror.as_deref().unwrap_or(HUB);
                let url = self.entry.map(|entry| entry.url(hub)).unwrap_or_default();
                Ok((self.download(&url)?, true))
            }
        }
    }

    /// The digest that the file should have.
    fn sha256(&self) -> Option<Sha256Digest> {
        self.options.sha256.or(self.entry.map(|entry| entry.sha256))
    }

    /// Checks a file that lies here.
    fn check(&self, path: &Path) -> Result<(), CliError> {
        let Some(expected) = self.sha256() else { return Ok(()) };
        let found = block_on(download::digest_of(path))?;
        let found = found.map_err(|error| {
            CliError::Usage(format!("{} cannot be read: {error}", path.display()))
        })?;
        if found == expected {
            return Ok(());
        }
        Err(CliError::Usage(format!(
            "{} is not the file of {}: expected sha256 {expected}, found {found}",
            path.display(),
            self.options.name
        )))
    }

    fn download(&self, url: &str) -> Result<PathBuf, CliError> {
        let shown = shown(url)?;
        let folder = self.models_dir.join(DOWNLOADS);
        fs::create_dir_all(&folder)
            .map_err(|source| CliError::Write { path: folder.clone(), source })?;
        let expected = match (self.entry, self.sha256()) {
            (Some(entry), Some(sha256)) if sha256 == entry.sha256 => {
                Expected::Known { bytes: entry.bytes, sha256 }
            }
            _ => Expected::AtMost(MOST_BYTES),
        };
        let part = match expected {
            Expected::Known { sha256, .. } => format!("{sha256}.onnx"),
            Expected::AtMost(_) => format!("{}.onnx", self.options.name),
        };
        let path = folder.join(part);
        output::notice(format_args!("downloading from {shown}"));
        let download = Download { url, path: &path, expected, pause: PAUSE };
        let bar = progress_bar();
        let outcome = block_on(download.run(|progress| show(&bar, progress)))?;
        bar.finish_and_clear();
        // If nothing was downloaded, it is empty.
        let _ = fs::remove_dir(&folder);
        outcome.map_err(|error| self.explain(error, &shown))?;
        if expected == Expected::AtMost(MOST_BYTES) {
            self.check(&path).inspect_err(|_| {
                let _ = fs::remove_file(&path);
            })?;
        }
        Ok(path)
    }

    /// What can be done about a download that failed.
    fn explain(&self, error: DownloadError, shown: &str) -> CliError {
        let name = &self.options.name;
        let by_hand = format!(
            "Where this machine has no access, download the file elsewhere and install it with `spotter model pull \
             {name} --from FILE`, or name a mirror with --mirror or MODEL_MIRROR, a proxy with HTTPS_PROXY"
        );
        match error {
            DownloadError::Interrupted { reason, kept: 0 } => {
                CliError::Unavailable(format!("{shown}: {reason}. {by_hand}"))
            }
            DownloadError::Interrupted { reason, kept } => CliError::Unavailable(format!(
                "{shown}: {reason}. {kept} bytes are kept: the same command continues. {by_hand}"
            )),
            DownloadError::Refused(_) => {
                CliError::Unavailable(format!("{shown}: {error}. {by_hand}"))
            }
            DownloadError::File { path, source } => CliError::Write { path, source },
            DownloadError::NotSent(_)
            | DownloadError::WrongSize { .. }
            | DownloadError::WrongDigest { .. } => {
                CliError::Unavailable(format!("{shown}: {error}; nothing was installed"))
            }
        }
    }
}

/// A URL as it may be shown: without user and password.
fn shown(url: &str) -> Result<String, CliError> {
    let refuse = || {
        CliError::Usage(format!(
            "the URL is not one (not shown, since it may contain a password): expected https://host/path; {}",
            address::ADVICE
        ))
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(refuse)?;
    if !["http", "https"].contains(&scheme) {
        return Err(refuse());
    }
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = address::try_redact(&format!("{scheme}://{host}")).ok_or_else(refuse)?;
    let path = path.split(['?', '#']).next().unwrap_or_default();
    Ok(format!("{host}{path}"))
}

fn progress_bar() -> ProgressBar {
    let is_seen = io::stderr().is_terminal();
    let target = if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(None, target);
    let style =
        "{wide_bar} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, Progress { done, total }: Progress) {
    if let Some(total) = total {
        bar.set_length(total);
    }
    bar.set_position(done);
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(work))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let cases = [
            ("https://hub.example/a/b.onnx", "https://hub.example/a/b.onnx"),
            ("https://bob:secret@hub.example/a?token=secret#x", "https://***@hub.example/a"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ];
        for (url, expected) in cases {
            assert_eq!(shown(url).unwrap(), expected);
        }
        for url in ["ftp://host/x", "file:///etc/passwd", "https://", "nothing"] {
            let error = shown(url).unwrap_err().to_string();
            assert!(error.contains("not shown"), "{url}: {error}");
        }
    }
}
