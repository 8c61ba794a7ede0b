//! The faults, how they are injected, and how they are healed.

use std::{thread, time::Duration};

use rand::{RngExt, rngs::Xoshiro256PlusPlus};
use testkit::{Direction, TcpProxy};

use crate::{
    environment::Environment,
    load::{Load, pictures::Poison, submission::Submission},
    receiver::Answer,
    steps::Step,
};

/// How many clients send the same key at once.
const STORM: usize = 100;

/// How many workers come and go at once.
const SCALED_BY: usize = 2;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    WorkerKilled,
    WorkerFrozen,
    WorkerTerminated,
    /// Two more workers for a while, then two fewer by SIGTERM.
    WorkersScaled,
    /// Every worker frozen, so that the queue fills up.
    QueueFull,
    /// A worker or an API that repeatedly crashes at this step.
    Crash(Step),
    ApiKilled,
    /// The only server, or a node that does not lead the stream of jobs.
    NatsKilled,
    /// The node that leads the stream of jobs.
    LeaderKilled,
    /// Another node takes over the stream of jobs, as before a server's planned restart.
    LeaderChanged,
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
    /// Poison pictures. Needs workers that fail on them.
    Poison,
    /// One idempotency key, many times at once.
    KeyStorm,
    NotifierKilled,
    /// The receiver of webhooks answers with 503.
    ReceiverFailing,
    /// It takes webhooks and does not answer.
    ReceiverSilent,
    /// It refuses connections.
    ReceiverDown,
}

/// What a fault is injected into.
pub(crate) struct FaultContext<'a> {
    pub(crate) environment: &'a mut Environment,
    pub(crate) load: &'a mut Load,
    pub(crate) rng: &'a mut Xoshiro256PlusPlus,
}

/// A fault that is active and must be healed.
pub(crate) struct ActiveFault {
    fault: Fault,
    /// Which worker, API or node.
    target: usize,
}

impl Fault {
    /// The faults of a system with one nats-server.
    pub(crate) const ON_ONE_NODE: [Self; 22] = [
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
        Self::NotifierKilled,
        Self::ReceiverFailing,
        Self::ReceiverSilent,
        Self::ReceiverDown,
    ];

    /// Those of webhooks.
    pub(crate) const OF_WEBHOOKS: [Self; 4] =
        [Self::NotifierKilled, Self::ReceiverFailing, Self::ReceiverSilent, Self::ReceiverDown];

    /// The additional faults of a cluster.
    pub(crate) const ON_A_CLUSTER: [Self; 3] =
        [Self::LeaderKilled, Self::LeaderChanged, Self::LeaderCutOff];

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
            Self::LeaderChanged => "leader changed",
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
            Self::NotifierKilled => "notifier kill -9",
            Self::ReceiverFailing => "receiver: 503",
            Self::ReceiverSilent => "receiver silent",
            Self::ReceiverDown => "receiver down",
        }
    }

    /// Whether the server may lose its delivery counts.
    pub(crate) fn resets_deliveries(self) -> bool {
        matches!(
            self,
            Self::NatsKilled | Self::LeaderKilled | Self::ConsumerDeleted | Self::DiskFull
        )
    }

    /// Whether two faults may be active at the same time: at most one node is ever down, and healing one fault must
    /// not heal the other.
    pub(crate) fn goes_with(self, other: Self) -> bool {
        self.component() != other.component()
    }

    fn component(self) -> u8 {
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
            Self::NotifierKilled => 5,
            Self::ReceiverFailing | Self::ReceiverSilent | Self::ReceiverDown => 6,
            _ => 3,
        }
    }

    /// The worker, API or node that is affected.
    fn choose_target(self, FaultContext { environment, rng, .. }: &mut FaultContext<'_>) -> usize {
        match self {
            Self::WorkerKilled | Self::WorkerFrozen | Self::WorkerTerminated => {
                rng.random_range(0..environment.workers.len())
            }
            Self::Crash(step) if step.is_of_a_worker() => {
                rng.random_range(0..environment.workers.len())
            }
            Self::ApiKilled | Self::Crash(_) => rng.random_range(0..environment.apis.len()),
            Self::NatsKilled if environment.plan.cluster => {
                let others = rng.random_range(1..environment.nats.nodes().len());
                (environment.nats.jobs_leader() + others) % environment.nats.nodes().len()
            }
            Self::LeaderKilled | Self::LeaderCutOff | Self::DiskFull => {
                environment.nats.jobs_leader()
            }
            _ => 0,
        }
    }

    pub(crate) fn inject(self, context: &mut FaultContext<'_>) -> ActiveFault {
        let target = self.choose_target(context);
        let FaultContext { environment, load, rng } = context;
        match self {
            Self::WorkerKilled => environment.kill_worker(target),
            Self::WorkerFrozen => environment.workers[target].process.stop(),
            Self::WorkerTerminated => environment.workers[target].process.terminate(),
            Self::WorkersScaled => (0..SCALED_BY).for_each(|_| environment.add_worker()),
            Self::QueueFull => {
                environment.workers.iter_mut().for_each(|worker| worker.process.stop());
            }
            Self::Crash(step) if step.is_of_a_worker() => {
                environment.replace_worker(target, Some(step))
            }
            Self::Crash(step) => environment.replace_api(target, Some(step)),
            Self::ApiKilled => environment.kill_api(target),
            Self::NatsKilled | Self::LeaderKilled => environment.nats.kill(target),
            Self::LeaderChanged => environment.nats.change_leader(),
            Self::LeaderCutOff => cut_off(&environment.api_proxies, target),
            Self::PubAcksDropped => each(&environment.api_proxies, |proxy| {
                proxy.drop_frames(Direction::ToClient, is_pub_ack);
            }),
            Self::AcksDropped => each(&environment.worker_proxies, |proxy| {
                proxy.drop_frames(Direction::ToServer, is_ack);
            }),
            Self::Delayed => {
                let delay = Duration::from_millis(rng.random_range(100..600));
                each(&environment.api_proxies, |proxy| proxy.delay(delay));
                each(&environment.worker_proxies, |proxy| proxy.delay(delay));
            }
            Self::ApiBlackholed => each(&environment.api_proxies, TcpProxy::blackhole),
            Self::WorkerBlackholed => each(&environment.worker_proxies, TcpProxy::blackhole),
            Self::ConnectionsCut => {
                each(&environment.api_proxies, TcpProxy::cut);
                each(&environment.worker_proxies, TcpProxy::cut);
            }
            Self::RedisKilled => environment.redis.kill(),
            Self::RedisFlushed => environment.redis.flush(),
            Self::RedisSlow => environment.redis_proxy.delay(Duration::from_secs(2)),
            Self::ConsumerDeleted => {
                // During an election there is nothing to delete.
                let deleted = (0..20).any(|_| {
                    environment.nats.delete_consumer() || {
                        thread::sleep(Duration::from_millis(50));
                        false
                    }
                });
                assert!(deleted, "the consumer could not be deleted");
            }
            Self::DiskFull => environment.plan.disks[target].fill(),
            Self::Poison => {
                for poison in Poison::ALL {
                    load.send(Submission::poison(poison), rng);
                }
            }
            Self::NotifierKilled => environment.kill_notifier(),
            Self::ReceiverFailing => environment.receiver.answer_with(Answer::ServiceUnavailable),
            Self::ReceiverSilent => environment.receiver.answer_with(Answer::Silence),
            Self::ReceiverDown => environment.receiver.stop(),
            Self::KeyStorm => load.storm(STORM, format!("storm-{:016x}", rng.random::<u64>()), rng),
        }
        ActiveFault { fault: self, target }
    }
}

