//! How many requests are in progress, in all and to each host.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// The requests in progress.
#[derive(Debug)]
pub(crate) struct Hosts {
    most: usize,
    most_per_host: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_host: HashMap<String, usize>,
}

/// The right to one request, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    hosts: Arc<Hosts>,
    host: String,
}

impl Hosts {
    pub(crate) fn new(most: usize, most_per_host: usize) -> Arc<Self> {
        Arc::new(Self { most, most_per_host, counts: Mutex::default() })
    }

    /// A permit for `host`, unless it, or all together, have as many requests in progress as they may.
    pub(crate) fn acquire(self: &Arc<Self>, host: &str) -> Option<Permit> {
        let mut counts = self.counts.lock();
        let of_host = counts.by_host.get(host).copied().unwrap_or(0);
        if counts.all >= self.most || of_host >= self.most_per_host {
            return None;
        }
        counts.all += 1;
        counts.by_host.insert(host.to_owned(), of_host + 1);
        Some(Permit { hosts: Arc::clone(self), host: host.to_owned() })
    }

    /// How many requests are in progress.
    pub(crate) fn in_progress(&self) -> usize {
        self.counts.lock().all
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.hosts.counts.lock();
        counts.all = counts.all.saturating_sub(1);
        if let Some(of_host) = counts.by_host.get_mut(&self.host) {
            *of_host = of_host.saturating_sub(1);
            if *of_host == 0 {
                counts.by_host.remove(&self.host);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_does_not_use_up_the_permits_of_others() {
        let hosts = Hosts::new(3, 2);
        let first = hosts.acquire("a").unwrap();
        let _second = hosts.acquire("a").unwrap();
        assert!(hosts.acquire("a").is_none());
        let _other = hosts.acquire("b").unwrap();
        assert!(hosts.acquire("c").is_none(), "three in all");
        drop(first);
        assert_eq!(hosts.in_progress(), 2);
        drop(hosts.acquire("a").unwrap());
        assert_eq!(hosts.counts.lock().by_host.len(), 2, "hosts without requests are forgotten");
    }
}
