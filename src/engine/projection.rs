//! When the run is likely to be over: the longest way through what is left, each step as long as in past runs.
//!
//! A function of the plan, the state and the moment; what past runs took is in the first record. It adds up the figures
//! step by step, so `p90` says when the run is over if each step is as slow as in one run of ten: a cautious figure,
//! later than nine of ten runs as a whole.

use std::collections::BTreeMap;

use crate::model::{Millis, Past, PastStep, QuestionKind, Spread, is_late};
use crate::plan::{Body, ForEach, Plan, Step, StepIx, template};

use super::core::RunFacts;
use super::render::with_names;
use super::state::{Activity, PhaseStatus, RunStatus, State, StepState, StepStatus};

/// When a run is likely to have recovered the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    /// The moment of the run. Never before the moment that was asked for.
    pub end: Spread,
    /// Steps ahead of which no past run tells: their time is not in it.
    pub untold: usize,
    /// Steps that take clearly longer than in nine of ten past runs.
    pub overdue: Vec<Overdue>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue {
    pub step: StepIx,
    /// So far, without waiting for people.
    pub takes: Millis,
    pub p90: Millis,
}

impl Projection {
    /// None if no past run tells of anything that is left, or if the run does not go for recovery any more.
    ///
    /// A step that is overdue, or of which nothing is known, makes its end the earliest that is likely.
    pub fn of(plan: &Plan, state: &State, now: Millis) -> Option<Self> {
        let past = state.start.as_ref()?.past.as_deref().filter(|past| !past.steps.is_empty())?;
        if !(state.status == RunStatus::Running || state.waits()) {
            return None;
        }
        let ahead = Ahead::of(plan, state, past);
        ahead.is_told().then(|| Self {
            end: ahead.end(now),
            untold: ahead.untold,
            overdue: overdue(plan, state, past, now),
        })
    }

    /// Something is on its way, or ahead, that takes longer by nobody knows how much.
    pub fn is_earliest(&self) -> bool {
        self.untold > 0 || !self.overdue.is_empty()
    }
}

/// What is left, without the moment: the end is at `by`, or `from_now` after the moment if that is later. For of all
/// ways through what is left each ends either so long after something that has begun, or so long after now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ahead {
    by: Spread,
    from_now: Spread,
    /// Steps left of which past runs tell, and of which they do not.
    told: usize,
    untold: usize,
}

impl Ahead {
    pub fn of(plan: &Plan, state: &State, past: &Past) -> Self {
        let mut walk = Walk {
            plan,
            state,
            past,
            facts: None,
            after: vec![Spread::ZERO; plan.steps.len()],
            items: BTreeMap::new(),
            work: Spread::ZERO,
            ahead: Self::default(),
        };
        let over = |status: &PhaseStatus| matches!(status, PhaseStatus::Ended { .. });
        let current = state.phases.iter().position(|phase| !over(phase)).unwrap_or(plan.phases.len());
        let mut after = Spread::ZERO;
        for phase in plan.phases.iter().skip(current + 1).rev() {
            let way = walk.untouched(&phase.steps);
            after = after.plus(way.max(walk.take_work()));
        }
        if let Some(phase) = plan.phases.get(current) {
            walk.under_way(&phase.steps, after);
            let work = walk.take_work();
            walk.ahead.from_now = walk.ahead.from_now.max(work.plus(after));
        }
        walk.ahead
    }

    /// Past runs tell of anything of it.
    fn is_told(&self) -> bool {
        self.told > 0 || self.from_now != Spread::ZERO
    }

    pub fn end(&self, now: Millis) -> Spread {
        self.by.max(self.from_now.plus(Spread::both(now)))
    }

    /// The first moment from `now` on at which the end is later than `limit`, if nothing happens until then.
    pub fn later_than(&self, limit: Millis, now: Millis, of: crate::model::Percentile) -> Millis {
        if self.end(now).get(of) > limit {
            return now;
        }
        limit.saturating_sub(self.from_now.get(of)).saturating_add(Millis(1))
    }
}

struct Walk<'a> {
    plan: &'a Plan,
    state: &'a State,
    past: &'a Past,
    facts: Option<RunFacts>,
    /// The longest way that is known so far from the end of each step to that of its list.
    after: Vec<Spread>,
    /// What is known of an item of each `foreach`, for those of which nothing is: the list may have been shorter.
    items: BTreeMap<StepIx, Option<PastStep>>,
    /// What the steps that have not begun keep places busy for, all together.
    work: Spread,
    ahead: Ahead,
}

