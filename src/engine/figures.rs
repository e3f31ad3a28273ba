//! What is derived from plan and state, and kept up to date so that an event costs what it changes and not the size of
//! the plan. [`Figures::derive`] is the meaning of each figure; [`Figures::moved`] has to come to the same.

use std::collections::BTreeSet;

use crate::model::{Millis, StepOutcome};
use crate::plan::{Body, OnFailure, Plan, StepIx};
use crate::planted::{self, Bug};

use super::state::{Activity, PhaseStatus, State, StepStatus, UndoStatus};
use super::{group, undo};

/// How many of a container's steps are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub pending: usize,
    pub active: usize,
    pub ok: usize,
    pub bad: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Pending,
    Active,
    /// Those that need the step may start.
    Ok,
    Bad,
}

/// All of one step that the figures depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    class: Class,
    busy: bool,
    asking: bool,
    heard: bool,
    inside: bool,
    timer: Option<Millis>,
    undoing: bool,
    undo_timer: Option<Millis>,
    undo_failed: bool,
    to_undo: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Figures {
    groups: Vec<Tally>,
    phases: Vec<Tally>,
    /// The first phase that has not ended.
    pub phase: usize,
    /// Needs that are not met yet, for each step.
    unmet: Vec<usize>,
    /// Items of a `foreach` that are not begun.
    items: BTreeSet<StepIx>,
    /// Steps that may start as soon as there is a place for them.
    pub ready: BTreeSet<StepIx>,
    /// Active steps that do something themselves; a group that only waits for its inside does not, and neither does a
    /// step that waits for a person.
    pub busy: usize,
    /// Steps that wait for a person.
    pub asking: usize,
    /// Steps whose question is settled; what follows waits for a place.
    pub heard: BTreeSet<StepIx>,
    /// Undos that are under way.
    pub undoing: usize,
    /// When waiting steps are to be looked at.
    pub timers: BTreeSet<(Millis, StepIx)>,
    pub undo_timers: BTreeSet<(Millis, StepIx)>,
    /// What a rollback has still to take back and may: the last of it first.
    pub to_undo: BTreeSet<(u64, StepIx)>,
    blocked: undo::Blocked,
}

impl Figures {
    pub fn derive(plan: &Plan, state: &State) -> Self {
        let steps = plan.steps.len();
        let mut figures = Self {
            groups: vec![Tally::default(); steps],
            phases: vec![Tally::default(); plan.phases.len()],
            unmet: vec![0; steps],
            blocked: undo::Blocked::new(steps),
            ..Self::default()
        };
        figures.phase_moved(state);
        let marks: Vec<Mark> = (0..steps).map(|ix| mark(plan, state, ix)).collect();
        for (ix, mark) in marks.iter().enumerate() {
            *figures.slot(plan, ix, mark.class) += 1;
            figures.busy += usize::from(mark.busy);
            figures.asking += usize::from(mark.asking);
            figures.heard.extend(mark.heard.then_some(ix));
            if mark.class == Class::Pending && plan.foreach_around(ix).is_some() {
                figures.items.insert(ix);
            }
            figures.undoing += usize::from(mark.undoing);
            figures.timers.extend(mark.timer.map(|at| (at, ix)));
            figures.undo_timers.extend(mark.undo_timer.map(|at| (at, ix)));
            figures.to_undo.extend(mark.to_undo.map(|at| (at, ix)));
            let needs = plan.steps[ix].needs.iter();
            figures.unmet[ix] = needs.filter(|n| marks[**n].class != Class::Ok).count();
            if mark.undo_failed {
                figures.blocked.add(plan, ix);
            }
        }
        figures.drop_blocked(plan);
        for ix in 0..steps {
            figures.consider(plan, state, ix);
            figures.offer(plan, state, ix);
            figures.offer_items(plan, state, ix);
        }
        figures
    }

    /// The tally of what is directly inside a group.
    pub fn group(&self, group: StepIx) -> Tally {
        self.groups[group]
    }

    pub fn current_phase(&self) -> Tally {
        self.phases.get(self.phase).copied().unwrap_or_default()
    }

