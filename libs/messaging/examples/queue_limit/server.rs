//! The server that is measured, and what it has used.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;
use testkit::NatsServer;

use crate::cores::{allowed, pin_to};

/// The length of a tick of `/proc/<pid>/stat`, in seconds.
const TICK_S: f64 = 0.01;

/// A server on a core that nothing else of this program uses.
pub(crate) struct Server {
    running: NatsServer,
}

/// What a server has used and counted since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) cpu_s: f64,
    /// From clients.
    pub(crate) messages_in: f64,
    /// To clients.
    pub(crate) messages_out: f64,
}

impl Server {
    /// Takes the last core, and leaves the others to this process.
    ///
    /// # Panics
    /// With a single core.
    pub(crate) fn start_on_one_core() -> Self {
        let cores = allowed();
        let (own, others) = cores.split_last().expect("there is a core");
        assert!(!others.is_empty(), "this needs two cores: one for NATS alone");
        // The server inherits it, and Go makes its threads by the number of cores it finds at its start.
        pin_to(&[*own]);
        let running = NatsServer::start();
        pin_to(others);
        Self { running }
    }

    pub(crate) fn url(&self) -> String {
        self.running.url()
    }

    pub(crate) fn used(&self) -> Used {
        let varz = self.varz();
        let count = |name: &str| varz[name].as_f64().expect("the server counts it");
        Used { cpu_s: self.cpu_s(), messages_in: count("in_msgs"), messages_out: count("out_msgs") }
    }

    fn cpu_s(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.running.process_id())).unwrap();
        // After the name, which may contain blanks: state is field 3, utime 14, stime 15.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_ascii_whitespace().skip(11).take(2);
        ticks.map(|ticks| ticks.parse::<f64>().unwrap() * TICK_S).sum()
    }

    fn varz(&self) -> Value {
        let address = self.running.monitor_url();
        let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
        stream.write_all(b"GET /varz HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").expect("the server answers HTTP");
        serde_json::from_str(body).expect("the server answers JSON")
    }
}
