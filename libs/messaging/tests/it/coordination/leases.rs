//! Work that one process does for all.

use std::time::{Duration, Instant};

use messaging::{LEASE_TTL, Lease};
use tokio::time::timeout;

use crate::fixture::{Fixture, TIMEOUT};

/// Shorter than the real one, so that a test can wait for it to pass.
const SHORT_LIFE: Duration = Duration::from_secs(1);

impl Fixture {
    async fn shorten_leases(&self) {
        let raw = self.raw().await;
        let mut config = raw.get_stream("KV_leases").await.unwrap().cached_info().config.clone();
        assert_eq!((config.max_age, config.allow_direct), (LEASE_TTL, false));
        (config.max_age, config.duplicate_window) = (SHORT_LIFE, SHORT_LIFE);
        raw.update_stream(&config).await.unwrap();
    }
}

#[tokio::test]
async fn one_of_two_holds_it_until_it_gives_it_up() {
    let fixture = Fixture::start().await;
    let (mut one, mut two) = (fixture.messaging.lease("work"), fixture.messaging.lease("work"));
    for _ in 0..3 {
        assert!(one.try_hold().await.unwrap());
        assert!(!two.try_hold().await.unwrap());
    }
    assert!(fixture.messaging.lease("other-work").try_hold().await.unwrap());
    // Releasing a lease that is not held does nothing.
    two.release().await.unwrap();
    assert!(one.try_hold().await.unwrap());
    one.release().await.unwrap();
    let (mut three, mut four) = (fixture.messaging.lease("work"), fixture.messaging.lease("work"));
    assert!(three.try_hold().await.unwrap());
    assert!(!four.try_hold().await.unwrap());
}

#[tokio::test]
async fn of_many_at_once_one_holds_it() {
    let fixture = Fixture::start().await;
    let mut racers = Vec::new();
    for _ in 0..8 {
        let mut lease = fixture.messaging.lease("work");
        racers.push(tokio::spawn(async move { lease.try_hold().await.unwrap() }));
    }
    let mut holders = 0;
    for racer in racers {
        holders += u32::from(racer.await.unwrap());
    }
    assert_eq!(holders, 1);
}

#[tokio::test]
async fn who_is_silent_loses_it_and_who_renews_it_does_not() {
    let fixture = Fixture::start().await;
    fixture.shorten_leases().await;
    let (mut one, mut two) = (fixture.messaging.lease("work"), fixture.messaging.lease("work"));
    assert!(one.try_hold().await.unwrap());
    let (started, mut renewed) = (Instant::now(), Instant::now());
    while started.elapsed() < SHORT_LIFE * 3 {
        let asked = Instant::now();
        let is_held = one.try_hold().await.unwrap() && !two.try_hold().await.unwrap();
        // A machine that is so busy that it was not renewed in time says nothing.
        assert!(is_held || renewed.elapsed() >= SHORT_LIFE, "it was lost although it was renewed");
        if !is_held {
            std::mem::replace(&mut two, fixture.messaging.lease("work")).release().await.unwrap();
            take(&mut one).await;
        }
        renewed = if is_held { asked } else { Instant::now() };
    }
    // From here on it is as if the process of the first had died.
    take(&mut two).await;
    assert!(!one.try_hold().await.unwrap(), "it must learn that it has lost it");
    // A former holder cannot release the lease of the next one.
    take(&mut one).await;
    two.release().await.unwrap();
    assert!(!fixture.messaging.lease("work").try_hold().await.unwrap());
}

/// Waits until it is free.
async fn take(lease: &mut Lease) {
    let taking = async { while !lease.try_hold().await.unwrap() {} };
    timeout(TIMEOUT, taking).await.expect("it expires");
}
