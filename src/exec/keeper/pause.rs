//! Ctrl-Z: the commands rest with the runner. Their time rests too: a timeout goes on where it stood.

use nix::sys::signal::Signal;

use super::keep::{Keeper, now};
use super::task::Moment;
use crate::exec::notes::Note;
use crate::exec::procfs;

/// A rest, since when.
pub(super) struct Rest {
    since: Moment,
}

impl Keeper {
    /// Stops every tree that is not being ended.
    pub(super) fn pause(&mut self) {
        if self.rest.is_some() {
            return;
        }
        self.rest = Some(Rest { since: now() });
        self.signal_resting(Signal::SIGSTOP);
    }

    /// Lets them go on. Also when the runner that asked for the rest is gone: nobody else would.
    pub(super) fn unpause(&mut self) {
        let Some(rest) = self.rest.take() else { return };
        let rested = now().saturating_sub(rest.since);
        // For who may wait for the commands after this keeper; without the note they have less time left.
        let _ = self.notes.add(&Note::Rested { millis: rested });
        for task in &mut self.tasks {
            task.deadline = task.deadline.map(|d| d.saturating_add(rested));
            if let Some(far) = &mut task.far {
                far.answer_by = far.answer_by.saturating_add(rested);
            }
        }
        self.signal_resting(Signal::SIGCONT);
    }

    fn signal_resting(&self, signal: Signal) {
        for task in self.tasks.iter().filter(|t| t.ending.is_none() && t.reaped.is_none()) {
            match task.tree.members(&self.me) {
                Ok(members) => members.iter().for_each(|p| _ = procfs::signal(p.pid, p.start, signal)),
                Err(_) => task.signal_group(signal),
            }
        }
    }
}