    /// Notes that a phase has started or ended.
    pub fn phase_moved(&mut self, state: &State) {
        let over = |phase: &PhaseStatus| matches!(phase, PhaseStatus::Ended { .. });
        while state.phases.get(self.phase).is_some_and(over) {
            self.phase += 1;
        }
    }

    /// Notes which steps of a phase may start, now that the phase has.
    pub fn phase_started(&mut self, plan: &Plan, state: &State) {
        if let Some(phase) = plan.phases.get(self.phase) {
            phase.steps.iter().for_each(|ix| self.consider(plan, state, *ix));
        }
    }

    /// Notes that step `ix`, which was `before`, has changed.
    pub fn moved(
        &mut self,
        plan: &Plan,
        state: &State,
        dependents: &[Vec<StepIx>],
        ix: StepIx,
        before: Mark,
    ) {
        let after = mark(plan, state, ix);
        self.busy = self.busy + usize::from(after.busy) - usize::from(before.busy);
        self.asking = self.asking + usize::from(after.asking) - usize::from(before.asking);
        if after.heard {
            self.heard.insert(ix);
        } else {
            self.heard.remove(&ix);
        }
        self.undoing = self.undoing + usize::from(after.undoing) - usize::from(before.undoing);
        swap(&mut self.timers, ix, before.timer, after.timer);
        swap(&mut self.undo_timers, ix, before.undo_timer, after.undo_timer);
        swap(&mut self.to_undo, ix, before.to_undo, after.to_undo);
        if after.undo_failed && !before.undo_failed {
            self.blocked.add(plan, ix);
            self.drop_blocked(plan);
        } else if self.blocked.holds(plan, ix) {
            self.to_undo.retain(|(_, other)| *other != ix);
        }
        if before.inside != after.inside {
            for &child in plan.inside(ix) {
                self.consider(plan, state, child);
            }
            self.offer_items(plan, state, ix);
        }
        if before.class != after.class {
            *self.slot(plan, ix, before.class) -= 1;
            *self.slot(plan, ix, after.class) += 1;
            self.consider(plan, state, ix);
            if let Some(group) = plan.foreach_around(ix) {
                match after.class {
                    Class::Pending => self.items.insert(ix),
                    _ => self.items.remove(&ix),
                };
                self.offer_items(plan, state, group);
            }
            if after.class == Class::Ok {
                for &dependent in &dependents[ix] {
                    self.unmet[dependent] -= 1;
                    self.consider(plan, state, dependent);
                }
            }
            if after.class == Class::Bad
                && let Some(parent) = plan.steps[ix].parent
                && plan.foreach(parent).is_none()
            {
                // The group will fail: nothing more of it starts.
                plan.inside(parent).iter().for_each(|child| self.consider(plan, state, *child));
            }
        }
        let around = std::iter::successors(Some(ix), |at| plan.steps[*at].parent);
        around.for_each(|group| self.offer(plan, state, group));
    }

    fn slot(&mut self, plan: &Plan, ix: StepIx, class: Class) -> &mut usize {
        let tally = match plan.steps[ix].parent {
            Some(group) => &mut self.groups[group],
            None => &mut self.phases[plan.steps[ix].phase],
        };
        match class {
            Class::Pending => &mut tally.pending,
            Class::Active => &mut tally.active,
            Class::Ok => &mut tally.ok,
            Class::Bad => &mut tally.bad,
        }
    }

    /// Puts a step among the ready ones or takes it out. Alternatives and items are offered by their group instead.
    fn consider(&mut self, plan: &Plan, state: &State, ix: StepIx) {
        match self.may_begin(plan, state, ix) {
            Some(true) if self.unmet[ix] == 0 => _ = self.ready.insert(ix),
            Some(_) => _ = self.ready.remove(&ix),
            None => {}
        }
    }

    /// Whether the step is still to come and what it stands in goes on. None: its group offers it.
    fn may_begin(&self, plan: &Plan, state: &State, ix: StepIx) -> Option<bool> {
        let step = &plan.steps[ix];
        let open = match step.parent {
            None => matches!(state.phases[step.phase], PhaseStatus::Running { .. }),
            Some(parent) if matches!(plan.steps[parent].body, Body::AnyOf(_) | Body::ForEach(_)) => {
                return None;
            }
            Some(parent) => state.steps[parent].is_inside() && self.groups[parent].bad == 0,
        };
        Some(open && state.steps[ix].status == StepStatus::Pending)
    }

