//! The end of a task: by itself, by its timeout, by a person.

use nix::sys::signal::Signal;

use super::keep::{Keeper, now};
use super::task::{Ending, Moment, Phase, Reason, Task};
use crate::exec::notes::Note;
use crate::exec::outputs::{self, OutputFolder};
use crate::exec::procfs::Stat;
use crate::exec::protocol::{Bytes, EndedTask, FromKeeper};
use crate::model::{Millis, TaskEnd, TaskEndKind, TaskId};
use crate::planted::{self, Bug};

/// So long is killed, in rounds, before what is left is given up as leaked.
pub(super) const FORCE: Moment = 2000;
/// Between two rounds of killing.
const ROUND: Moment = 20;
/// Between two looks at who is left while a tree ends by itself.
pub(super) const LOOK: Moment = 250;

impl Keeper {
    pub(super) fn stop(&mut self, id: &TaskId, force: bool) {
        if self.stop_waiting(id) {
            return;
        }
        let Some(at) = self.tasks.iter().position(|t| t.id == *id) else { return };
        // Its processes have ended by themselves; only the last of its output is waited for.
        let is_over = (self.tasks[at].reaped.is_some() || self.tasks[at].last_word().is_some())
            && !planted::is(Bug::StopAfterEnd);
        if !is_over || self.tasks[at].ending.is_some() {
            self.end_tree(at, Reason::Stop, force);
        }
    }

    /// Starts to end a tree, or goes from asking to killing.
    fn end_tree(&mut self, at: usize, reason: Reason, force: bool) {
        let asked = matches!(self.tasks[at].ending, Some(Ending { phase: Phase::Asked { .. }, .. }));
        let fresh = self.tasks[at].ending.is_none();
        if (fresh || asked && force) && self.ask_to_end(at, reason, force) {
            return;
        }
        let now = now();
        let task = &mut self.tasks[at];
        let killing = Phase::Killing { round_at: now, give_up_at: now + FORCE };
        match &mut task.ending {
            None => {
                let phase = if force {
                    killing
                } else {
                    if task.tree.terminate(&self.me).is_err() {
                        task.signal_group(Signal::SIGTERM);
                        task.signal_group(Signal::SIGCONT);
                    }
                    Phase::Asked { kill_at: now.saturating_add(task.grace.0), look_at: now + LOOK }
                };
                task.ending = Some(Ending { reason, phase });
            }
            Some(ending) if force && matches!(ending.phase, Phase::Asked { .. }) => ending.phase = killing,
            Some(_) => {}
        }
    }

    /// Brings every task as far as it can be brought now.
    pub(super) fn settle(&mut self) {
        let now = now();
        self.settle_ways();
        let child_ended = std::mem::take(&mut self.child_ended);
        let mut at = 0;
        while at < self.tasks.len() {
            let due = |task: &Task| {
                let resting = self.rest.is_some();
                !resting
                    && task.ending.is_none()
                    && task.reaped.is_none()
                    && task.last_word().is_none()
                    && task.deadline.is_some_and(|d| d <= now)
            };
            if due(&self.tasks[at]) {
                self.end_tree(at, Reason::Timeout, false);
            }
            let open = |task: &Task| self.rest.is_none() && task.ending.is_none() && task.reaped.is_none();
            if open(&self.tasks[at]) && self.tasks[at].answer_by().is_some_and(|by| by <= now) {
                self.tasks[at].give_way_up(now);
                // Nor will it answer in order to be tidied up.
                if let Some(far) = &self.tasks[at].far {
                    self.hosts.remove(&far.far.host);
                }
            }
            self.tasks[at].end_way(now);
            advance(&mut self.tasks[at], &self.me, now, child_ended);
            if self.is_over(at, now) {
                let task = self.tasks.remove(at);
                self.finish(task);
                self.look_again();
            } else {
                at += 1;
            }
        }
    }

    fn is_over(&mut self, at: usize, now: Moment) -> bool {
        match &self.tasks[at].ending {
            None if self.tasks[at].reaped.is_none() => return false,
            Some(ending) if ending.phase != Phase::Over => return false,
            // Dead, but not collected yet: that comes by itself.
            Some(_) if self.tasks[at].reaped.is_none() && self.tasks[at].leaked.is_empty() => return false,
            _ => {}
        }
        self.tasks[at].writers.clear();
        // What the processes wrote before they ended is in the pipes by now.
        // Twice: the first read may take the last bytes, the second then sees the end.
        for which in [0, 0, 1, 1] {
            self.pump(at, which);
        }
        let task = &self.tasks[at];
        task.drained() || task.drain_until().is_none_or(|until| until <= now)
    }