impl Walk<'_> {
    /// How long all that work takes at least, with as many places as there are.
    fn take_work(&mut self) -> Spread {
        shared(std::mem::take(&mut self.work), self.plan.max_parallel)
    }

    /// What past runs tell of the step. An item of which they do not is taken for the slowest of the others.
    fn told(&mut self, ix: StepIx) -> Option<PastStep> {
        let (plan, past) = (self.plan, self.past);
        let known = |ix: StepIx| past.steps.get(&plan.steps[ix].id).copied();
        let Some(group) = plan.steps[ix].parent.filter(|group| plan.foreach(*group).is_some()) else {
            return known(ix);
        };
        let any = self.items.entry(group).or_insert_with(|| {
            let all = plan.inside(group).iter().filter_map(|item| known(*item));
            all.reduce(|a, b| PastStep {
                ran: a.ran.max(b.ran),
                not_needed: a.not_needed.min(b.not_needed),
                took: a.took.max(b.took),
                people: a.people.into_iter().chain(b.people).reduce(Spread::max),
            })
        });
        known(ix).or(*any)
    }

    /// Items of which none has begun: they have no needs among each other, but places.
    fn untouched_items(&mut self, each: &ForEach) -> Spread {
        let (mut longest, mut all) = (Spread::ZERO, Spread::ZERO);
        for &item in &each.steps {
            let length = self.length(item);
            (longest, all) = (longest.max(length), all.plus(length));
        }
        longest.max(shared(all, each.max_parallel.unwrap_or(self.plan.max_parallel)))
    }

    fn items_under_way(&mut self, each: &ForEach, then: Spread) {
        let is = |ix: &StepIx, pending: bool| match self.state.steps[*ix].status {
            StepStatus::Pending => pending,
            StepStatus::Active(_) => !pending,
            StepStatus::Over(_) => false,
        };
        let active: Vec<StepIx> = each.steps.iter().copied().filter(|ix| is(ix, false)).collect();
        let pending: Vec<StepIx> = each.steps.iter().copied().filter(|ix| is(ix, true)).collect();
        let places = each.max_parallel.unwrap_or(self.plan.max_parallel);
        // Where all places are taken, each of the others follows on the one that has the least behind it.
        let mut behind = vec![Spread::ZERO; active.len()];
        let queued = each.max_parallel.is_some() && active.len() >= places;
        let (mut longest, mut all) = (Spread::ZERO, Spread::ZERO);
        for item in pending {
            let length = self.length(item);
            (longest, all) = (longest.max(length), all.plus(length));
            if let Some(least) = behind.iter_mut().min_by_key(|behind| behind.p50).filter(|_| queued) {
                *least = least.plus(length);
            }
        }
        let rest = longest.max(shared(all, places));
        self.ahead.from_now = self.ahead.from_now.max(rest.plus(then));
        for (item, behind) in active.into_iter().zip(behind) {
            if let StepStatus::Active(activity) = &self.state.steps[item].status {
                self.active(item, activity, behind.plus(then));
            }
        }
    }

    /// The longest way through steps of which none has begun.
    fn untouched(&mut self, list: &[StepIx]) -> Spread {
        let mut longest = Spread::ZERO;
        for ix in self.plan.in_order(list).into_iter().rev() {
            let way = self.length(ix).plus(self.after[ix]);
            self.before(ix, way);
            longest = longest.max(way);
        }
        longest
    }

    /// Takes up the ways through a list of steps that is under way; `then` is what follows on it.
    fn under_way(&mut self, list: &[StepIx], then: Spread) {
        for ix in self.plan.in_order(list).into_iter().rev() {
            let rest = self.after[ix];
            match &self.state.steps[ix].status {
                StepStatus::Over(_) => {}
                StepStatus::Pending => {
                    let way = self.length(ix).plus(rest);
                    self.before(ix, way);
                    self.ahead.from_now = self.ahead.from_now.max(way.plus(then));
                }
                StepStatus::Active(activity) => self.active(ix, activity, rest.plus(then)),
            }
        }
    }

    /// Whoever is needed by `ix` has that way after it.
    fn before(&mut self, ix: StepIx, way: Spread) {
        for &need in &self.plan.steps[ix].needs {
            self.after[need] = self.after[need].max(way);
        }
    }

    fn active(&mut self, ix: StepIx, activity: &Activity, then: Spread) {
        if let (Activity::Inside, Body::Playbook { steps, .. }) = (activity, &self.plan.steps[ix].body) {
            self.ahead.from_now = self.ahead.from_now.max(then);
            return self.under_way(steps, then);
        }
        if let (Activity::Inside, Body::ForEach(each)) = (activity, &self.plan.steps[ix].body) {
            return self.items_under_way(each, then);
        }
        let told = self.told(ix);
        let (step, state) = (&self.plan.steps[ix], &self.state.steps[ix]);
        let took = told.filter(|told| told.ran > 0).map(|told| told.took);
        let people = told.and_then(|told| told.people);
        let (due, rest) = match activity {
            Activity::Waiting { until } => (Some(Spread::both(*until)), Spread::ZERO),
            Activity::Asking(asking) => {
                let spent = asking.since.saturating_sub(state.begun.unwrap_or(asking.since));
                let spent = Spread::both(spent.saturating_sub(state.waited));
                let rest = took.unwrap_or_default().with(spent, Millis::saturating_sub);
                // A failure that is asked about is not what past runs waited for.
                let people = people.filter(|_| asking.question.kind != QuestionKind::Failure);
                (people.map(|people| people.plus(Spread::both(asking.since))), rest)
            }
            _ => {
                let asks = asks(step) && state.asked == 0;
                let due = took.map(|took| took.plus(Spread::both(machine_since(state))));
                (due, people.filter(|_| asks).unwrap_or_default())
            }
        };
        self.count(due.is_some());
        let then = rest.plus(then);
        if let Some(due) = due {
            self.ahead.by = self.ahead.by.max(due.plus(then));
        }
        self.ahead.from_now = self.ahead.from_now.max(then);
    }

    fn count(&mut self, told: bool) {
        let count = if told { &mut self.ahead.told } else { &mut self.ahead.untold };
        *count += 1;
    }

    /// How long a step takes that has not begun.
    fn length(&mut self, ix: StepIx) -> Spread {
        let step = &self.plan.steps[ix];
        if self.state.steps[ix].outcome().is_some() {
            return Spread::ZERO;
        }
        let needed = self.is_needed(step);
        let told = self.told(ix);
        if needed == Some(false) {
            return Spread::ZERO;
        }
        let sure = needed == Some(true) && step.unless.is_none();
        let counts = |told: &PastStep| if sure { (true, true) } else { (counts(told, 50), counts(told, 90)) };
        let only = |told: Option<PastStep>, length: Spread| match told.as_ref().map(counts) {
            Some((p50, p90)) => Spread {
                p50: if p50 { length.p50 } else { Millis::ZERO },
                p90: if p90 { length.p90 } else { Millis::ZERO },
            },
            None => length,
        };
        if told.is_some_and(|told| !sure && !counts(&told).1) {
            self.count(true);
            return Spread::ZERO;
        }
        let inside = match &step.body {
            Body::Playbook { steps, .. } => Some(self.untouched(steps)),
            Body::ForEach(each) => Some(self.untouched_items(each)),
            _ => None,
        };
        if let Some(inside) = inside {
            let people = told.and_then(|told| told.people).unwrap_or_default();
            return only(told, inside.plus(people));
        }
        let Some(told) = told.filter(|told| told.ran > 0) else {
            self.count(false);
            return Spread::ZERO;
        };
        self.count(told.people.is_some() || !asks(step));
        let took = only(Some(told), told.took);
        self.work = self.work.plus(took);
        took.plus(only(Some(told), told.people.unwrap_or_default()))
    }

    /// Whether its `when` holds, if that can be said already: all that it reads is over.
    fn is_needed(&mut self, step: &Step) -> Option<bool> {
        let Some(when) = &step.when else { return Some(true) };
        // The run's folder is known to its own process alone.
        let is_over = |used: &crate::plan::Use| self.state.steps[used.step].outcome().is_some();
        if when.src.contains("dir") || !when.uses.iter().all(is_over) {
            return None;
        }
        let (plan, state) = (self.plan, self.state);
        let facts = self.facts.get_or_insert_with(|| facts(state));
        with_names((plan, state, facts), (step.scope, None), &when.uses, (None, None), |ctx| {
            template::eval_bool(when, ctx)
        })
        .ok()
    }
}

