//! The latest value of something, and those who wait for the next one.
//!
//! Invariant: those who wait are woken in the order in which they began to wait. That is what sets
//! it apart from tokio's `watch` channel, which draws the order by chance, so that no seed of a
//! simulation could repeat it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Nobody will set another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody will set another value")]
pub struct Closed;

/// Where the value is set. Watchers learn of its drop as [`Closed`].
#[derive(Debug)]
pub struct Latest<T>(Arc<Shared<T>>);

/// One who waits. A clone has seen what its original has seen.
#[derive(Debug)]
pub struct Watcher<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

#[derive(Debug)]
struct Shared<T> {
    held: Mutex<Held<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct Held<T> {
    value: T,
    version: u64,
    closed: bool,
}

impl<T> Shared<T> {
    /// A panic elsewhere cannot leave a value half set, so a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, Held<T>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Latest<T> {
    /// Begins with `value`.
    pub fn new(value: T) -> Self {
        let held = Held { value, version: 0, closed: false };
        Self(Arc::new(Shared { held: Mutex::new(held), changed: Notify::new() }))
    }

    /// Sets the value and wakes everybody.
    pub fn set(&self, value: T) {
        self.set_if(|held| {
            *held = value;
            true
        });
    }

    /// Changes the value in place, and wakes everybody if `change` says that it did.
    pub fn set_if(&self, change: impl FnOnce(&mut T) -> bool) {
        let changed = {
            let mut held = self.0.lock();
            let changed = change(&mut held.value);
            held.version += u64::from(changed);
            changed
        };
        if changed {
            self.0.changed.notify_waiters();
        }
    }

    /// A watcher that has seen the present value.
    pub fn watch(&self) -> Watcher<T> {
        let seen = self.0.lock().version;
        Watcher { shared: Arc::clone(&self.0), seen }
    }
}

impl<T: Clone> Latest<T> {
    /// The present value.
    pub fn get(&self) -> T {
        self.0.lock().value.clone()
    }
}

impl<T> Drop for Latest<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_waiters();
    }
}

impl<T> Clone for Watcher<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T: Clone> Watcher<T> {
    /// The present value; it does not count as seen.
    pub fn get(&self) -> T {
        self.shared.lock().value.clone()
    }

    /// The present value, which counts as seen.
    pub fn see(&mut self) -> T {
        let held = self.shared.lock();
        self.seen = held.version;
        held.value.clone()
    }

    /// The present value, if this watcher has not seen it.
    pub fn see_new(&mut self) -> Option<T> {
        let held = self.shared.lock();
        let is_new = held.version != self.seen;
        self.seen = held.version;
        is_new.then(|| held.value.clone())
    }

    /// The next value that this watcher has not seen; of several only the last.
    ///
    /// # Errors
    /// [`Closed`] when all was seen and nobody will set another.
    pub async fn next(&mut self) -> Result<T, Closed> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // In line before the look, so that a value set in between is not missed.
            changed.as_mut().enable();
            {
                let held = self.shared.lock();
                if held.version != self.seen {
                    self.seen = held.version;
                    return Ok(held.value.clone());
                }
                if held.closed {
                    return Err(Closed);
                }
            }
            changed.await;
        }
    }

    /// The first value, from the present one on, that `fits`.
    ///
    /// # Errors
    /// [`Closed`] when there will be none.
    pub async fn wait_for(&mut self, mut fits: impl FnMut(&T) -> bool) -> Result<T, Closed> {
        let mut value = self.see();
        while !fits(&value) {
            value = self.next().await?;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watcher_sees_the_last_of_several_once() {
        let latest = Latest::new(0);
        let mut watcher = latest.watch();
        latest.set(1);
        latest.set(2);
        assert_eq!((watcher.get(), watcher.next().await), (2, Ok(2)));
        drop(latest);
        assert_eq!(watcher.next().await, Err(Closed));
    }

    #[tokio::test]
    async fn a_value_that_was_not_seen_outlives_its_setter() {
        let latest = Latest::new(0);
        let mut watcher = latest.watch();
        latest.set(1);
        drop(latest);
        assert_eq!(watcher.wait_for(|at| *at > 0).await, Ok(1));
        assert_eq!(watcher.wait_for(|at| *at > 1).await, Err(Closed));
    }

    #[tokio::test]
    async fn a_change_that_changes_nothing_wakes_nobody() {
        let latest = Latest::new(0);
        let mut watcher = latest.watch();
        latest.set_if(|_| false);
        assert!(futures::FutureExt::now_or_never(watcher.next()).is_none());
    }

    /// More than one of the groups in which waiters are woken.
    const WAITERS: usize = 100;

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "there is no world here, and the order of tasks is what is tested")]
    async fn all_are_woken_in_the_order_in_which_they_came() {
        let latest = Latest::new(0);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for nth in 0..WAITERS {
            let (mut watcher, woken) = (latest.watch(), Arc::clone(&woken));
            waiting.push(tokio::spawn(async move {
                watcher.next().await.unwrap();
                woken.lock().unwrap().push(nth);
            }));
        }
        // One yield gives a turn to some of them only.
        for _ in 0..WAITERS {
            tokio::task::yield_now().await;
        }
        latest.set(1);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*woken.lock().unwrap(), (0..WAITERS).collect::<Vec<_>>());
    }
}
