//! A step that is done for each item of a list: how many at once, and what they come to together.
//!
//! Each item is a step of its own with attempts, checks and an undo. What is here only says which of them may start, and
//! when the group is over; [`crate::plan::ForEach::verdict`] is the table.

use crate::model::{Event, StepOutcome};
use crate::plan::{ForEach, ItemCount, ItemsVerdict, Plan, StepIx};

use super::core::Engine;
use super::state::{State, StepStatus};

impl State {
    /// How many items of the group are where, whatever was taken back later. None for another step.
    pub fn item_count(&self, plan: &Plan, group: StepIx) -> Option<ItemCount> {
        Some(count(self, plan.foreach(group)?))
    }

    /// What the items of the group come to as things stand. None for another step.
    pub fn items_verdict(&self, plan: &Plan, group: StepIx) -> Option<ItemsVerdict> {
        let each = plan.foreach(group)?;
        // The usual answer of a long list, without counting it: something runs.
        if each.steps.iter().rev().any(|ix| self.steps[*ix].is_active()) {
            return Some(ItemsVerdict::Open);
        }
        Some(each.verdict(&count(self, each)))
    }

    /// The item for which nothing new may start, now that item `ix` is over: enough of the others are not done to do without
    /// the one that nobody knows of.
    pub(super) fn item_in_doubt(&self, plan: &Plan, group: StepIx) -> Option<StepIx> {
        let each = plan.foreach(group)?;
        let (first, last) = (each.steps.first()?, each.steps.last()?);
        let unknown = |ix: &&StepIx| self.steps[**ix].outcome() == Some(StepOutcome::Unknown);
        // Mostly there is none: the end of an item costs nothing then, however long the list is.
        let item = self.once_unknown.range(first..=last).find(unknown).copied()?;
        (self.items_verdict(plan, group) == Some(ItemsVerdict::InDoubt)).then_some(item)
    }

    /// Whether the group is over without the item: enough of the others were done.
    pub(super) fn is_done_without(&self, plan: &Plan, ix: StepIx) -> bool {
        let group = plan.foreach_around(ix);
        group.is_some_and(|group| self.steps[group].own_outcome() == Some(StepOutcome::Succeeded))
    }
}

fn count(state: &State, each: &ForEach) -> ItemCount {
    let mut count = ItemCount::default();
    for &ix in &each.steps {
        let step = &state.steps[ix];
        let slot = match (&step.status, step.own_outcome()) {
            (StepStatus::Pending, _) => &mut count.pending,
            (StepStatus::Active(_), _) => &mut count.active,
            (_, Some(StepOutcome::Succeeded | StepOutcome::Satisfied)) => &mut count.done,
            (_, Some(StepOutcome::Skipped)) => &mut count.skipped,
            (_, Some(StepOutcome::Unknown)) => &mut count.unknown,
            (_, Some(StepOutcome::Cancelled)) => &mut count.cancelled,
            _ => &mut count.failed,
        };
        *slot += 1;
    }
    count
}

impl Engine {
    /// Looks whether a step that is done for each item is over.
    pub(super) fn advance_items(&mut self, ix: StepIx) {
        let plan = self.plan.clone();
        let Some(each) = plan.foreach(ix) else { return };
        let tally = self.figures.group(ix);
        if tally.active > 0 || tally.pending > 0 && !each.is_halted(tally.bad) {
            return;
        }
        match self.state.items_verdict(&plan, ix) {
            Some(ItemsVerdict::Done) => {
                for &item in &each.steps {
                    if self.state.steps[item].status == StepStatus::Pending {
                        self.skip(item, "another item was not done, and enough are");
                    }
                }
                self.after_action(ix);
            }
            Some(ItemsVerdict::Failed) => self.end_step(ix, StepOutcome::Failed, Some(self.items_failed(ix))),
            // A person has to look; the group stays open for the resume.
            Some(ItemsVerdict::InDoubt | ItemsVerdict::Open) | None => {}
        }
    }

    /// Why not enough of the items are done.
    pub(super) fn items_failed(&self, ix: StepIx) -> String {
        let Some(each) = self.plan.foreach(ix) else { return String::new() };
        let count = count(&self.state, each);
        let ended = |ix: &&StepIx| {
            matches!(self.state.steps[**ix].own_outcome(), Some(StepOutcome::Failed | StepOutcome::Cancelled))
        };
        let first = each.steps.iter().find(ended).map(|item| {
            let why = self.state.steps[*item].why.as_deref().unwrap_or("see its output");
            format!("; {}: {why}", self.plan.steps[*item].id)
        });
        let needed = match each.at_least {
            Some(least) => format!(", and {least} are needed"),
            None => String::new(),
        };
        format!("{} of {} items are done{needed}{}", count.done, count.total(), first.unwrap_or_default())
    }

    /// In a rollback. True if what is over is not enough, and the rest does not hang on what nobody knows.
    pub(super) fn end_failed_items(&mut self, ix: StepIx) -> bool {
        let count = self.state.item_count(&self.plan, ix).unwrap_or_default();
        let failed = count.failed > 0 && count.unknown == 0;
        if failed {
            self.end_step(ix, StepOutcome::Failed, Some(self.items_failed(ix)));
        }
        failed
    }

    /// A list without items asks for nothing.
    pub(super) fn skip_without_items(&mut self, ix: StepIx) -> bool {
        let empty = self.plan.foreach(ix).is_some_and(|each| each.steps.is_empty());
        if empty {
            let step = self.plan.steps[ix].id.clone();
            self.emit(Event::StepSkipped { step, why: "there are no items".into() });
        }
        empty
    }
}