/// How long work takes at least that so many places share.
fn shared(work: Spread, places: usize) -> Spread {
    let places = places.max(1) as u64;
    Spread { p50: Millis(work.p50.0 / places), p90: Millis(work.p90.0 / places) }
}

/// Whether a step that is not needed in each run counts: at `p50` one that ran in half of them, at `p90` one that ran in
/// one of ten.
fn counts(told: &PastStep, percent: u64) -> bool {
    let turns = u64::from(told.ran) + u64::from(told.not_needed);
    told.ran > 0 && u64::from(told.ran) * 100 >= turns * (100 - percent)
}

fn asks(step: &Step) -> bool {
    step.approval.is_some() || matches!(step.body, Body::Choose(_) | Body::Manual(_))
}

/// The moment from which its time counts, moved on by the time in which people were waited for.
fn machine_since(state: &StepState) -> Millis {
    state.begun.unwrap_or_default().saturating_add(state.waited)
}

fn overdue(plan: &Plan, state: &State, past: &Past, now: Millis) -> Vec<Overdue> {
    let mut all = Vec::new();
    for (step, (spec, at)) in plan.steps.iter().zip(&state.steps).enumerate() {
        let group = matches!(spec.body, Body::Playbook { .. } | Body::ForEach(_));
        let StepStatus::Active(activity) = &at.status else { continue };
        if group || matches!(activity, Activity::Asking(_) | Activity::Waiting { .. }) {
            continue;
        }
        let Some(told) = past.steps.get(&spec.id).filter(|told| told.ran > 0) else { continue };
        let (takes, p90) = (now.saturating_sub(machine_since(at)), told.took.p90);
        if is_late(takes, p90) {
            all.push(Overdue { step, takes, p90 });
        }
    }
    all
}

fn facts(state: &State) -> RunFacts {
    let start = state.start.as_ref();
    RunFacts {
        id: start.map(|start| start.run.to_string()).unwrap_or_default(),
        dir: String::new(),
        started_at: state.started_at.to_string(),
        operator: start.map(|start| start.operator.clone()).unwrap_or_default(),
        environment: start.and_then(|start| start.environment.clone()),
    }
}
