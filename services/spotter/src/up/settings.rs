//! What `spotter up` was asked for: options, then the environment, then `.env`.

use std::{
    collections::HashMap,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

use domain::ModelName;
use runtime::config::{ProcessEnvironment, Reader, Source};

use crate::{
    cli::{PlacesOptions, UpOptions},
    error::CliError,
};

const ENV_FILE: &str = ".env";

pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) workers: NonZero<usize>,
    pub(super) concurrency: NonZero<usize>,
    pub(super) model: ModelName,
    pub(super) data_dir: PathBuf,
    /// An own NATS server is started only where none is named.
    pub(super) nats_url: Option<String>,
    /// An own Redis is started only where none is named.
    pub(super) redis_url: Option<String>,
    /// What `.env` sets and the environment does not: handed on to the API and the workers.
    pub(super) variables: HashMap<String, String>,
}

/// The environment, and behind it what `.env` says.
struct EnvironmentOver<'a>(&'a HashMap<String, String>);

impl Source for EnvironmentOver<'_> {
    fn get(&self, name: &str) -> Option<String> {
        ProcessEnvironment.get(name).or_else(|| self.0.get(name).cloned())
    }
}

impl Settings {
    pub(super) fn read(options: UpOptions) -> Result<Self, CliError> {
        let mut variables = read_env_file(Path::new(ENV_FILE))?;
        variables.retain(|name, _| ProcessEnvironment.get(name).is_none());
        Self::merge(options, variables)
    }

    fn merge(options: UpOptions, variables: HashMap<String, String>) -> Result<Self, CliError> {
        let source = EnvironmentOver(&variables);
        let mut reader = Reader::new(&source);
        let workers = reader.read("WORKERS", NonZero::<usize>::MIN);
        let workers = options.workers.unwrap_or(workers);
        let cores = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let share = NonZero::new(cores.get() / workers).unwrap_or(NonZero::<usize>::MIN);
        let concurrency = reader.read("CONCURRENCY", share);
        let host = reader.read("HOST", "127.0.0.1".to_owned());
        let port = reader.read("PORT", 5000);
        let model = reader.read("MODEL", ModelName::default());
        let nats_url = reader.read_optional("NATS_URL");
        let redis_url = reader.read_optional("REDIS_URL");
        let settings = Self {
            host: options.host.unwrap_or(host),
            port: options.port.unwrap_or(port),
            workers,
            concurrency: options.concurrency.unwrap_or(concurrency),
            model: options.model.unwrap_or(model),
            data_dir: options.data_dir,
            nats_url,
            redis_url,
            variables: HashMap::new(),
        };
        let settings = reader.finish(settings)?;
        Ok(Self { variables, ..settings })
    }

    /// Where the workers will look for their model.
    pub(super) fn places(&self) -> PlacesOptions {
        let source = EnvironmentOver(&self.variables);
        PlacesOptions {
            models_dir: source.get("MODELS_DIR").map(PathBuf::from),
            onnx_runtime: source.get("ORT_DYLIB_PATH").map(PathBuf::from),
        }
    }
}

fn read_env_file(path: &Path) -> Result<HashMap<String, String>, CliError> {
    match dotenvy::from_path_iter(path) {
        Ok(pairs) => pairs.collect::<Result<_, _>>().map_err(|error| {
            CliError::Usage(format!("{} cannot be read: {error}", path.display()))
        }),
        Err(error) if error.not_found() => Ok(HashMap::new()),
        Err(error) => Err(CliError::Usage(format!("{} cannot be read: {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> UpOptions {
        UpOptions {
            host: None,
            port: None,
            workers: None,
            concurrency: None,
            model: None,
            data_dir: PathBuf::from("data"),
        }
    }

    fn env_file(text: &str) -> HashMap<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, text).unwrap();
        read_env_file(&path).unwrap()
    }

    #[test]
    fn an_option_wins_over_the_env_file() {
        let variables = env_file("PORT=7000\nWORKERS=3\n# a remark\nCONCURRENCY=\n");
        let settings =
            Settings::merge(UpOptions { port: Some(8000), ..options() }, variables).unwrap();
        assert_eq!((settings.port, settings.workers.get()), (8000, 3));
    }

    #[test]
    fn no_env_file_is_no_error() {
        assert!(read_env_file(Path::new("absent/.env")).unwrap().is_empty());
    }

    #[test]
    fn bad_values_are_named() {
        let Err(CliError::Config(error)) =
            Settings::merge(options(), env_file("PORT=http\nWORKERS=0\n"))
        else {
            panic!("expected a ConfigError")
        };
        let mut names: Vec<_> = error.0.iter().map(|problem| problem.name).collect();
        names.sort_unstable();
        assert_eq!(names, ["PORT", "WORKERS"]);
    }
}
