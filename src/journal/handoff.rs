//! Work that another core may do: offered, done by whoever comes first, and collected in its turn.
//!
//! Whoever offered it never waits for a thread that has not begun, so a busy machine is no slower with it than without.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A place for one piece of work and what comes of it.
pub(super) struct Handoff<J, R> {
    state: Mutex<State<J, R>>,
    changed: Condvar,
}

enum State<J, R> {
    Empty,
    Waiting(J),
    Taken,
    Done(R),
    /// Nothing more comes.
    Closed,
}

impl<J, R> Handoff<J, R> {
    pub fn new() -> Self {
        Self { state: Mutex::new(State::Empty), changed: Condvar::new() }
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State<J, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, state: State<J, R>) {
        *self.lock() = state;
        self.changed.notify_all();
    }

    pub fn offer(&self, job: J) {
        self.put(State::Waiting(job));
    }

    /// What came of what was offered; if nobody has begun with it, it is done here and now. None if a helper has died of
    /// it.
    pub fn collect_or_do(&self, work: impl Fn(J) -> R) -> Option<R> {
        let mut state = self.lock();
        loop {
            match std::mem::replace(&mut *state, State::Empty) {
                State::Waiting(job) => {
                    drop(state);
                    return Some(work(job));
                }
                State::Done(done) => return Some(done),
                State::Taken => *state = State::Taken,
                State::Empty | State::Closed => return None,
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets the helper go.
    pub fn close(&self) {
        self.put(State::Closed);
    }

    /// The helper's part: does what is offered until the handoff is closed.
    pub fn help(&self, work: impl Fn(J) -> R) {
        loop {
            let mut state = self.lock();
            let job = loop {
                match std::mem::replace(&mut *state, State::Taken) {
                    State::Waiting(job) => break job,
                    State::Closed => return,
                    other => *state = other,
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            let mut undone = Undone { handoff: self, done: None };
            undone.done = Some(work(job));
        }
    }
}

/// Says what came of a job when it goes, and if that is a panic, that nothing did.
struct Undone<'d, J, R> {
    handoff: &'d Handoff<J, R>,
    done: Option<R>,
}

impl<J, R> Drop for Undone<'_, J, R> {
    fn drop(&mut self) {
        let mut state = self.handoff.lock();
        if matches!(*state, State::Taken) {
            *state = self.done.take().map_or(State::Empty, State::Done);
        }
        drop(state);
        self.handoff.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn each_job_is_done_once_and_fetched_in_its_turn() {
        let handoff = Handoff::new();
        let work = |n: u64| (0..n * 100).fold(n, |sum, n| sum ^ n.wrapping_mul(0x9e37));
        thread::scope(|scope| {
            let helper = scope.spawn(|| handoff.help(work));
            for n in 0..200 {
                handoff.offer(n);
                assert_eq!(handoff.collect_or_do(work), Some(work(n)));
            }
            handoff.close();
            helper.join().unwrap();
        });
    }

    #[test]
    fn without_a_helper_the_work_is_done_all_the_same() {
        let handoff = Handoff::new();
        handoff.offer(2);
        assert_eq!(handoff.collect_or_do(|n| n + 1), Some(3));
    }

    #[test]
    fn a_job_that_nobody_fetches_keeps_nobody() {
        let handoff = Handoff::new();
        thread::scope(|scope| {
            scope.spawn(|| handoff.help(|n: u64| (0..n).fold(0, u64::wrapping_add)));
            handoff.offer(1_000_000);
            handoff.close();
        });
    }

    #[test]
    fn of_a_helper_that_panics_nothing_comes() {
        let handoff: Handoff<u8, u8> = Handoff::new();
        thread::scope(|scope| {
            let helper = scope.spawn(|| handoff.help(|_| panic!("as the test wants")));
            handoff.offer(1);
            assert!(helper.join().is_err());
            assert_eq!(handoff.collect_or_do(|n| n), None);
        });
    }
}