    /// The first step that may start once the step with these `dependents` has ended well.
    pub fn first_after(&self, plan: &Plan, state: &State, dependents: &[StepIx]) -> Option<StepIx> {
        let freed = |ix: &StepIx| self.unmet[*ix] == 1 && self.may_begin(plan, state, *ix) == Some(true);
        dependents.iter().copied().filter(freed).chain(self.ready.first().copied()).min()
    }

    /// Keeps the one alternative among the ready steps whose turn it is.
    fn offer(&mut self, plan: &Plan, state: &State, group: StepIx) {
        let Body::AnyOf(alternatives) = &plan.steps[group].body else { return };
        let next =
            state.steps[group].is_inside().then(|| group::next_alternative(plan, state, group)).flatten();
        for &alternative in alternatives {
            if next == Some(alternative) {
                self.ready.insert(alternative);
            } else {
                self.ready.remove(&alternative);
            }
        }
    }

    /// Keeps as many items among the ready steps as may be begun now, in the order of the list.
    fn offer_items(&mut self, plan: &Plan, state: &State, group: StepIx) {
        let Some(each) = plan.foreach(group) else { return };
        let (Some(first), Some(last)) = (each.steps.first(), each.steps.last()) else { return };
        let offered: Vec<StepIx> = self.ready.range(first..=last).copied().collect();
        offered.iter().for_each(|item| _ = self.ready.remove(item));
        let tally = self.groups[group];
        if !state.steps[group].is_inside() || each.is_halted(tally.bad) {
            return;
        }
        let more = usize::from(planted::is(Bug::OneItemTooMany));
        // More than the plan has places for are never begun together.
        let most = each.max_parallel.map_or(plan.max_parallel, |most| most + more);
        let free = most.saturating_sub(tally.active);
        self.ready.extend(self.items.range(first..=last).take(free));
    }

    fn drop_blocked(&mut self, plan: &Plan) {
        let blocked = &self.blocked;
        self.to_undo.retain(|(_, ix)| !blocked.holds(plan, *ix));
    }
}

fn swap<K: Ord>(set: &mut BTreeSet<(K, StepIx)>, ix: StepIx, before: Option<K>, after: Option<K>) {
    if let Some(key) = before {
        set.remove(&(key, ix));
    }
    if let Some(key) = after {
        set.insert((key, ix));
    }
}

pub(super) fn mark(plan: &Plan, state: &State, ix: StepIx) -> Mark {
    let step = &state.steps[ix];
    let class = match step.status {
        StepStatus::Pending => Class::Pending,
        StepStatus::Active(_) => Class::Active,
        StepStatus::Over(_) => match step.own_outcome() {
            Some(StepOutcome::Succeeded | StepOutcome::Satisfied | StepOutcome::Skipped) => Class::Ok,
            Some(StepOutcome::Failed) if plan.steps[ix].on_failure == OnFailure::Continue => Class::Ok,
            _ => Class::Bad,
        },
    };
    let timer = match step.status {
        StepStatus::Active(
            Activity::Waiting { until }
            | Activity::Backoff { until, .. }
            | Activity::Verifying { next: Some(until), .. },
        ) => Some(until),
        StepStatus::Active(Activity::Asking(ref asking)) => asking.until,
        _ => None,
    };
    let undo_timer = match step.undo {
        UndoStatus::Backoff { until, .. } => Some(until),
        UndoStatus::Asking(ref asking) => asking.until,
        _ => None,
    };
    let heard = matches!(step.status, StepStatus::Active(Activity::Heard(_)));
    Mark {
        class,
        busy: step.is_leaf_active() && !step.is_asking() && !heard,
        asking: step.asking().is_some(),
        heard,
        inside: step.is_inside(),
        timer,
        undoing: step.is_undoing(),
        undo_timer,
        undo_failed: undo::undo_has_failed(state, ix),
        to_undo: undo::is_to_undo(plan, state, ix).then(|| step.effect_at.unwrap_or(0)),
    }
}
