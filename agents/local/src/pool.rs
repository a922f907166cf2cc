//! A bounded queue before a few threads that compute. Invariant: never more
//! jobs wait than the queue holds; a job whose asker is gone is skipped or told
//! so; and a job that panics does not take its worker along.
//!
//! It makes no threads: each [`Worker::run`] blocks the thread it is given.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Come again later.
    #[error("the local model's queue is full ({waiting_max} jobs wait); try again later, or allow more")]
    Full {
        /// The queue's bound.
        waiting_max: usize,
    },
    /// Every worker is gone.
    #[error("the local model has stopped")]
    Stopped,
}

/// The way in. Clones share the queue; the workers end when the last is gone.
#[derive(Clone, Debug)]
pub struct Pool {
    queue: SyncSender<Job>,
    waiting_max: usize,
}

/// One place to compute.
#[derive(Clone, Debug)]
pub struct Worker(Arc<Mutex<Receiver<Job>>>);

/// Told to a job, so that it can ask whether anyone still waits for it.
#[derive(Clone, Copy)]
pub struct Asker<'a>(&'a dyn Fn() -> bool);

impl Asker<'_> {
    /// Whether the result would be thrown away.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        (self.0)()
    }
}

impl Pool {
    /// A queue for `waiting_max` jobs, and a worker for each of `workers` threads.
    #[must_use]
    pub fn new(waiting_max: usize, workers: usize) -> (Self, Vec<Worker>) {
        let (queue, jobs) = sync_channel(waiting_max);
        let worker = Worker(Arc::new(Mutex::new(jobs)));
        (Self { queue, waiting_max }, vec![worker; workers])
    }

    /// Queues a job. Its result comes through the receiver; dropping that
    /// cancels the job. A receiver that fails means that the job panicked or
    /// the workers are gone.
    ///
    /// # Errors
    /// [`SubmitError`]; then the job was dropped unrun.
    pub fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(Asker<'_>) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, SubmitError> {
        let (answer, receiver) = oneshot::channel();
        let job = Box::new(move || {
            if !answer.is_closed() {
                let result = job(Asker(&|| answer.is_closed()));
                // The asker may have left meanwhile; the result is not missed.
                let _ = answer.send(result);
            }
        });
        match self.queue.try_send(job) {
            Ok(()) => Ok(receiver),
            Err(TrySendError::Full(_)) => Err(SubmitError::Full { waiting_max: self.waiting_max }),
            Err(TrySendError::Disconnected(_)) => Err(SubmitError::Stopped),
        }
    }
}

impl Worker {
    /// Works until the last [`Pool`] is gone and the queue is empty.
    pub fn run(self) {
        // Makes this thread a rayon pool of one: the small parallel loops of a
        // forward pass then run here, without waking other threads.
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
        if let Err(error) = &alone {
            tracing::debug!(%error, "the worker uses the shared thread pool");
        }
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a job of the local model panicked; its worker goes on");
            }
        }
    }

    fn next(&self) -> Option<Job> {
        // Held while waiting: the workers queue up at the lock instead.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the worker here, after the pool's last handle was dropped: it works
    /// off the queue and ends.
    fn work_off(pool: Pool, workers: Vec<Worker>) {
        drop(pool);
        workers.into_iter().for_each(Worker::run);
    }

    #[test]
    fn a_full_queue_refuses() {
        let (pool, workers) = Pool::new(1, 1);
        let mut first = pool.submit(|_| 1).unwrap();
        let refused = pool.submit(|_| 2).unwrap_err();
        assert_eq!(refused, SubmitError::Full { waiting_max: 1 });
        work_off(pool, workers);
        assert_eq!(first.try_recv(), Ok(1));
    }

    #[test]
    fn a_job_that_nobody_waits_for_is_not_run() {
        let (pool, workers) = Pool::new(2, 1);
        let ran = Arc::new(Mutex::new(false));
        let seen = Arc::clone(&ran);
        drop(pool.submit(move |_| *seen.lock().unwrap() = true).unwrap());
        work_off(pool, workers);
        assert!(!*ran.lock().unwrap());
    }

    #[test]
    fn a_running_job_learns_that_its_asker_left() {
        let (pool, workers) = Pool::new(2, 1);
        let waiting = Arc::new(Mutex::new(None));
        let (place, seen) = (Arc::clone(&waiting), Arc::new(Mutex::new(Vec::new())));
        let log = Arc::clone(&seen);
        let receiver = pool
            .submit(move |asker| {
                log.lock().unwrap().push(asker.is_gone());
                drop(place.lock().unwrap().take());
                log.lock().unwrap().push(asker.is_gone());
            })
            .unwrap();
        *waiting.lock().unwrap() = Some(receiver);
        work_off(pool, workers);
        assert_eq!(*seen.lock().unwrap(), [false, true]);
    }

    #[test]
    fn a_panic_costs_one_job_only() {
        let (pool, workers) = Pool::new(2, 1);
        let mut bad: oneshot::Receiver<()> = pool.submit(|_| panic!("on purpose")).unwrap();
        let mut good = pool.submit(|_| "fine").unwrap();
        work_off(pool, workers);
        assert!(bad.try_recv().is_err());
        assert_eq!(good.try_recv(), Ok("fine"));
    }

    #[test]
    fn without_workers_a_job_is_refused() {
        let (pool, workers) = Pool::new(1, 1);
        drop(workers);
        assert_eq!(pool.submit(|_| ()).unwrap_err(), SubmitError::Stopped);
    }
}
