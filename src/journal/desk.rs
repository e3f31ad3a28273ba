//! Work that another core may do: laid out, done by whoever comes first, and fetched in its turn.
//!
//! Whoever laid it out never waits for a thread that has not begun, so a busy machine is no slower with it than without.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A place for one piece of work and what comes of it.
pub(super) struct Desk<J, R> {
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

impl<J, R> Desk<J, R> {
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

    pub fn lay_out(&self, job: J) {
        self.put(State::Waiting(job));
    }

    /// What came of what was laid out; if nobody has begun with it, it is done here and now. None if a helper has died of
    /// it.
    pub fn fetch(&self, work: impl Fn(J) -> R) -> Option<R> {
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

    /// The helper's part: does what is laid out until the desk is closed.
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
            let mut undone = Undone { desk: self, done: None };
            undone.done = Some(work(job));
        }
    }
}

/// Says what came of a job when it goes, and if that is a panic, that nothing did.
struct Undone<'d, J, R> {
    desk: &'d Desk<J, R>,
    done: Option<R>,
}

impl<J, R> Drop for Undone<'_, J, R> {
    fn drop(&mut self) {
        let mut state = self.desk.lock();
        if matches!(*state, State::Taken) {
            *state = self.done.take().map_or(State::Empty, State::Done);
        }
        drop(state);
        self.desk.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn each_job_is_done_once_and_fetched_in_its_turn() {
        let desk = Desk::new();
        let work = |n: u64| (0..n * 100).fold(n, |sum, n| sum ^ n.wrapping_mul(0x9e37));
        thread::scope(|scope| {
            let helper = scope.spawn(|| desk.help(work));
            for n in 0..200 {
                desk.lay_out(n);
                assert_eq!(desk.fetch(work), Some(work(n)));
            }
            desk.close();
            helper.join().unwrap();
        });
    }

    #[test]
    fn without_a_helper_the_work_is_done_all_the_same() {
        let desk = Desk::new();
        desk.lay_out(2);
        assert_eq!(desk.fetch(|n| n + 1), Some(3));
    }

    #[test]
    fn a_job_that_nobody_fetches_keeps_nobody() {
        let desk = Desk::new();
        thread::scope(|scope| {
            scope.spawn(|| desk.help(|n: u64| (0..n).fold(0, u64::wrapping_add)));
            desk.lay_out(1_000_000);
            desk.close();
        });
    }

    #[test]
    fn of_a_helper_that_panics_nothing_comes() {
        let desk: Desk<u8, u8> = Desk::new();
        thread::scope(|scope| {
            let helper = scope.spawn(|| desk.help(|_| panic!("as the test wants")));
            desk.lay_out(1);
            assert!(helper.join().is_err());
            assert_eq!(desk.fetch(|n| n), None);
        });
    }
}
