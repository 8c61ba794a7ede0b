//! The settings of `spotter up`: from options, the environment and `.env`, in this order of precedence.

use std::{
    collections::HashMap,
    env, io,
    num::NonZero,
    path::{Path, PathBuf},
};

use api::AuthMode;
use detector::ExecutionProvider;
use domain::{ModelName, ModelNames};
use messaging::{MessagingConfig, Role};
use service::{
    config::{BadSetting, ConfigError, ProcessEnvironment, Reader, Source, host::Host, is_set},
    files::read_text,
};
use worker::{CoreShares, cores};

use crate::{cli::UpOptions, error::CliError, paths::PathsOptions};

/// The default file of settings. It may be absent.
const ENV_FILE: &str = ".env";

/// Which NATS server the services use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// One that the supervisor starts.
    Own,
    /// The one in `NATS_URL`, which the services read themselves.
    Named,
}

/// Where finished results are cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResultCache {
    /// In a Redis server that the supervisor starts, if Redis is installed.
    Own,
    /// In the one in `REDIS_URL`, which the services read themselves.
    Named,
    /// Nowhere.
    Absent,
}

pub(crate) struct Settings {
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) workers: NonZero<usize>,
    /// What each worker's slots get of the cores.
    pub(crate) cores: CoreShares,
    pub(crate) model: ModelName,
    /// What workers run the model with.
    pub(crate) provider: ExecutionProvider,
    pub(crate) data_dir: PathBuf,
    pub(crate) queue: Queue,
    /// Where the NATS server that the supervisor starts announces its monitoring port; `None`: it opens none.
    pub(crate) nats_ports_dir: Option<PathBuf>,
    /// How the API and the workers set up the queue.
    pub(crate) messaging: MessagingConfig,
    pub(crate) cache: ResultCache,
    /// Whether the API requires keys.
    pub(crate) auth: AuthMode,
    /// Whether a notifier delivers webhooks: if it has secrets to sign them with.
    pub(crate) webhooks: bool,
    /// Where the workers look for their model and for ONNX Runtime.
    pub(crate) paths: PathsOptions,
    /// What `.env` sets and the environment does not: passed to the API and the workers.
    pub(crate) variables: HashMap<String, String>,
}

/// The environment, and the variables of `.env` that it does not set. The option `--host` takes precedence over both.
struct EnvironmentOver<'a> {
    variables: &'a HashMap<String, String>,
    host: Option<String>,
}

impl Source for EnvironmentOver<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let host = self.host.clone().filter(|_| name == "HOST");
        let set = host.or_else(|| ProcessEnvironment.get(name));
        set.or_else(|| self.variables.get(name).cloned())
    }

    fn is_not_utf8(&self, name: &str) -> bool {
        ProcessEnvironment.is_not_utf8(name)
    }
}

impl Settings {
    pub(crate) fn read(options: UpOptions) -> Result<Self, CliError> {
        let mut variables = match &options.env_file {
            Some(path) => read_env_file(path)?.ok_or_else(|| {
                CliError::Usage(format!("the file of settings {} does not exist", path.display()))
            })?,
            None => read_env_file(Path::new(ENV_FILE))?.unwrap_or_default(),
        };
        variables.retain(|name, _| ProcessEnvironment.get(name).is_none());
        Self::merge(options, variables)
    }

    /// Whether the environment or `.env` sets this variable.
    pub(crate) fn sets(&self, name: &str) -> bool {
        self.variables.contains_key(name) || env::var_os(name).is_some()
    }

