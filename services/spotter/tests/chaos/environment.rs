//! The system under test: servers, proxies in front of them, APIs and workers.

use std::{
    os::unix::process::ExitStatusExt,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use domain::ApiKeyToken;
use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderValue},
};
use testkit::{
    NatsCluster, NatsServer, Output, Process, ProcessBuilder, RedisServer, SmallDisk, TcpProxy,
    eventually, free_port, http_client, http_client_with, workspace_root,
};

use crate::{
    keys::KeyMaker, load::pictures::Poison, nats::Nats, picture_server::PictureServer,
    receiver::Receiver, steps::Step,
};

const SPOTTER: &str = env!("CARGO_BIN_EXE_spotter");

const SIGABRT: i32 = 6;

/// Longer than anything takes on a busy machine: only a failing test waits this long.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);

/// Longer than any answer of the API takes: two publishes of 5 s, and the record.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What to start.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) cluster: bool,
    pub(crate) workers: usize,
    /// Settings in addition to those that every scenario has.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// A disk for the streams of each nats-server; without one, the server uses a folder.
    pub(crate) disks: Vec<Arc<SmallDisk>>,
    /// Whether workers fail on poison pictures. Their memory is limited then.
    pub(crate) poison: bool,
    /// Whether requests need an API key.
    pub(crate) keys: bool,
}

/// The workers' lease on a job. Short, so that leases expire often.
pub(crate) const ACK_WAIT_SECONDS: u64 = 3;

const APIS: usize = 2;

/// The delays between the tries of a webhook, in seconds. Short, so that some are given up during a fault.
const WEBHOOK_RETRIES: &str = "0,1";

/// The limit of a worker's address space, in bytes, where there is poison.
const WORKER_MEMORY: u64 = 4 << 30;

/// A process that is restarted when it exits by itself, as by any supervisor.
pub(crate) struct SupervisedProcess {
    pub(crate) process: Process,
    /// Whether a fault keeps it down.
    pub(crate) down: bool,
    /// The step at which it fails, also after a restart.
    failing: Option<Step>,
}

/// The running system. Every process ends when it is dropped.
pub(crate) struct Environment {
    pub(crate) plan: Plan,
    pub(crate) nats: Nats,
    pub(crate) redis: RedisServer,
    pub(crate) redis_proxy: TcpProxy,
    /// In front of each node, for the APIs.
    pub(crate) api_proxies: Vec<TcpProxy>,
    /// In front of each node, for the workers.
    pub(crate) worker_proxies: Vec<TcpProxy>,
    pub(crate) apis: Vec<SupervisedProcess>,
    pub(crate) workers: Vec<SupervisedProcess>,
    pub(crate) notifier: Option<SupervisedProcess>,
    /// Where webhooks are sent to.
    pub(crate) receiver: Receiver,
    pub(crate) pictures: PictureServer,
    /// The key of the load.
    key: Option<ApiKeyToken>,
    /// Processes that have exited, for their logs.
    ended: Vec<Process>,
    /// How often a process has exited by SIGABRT, as at a failpoint.
    pub(crate) aborted: u32,
    ports: Vec<u16>,
}

impl Environment {
    pub(crate) fn start(plan: Plan) -> Self {
        let nats = if plan.cluster {
            Nats::Three(NatsCluster::start_on(&plan.disks))
        } else {
            let builder = NatsServer::builder();
            Nats::One(match plan.disks.first() {
                Some(disk) => builder.disk(disk).start(),
                None => builder.start(),
            })
        };
        let proxies = || nats.nodes().iter().map(|n| TcpProxy::for_nats(n.port())).collect();
        let (api_proxies, worker_proxies) = (proxies(), proxies());
        let redis = RedisServer::start();
        let redis_proxy = TcpProxy::start(redis.port());
        let mut environment = Self {
            plan,
            nats,
            redis,
            redis_proxy,
            api_proxies,
            worker_proxies,
            apis: Vec::new(),
            workers: Vec::new(),
            notifier: None,
            receiver: Receiver::start(),
            pictures: PictureServer::start(),
            key: None,
            ended: Vec::new(),
            aborted: 0,
            ports: Vec::new(),
        };
        if environment.plan.cluster {
            // A request may never be answered while a stream elects its leader. The set-up retries; an API exits
            // and relies on its supervisor.
            let program = Process::builder(SPOTTER).arg("setup");
            let mut setup = environment.start_service(program, &environment.api_proxies, None);
            let status = setup.wait_exit(TIMEOUT);
            assert!(status.success(), "the queue cannot be set up: {status}");
        }
        for _ in 0..APIS {
            // Clients expect it at the same address after a restart.
            let port = free_port();
            let api = environment.start_api(port, None);
            api.wait_for_line(|line| line.output == Output::Stdout, TIMEOUT);
            environment.ports.push(port);
            environment.apis.push(SupervisedProcess { process: api, down: false, failing: None });
        }
        for _ in 0..environment.plan.workers {
            environment.add_worker();
        }
        environment.restart_notifier();
        environment.wait_until_ready();
        if environment.plan.keys {
            environment.make_key();
        }
        environment
    }

