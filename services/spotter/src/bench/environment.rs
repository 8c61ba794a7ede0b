//! The environment of a measurement: a model, a picture, and a system that is started for it.

use std::{
    collections::HashMap,
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    time::Duration,
};

use api::AuthMode;
use detector::{ExecutionProvider, ModelBundle};
use domain::picture::PictureLimits;
use messaging::{MessagingConfig, Role};
use service::config::{ProcessEnvironment, Reader, host::Host, secret::Secret};
use worker::{CoreShares, cores};

use super::{driver::Driver, loops::Loops, nats_monitor::NatsMonitor, options::BenchOptions};
use crate::{
    eight_bits,
    error::CliError,
    paths::PathsOptions,
    pictures::read_picture,
    supervisor::{Queue, ResultCache, Settings, Supervisor},
};

/// Queue limits above what any section sends.
const QUEUE: [(&str, &str); 2] =
    [("QUEUE_MAX_MESSAGES", "1000000"), ("QUEUE_MAX_BYTES", "4294967296")];

pub(super) struct BenchEnvironment {
    /// The API of a running system; `None`: a system is started for each section.
    target: Option<String>,
    /// The key for that API, if it requires one.
    api_key: Option<Secret>,
    paths: PathsOptions,
    model: domain::ModelName,
    plain: PathBuf,
    picture: Vec<u8>,
    slots: NonZero<usize>,
    /// The settings of workers on a GPU, where those of this machine's cores do not fit.
    on_gpu: Option<worker::Config>,
    time: Duration,
    data_dir: PathBuf,
    /// The load generator's own threads: the thread that starts processes must live on, and is not slowed down.
    client: tokio::runtime::Runtime,
}

impl BenchEnvironment {
    pub(super) fn new(options: &BenchOptions) -> Result<Self, CliError> {
        let picture = read_picture(&options.picture, &PictureLimits::default());
        let unreadable = |why| {
            CliError::Usage(format!(
                "{}: {why}; name another with --picture",
                options.picture.display()
            ))
        };
        let of_worker = worker::Config::read(&ProcessEnvironment)?;
        let on_gpu = of_worker.provider.is_gpu().then_some(of_worker);
        let plain = format!(".cache/weights/{}.onnx", options.model);
        Ok(Self {
            target: options.target.clone(),
            api_key: options.api_key.clone(),
            paths: options.paths.clone(),
            model: options.model.clone(),
            plain: options.plain.clone().unwrap_or_else(|| worker::nearest(&plain)),
            picture: picture.map_err(unreadable)?,
            slots: cores::all(),
            on_gpu,
            time: Duration::from_secs(options.seconds.get()),
            data_dir: options.data_dir.clone(),
            client: tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
        })
    }

    /// Threads of the loops without a queue: one per core.
    pub(super) fn slots(&self) -> NonZero<usize> {
        self.slots
    }

    /// Pictures that a worker runs at a time: one per core; on a GPU, a batch in each of its slots.
    pub(super) fn pictures_at_a_time(&self) -> usize {
        let on_gpu = |config: &worker::Config| config.cores.slots.get() * config.max_batch.get();
        self.on_gpu.as_ref().map_or(self.slots.get(), on_gpu)
    }

    /// How long each variant is measured in one round.
    pub(super) fn time(&self) -> Duration {
        self.time
    }

    /// Whether a system is started for the measurement.
    pub(super) fn is_own(&self) -> bool {
        self.target.is_none()
    }

    /// The loops without a queue; `None` for a running system, which may be on another machine.
    pub(super) fn loops(&self) -> Result<Option<Loops>, CliError> {
        if !self.is_own() {
            return Ok(None);
        }
        let bundle = self.paths.bundle(&self.model)?;
        let runtime = self.paths.runtime()?;
        let picture = self.picture.clone();
        let mut loops = Loops::load(&runtime, &bundle, &self.plain, picture, self.slots)?;
        if let Some(bundle) = self.counterpart() {
            loops.load_counterpart(&runtime, &bundle, self.slots)?;
        }
        Ok(Some(loops))
    }

    /// The default model's other form, in floats or in 8 bits, where it is installed.
    fn counterpart(&self) -> Option<ModelBundle> {
        self.paths.bundle(&eight_bits::counterpart(&self.model)?).ok()
    }

    /// Runs `work` on the load generator's threads.
    pub(super) async fn load<T, F>(
        &self,
        driver: Driver,
        work: impl FnOnce(Driver) -> F,
    ) -> Result<T, CliError>
    where
        F: Future<Output = Result<T, CliError>> + Send + 'static,
        T: Send + 'static,
    {
        let done = self.client.spawn(work(driver)).await;
        done.unwrap_or_else(|error| Err(CliError::Unavailable(error.to_string())))
    }

    /// Starts a system for `work`, unless a running one was named, and removes it afterwards.
    pub(super) async fn with_system<T>(
        &self,
        workers: usize,
        cache: ResultCache,
        work: impl AsyncFnOnce(&Driver) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        match &self.target {
            Some(target) => {
                let driver = Driver::new(target, &self.picture)?;
                let driver = match &self.api_key {
                    Some(key) => driver.with_api_key(key)?,
                    None => driver,
                };
                work(&driver).await
            }
            None => {
                self.with_own_system(workers, cache, async |driver, _| work(driver).await).await
            }
        }
    }

    /// Starts a system for `work`, which also reads the statistics of its NATS server, and removes it afterwards.
    pub(super) async fn with_own_system<T>(
        &self,
        workers: usize,
        cache: ResultCache,
        work: impl AsyncFnOnce(&Driver, &NatsMonitor) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        // In a new subfolder: the named folder may contain a queue. The subfolder is removed also on an
        // interrupt, after the processes that use it have ended.
        let unwritable = |source| CliError::Write { path: self.data_dir.clone(), source };
        fs::create_dir_all(&self.data_dir).map_err(unwritable)?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&self.data_dir);
        let folder = folder.map_err(unwritable)?;
        let settings = self.settings(workers, cache, folder.path());
        let mut system = Supervisor::in_folder(&settings.data_dir)?;
        let done = async {
            let base = system.start(&settings).await?;
            let driver = Driver::new(&base, &self.picture)?;
            work(&driver, &NatsMonitor::announced_in(folder.path())?).await
        }
        .await;
        system.stop().await?;
        done
    }

    fn settings(&self, workers: usize, cache: ResultCache, data_dir: &Path) -> Settings {
        let mut variables: HashMap<String, String> =
            QUEUE.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        variables.insert("RUST_LOG".to_owned(), "warn".to_owned());
        variables.insert("AUTH".to_owned(), "off".to_owned());
        let workers = NonZero::new(workers).unwrap_or(NonZero::<usize>::MIN);
        let each = NonZero::new(self.slots.get() / workers).unwrap_or(NonZero::<usize>::MIN);
        let on_cpu = CoreShares { slots: each, per_slot: NonZero::<usize>::MIN };
        Settings {
            host: Host::default(),
            port: 0,
            workers,
            cores: self.on_gpu.as_ref().map_or(on_cpu, |config| config.cores),
            model: self.model.clone(),
            provider: self.on_gpu.as_ref().map_or(ExecutionProvider::Cpu, |config| config.provider),
            data_dir: data_dir.to_owned(),
            queue: Queue::Own,
            nats_ports_dir: Some(data_dir.to_owned()),
            messaging: MessagingConfig::read(&mut Reader::new(&variables), Role::Cli),
            cache,
            auth: AuthMode::Off,
            webhooks: false,
            paths: self.paths.clone(),
            variables,
        }
    }
}