    fn merge(options: UpOptions, variables: HashMap<String, String>) -> Result<Self, CliError> {
        let host = options.host.as_ref().map(Host::to_string);
        let source = EnvironmentOver { variables: &variables, host };
        let mut reader = Reader::new(&source);
        let workers = reader.read("WORKERS", NonZero::<usize>::MIN);
        let workers = options.workers.unwrap_or(workers);
        let provider = reader.read("EXECUTION_PROVIDER", ExecutionProvider::default());
        // By default each worker would use all cores.
        let budget = cores::share(cores::all(), workers);
        let cores = CoreShares::read(&mut reader, provider, budget, options.concurrency);
        let host = reader.read("HOST", Host::default());
        let port = reader.read("PORT", 5000);
        // As the workers, to which MODELS is passed on.
        let models = reader.read_optional::<ModelNames>("MODELS");
        let first = models.map(|models| models.first().clone());
        let model = reader.read("MODEL", first.unwrap_or_default());
        // Their values are parsed below, with the services' other settings.
        let is_named = |variable| source.get(variable).is_some_and(|value| is_set(&value));
        let messaging = MessagingConfig::read(&mut reader, Role::Cli);
        let has_notifier = is_named("WEBHOOK_SECRETS") || messaging.cloud_events;
        let paths = PathsOptions {
            models_dir: reader.read_optional("MODELS_DIR"),
            onnx_runtime: reader.read_optional("ORT_DYLIB_PATH"),
        };
        let settings = Self {
            host,
            port: options.port.unwrap_or(port),
            workers,
            cores,
            model: options.model.unwrap_or(model),
            provider,
            data_dir: options.data_dir,
            queue: if is_named("NATS_URL") { Queue::Named } else { Queue::Own },
            nats_ports_dir: None,
            messaging,
            cache: if is_named("REDIS_URL") { ResultCache::Named } else { ResultCache::Own },
            auth: AuthMode::Off,
            webhooks: is_named("WEBHOOK_SECRETS"),
            paths,
            variables: HashMap::new(),
        };
        let settings = reader.finish(settings);
        // Each service reads its settings itself, but would report the bad ones only after the servers have started.
        let of_api = api::Config::read(&source);
        let auth = of_api.as_ref().map_or(AuthMode::Off, |config| config.auth);
        let of_worker = worker::Config::read(&source).err();
        let of_notifier = match has_notifier {
            true => notifier::Config::read(&source).err(),
            false => None,
        };
        let settings = with_problems_of(settings, [of_api.err(), of_worker, of_notifier])?;
        Ok(Self { variables, auth, ..settings })
    }
}

/// `read`, or the bad settings of all processes if any has one, each variable named once.
fn with_problems_of<T>(
    read: Result<T, ConfigError>,
    others: [Option<ConfigError>; 3],
) -> Result<T, ConfigError> {
    let mut problems: Vec<BadSetting> = Vec::new();
    let own = read.as_ref().err().cloned();
    for problem in own.into_iter().chain(others.into_iter().flatten()).flat_map(|error| error.0) {
        if problems.iter().all(|known| known.name != problem.name) {
            problems.push(problem);
        }
    }
    if problems.is_empty() { read } else { Err(ConfigError(problems)) }
}

/// The variables that a file sets, without empty ones. `None`: the file does not exist.
fn read_env_file(path: &Path) -> Result<Option<HashMap<String, String>>, CliError> {
    let unreadable =
        |problem: String| CliError::Usage(format!("{} cannot be read: {problem}", path.display()));
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    let pairs: Result<Vec<_>, _> = dotenvy::from_read_iter(text.as_bytes()).collect();
    let pairs = pairs.map_err(|error| unreadable(without_value(&error, &text)))?;
    Ok(Some(pairs.into_iter().filter(|(_, value)| is_set(value)).collect()))
}