    /// Waits until the workers and the notifier are ready. On a busy machine, a new cluster may leave them without an
    /// answer, and they exit as they do everywhere.
    fn wait_until_ready(&mut self) {
        let until = Instant::now() + TIMEOUT;
        loop {
            let mut kept = self.workers.iter().chain(&self.notifier);
            if kept.all(SupervisedProcess::is_ready) {
                return;
            }
            assert!(Instant::now() < until, "workers or notifier are not ready");
            thread::sleep(Duration::from_millis(50));
            self.restart_exited();
        }
    }

    /// Makes the key of the load. Returns when each API knows it.
    fn make_key(&mut self) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
        runtime.block_on(async {
            let keys = KeyMaker::connect(&self.nats.url()).await.expect("NATS can be reached");
            self.key = Some(keys.create("the load").await.expect("a key can be made"));
            let http = self.http();
            for base in self.bases() {
                eventually(TIMEOUT, async || {
                    let answer = http.get(format!("{base}/v1/tasks")).send().await.ok()?;
                    (answer.status() != StatusCode::UNAUTHORIZED).then_some(())
                })
                .await;
            }
        });
    }

    /// A client that has the key of the load, if there is one.
    pub(crate) fn http(&self) -> reqwest::Client {
        let key = self.key.as_ref().map(|key| HeaderValue::from_str(key.expose()));
        let key = key.map(|key| ("X-API-Key", key.expect("a key is ASCII")));
        let headers = key.into_iter().map(|(name, key)| (name.parse().expect("a name"), key));
        let headers: HeaderMap = headers.collect();
        http_client_with(REQUEST_TIMEOUT, headers)
    }

    pub(crate) fn http_without_key(&self) -> reqwest::Client {
        http_client(REQUEST_TIMEOUT)
    }

    /// The addresses of the APIs, which every restart keeps.
    pub(crate) fn bases(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect()
    }

    /// Starts another worker. Does not wait until it is ready.
    pub(crate) fn add_worker(&mut self) {
        let process = self.start_worker(None);
        self.workers.push(SupervisedProcess { process, down: false, failing: None });
    }

    pub(crate) fn kill_worker(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        worker.process.kill9();
        worker.down = true;
    }

    pub(crate) fn restart_worker(&mut self, index: usize) {
        self.replace_worker(index, None);
    }

    /// Kills a worker if it runs, and starts another one in its place, which fails at this step.
    pub(crate) fn replace_worker(&mut self, index: usize, failing: Option<Step>) {
        self.workers[index].process.kill9();
        let kept = SupervisedProcess { process: self.start_worker(failing), down: false, failing };
        let old = std::mem::replace(&mut self.workers[index], kept);
        self.ended.push(old.process);
    }

    /// Sends SIGTERM to a worker and removes it from the system; it finishes its jobs.
    pub(crate) fn retire_worker(&mut self, index: usize) {
        let mut worker = self.workers.remove(index);
        worker.process.terminate();
        self.ended.push(worker.process);
    }

    pub(crate) fn kill_api(&mut self, index: usize) {
        let api = &mut self.apis[index];
        api.process.kill9();
        api.down = true;
    }

    pub(crate) fn restart_api(&mut self, index: usize) {
        self.replace_api(index, None);
    }

    /// As [`Environment::replace_worker`].
    pub(crate) fn replace_api(&mut self, index: usize, failing: Option<Step>) {
        self.apis[index].process.kill9();
        let process = self.start_api(self.ports[index], failing);
        let kept = SupervisedProcess { process, down: false, failing };
        let old = std::mem::replace(&mut self.apis[index], kept);
        self.ended.push(old.process);
    }

    pub(crate) fn kill_notifier(&mut self) {
        if let Some(notifier) = &mut self.notifier {
            notifier.process.kill9();
            notifier.down = true;
        }
    }

    /// Kills the notifier if it runs, and starts another one in its place.
    pub(crate) fn restart_notifier(&mut self) {
        self.kill_notifier();
        let process = self.start_notifier();
        let kept = SupervisedProcess { process, down: false, failing: None };
        let old = self.notifier.replace(kept);
        self.ended.extend(old.map(|old| old.process));
    }

    /// Restarts every process that has exited by itself.
    pub(crate) fn restart_exited(&mut self) {
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            if let Some(failing) = worker.exited(&mut self.aborted) {
                self.replace_worker(index, failing);
            }
        }
        for index in 0..self.apis.len() {
            let api = &mut self.apis[index];
            if let Some(failing) = api.exited(&mut self.aborted) {
                self.replace_api(index, failing);
            }
        }
        if let Some(notifier) = &mut self.notifier
            && notifier.exited(&mut self.aborted).is_some()
        {
            self.restart_notifier();
        }
    }

    /// Waits until every retired worker has exited.
    pub(crate) fn wait_for_retired(&mut self) {
        for worker in &mut self.ended {
            worker.wait_exit(TIMEOUT);
        }
    }

    /// Waits until every node is healthy.
    pub(crate) fn wait_for_nats(&self) {
        for _ in 0..600 {
            if self.nats.nodes().iter().all(NatsServer::is_healthy) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("nats-server is not healthy again");
    }

    /// Every line that the processes have logged, including those that have exited.
    pub(crate) fn lines(&self) -> Vec<String> {
        let kept = self.workers.iter().chain(&self.apis).chain(&self.notifier);
        let kept = kept.map(|kept| &kept.process);
        let lines = kept.chain(&self.ended).flat_map(|process| {
            let id = process.id();
            process.lines().into_iter().map(move |line| format!("{id} {}", line.text))
        });
        lines.collect()
    }

    fn start_api(&self, port: u16, failing: Option<Step>) -> Process {
        let redis = format!("redis://127.0.0.1:{}", self.redis_proxy.port());
        let program = Process::builder(SPOTTER).arg("api");
        let program = program.env("PORT", port.to_string()).env("REDIS_URL", redis);
        // Often, so that it runs during the faults.
        let program = program.env("RECONCILE_SECONDS", "2");
        // The load consists of a few pictures, and every one must be run.
        let program = program.env("RESPONSE_CACHE_SECONDS", "0");
        let program = program.env("AUTH", if self.plan.keys { "keys" } else { "off" });
        let program = program.env("FETCH_ALLOW", self.pictures.origin());
        let program = program.env("WEBHOOKS", "on").env("WEBHOOK_ALLOW", self.receiver.origin());
        self.start_service(program, &self.api_proxies, failing.map(Step::failpoint))
    }

    fn start_worker(&self, failing: Option<Step>) -> Process {
        let poisons = Poison::ALL.map(Poison::failpoint).into_iter().filter(|_| self.plan.poison);
        let failpoints = poisons.chain(failing.map(Step::failpoint));
        let program = if self.plan.poison {
            let limit = format!("--as={WORKER_MEMORY}");
            Process::builder("prlimit").args([&limit, "--", SPOTTER])
        } else {
            Process::builder(SPOTTER)
        };
        let program = program.arg("worker").env("CONCURRENCY", "1").env("THREADS_PER_PICTURE", "1");
        self.start_service(program, &self.worker_proxies, failpoints)
    }

    fn start_notifier(&self) -> Process {
        let program = Process::builder(SPOTTER)
            .arg("notifier")
            .env("WEBHOOK_SECRETS", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .env("WEBHOOK_ALLOW", self.receiver.origin())
            .env("WEBHOOK_RETRY_SECONDS", WEBHOOK_RETRIES)
            .env("WEBHOOK_TIMEOUT_SECONDS", "2");
        self.start_service(program, &self.worker_proxies, None)
    }

    fn start_service(
        &self,
        program: ProcessBuilder,
        proxies: &[TcpProxy],
        failpoints: impl IntoIterator<Item = String>,
    ) -> Process {
        let urls: Vec<String> =
            proxies.iter().map(|proxy| format!("nats://127.0.0.1:{}", proxy.port())).collect();
        let failpoints: Vec<String> = failpoints.into_iter().collect();
        let mut process = program
            .current_dir(workspace_root())
            .env("FAILPOINTS", failpoints.join(";"))
            .env("NATS_URL", urls.join(","))
            .env("NATS_REPLICAS", self.nats.nodes().len().to_string())
            .env("ACK_WAIT_SECONDS", ACK_WAIT_SECONDS.to_string())
            .env("LOG_FORMAT", "json");
        for (name, value) in &self.plan.settings {
            process = process.env(name, value);
        }
        process.start()
    }
}

impl SupervisedProcess {
    fn is_ready(&self) -> bool {
        self.process.lines().iter().any(|line| line.text == "ready")
    }

    /// If it has exited by itself: the step at which its successor fails.
    fn exited(&mut self, aborted: &mut u32) -> Option<Option<Step>> {
        let status = self.process.exit_status().filter(|_| !self.down)?;
        *aborted += u32::from(status.signal() == Some(SIGABRT));
        Some(self.failing)
    }
}
