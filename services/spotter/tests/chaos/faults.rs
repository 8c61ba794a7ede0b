//! What can be broken, and how it is mended.

use std::{thread, time::Duration};

use rand::{RngExt, rngs::Xoshiro256PlusPlus};
use testkit::{Direction, TcpProxy};

use crate::{client::Submission, load::Load, pictures::Poison, stand::Stand, steps::Step};

/// How many clients send the same key at once.
const STORM: usize = 100;

/// How many workers come and go at once.
const SCALED_BY: usize = 2;

/// One kind of thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    WorkerKilled,
    WorkerFrozen,
    WorkerTerminated,
    /// Two more workers for a while, then two fewer by SIGTERM.
    WorkersScaled,
    /// Every worker frozen, so that the queue fills up.
    QueueFull,
    /// A worker or an API that crashes at this step, again and again.
    Crash(Step),
    ApiKilled,
    /// The only server, or a node that does not lead the stream of jobs.
    NatsKilled,
    /// The node that leads the stream of jobs.
    LeaderKilled,
    /// The APIs are connected to that node, and the network between them goes silent.
    LeaderCutOff,
    PubAcksDropped,
    AcksDropped,
    Delayed,
    ApiBlackholed,
    WorkerBlackholed,
    ConnectionsCut,
    RedisKilled,
    RedisFlushed,
    RedisSlow,
    ConsumerDeleted,
    /// The disk of the node that leads the stream of jobs. Needs one.
    DiskFull,
    /// Pictures that no worker survives. Needs workers that fail on them.
    Poison,
    /// One idempotency key, many times at once.
    KeyStorm,
}

/// What a fault happens to.
pub(crate) struct Site<'a> {
    pub(crate) stand: &'a mut Stand,
    pub(crate) load: &'a mut Load,
    pub(crate) rng: &'a mut Xoshiro256PlusPlus,
}

/// A fault that has begun and must be ended.
pub(crate) struct Ongoing {
    fault: Fault,
    /// Which worker, API or node.
    target: usize,
}

impl Fault {
    /// Those that a system with one nats-server can have.
    pub(crate) const ON_ONE_NODE: [Self; 18] = [
        Self::WorkerKilled,
        Self::WorkerFrozen,
        Self::WorkerTerminated,
        Self::WorkersScaled,
        Self::QueueFull,
        Self::ApiKilled,
        Self::NatsKilled,
        Self::PubAcksDropped,
        Self::AcksDropped,
        Self::Delayed,
        Self::ApiBlackholed,
        Self::WorkerBlackholed,
        Self::ConnectionsCut,
        Self::RedisKilled,
        Self::RedisFlushed,
        Self::RedisSlow,
        Self::ConsumerDeleted,
        Self::KeyStorm,
    ];