/// Why a file cannot be parsed, without any value: it may be a password.
fn without_value(error: &dotenvy::Error, file: &str) -> String {
    let dotenvy::Error::LineParse(text, _) = error else { return error.to_string() };
    // The error contains the text, not the number of its line.
    let number = file.lines().position(|line| line.contains(text.as_str()));
    let place = number.map_or("a line".to_owned(), |number| format!("line {}", number + 1));
    format!("{place} is not NAME=value; put a value with blanks into quotes")
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
            env_file: None,
        }
    }

    fn env_file(text: &str) -> HashMap<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        std::fs::write(&path, text).unwrap();
        read_env_file(&path).unwrap().unwrap()
    }

    #[test]
    fn an_option_wins_over_the_env_file() {
        let variables = env_file("PORT=7000\nWORKERS=3\n# a notice\nCONCURRENCY=\n");
        let settings =
            Settings::merge(UpOptions { port: Some(8000), ..options() }, variables).unwrap();
        assert_eq!((settings.port, settings.workers.get()), (8000, 3));
    }

    #[test]
    fn the_api_needs_a_decision_about_keys_for_the_host_that_it_gets() {
        let at = |host: &str| UpOptions { host: host.parse().ok(), ..options() };
        let error = Settings::merge(at("0.0.0.0"), HashMap::new()).err().unwrap().to_string();
        assert!(error.contains("AUTH=keys"), "{error}");
        let settings = Settings::merge(at("0.0.0.0"), env_file("AUTH=off")).unwrap();
        assert_eq!(settings.host.as_str(), "0.0.0.0");
        let settings = Settings::merge(at("[::1]"), env_file("HOST=0.0.0.0")).unwrap();
        assert_eq!(settings.host.as_str(), "::1");
    }

    #[test]
    fn only_a_file_that_was_named_must_exist() {
        assert!(read_env_file(Path::new("absent/.env")).unwrap().is_none());
        let env_file = Some(PathBuf::from("absent/.env"));
        let settings = Settings::read(UpOptions { env_file, ..options() });
        assert!(matches!(settings, Err(CliError::Usage(_))));
    }

    #[test]
    fn empty_is_not_set() {
        let settings = Settings::merge(options(), env_file("MODELS_DIR=\nPORT=\nMODEL=' '\n"));
        let settings = settings.unwrap();
        assert_eq!((settings.port, settings.model.as_str()), (5000, "yolov8n"));
        assert!(settings.variables.is_empty(), "{:?}", settings.variables);
        assert!(settings.paths.models_dir.is_none());
    }

    #[test]
    fn up_and_its_workers_parse_a_variable_alike() {
        let settings = Settings::merge(options(), env_file("MODELS_DIR=' /models '\n")).unwrap();
        let read_by_a_worker = worker::Config::read(&settings.variables).unwrap();
        assert_eq!(settings.paths.models_dir, read_by_a_worker.models_dir);
    }

    #[test]
    fn a_gpu_has_few_slots_and_an_unknown_provider_is_reported_at_once() {
        let settings = Settings::merge(options(), env_file("EXECUTION_PROVIDER=cuda\n")).unwrap();
        assert_eq!(settings.cores.slots.get(), cores::all().get().min(4));
        let error = Settings::merge(options(), env_file("EXECUTION_PROVIDER=gpu\n")).err().unwrap();
        let error = error.to_string();
        assert!(error.contains("EXECUTION_PROVIDER") && error.contains("openvino"), "{error}");
    }

    #[test]
    fn the_workers_share_the_cores() {
        let count = |count| NonZero::new(count);
        let cores = cores::all().get();
        let cases = [
            (Some(1), Some(1), "", cores),
            (Some(cores), Some(1), "", 1),
            (Some(1), Some(cores), "", 1),
            (Some(64 * cores), Some(64), "", 1),
            (Some(1), Some(1), "THREADS_PER_PICTURE=7", 7),
        ];
        for (workers, concurrency, file, expected) in cases {
            let options = UpOptions {
                workers: workers.and_then(count),
                concurrency: concurrency.and_then(count),
                ..options()
            };
            let settings = Settings::merge(options, env_file(file)).unwrap();
            assert_eq!(settings.cores.per_slot.get(), expected, "{workers:?} {concurrency:?}");
        }
    }

    #[test]
    fn bad_settings_of_every_process_are_reported_together_and_once() {
        let all = "PORT=http\nWORKERS=0\nNATS_URL=http://host\nREDIS_URL=nowhere\nRUST_LOG=a=b=c\n\
                   MAX_PICTURE_BYTES=many\nMAX_BATCH=0\n";
        let Err(CliError::Config(error)) = Settings::merge(options(), env_file(all)) else {
            panic!("expected a ConfigError")
        };
        let mut names: Vec<_> = error.0.iter().map(|problem| problem.name).collect();
        names.sort_unstable();
        let expected = [
            "MAX_BATCH",
            "MAX_PICTURE_BYTES",
            "NATS_URL",
            "PORT",
            "REDIS_URL",
            "RUST_LOG",
            "WORKERS",
        ];
        assert_eq!(names, expected);
    }
}
