//! Downloads of a file into another, resumed where they broke off.
//!
//! The proxies that the environment names are used (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use domain::{Sha256Digest, Sha256Hasher};
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_RANGE, RANGE},
    redirect,
};
use tokio::{
    fs::{self, File, OpenOptions},
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use crate::{ClientError, error::innermost_cause, tls};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time without a byte.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const MOST_REDIRECTS: usize = 10;
/// How often in succession a download may break off without having got a byte.
const TRIES: u32 = 4;
/// How much of a file is read at a time for its digest.
const BLOCK: usize = 1 << 20;

/// The file that is downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Known by its size in bytes and its digest.
    Known {
        /// Its size in bytes.
        bytes: u64,
        /// Its digest.
        sha256: Sha256Digest,
    },
    /// Unknown, but no larger than this. It is not resumed: what lies at the URL may have changed.
    AtMost(u64),
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The bytes that are there.
    pub done: u64,
    /// Those of the whole file, where known.
    pub total: Option<u64>,
}

/// Why a file was not downloaded. No text shows the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The server cannot be reached, or the download breaks off again and again.
    #[error("{reason}")]
    Interrupted {
        /// The last failure.
        reason: String,
        /// How many bytes are kept for the next try.
        kept: u64,
    },
    /// The server answered with something else than the file.
    #[error("the server answered {0}")]
    Refused(StatusCode),
    /// The URL is not one, or a redirect leads in a circle or away from HTTPS.
    #[error("{0}")]
    NotSent(String),
    /// The file has another size than it should.
    #[error("expected {expected} bytes, found {found}")]
    WrongSize {
        /// The size that it should have, or at most.
        expected: u64,
        /// The size that the server states, or at least.
        found: u64,
    },
    /// The file has another content than it should.
    #[error("expected a file with sha256 {expected}, found one with {found}")]
    WrongDigest {
        /// The digest that it should have.
        expected: Sha256Digest,
        /// That of the downloaded file, which is not kept.
        found: Sha256Digest,
    },
    /// The file cannot be written or read.
    #[error("{path} cannot be written: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// How one request ended that did not bring the end of the file.
enum Broken {
    /// Trying again may help.
    Off(String),
    ForGood(DownloadError),
}

/// A file at a URL, to be written to a path. What an earlier download left there is continued.
#[derive(Debug)]
pub struct Download<'a> {
    /// Where it is.
    pub url: &'a str,
    /// The file to write.
    pub path: &'a Path,
    /// What it should be.
    pub expected: Expected,
    /// The wait before the first retry; it doubles with each.
    pub pause: Duration,
}

