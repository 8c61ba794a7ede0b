//! A TCP proxy that injects network faults: delays, dropped messages, blackholes, cut connections.

use std::{
    collections::HashMap,
    fmt,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::frames::{Frames, Framing};

/// The direction of bytes through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client that connected to the server behind the proxy.
    ToServer,
    /// From the server to the client.
    ToClient,
}

type Predicate = Arc<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// The active faults. By default there are none.
#[derive(Clone, Default)]
struct Rules {
    refused: bool,
    stalled: bool,
    delay: Duration,
    dropped: Option<(Direction, Predicate)>,
    closing: bool,
}

/// A proxy on a port of its own in front of a server on 127.0.0.1. Closes every connection when dropped.
pub struct TcpProxy {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    upstream: SocketAddr,
    framing: Framing,
    rules: Mutex<Rules>,
    changed: Condvar,
    /// Both ends of every open connection.
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
    frames_dropped: AtomicU64,
}

impl TcpProxy {
    /// A proxy for any protocol. It drops chunks as they happen to be read.
    ///
    /// # Panics
    /// If no port can be bound.
    #[must_use]
    pub fn start(upstream_port: u16) -> Self {
        Self::with_framing(upstream_port, Framing::Bytes)
    }

    /// A proxy that splits the stream into NATS messages and drops whole ones.
    ///
    /// # Panics
    /// If no port can be bound.
    #[must_use]
    pub fn for_nats(upstream_port: u16) -> Self {
        Self::with_framing(upstream_port, Framing::Nats)
    }

    fn with_framing(upstream_port: u16, framing: Framing) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be bound");
        let port = listener.local_addr().expect("a bound listener has an address").port();
        let shared = Arc::new(Shared {
            upstream: SocketAddr::from((Ipv4Addr::LOCALHOST, upstream_port)),
            framing,
            rules: Mutex::default(),
            changed: Condvar::new(),
            open: Mutex::default(),
            frames_dropped: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Self { shared, port }
    }

    /// The port of 127.0.0.1 that clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The number of open connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.open.lock().len()
    }

    /// The number of messages that [`TcpProxy::drop_frames`] has dropped.
    #[must_use]
    pub fn frames_dropped(&self) -> u64 {
        self.shared.frames_dropped.load(Ordering::Relaxed)
    }

    /// Closes every connection, and every new one until [`TcpProxy::heal`].
    pub fn cut(&self) {
        self.set(|rules| rules.refused = true);
        self.shared.close_all();
    }

    /// Forwards nothing in either direction and closes nothing, as a network that loses packets. After
    /// [`TcpProxy::heal`] everything arrives, as TCP would retransmit it.
    pub fn blackhole(&self) {
        self.set(|rules| rules.stalled = true);
    }

    /// Delays every byte.
    pub fn delay(&self, delay: Duration) {
        self.set(|rules| rules.delay = delay);
    }

    /// Drops the messages in `direction` that `unwanted` accepts. It is given each whole message, protocol line
    /// included.
    pub fn drop_frames(
        &self,
        direction: Direction,
        unwanted: impl Fn(&[u8]) -> bool + Send + Sync + 'static,
    ) {
        self.set(|rules| rules.dropped = Some((direction, Arc::new(unwanted))));
    }

    /// Ends every fault.
    pub fn heal(&self) {
        self.set(|rules| *rules = Rules::default());
    }

    fn set(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.rules.lock());
        self.shared.changed.notify_all();
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.set(|rules| rules.closing = true);
        self.shared.close_all();
        // Wakes the thread that accepts connections, so that it ends.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl fmt::Debug for TcpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpProxy")
            .field("port", &self.port)
            .field("upstream", &self.shared.upstream)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for number in 0.. {
            let Ok((client, _)) = listener.accept() else { return };
            let rules = self.rules.lock().clone();
            if rules.closing {
                return;
            }
            if !rules.refused {
                // If the server is down, the client's connection is closed.
                let _ = self.connect(number, client);
            }
        }
    }

    fn connect(self: &Arc<Self>, number: u64, client: TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(self.upstream)?;
        for stream in [&client, &server] {
            stream.set_nodelay(true)?;
        }
        let ends = [client.try_clone()?, server.try_clone()?];
        self.open.lock().insert(number, ends);
        // A cut between accepting and registering it has missed it.
        let rules = self.rules.lock().clone();
        if rules.refused || rules.closing {
            self.close_all();
            return Ok(());
        }
        let streams = [
            (Direction::ToServer, client.try_clone()?, server.try_clone()?),
            (Direction::ToClient, server, client),
        ];
        for (direction, from, to) in streams {
            let (sender, queue) = mpsc::channel();
            let (reading, writing) = (Arc::clone(self), Arc::clone(self));
            thread::spawn(move || reading.read(direction, from, &sender));
            thread::spawn(move || writing.write(number, &queue, to));
        }
        Ok(())
    }

    /// Reads messages and queues those that are not dropped, each with the time at which it is due.
    fn read(
        &self,
        direction: Direction,
        mut from: TcpStream,
        queue: &mpsc::Sender<(Instant, Vec<u8>)>,
    ) {
        let mut frames = Frames::new(self.framing);
        let mut chunk = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut chunk) {
            frames.push(&chunk[..length]);
            while let Some(frame) = frames.next_frame() {
                let rules = self.rules.lock().clone();
                let dropped = rules.dropped.is_some_and(|(d, p)| d == direction && p(&frame));
                if dropped {
                    self.frames_dropped.fetch_add(1, Ordering::Relaxed);
                } else if queue.send((Instant::now() + rules.delay, frame)).is_err() {
                    return;
                }
            }
        }
    }

    fn write(&self, number: u64, queue: &mpsc::Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
        // The queue ends when the other side has closed. A blackhole delays the close as well.
        while let Ok((due, frame)) = queue.recv() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.wait_while_stalled();
            if to.write_all(&frame).is_err() {
                break;
            }
        }
        self.wait_while_stalled();
        let _ = to.shutdown(Shutdown::Both);
        if let Some(ends) = self.open.lock().remove(&number) {
            ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
        }
    }

    fn wait_while_stalled(&self) {
        let mut rules = self.rules.lock();
        self.changed.wait_while(&mut rules, |rules| rules.stalled && !rules.closing);
    }

    fn close_all(&self) {
        for (_, ends) in self.open.lock().drain() {
            ends.iter().for_each(|end| drop(end.shutdown(Shutdown::Both)));
        }
    }
}
