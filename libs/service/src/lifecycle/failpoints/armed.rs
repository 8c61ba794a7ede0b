//! The actions of `FAILPOINTS`: `name=action`, separated by `;`.
//!
//! An action is `crash`, `crash-soon`, `hang`, `linger` or `eat-memory`. With the suffix `@N` it is executed
//! when the failpoint is reached for the Nth time; with `(text)`, only for bytes that contain this text.

use std::{
    str::FromStr,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use crate::lifecycle::exit;

/// How much `eat-memory` allocates at a time, in bytes, and how often at most: 8 GiB if there is no limit.
const BITE: usize = 64 << 20;
const BITES: usize = 128;

/// Long enough for a message to reach the network, short enough to crash before most responses.
const SOON: Duration = Duration::from_millis(1);

/// Longer than the shortest shutdown grace of a worker.
const WHILE: Duration = Duration::from_millis(1500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Ends the process immediately, as `kill -9` does.
    Crash,
    /// The same a moment later, so that messages just sent go out.
    CrashSoon,
    /// Never returns.
    Hang,
    /// Continues after a while.
    Linger,
    /// Allocates memory until the system kills the process.
    EatMemory,
}

#[derive(Debug)]
struct Failpoint {
    name: String,
    action: Action,
    /// The action is executed when the failpoint has been reached this often.
    times: u32,
    /// The bytes must contain this text.
    text: Vec<u8>,
    reached: AtomicU32,
}

static FAILPOINTS: LazyLock<Vec<Failpoint>> = LazyLock::new(|| {
    let setting = std::env::var("FAILPOINTS").unwrap_or_default();
    parse(&setting).unwrap_or_else(|problem| {
        tracing::error!("FAILPOINTS: {problem}");
        std::process::exit(i32::from(exit::USAGE));
    })
});

pub(super) fn reach(name: &str, bytes: &[u8]) {
    for failpoint in FAILPOINTS.iter().filter(|failpoint| failpoint.name == name) {
        if failpoint.is_due(bytes) {
            failpoint.act();
        }
    }
}

impl Failpoint {
    fn is_due(&self, bytes: &[u8]) -> bool {
        let length = self.text.len();
        let is_meant = length == 0 || bytes.windows(length).any(|window| window == self.text);
        is_meant && self.reached.fetch_add(1, Ordering::Relaxed) + 1 >= self.times
    }

    fn act(&self) {
        tracing::warn!(failpoint = self.name, action = ?self.action, "executing a failpoint's action");
        match self.action {
            Action::Crash => std::process::abort(),
            Action::CrashSoon => {
                thread::spawn(|| {
                    thread::sleep(SOON);
                    std::process::abort();
                });
            }
            Action::Hang => loop {
                thread::sleep(Duration::from_secs(60));
            },
            Action::Linger => thread::sleep(WHILE),
            Action::EatMemory => {
                // Written to, so that the memory is really allocated.
                let _eaten: Vec<Vec<u8>> = (0..BITES).map(|_| vec![1; BITE]).collect();
                std::process::abort();
            }
        }
    }
}

fn parse(setting: &str) -> Result<Vec<Failpoint>, String> {
    setting.split(';').map(str::trim).filter(|text| !text.is_empty()).map(str::parse).collect()
}

impl FromStr for Failpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "'{text}': expected name=action, action one of crash, crash-soon, hang, linger, eat-memory, with the suffix @N or (text)"
            )
        };
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (rest, sought) = match rest.strip_suffix(')') {
            Some(rest) => rest.split_once('(').ok_or_else(wrong)?,
            None => (rest, ""),
        };
        let (action, times) = match rest.split_once('@') {
            Some((action, times)) => (action, times.parse().map_err(|_| wrong())?),
            None => (rest, 1),
        };
        let action = match action {
            "crash" => Action::Crash,
            "crash-soon" => Action::CrashSoon,
            "hang" => Action::Hang,
            "linger" => Action::Linger,
            "eat-memory" => Action::EatMemory,
            _ => return Err(wrong()),
        };
        let (name, text) = (name.to_owned(), sought.as_bytes().to_vec());
        Ok(Self { name, action, times, text, reached: AtomicU32::new(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_says_what_happens_where() {
        let found = parse("stored=crash@3; detect=hang(POISON) ;x=eat-memory").unwrap();
        let shown: Vec<_> =
            found.iter().map(|f| (f.name.as_str(), f.action, f.times, f.text.len())).collect();
        let expected = [
            ("stored", Action::Crash, 3, 0),
            ("detect", Action::Hang, 1, 6),
            ("x", Action::EatMemory, 1, 0),
        ];
        assert_eq!(shown, expected);
        assert!(parse("").unwrap().is_empty());
        for bad in ["stored", "stored=explode", "stored=crash@x", "stored=crash)"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn it_is_due_at_its_time_and_for_its_bytes() {
        let third: Failpoint = "stored=crash@3".parse().unwrap();
        assert_eq!([(); 4].map(|()| third.is_due(b"")), [false, false, true, true]);
        let poison: Failpoint = "detect=crash(POISON)".parse().unwrap();
        assert!(!poison.is_due(b"a picture") && poison.is_due(b"a POISON picture"));
    }
}