    fn finish(&mut self, mut task: Task) {
        let mut end = TaskEnd::new(task.kind(), Millis(now().saturating_sub(task.began)));
        end.leaky = !task.drained() || task.far.as_ref().is_some_and(|far| far.lingered);
        end.leaked = std::mem::take(&mut task.leaked);
        let mut ended = EndedTask::new(task.id.clone(), end, task.outlets[0].hidden);
        let mut left = None;
        if let Some(far) = &task.far {
            ended.severed = task.far_kind(far).1;
            ended.end.gone = task.is_gone_there();
            ended.end.duration = task.took_there().unwrap_or(ended.end.duration);
            let filter = task.outlets[0].filter.as_ref();
            let cut = filter.is_some_and(|filter| filter.frames.iter().any(|frame| frame.word == "cut"));
            if cut {
                let why = || {
                    Some(format!(
                        "the link to {} broke, and not all that it wrote was kept there",
                        far.far.host
                    ))
                };
                ended.not_kept = [why(), why()];
            }
            left = Some((filter.map(|filter| filter.kv.clone()).unwrap_or_default(), cut));
        }
        let mut spent = [None, None];
        for (which, mut outlet) in task.outlets.into_iter().enumerate() {
            spent[which] = outlet.spent.take();
            outlet.sink.seal();
            ended.end.truncated |= outlet.sink.is_truncated();
            *(if which == 0 { &mut ended.end.stdout_bytes } else { &mut ended.end.stderr_bytes }) =
                outlet.total;
            ended.memory[which] = outlet.sink.take_memory().map(Bytes);
            if let Some(error) = outlet.sink.failed() {
                let output = if which == 0 { "stdout" } else { "stderr" }.to_owned();
                let note = Note::Dropped { task: ended.task.clone(), output, error: error.to_owned() };
                let _ = self.notes.add(&note);
                ended.not_kept[which] = Some(error.to_owned());
            }
            if outlet.pipe.is_some() {
                self.leftovers.push(outlet);
            }
        }
        if let (Some(far), Some((kv, cut))) = (&task.far, left) {
            let known = !matches!(ended.end.kind, TaskEndKind::Unknown { .. });
            self.keep_far(&ended.task, far, &kv, known && !cut);
        }
        if !self.redactor.is_idle() {
            outputs::mask_published(&OutputFolder::of(&self.run_dir), &ended.task, &self.redactor);
        }
        self.report(ended);
        drop(spent);
    }

    /// Notes the end, then tells the runner: the other way round a death in between would leave two truths.
    pub(super) fn report(&mut self, mut ended: EndedTask) {
        let memory = std::mem::take(&mut ended.memory);
        let note = Note::Ended(Box::new(ended));
        if !planted::is(Bug::NoExitNote) {
            let _ = self.notes.add(&note);
        }
        if let Note::Ended(mut ended) = note {
            ended.memory = memory;
            self.tell(&FromKeeper::Ended(ended));
        }
    }
}

/// One step of ending a tree.
fn advance(task: &mut Task, me: &Stat, now: Moment, child_ended: bool) {
    let Some(ending) = &mut task.ending else { return };
    match ending.phase {
        Phase::Over => {}
        Phase::Asked { look_at, .. } if task.far.as_ref().is_some_and(|far| !far.helpers.is_empty()) => {
            if child_ended || look_at <= now {
                let left = task.tree.members(me).map_or(true, |left| !left.is_empty());
                task.advance_far(left, now);
            }
        }
        Phase::Asked { kill_at, look_at } => {
            if kill_at <= now {
                ending.phase = Phase::Killing { round_at: now, give_up_at: now + FORCE };
                advance(task, me, now, child_ended);
            } else if child_ended || look_at <= now {
                // Nobody left: no need to wait for the rest of the grace.
                ending.phase = if task.tree.members(me).is_ok_and(|left| left.is_empty()) {
                    Phase::Over
                } else {
                    Phase::Asked { kill_at, look_at: now + LOOK }
                };
            }
        }
        Phase::Killing { round_at, give_up_at } => {
            if round_at > now && !child_ended {
                return;
            }
            let left = task.tree.members(me);
            if left.as_ref().is_ok_and(Vec::is_empty) {
                ending.phase = Phase::Over;
            } else if give_up_at <= now {
                ending.phase = Phase::Over;
                let unreaped =
                    || task.mains.iter().filter(|(_, status)| status.is_none()).map(|(pid, _)| *pid);
                task.leaked = match left {
                    Ok(left) => left.iter().map(|p| p.pid).collect(),
                    Err(_) => unreaped().collect(),
                };
                task.leaked.sort_unstable();
            } else {
                ending.phase = Phase::Killing { round_at: now + ROUND, give_up_at };
                if task.tree.kill(me).is_err() {
                    task.signal_group(Signal::SIGKILL);
                }
            }
        }
    }
}
