//! The system under test: servers, proxies in front of them, APIs and workers.

use std::{sync::Arc, thread, time::Duration};

use testkit::{
    NatsCluster, NatsServer, Output, Process, RedisServer, SmallDisk, StreamState, TcpProxy,
    free_port, workspace_root,
};

/// Longer than anything takes on a busy machine; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// What to start.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) cluster: bool,
    pub(crate) workers: usize,
    /// Settings besides those that every scenario shares.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Where a single nats-server stores its streams.
    pub(crate) disk: Option<Arc<SmallDisk>>,
}

/// After how many seconds of a worker's silence its job goes to another: short, to see it often.
pub(crate) const ACK_WAIT_SECONDS: u64 = 3;

const APIS: usize = 2;

pub(crate) enum Nats {
    One(NatsServer),
    Three(NatsCluster),
}

/// A process that is started again when it ends by itself, as any supervisor would.
pub(crate) struct Kept {
    pub(crate) process: Process,
    /// Down on purpose.
    pub(crate) down: bool,
}

/// The running system. Everything ends with it.
pub(crate) struct Stand {
    pub(crate) plan: Plan,
    pub(crate) nats: Nats,
    pub(crate) redis: RedisServer,
    pub(crate) redis_proxy: TcpProxy,
    /// In front of each node, for the APIs.
    pub(crate) api_proxies: Vec<TcpProxy>,
    /// In front of each node, for the workers.
    pub(crate) worker_proxies: Vec<TcpProxy>,
    pub(crate) apis: Vec<Kept>,
    pub(crate) workers: Vec<Kept>,
    /// Workers and APIs that have ended, for what they wrote.
    ended: Vec<Process>,
    ports: Vec<u16>,
}

impl Stand {
    pub(crate) fn start(plan: Plan) -> Self {
        let nats = if plan.cluster {
            Nats::Three(NatsCluster::start())
        } else {
            let builder = NatsServer::builder();
            Nats::One(match &plan.disk {
                // By itself the server would promise streams no more than the disk has room for.
                Some(disk) => builder.disk(disk).jetstream_max_store(8 << 30).start(),
                None => builder.start(),
            })
        };
        let proxies = || nats.nodes().iter().map(|n| TcpProxy::for_nats(n.port())).collect();
        let (api_proxies, worker_proxies) = (proxies(), proxies());
        let redis = RedisServer::start();
        let redis_proxy = TcpProxy::start(redis.port());
        let mut stand = Self {
            plan,
            nats,
            redis,
            redis_proxy,
            api_proxies,
            worker_proxies,
            apis: Vec::new(),
            workers: Vec::new(),
            ended: Vec::new(),
            ports: Vec::new(),
        };
        for _ in 0..APIS {
            // It must come back where clients look for it.
            let port = free_port();
            let api = stand.start_api(port);
            api.wait_for_line(|line| line.output == Output::Stdout, PATIENCE);
            stand.ports.push(port);
            stand.apis.push(Kept { process: api, down: false });
        }
        for _ in 0..stand.plan.workers {
            stand.add_worker();
        }
        for worker in &stand.workers {
            worker.process.wait_for_line(|line| line.text == "ready", PATIENCE);
        }
        stand
    }

    /// Where the APIs listen, now and after every restart.
    pub(crate) fn bases(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect()
    }

    /// Starts one worker more. Does not wait for it.
    pub(crate) fn add_worker(&mut self) {
        let process = self.start_worker();
        self.workers.push(Kept { process, down: false });
    }

    pub(crate) fn kill_worker(&mut self, index: usize) {
        let worker = &mut self.workers[index];
        worker.process.kill9();
        worker.down = true;
    }

    pub(crate) fn revive_worker(&mut self, index: usize) {
        let process = self.start_worker();
        let old = std::mem::replace(&mut self.workers[index], Kept { process, down: false });
        self.ended.push(old.process);
    }

    /// Asks a worker to stop and forgets it; it goes on finishing what it has.
    pub(crate) fn dismiss_worker(&mut self, index: usize) {
        let mut worker = self.workers.remove(index);
        worker.process.terminate();
        self.ended.push(worker.process);
    }

    pub(crate) fn kill_api(&mut self, index: usize) {
        let api = &mut self.apis[index];
        api.process.kill9();
        api.down = true;
    }

    pub(crate) fn revive_api(&mut self, index: usize) {
        let process = self.start_api(self.ports[index]);
        let old = std::mem::replace(&mut self.apis[index], Kept { process, down: false });
        self.ended.push(old.process);
    }

