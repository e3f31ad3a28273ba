//! Jobs that all cores work at: each is done once, by whoever comes first, and what comes of them is fetched in their order.
//!
//! Whoever offers them never waits for a thread that has not begun, so a busy machine is no slower with it than without.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

pub(super) struct Queue<J, R> {
    row: Mutex<Row<J, R>>,
    changed: Condvar,
}

struct Row<J, R> {
    /// What was offered and is not fetched yet.
    places: VecDeque<Place<J, R>>,
    /// How many were fetched: the number of the first place.
    fetched: u64,
    /// Nothing more comes, and nothing is fetched any more.
    closed: bool,
}

enum Place<J, R> {
    Waiting(J),
    Taken,
    /// None: whoever took it has died of it.
    Done(Option<R>),
}

impl<J, R> Row<J, R> {
    /// The first job that nobody has begun with, and its number.
    fn take(&mut self) -> Option<(u64, J)> {
        let (at, place) =
            self.places.iter_mut().enumerate().find(|(_, place)| matches!(place, Place::Waiting(_)))?;
        match std::mem::replace(place, Place::Taken) {
            Place::Waiting(job) => Some((self.fetched + at as u64, job)),
            _ => None,
        }
    }
}

impl<J, R> Queue<J, R> {
    pub fn new() -> Self {
        let row = Row { places: VecDeque::new(), fetched: 0, closed: false };
        Self { row: Mutex::new(row), changed: Condvar::new() }
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Row<J, R>> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn offer(&self, job: J) {
        self.lock().places.push_back(Place::Waiting(job));
        self.changed.notify_all();
    }

    /// How many were offered and are not fetched.
    pub fn len(&self) -> usize {
        self.lock().places.len()
    }

    /// What came of the first job that is not fetched. While somebody else is at it, others are done here. None if there is no
    /// job, or a helper has died of it.
    pub fn fetch(&self, work: impl Fn(J) -> R) -> Option<R> {
        let mut row = self.lock();
        loop {
            if matches!(row.places.front()?, Place::Done(_)) {
                row.fetched += 1;
                return match row.places.pop_front() {
                    Some(Place::Done(done)) => done,
                    _ => None,
                };
            }
            row = self.work_or_wait(row, &work);
        }
    }

    /// Lets the helpers go.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// A helper's part: does what is offered until the queue is closed.
    pub fn help(&self, work: impl Fn(J) -> R) {
        let mut row = self.lock();
        while !row.closed {
            row = self.work_or_wait(row, &work);
        }
    }

    /// Does the first job that nobody has begun with; if there is none, waits until something has changed.
    fn work_or_wait<'q>(
        &'q self,
        mut row: MutexGuard<'q, Row<J, R>>,
        work: impl Fn(J) -> R,
    ) -> MutexGuard<'q, Row<J, R>> {
        let Some((number, job)) = row.take() else {
            return self.changed.wait(row).unwrap_or_else(PoisonError::into_inner);
        };
        drop(row);
        let mut taken = Taken { queue: self, number, done: None };
        taken.done = Some(work(job));
        drop(taken);
        self.lock()
    }
}

/// Says what came of a job when it goes, and if that is a panic, that nothing did.
struct Taken<'q, J, R> {
    queue: &'q Queue<J, R>,
    number: u64,
    done: Option<R>,
}

impl<J, R> Drop for Taken<'_, J, R> {
    fn drop(&mut self) {
        let mut row = self.queue.lock();
        // It is there: only what is done is fetched.
        let at = usize::try_from(self.number - row.fetched);
        if let Some(place) = at.ok().and_then(|at| row.places.get_mut(at)) {
            *place = Place::Done(self.done.take());
        }
        drop(row);
        self.queue.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn each_job_is_done_once_and_fetched_in_its_turn() {
        let queue = Queue::new();
        let times = AtomicU64::new(0);
        let work = |n: u64| {
            times.fetch_add(1, Ordering::Relaxed);
            // Some take longer than those that follow.
            (0..n % 7 * 1_000).fold(n, |sum, n| sum ^ n.wrapping_mul(0x9e37))
        };
        thread::scope(|scope| {
            let helpers = [scope.spawn(|| queue.help(work)), scope.spawn(|| queue.help(work))];
            for n in 0..300 {
                queue.offer(n);
                if let Some(fetched) = n.checked_sub(4) {
                    assert_eq!(queue.len(), 5);
                    assert_eq!(
                        queue.fetch(work),
                        Some((0..fetched % 7 * 1_000).fold(fetched, |sum, n| sum ^ n.wrapping_mul(0x9e37)))
                    );
                }
            }
            while queue.len() > 0 {
                assert!(queue.fetch(work).is_some());
            }
            assert_eq!(queue.fetch(work), None);
            queue.close();
            for helper in helpers {
                helper.join().unwrap();
            }
        });
        assert_eq!(times.into_inner(), 300);
    }

    #[test]
    fn without_a_helper_the_work_is_done_all_the_same() {
        let queue = Queue::new();
        queue.offer(2);
        queue.offer(5);
        assert_eq!(queue.fetch(|n| n + 1), Some(3));
        assert_eq!(queue.fetch(|n| n + 1), Some(6));
    }

    #[test]
    fn a_job_that_nobody_fetches_keeps_nobody() {
        let queue = Queue::new();
        thread::scope(|scope| {
            scope.spawn(|| queue.help(|n: u64| (0..n).fold(0, u64::wrapping_add)));
            queue.offer(1_000_000);
            queue.close();
        });
    }

    #[test]
    fn of_a_helper_that_panics_nothing_comes() {
        let queue: Queue<u8, u8> = Queue::new();
        thread::scope(|scope| {
            let helper = scope.spawn(|| queue.help(|_| panic!("as the test wants")));
            queue.offer(1);
            queue.offer(2);
            assert!(helper.join().is_err());
            assert_eq!(queue.fetch(|n| n), None);
            assert_eq!(queue.fetch(|n| n), Some(2));
        });
    }
}