    /// Those that only a cluster can have.
    pub(crate) const ON_A_CLUSTER: [Self; 2] = [Self::LeaderKilled, Self::LeaderCutOff];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WorkerKilled => "worker kill -9",
            Self::WorkerFrozen => "worker SIGSTOP",
            Self::WorkerTerminated => "worker SIGTERM",
            Self::WorkersScaled => "workers scaled",
            Self::QueueFull => "queue full",
            Self::Crash(step) => step.name(),
            Self::ApiKilled => "API kill -9",
            Self::NatsKilled => "NATS kill -9",
            Self::LeaderKilled => "leader kill -9",
            Self::LeaderCutOff => "leader cut off",
            Self::PubAcksDropped => "PubAcks dropped",
            Self::AcksDropped => "acks dropped",
            Self::Delayed => "delays",
            Self::ApiBlackholed => "API blackholed",
            Self::WorkerBlackholed => "worker blackholed",
            Self::ConnectionsCut => "connections cut",
            Self::RedisKilled => "Redis kill -9",
            Self::RedisFlushed => "Redis flushed",
            Self::RedisSlow => "Redis 2 s late",
            Self::ConsumerDeleted => "consumer deleted",
            Self::DiskFull => "disk full",
            Self::Poison => "poison",
            Self::KeyStorm => "key storm",
        }
    }

    /// Whether the server may forget how often it has handed out a job.
    pub(crate) fn resets_deliveries(self) -> bool {
        matches!(
            self,
            Self::NatsKilled | Self::LeaderKilled | Self::ConsumerDeleted | Self::DiskFull
        )
    }

    /// Whether two of these may go on at the same time: no more than one node is ever down, and
    /// one mend must not undo the other's fault.
    pub(crate) fn goes_with(self, other: Self) -> bool {
        self.part() != other.part()
    }

    fn part(self) -> u8 {
        match self {
            Self::WorkerKilled
            | Self::WorkerFrozen
            | Self::WorkerTerminated
            | Self::WorkersScaled
            | Self::QueueFull => 0,
            Self::Crash(step) => u8::from(!step.is_of_a_worker()),
            Self::ApiKilled => 1,
            Self::RedisKilled | Self::RedisFlushed | Self::RedisSlow => 2,
            Self::Poison | Self::KeyStorm => 4,
            _ => 3,
        }
    }

    /// Which worker, API or node it happens to.
    fn choose_target(self, Site { stand, rng, .. }: &mut Site<'_>) -> usize {
        match self {
            Self::WorkerKilled | Self::WorkerFrozen | Self::WorkerTerminated => {
                rng.random_range(0..stand.workers.len())
            }
            Self::Crash(step) if step.is_of_a_worker() => rng.random_range(0..stand.workers.len()),
            Self::ApiKilled | Self::Crash(_) => rng.random_range(0..stand.apis.len()),
            Self::NatsKilled if stand.plan.cluster => {
                let others = rng.random_range(1..stand.nats.nodes().len());
                (stand.nats.jobs_leader() + others) % stand.nats.nodes().len()
            }
            Self::LeaderKilled | Self::LeaderCutOff | Self::DiskFull => stand.nats.jobs_leader(),
            _ => 0,
        }
    }

    pub(crate) fn begin(self, site: &mut Site<'_>) -> Ongoing {
        let target = self.choose_target(site);
        let Site { stand, load, rng } = site;
        match self {
            Self::WorkerKilled => stand.kill_worker(target),
            Self::WorkerFrozen => stand.workers[target].process.stop(),
            Self::WorkerTerminated => stand.workers[target].process.terminate(),
            Self::WorkersScaled => (0..SCALED_BY).for_each(|_| stand.add_worker()),
            Self::QueueFull => {
                stand.workers.iter_mut().for_each(|worker| worker.process.stop());
            }
            Self::Crash(step) if step.is_of_a_worker() => stand.replace_worker(target, Some(step)),
            Self::Crash(step) => stand.replace_api(target, Some(step)),
            Self::ApiKilled => stand.kill_api(target),
            Self::NatsKilled | Self::LeaderKilled => stand.nats.kill(target),
            Self::LeaderCutOff => cut_off(&stand.api_proxies, target),
            Self::PubAcksDropped => each(&stand.api_proxies, |proxy| {
                proxy.drop_frames(Direction::ToClient, is_pub_ack);
            }),
            Self::AcksDropped => each(&stand.worker_proxies, |proxy| {
                proxy.drop_frames(Direction::ToServer, is_ack);
            }),
            Self::Delayed => {
                let delay = Duration::from_millis(rng.random_range(100..600));
                each(&stand.api_proxies, |proxy| proxy.delay(delay));
                each(&stand.worker_proxies, |proxy| proxy.delay(delay));
            }
            Self::ApiBlackholed => each(&stand.api_proxies, TcpProxy::blackhole),
            Self::WorkerBlackholed => each(&stand.worker_proxies, TcpProxy::blackhole),
            Self::ConnectionsCut => {
                each(&stand.api_proxies, TcpProxy::cut);
                each(&stand.worker_proxies, TcpProxy::cut);
            }
            Self::RedisKilled => stand.redis.kill(),
            Self::RedisFlushed => stand.redis.flush(),
            Self::RedisSlow => stand.redis_proxy.delay(Duration::from_secs(2)),
            Self::ConsumerDeleted => {
                // An election may be on; then there is nothing to delete at this moment.
                let deleted = (0..20).any(|_| {
                    stand.nats.delete_consumer() || {
                        thread::sleep(Duration::from_millis(50));
                        false
                    }
                });
                assert!(deleted, "the consumer could not be deleted");
            }
            Self::DiskFull => stand.plan.disks[target].fill(),
            Self::Poison => {
                for poison in Poison::ALL {
                    load.send(Submission::poison(poison), rng);
                }
            }
            Self::KeyStorm => load.storm(STORM, format!("storm-{:016x}", rng.random::<u64>()), rng),
        }
        Ongoing { fault: self, target }
    }
}