    /// Starts again what has ended without having been told to.
    pub(crate) fn tend(&mut self) {
        for index in 0..self.workers.len() {
            let worker = &mut self.workers[index];
            if !worker.down && worker.process.exit_status().is_some() {
                self.revive_worker(index);
            }
        }
        for index in 0..self.apis.len() {
            let api = &mut self.apis[index];
            if !api.down && api.process.exit_status().is_some() {
                self.revive_api(index);
            }
        }
    }

    /// Waits until every worker that was dismissed has ended by itself.
    pub(crate) fn wait_for_the_dismissed(&mut self) {
        for worker in &mut self.ended {
            worker.wait_exit(PATIENCE);
        }
    }

    /// Waits until every node answers again.
    pub(crate) fn wait_for_nats(&self) {
        for _ in 0..600 {
            if self.nats.nodes().iter().all(NatsServer::is_healthy) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("nats-server is not healthy again");
    }

    /// Every line that workers and APIs have written, those that have ended included.
    pub(crate) fn lines(&self) -> Vec<String> {
        let kept = self.workers.iter().chain(&self.apis).map(|kept| &kept.process);
        let lines = kept.chain(&self.ended).flat_map(|process| {
            let id = process.id();
            process.lines().into_iter().map(move |line| format!("{id} {}", line.text))
        });
        lines.collect()
    }

    fn start_api(&self, port: u16) -> Process {
        let redis = format!("redis://127.0.0.1:{}", self.redis_proxy.port());
        self.part("api", &self.api_proxies, |process| {
            process.env("PORT", port.to_string()).env("REDIS_URL", redis)
        })
    }

    fn start_worker(&self) -> Process {
        self.part("worker", &self.worker_proxies, |process| {
            process.env("CONCURRENCY", "1").env("THREADS_PER_PICTURE", "1")
        })
    }

    fn part(
        &self,
        name: &str,
        proxies: &[TcpProxy],
        more: impl FnOnce(testkit::ProcessBuilder) -> testkit::ProcessBuilder,
    ) -> Process {
        let urls: Vec<String> =
            proxies.iter().map(|proxy| format!("nats://127.0.0.1:{}", proxy.port())).collect();
        let mut process = Process::builder(env!("CARGO_BIN_EXE_spotter"))
            .arg(name)
            .current_dir(workspace_root())
            .env("NATS_URL", urls.join(","))
            .env("NATS_REPLICAS", self.nats.nodes().len().to_string())
            .env("ACK_WAIT_SECONDS", ACK_WAIT_SECONDS.to_string())
            .env("LOG_FORMAT", "json");
        for (name, value) in &self.plan.settings {
            process = process.env(name, value);
        }
        more(process).start()
    }
}

impl Nats {
    pub(crate) fn nodes(&self) -> &[NatsServer] {
        match self {
            Self::One(server) => std::slice::from_ref(server),
            Self::Three(cluster) => cluster.nodes(),
        }
    }

    /// Where to connect without a proxy.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::One(server) => server.url(),
            Self::Three(cluster) => cluster.url(),
        }
    }

    pub(crate) fn kill(&mut self, node: usize) {
        match self {
            Self::One(server) => server.kill(),
            Self::Three(cluster) => cluster.kill(node),
        }
    }

    pub(crate) fn restart(&mut self, node: usize) {
        match self {
            Self::One(server) => server.restart(),
            Self::Three(cluster) => cluster.restart(node),
        }
    }

    /// The node that leads the stream of jobs; waits for an election to end.
    pub(crate) fn jobs_leader(&self) -> usize {
        let Self::Three(cluster) = self else { return 0 };
        for _ in 0..400 {
            if let Some(leader) = cluster.stream_leader("JOBS") {
                return leader;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the stream of jobs has no leader for 20 s");
    }

    pub(crate) fn jobs(&self) -> Option<StreamState> {
        match self {
            Self::One(server) => server.stream("JOBS"),
            Self::Three(cluster) => cluster.stream("JOBS"),
        }
    }

    /// Deletes the workers' consumer; tells whether the server says that it has.
    pub(crate) fn delete_consumer(&self) -> bool {
        let running = self.nodes().iter().find(|node| node.is_running());
        let answer =
            running.and_then(|node| node.request("$JS.API.CONSUMER.DELETE.JOBS.worker", ""));
        answer.is_some_and(|answer| answer.contains("\"success\":true"))
    }
}
