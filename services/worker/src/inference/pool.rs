//! A pool of slots, leased by priority.

use std::{collections::VecDeque, sync::Arc};

use domain::Priority;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::waiting_line::WaitingLine;

/// Items that are leased, each to one at a time.
pub(crate) struct Pool<T>(Arc<Mutex<State<T>>>);

/// Idle items and those who wait for one. There are never both.
struct State<T> {
    idle: VecDeque<T>,
    waiting: WaitingLine<oneshot::Sender<Lease<T>>>,
}

/// An item in use. Dropping the lease returns it to the pool.
pub(crate) struct Lease<T> {
    /// `None` after it was taken or lost.
    item: Option<T>,
    pool: Pool<T>,
}

impl<T> Pool<T> {
    pub(crate) fn new(items: impl IntoIterator<Item = T>) -> Self {
        let state = State { idle: items.into_iter().collect(), waiting: WaitingLine::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Waits for an idle item, behind those that wait with the same or a higher priority. Cancel-safe.
    pub(crate) async fn lease(&self, priority: Priority) -> Lease<T> {
        let waiting = {
            let mut state = self.0.lock();
            if let Some(item) = state.idle.pop_front() {
                return self.lease_of(item);
            }
            state.waiting.retain(|waiting| !waiting.is_closed());
            let (lease, waiting) = oneshot::channel();
            state.waiting.push(priority, lease);
            waiting
        };
        match waiting.await {
            Ok(lease) => lease,
            // The pool keeps a sender until it has sent or its receiver is gone.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many items are idle.
    pub(crate) fn idle(&self) -> usize {
        self.0.lock().idle.len()
    }

    fn lease_of(&self, item: T) -> Lease<T> {
        Lease { item: Some(item), pool: Self(Arc::clone(&self.0)) }
    }

    /// Gives the item to who is next, or keeps it until somebody comes.
    fn take_back(&self, item: T) {
        let mut lease = self.lease_of(item);
        while let Some(next) = self.next_or_keep(&mut lease) {
            match next.send(lease) {
                Ok(()) => return,
                // It no longer waits.
                Err(unsent) => lease = unsent,
            }
        }
    }

    /// Who is next. If nobody waits, the item is taken out of `lease`, which then returns nothing.
    fn next_or_keep(&self, lease: &mut Lease<T>) -> Option<oneshot::Sender<Lease<T>>> {
        let mut state = self.0.lock();
        let next = state.waiting.pop();
        if next.is_none() {
            state.idle.extend(lease.item.take());
        }
        next
    }
}

impl<T> Lease<T> {
    pub(crate) fn item(&self) -> Option<&T> {
        self.item.as_ref()
    }

    /// Moves the item to a lease of its own.
    pub(crate) fn take(&mut self) -> Self {
        Self { item: self.item.take(), pool: Pool(Arc::clone(&self.pool.0)) }
    }

    /// Takes the item out of the pool for good.
    pub(crate) fn lose(&mut self) {
        self.item = None;
    }
}

impl<T> Drop for Lease<T> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.pool.take_back(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use Priority::{High, Low, Normal};

    use super::*;

    /// What the future has now.
    fn now<F: Future>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn lease(pool: &Pool<u8>, priority: Priority) -> Pin<Box<impl Future<Output = Lease<u8>>>> {
        Box::pin(pool.lease(priority))
    }

    #[test]
    fn an_item_goes_to_the_highest_priority_that_waits() {
        let pool = Pool::new([7]);
        let leased = now(&mut lease(&pool, Low)).unwrap();
        let mut waiting = [Low, Normal, High].map(|priority| lease(&pool, priority));
        assert!(waiting.iter_mut().all(|wait| now(wait).is_none()));
        drop(leased);
        for next in (0..waiting.len()).rev() {
            let got = now(&mut waiting[next]).expect("it is next");
            assert_eq!(got.item(), Some(&7));
        }
        assert!(now(&mut lease(&pool, Low)).is_some(), "it is idle again");
    }

    #[test]
    fn who_no_longer_waits_takes_no_item_along() {
        let pool = Pool::new([7]);
        let leased = now(&mut lease(&pool, Normal)).unwrap();
        let [mut gone, mut served, mut next] =
            [High, High, Normal].map(|priority| lease(&pool, priority));
        assert!([&mut gone, &mut served, &mut next].map(now).iter().all(Option::is_none));
        drop(gone);
        drop(leased);
        // The item has been sent to this one, which goes before it takes it.
        drop(served);
        assert!(now(&mut next).is_some());
    }

    #[test]
    fn a_lost_item_is_not_returned_and_a_taken_one_is() {
        let pool = Pool::new([1, 2]);
        let [mut lost, mut taken] =
            [(); 2].map(|()| now(&mut lease(&pool, Normal)).expect("it is idle"));
        lost.lose();
        let moved = taken.take();
        drop((lost, taken));
        assert!(now(&mut lease(&pool, Normal)).is_none());
        drop(moved);
        let returned = now(&mut lease(&pool, Normal)).expect("it was returned");
        assert_eq!(returned.item(), Some(&2));
    }
}