impl ActiveFault {
    pub(crate) fn heal(self, environment: &mut Environment) {
        match self.fault {
            Fault::WorkerKilled => environment.restart_worker(self.target),
            Fault::Crash(step) if step.is_of_a_worker() => environment.restart_worker(self.target),
            Fault::WorkersScaled => (0..SCALED_BY).for_each(|_| environment.retire_worker(0)),
            Fault::QueueFull => {
                environment.workers.iter_mut().for_each(|worker| worker.process.cont());
            }
            Fault::WorkerFrozen => environment.workers[self.target].process.cont(),
            Fault::ApiKilled | Fault::Crash(_) => environment.restart_api(self.target),
            Fault::NatsKilled | Fault::LeaderKilled => {
                environment.nats.restart(self.target);
                // A second node must not go down while this one is catching up.
                environment.wait_for_nats();
            }
            Fault::DiskFull => {
                environment.plan.disks[self.target].make_room();
                // Until its restart, a server keeps its write error, and one of a cluster keeps JetStream disabled.
                environment.nats.restart(self.target);
                environment.wait_for_nats();
            }
            Fault::RedisKilled => environment.redis.restart(),
            Fault::RedisSlow => environment.redis_proxy.heal(),
            Fault::NotifierKilled => environment.restart_notifier(),
            Fault::ReceiverFailing | Fault::ReceiverSilent => {
                environment.receiver.answer_with(Answer::NoContent);
            }
            Fault::ReceiverDown => environment.receiver.restart(),
            Fault::WorkerTerminated
            | Fault::RedisFlushed
            | Fault::LeaderChanged
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
                each(&environment.api_proxies, TcpProxy::heal);
                each(&environment.worker_proxies, TcpProxy::heal);
            }
        }
    }
}

fn each(proxies: &[TcpProxy], action: impl Fn(&TcpProxy)) {
    proxies.iter().for_each(action);
}

/// Moves every connection to one node, then blackholes the network to it.
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

/// Whether a frame is a PubAck: the server's confirmation that a job is stored.
fn is_pub_ack(frame: &[u8]) -> bool {
    has(frame, b"_INBOX_api") && has(frame, b"{\"stream\":\"JOBS\"")
}

/// Whether a frame is a worker's ack of a job.
fn is_ack(frame: &[u8]) -> bool {
    has(frame, b"$JS.ACK.") && has(frame, b"+ACK")
}

fn has(frame: &[u8], wanted: &[u8]) -> bool {
    frame.windows(wanted.len()).any(|window| window == wanted)
}