impl Download<'_> {
    /// Downloads the file. On success it is complete, and the one that was expected.
    ///
    /// # Errors
    /// [`DownloadError`]. After [`DownloadError::Interrupted`] the same call continues the download.
    pub async fn run(&self, mut progress: impl FnMut(Progress)) -> Result<(), DownloadError> {
        let http = http_client()?;
        let mut failures = 0;
        loop {
            let before = self.present().await?;
            if self.is_complete(before) {
                break;
            }
            match self.fetch(&http, before, &mut progress).await {
                Ok(()) => break,
                Err(Broken::ForGood(error)) => return Err(error),
                Err(Broken::Off(reason)) => {
                    let kept = self.present().await?;
                    failures = if kept > before { 1 } else { failures + 1 };
                    if failures >= TRIES {
                        return Err(DownloadError::Interrupted { reason, kept });
                    }
                    sleep(self.pause.saturating_mul(1 << (failures - 1))).await;
                }
            }
        }
        self.verify().await
    }

    fn is_complete(&self, bytes: u64) -> bool {
        matches!(self.expected, Expected::Known { bytes: all, .. } if all == bytes)
    }

    /// How many bytes of the file are there and can be used.
    async fn present(&self) -> Result<u64, DownloadError> {
        let Expected::Known { bytes, .. } = self.expected else { return Ok(0) };
        match fs::metadata(self.path).await {
            // A longer one cannot be its beginning.
            Ok(found) if found.len() <= bytes => Ok(found.len()),
            Ok(_) => Ok(0),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(self.file_error(error)),
        }
    }

    /// Requests the file from byte `start` on, and appends what comes.
    async fn fetch(
        &self,
        http: &reqwest::Client,
        start: u64,
        progress: &mut impl FnMut(Progress),
    ) -> Result<(), Broken> {
        let mut request = http.get(self.url);
        if start > 0 {
            request = request.header(RANGE, format!("bytes={start}-"));
        }
        let mut answer = request.send().await.map_err(of_request)?;
        let start = self.start_of(&answer, start)?;
        let mut file = self.open(start).await.map_err(Broken::ForGood)?;
        let stated = answer.content_length().map(|rest| start + rest);
        let (limit, total) = match self.expected {
            Expected::Known { bytes, .. } => (bytes, Some(bytes)),
            Expected::AtMost(limit) => (limit, stated),
        };
        if let Some(found) = stated.filter(|stated| *stated > limit) {
            return Err(self.wrong_size(found).await);
        }
        let mut done = start;
        loop {
            progress(Progress { done, total });
            let chunk = match answer.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    self.write(file.flush().await)?;
                    return Err(Broken::Off(innermost_cause(&error.without_url())));
                }
            };
            done += chunk.len() as u64;
            if done > limit {
                return Err(self.wrong_size(done).await);
            }
            self.write(file.write_all(&chunk).await)?;
        }
        self.write(file.flush().await)?;
        self.write(file.sync_all().await)?;
        match self.expected {
            Expected::Known { bytes, .. } if done < bytes => {
                Err(Broken::Off(format!("the connection ended after {done} of {bytes} bytes")))
            }
            _ => Ok(()),
        }
    }

    /// Where in the file an answer begins.
    fn start_of(&self, answer: &Response, asked: u64) -> Result<u64, Broken> {
        match answer.status() {
            StatusCode::OK => Ok(0),
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.headers().get(CONTENT_RANGE);
                let range = range.and_then(|range| range.to_str().ok()).unwrap_or_default();
                if range.starts_with(&format!("bytes {asked}-")) {
                    return Ok(asked);
                }
                let problem = "the server sent another part of the file than was asked for";
                Err(Broken::ForGood(DownloadError::NotSent(problem.to_owned())))
            }
            // The file there is shorter than the part that is here.
            StatusCode::RANGE_NOT_SATISFIABLE => match self.expected {
                Expected::Known { bytes, .. } | Expected::AtMost(bytes) => {
                    let (expected, found) = (bytes, asked);
                    Err(Broken::ForGood(DownloadError::WrongSize { expected, found }))
                }
            },
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(Broken::Off(format!("the server answered {status}")))
            }
            status => Err(Broken::ForGood(DownloadError::Refused(status))),
        }
    }

    /// The error for a file of another size, of which nothing is kept.
    async fn wrong_size(&self, found: u64) -> Broken {
        let _ = fs::remove_file(self.path).await;
        let (Expected::Known { bytes: expected, .. } | Expected::AtMost(expected)) = self.expected;
        Broken::ForGood(DownloadError::WrongSize { expected, found })
    }

    async fn open(&self, start: u64) -> Result<File, DownloadError> {
        let mut options = OpenOptions::new();
        options.create(true).write(true);
        let options = if start == 0 { options.truncate(true) } else { options.append(true) };
        options.open(self.path).await.map_err(|error| self.file_error(error))
    }

    /// Compares the file with what was expected, and removes it if it is another.
    async fn verify(&self) -> Result<(), DownloadError> {
        let Expected::Known { sha256: expected, .. } = self.expected else { return Ok(()) };
        let found = digest_of(self.path).await.map_err(|error| self.file_error(error))?;
        if found == expected {
            return Ok(());
        }
        let _ = fs::remove_file(self.path).await;
        Err(DownloadError::WrongDigest { expected, found })
    }

    fn write(&self, outcome: std::io::Result<()>) -> Result<(), Broken> {
        outcome.map_err(|error| Broken::ForGood(self.file_error(error)))
    }

    fn file_error(&self, source: std::io::Error) -> DownloadError {
        DownloadError::File { path: self.path.to_owned(), source }
    }
}

/// The digest of a file.
///
/// # Errors
/// If it cannot be read.
pub async fn digest_of(path: &Path) -> std::io::Result<Sha256Digest> {
    let mut file = File::open(path).await?;
    let mut hasher = Sha256Hasher::new();
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block).await? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(block.get(..read).unwrap_or_default()),
        }
    }
}

fn http_client() -> Result<reqwest::Client, DownloadError> {
    let not_sent = |error: ClientError| DownloadError::NotSent(error.to_string());
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::config().map_err(not_sent)?)
        .user_agent(concat!("spotter/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(redirect::Policy::custom(follow));
    http.build().map_err(|error| not_sent(error.into()))
}

/// Follows a redirect, but never from HTTPS to HTTP.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let was_safe = attempt.previous().last().is_some_and(|url| url.scheme() == "https");
    if was_safe && attempt.url().scheme() != "https" {
        attempt.error("a redirect leads from HTTPS to HTTP")
    } else if attempt.previous().len() > MOST_REDIRECTS {
        attempt.error("too many redirects")
    } else {
        attempt.follow()
    }
}

fn of_request(error: reqwest::Error) -> Broken {
    match ClientError::from(error) {
        ClientError::NotSent(reason) => Broken::ForGood(DownloadError::NotSent(reason)),
        error => Broken::Off(error.to_string()),
    }
}
