//! What finished runs tell of how long each step takes: the fold of a journal that needs no plan, so that runs of an
//! older version of the playbook tell of the steps that they share with it.

use std::collections::BTreeMap;

use crate::model::{
    Answer, Cause, Event, Millis, Past, PastStep, Record, Spread, StepId, StepOutcome, TaskKind, Via,
};

/// What one finished run tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub playbook: String,
    pub environment: Option<String>,
    pub drill: bool,
    pub steps: BTreeMap<StepId, Took>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    /// From its start to its success, retries and all.
    Ran {
        /// Without waiting for people, of the steps inside either.
        machine: Millis,
        /// Of the step itself; absent if nobody was asked, or an answer was written down before.
        people: Option<Millis>,
    },
    /// Skipped, or satisfied already.
    NotNeeded,
}

/// A step on its way.
#[derive(Debug, Default)]
struct Going {
    since: Option<Millis>,
    /// When it was last asked about, while that is open, and how many more have to agree.
    asked: Option<(Millis, u32)>,
    waited: Option<Millis>,
    /// Nobody thought about an answer: it was written down before.
    scripted: bool,
    /// The same for the steps inside.
    waited_inside: Millis,
    /// It was interrupted, or taken up again: what it took is nobody's measure.
    spoiled: bool,
}

impl Told {
    /// None if the run is not over, or holds no start.
    pub fn of(records: &[Record]) -> Option<Self> {
        let Event::RunStarted(start) = &records.first()?.event else { return None };
        let last = records.iter().rev().map(|r| &r.event).find(|event| !event.is_remark())?;
        let Event::RunEnded(end) = last else { return None };
        if end.outcome == crate::model::RunOutcome::Waiting {
            return None;
        }
        Some(Self {
            playbook: start.playbook.clone(),
            environment: start.environment.clone(),
            drill: start.drill,
            steps: took(records),
        })
    }
}

/// What the steps of a run took that are over, as far as they tell of it.
pub fn took(records: &[Record]) -> BTreeMap<StepId, Took> {
    let mut fold = Fold::default();
    records.iter().for_each(|record| fold.apply(record));
    fold.steps
}

#[derive(Debug, Default)]
struct Fold {
    going: BTreeMap<StepId, Going>,
    steps: BTreeMap<StepId, Took>,
}

impl Fold {
    fn apply(&mut self, record: &Record) {
        let t = record.t;
        match &record.event {
            // What was under way lay still, or went on unseen.
            Event::Gap { .. } | Event::RunResumed(_) | Event::KeeperLost { .. } => {
                self.going
                    .values_mut()
                    .filter(|step| step.since.is_some())
                    .for_each(|step| step.spoiled = true);
            }
            Event::StepResolved { step, .. } => {
                self.steps.remove(step);
                self.going.entry(step.clone()).or_default().spoiled = true;
            }
            Event::TaskStarted { task, .. } if task.kind != TaskKind::Undo => self.begin(&task.step, t),
            Event::WaitStarted { step, .. }
            | Event::GroupStarted { step, .. }
            | Event::Notice { cause: Cause::Step { step }, .. } => self.begin(step, t),
            Event::Asked { step, question, .. } => {
                self.begin(step, t);
                self.settled(step, t);
                self.going.entry(step.clone()).or_default().asked = Some((t, question.count));
            }
            Event::Answered { step, reply, by, .. } => {
                if let (Some(going), Via::File | Via::Drill) = (self.going.get_mut(step), by.via) {
                    going.scripted = true;
                }
                let open = self.going.get_mut(step).and_then(|step| step.asked.as_mut());
                let more = open.is_some_and(|(_, needed)| {
                    *needed = needed.saturating_sub(1);
                    *needed > 0
                });
                if !(more && reply.answer == Answer::Approve) {
                    self.settled(step, t);
                }
            }
            Event::QuestionExpired { step, then, .. } if *then != crate::model::OnTimeout::Wait => {
                self.settled(step, t);
            }
            Event::StepSkipped { step, .. } => _ = self.steps.insert(step.clone(), Took::NotNeeded),
            Event::StepEnded { step, outcome, .. } => self.end(step, t, *outcome),
            _ => {}
        }
    }

    fn begin(&mut self, step: &StepId, t: Millis) {
        self.going.entry(step.clone()).or_default().since.get_or_insert(t);
    }

    /// Nobody is waited for any more.
    fn settled(&mut self, step: &StepId, t: Millis) {
        let Some(going) = self.going.get_mut(step) else { return };
        let Some((since, _)) = going.asked.take() else { return };
        let waited = t.saturating_sub(since);
        going.waited = Some(going.waited.unwrap_or_default().saturating_add(waited));
        for (at, _) in step.as_str().match_indices('/') {
            if let Ok(group) = StepId::parse(&step.as_str()[..at])
                && let Some(group) = self.going.get_mut(&group)
            {
                group.waited_inside = group.waited_inside.saturating_add(waited);
            }
        }
    }

    fn end(&mut self, step: &StepId, t: Millis, outcome: StepOutcome) {
        self.settled(step, t);
        let going = self.going.entry(step.clone()).or_default();
        match outcome {
            StepOutcome::Succeeded if !going.spoiled => {
                let Some(since) = going.since else { return };
                let waited = going.waited.unwrap_or_default().saturating_add(going.waited_inside);
                let machine = t.saturating_sub(since).saturating_sub(waited);
                let people = going.waited.filter(|_| !going.scripted);
                self.steps.insert(step.clone(), Took::Ran { machine, people });
            }
            StepOutcome::Satisfied => _ = self.steps.insert(step.clone(), Took::NotNeeded),
            // If it is taken up again, it is not from its beginning.
            _ => going.spoiled = true,
        }
    }
}

/// What all of them tell a run of this environment. A step's figures are of the runs that are most like it: real ones in
/// the same environment if any of them tells of the step, else real ones, else drills. How long people take is never
/// asked of drills, whose answers are written down before.
pub fn past(told: &[Told], environment: Option<&str>) -> Past {
    let count =
        |drill: bool| u32::try_from(told.iter().filter(|t| t.drill == drill).count()).unwrap_or(u32::MAX);
    let class = |told: &Told| match told.drill {
        true => 2,
        false => usize::from(told.environment.as_deref() != environment),
    };
    let mut found: BTreeMap<&StepId, [Vec<Took>; 3]> = BTreeMap::new();
    for run in told {
        for (step, took) in &run.steps {
            found.entry(step).or_default()[class(run)].push(*took);
        }
    }
    let steps = found.into_iter().filter_map(|(step, classes)| {
        let [_, _, drills] = &classes;
        let drilled = drills.len();
        let best = classes.iter().find(|took| !took.is_empty())?;
        let only_drills = best.len() == drilled && std::ptr::eq(best, drills);
        Some((step.clone(), figures(best, !only_drills)))
    });
    Past { runs: count(false), drills: count(true), steps: steps.collect() }
}

fn figures(all: &[Took], with_people: bool) -> PastStep {
    let ran = all.iter().filter_map(|took| match took {
        Took::Ran { machine, people } => Some((*machine, *people)),
        Took::NotNeeded => None,
    });
    let (machine, people): (Vec<Millis>, Vec<Option<Millis>>) = ran.unzip();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let people: Vec<Millis> = people.into_iter().flatten().filter(|_| with_people).collect();
    PastStep {
        ran: number(machine.len()),
        not_needed: number(all.len() - machine.len()),
        took: Spread::of(machine).unwrap_or_default(),
        people: Spread::of(people),
    }
}