impl Ongoing {
    pub(crate) fn end(self, stand: &mut Stand) {
        match self.fault {
            Fault::WorkerKilled => stand.revive_worker(self.target),
            Fault::Crash(step) if step.is_of_a_worker() => stand.revive_worker(self.target),
            Fault::WorkersScaled => (0..SCALED_BY).for_each(|_| stand.dismiss_worker(0)),
            Fault::QueueFull => {
                stand.workers.iter_mut().for_each(|worker| worker.process.cont());
            }
            Fault::WorkerFrozen => stand.workers[self.target].process.cont(),
            Fault::ApiKilled | Fault::Crash(_) => stand.revive_api(self.target),
            Fault::NatsKilled | Fault::LeaderKilled => {
                stand.nats.restart(self.target);
                // A second node must not go while this one is catching up.
                stand.wait_for_nats();
            }
            Fault::DiskFull => {
                stand.plan.disks[self.target].make_room();
                // A server keeps its write error, and one of a cluster has JetStream turned off, until it is
                // started again.
                stand.nats.restart(self.target);
                stand.wait_for_nats();
            }
            Fault::RedisKilled => stand.redis.restart(),
            Fault::RedisSlow => stand.redis_proxy.heal(),
            Fault::WorkerTerminated
            | Fault::RedisFlushed
            | Fault::ConsumerDeleted
            | Fault::Poison
            | Fault::KeyStorm => {}
            Fault::LeaderCutOff
            | Fault::PubAcksDropped
            | Fault::AcksDropped
            | Fault::Delayed
            | Fault::ApiBlackholed
            | Fault::WorkerBlackholed
            | Fault::ConnectionsCut => {
                each(&stand.api_proxies, TcpProxy::heal);
                each(&stand.worker_proxies, TcpProxy::heal);
            }
        }
    }
}

fn each(proxies: &[TcpProxy], action: impl Fn(&TcpProxy)) {
    proxies.iter().for_each(action);
}

/// Drives every connection to one node, then lets the network to it go silent.
fn cut_off(proxies: &[TcpProxy], node: usize) {
    let others = || proxies.iter().enumerate().filter(|(i, _)| *i != node).map(|(_, proxy)| proxy);
    others().for_each(TcpProxy::cut);
    for _ in 0..200 {
        if proxies[node].connections() > 0 {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    others().for_each(TcpProxy::heal);
    proxies[node].blackhole();
}

/// The server's word that a job is stored.
fn is_pub_ack(frame: &[u8]) -> bool {
    has(frame, b"_INBOX_api") && has(frame, b"{\"stream\":\"JOBS\"")
}

/// A worker's word that a job is done with.
fn is_ack(frame: &[u8]) -> bool {
    has(frame, b"$JS.ACK.") && has(frame, b"+ACK")
}

fn has(frame: &[u8], wanted: &[u8]) -> bool {
    frame.windows(wanted.len()).any(|window| window == wanted)
}
